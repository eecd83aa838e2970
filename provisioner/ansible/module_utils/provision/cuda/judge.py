# SPDX-License-Identifier: Apache-2.0
"""Decide whether a host's GPUs and its driver can use CUDA toolkits, by the table of the role."""

from __future__ import annotations

import os
from typing import Any, Mapping

from ..driver.packages import numbers
from ..host.fault import Fault
from .versions import LIST, Toolkit


def c_library() -> str:
    """Return the version of the host's C library."""
    return (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2]


def judge(
    toolkits: list[Toolkit], architectures: list[str], driver: str, libc: str, table: Mapping[str, Any]
) -> list[str]:
    """Return warnings; raises Fault for what cannot work."""
    warnings: list[str] = []
    for toolkit in toolkits:
        row = table["majors"].get(toolkit.release.partition(".")[0])
        if row is None:
            known = sorted(table["majors"], key=numbers)
            if numbers(toolkit.release) < numbers(known[0]):
                raise Fault(
                    f"{toolkit} is too old: CUDA {known[0]} is the oldest release that this tool supports",
                    f"list CUDA {known[0]} or newer in {LIST}",
                )
            warnings.append(
                f"{toolkit} is newer than the releases that this tool has data of, so it was not checked"
            )
            continue
        warnings += _gpus(toolkit, architectures, row, table) + _libc(toolkit, libc, table)
        if driver:
            warnings += _driver(toolkit, driver, row, table)
    return warnings


def _gpus(
    toolkit: Toolkit, architectures: list[str], row: Mapping[str, Any], table: Mapping[str, Any]
) -> list[str]:
    dropped = sorted({one for one in architectures if one in row["drops"]})
    if dropped and len(dropped) == len(set(architectures)):
        older = [major for major, other in table["majors"].items() if not set(dropped) & set(other["drops"])]
        instead = f"use a version of CUDA {max(older, key=numbers)}" if older else "leave it out"
        raise Fault(
            f"{toolkit} compiles nothing for {' and '.join(dropped)}, and this host has no other GPU "
            f"({row['drops_source']})",
            f"{instead} in {LIST} for this host",
        )
    said = [f"{toolkit} compiles nothing for the {one} GPUs of this host" for one in dropped]
    for one in sorted(set(architectures)):
        first = table["gpus"].get(one)
        if first and numbers(toolkit.release) < numbers(first["cuda"]):
            said.append(f"{toolkit} does not support {one} GPUs; CUDA {first['cuda']} or newer is required")
    return said


def _libc(toolkit: Toolkit, libc: str, table: Mapping[str, Any]) -> list[str]:
    """Return a warning if the toolkit's headers contradict those of the host's C library."""
    for since in sorted(table["c_libraries"], key=numbers, reverse=True):
        row = table["c_libraries"][since]
        if numbers(libc) >= numbers(since) and numbers(toolkit.release) <= numbers(row["through"]):
            what = f"{toolkit} compiles nothing on this host: its headers contradict glibc {libc}"
            step = f"list one newer than {row['through']} in {LIST}, or compile in a container"
            return [f"{what} ({row['source']}); {step}"]
    return []


def _driver(toolkit: Toolkit, driver: str, row: Mapping[str, Any], table: Mapping[str, Any]) -> list[str]:
    if numbers(driver) < numbers(row["driver"]):
        raise Fault(
            f"{toolkit} needs driver {row['driver']} or newer, but {driver} is loaded "
            f"({row['driver_source']})",
            f"set nvidia_driver_version to {row['driver']} or newer, or list an older CUDA in {LIST}",
        )
    own = table["releases"].get(toolkit.release)
    if own and numbers(driver)[:1] < numbers(own["driver"])[:1]:
        what = "what it compiles runs, but code that is compiled on the host (PTX) does not"
        return [f"{toolkit} was made with driver {own['driver']}, but {driver} is loaded: {what}"]
    return []
