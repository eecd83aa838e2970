# SPDX-License-Identifier: Apache-2.0
"""The table is whole, has its sources, and agrees with what the driver's role and the engines say."""

from __future__ import annotations

import itertools
import re

import pytest
from ansible.module_utils.provision.cuda.versions import INSTALLER, SHA256
from ansible.module_utils.provision.gpu import architecture as architectures
from ansible.module_utils.provision.gpu import choice
from ansible.module_utils.provision.host.fault import Fault
from packaging.version import Version

from provisioner import content, documents
from provisioner.fleet import compatibility, engines, stack, stack_table

TABLE = stack_table.load()
KNOWN = {
    value
    for name, value in vars(architectures).items()
    if name.isupper() and isinstance(value, str) and name not in ("NEWER", "UNKNOWN")
}


def test_every_row_has_a_source() -> None:
    document = documents.read(content.roles() / "cuda_toolkit/files/compatibility.yml")
    rows = [(part, name, row) for part, rows in document.items() for name, row in rows.items()]
    assert len(rows) > 20
    assert not [(part, name) for part, name, row in rows if not any(key.endswith("source") for key in row)]


def test_gpus_are_called_as_the_probe_calls_them() -> None:
    document = documents.read(content.roles() / "cuda_toolkit/files/compatibility.yml")
    assert {one for major in TABLE.majors.values() for one in major.drops} <= KNOWN
    assert set(document["gpus"]) <= KNOWN


def test_a_newer_cuda_needs_a_newer_driver_and_drops_more() -> None:
    majors = sorted(TABLE.majors.values(), key=lambda one: Version(one.name))
    for older, newer in itertools.pairwise(majors):
        assert int(older.driver) < int(newer.driver)
        assert set(older.drops) < set(newer.drops)
    for name, driver in TABLE.drivers.items():
        assert Version(driver) >= Version(majors[0].driver)
        assert name.partition(".")[0] in TABLE.majors


def test_the_role_of_the_driver_says_the_same_of_kernel_modules() -> None:
    assert TABLE.open_since == choice.OPEN_SINCE
    assert TABLE.open_default_since == choice.OPEN_PREFERRED_SINCE
    until = TABLE.proprietary_until
    assert choice.choose([], choice.PROPRIETARY, str(until)).modules == choice.PROPRIETARY
    with pytest.raises(Fault, match="no proprietary kernel modules"):
        choice.choose([], choice.PROPRIETARY, str(until + 5))


def test_what_cuda_has_dropped_is_what_a_driver_has_dropped() -> None:
    last = {name for name, need in choice.NEEDS.items() if need.newest == choice.LAST_OF_OLD}
    assert last <= set(TABLE.majors["13"].drops)
    assert not last & set(TABLE.majors["12"].drops)


@pytest.mark.parametrize("engine", engines.load().values(), ids=lambda engine: engine.name)
def test_an_engine_needs_no_older_driver_than_its_cuda(engine: engines.Engine) -> None:
    if "cuda" not in engine.devices:
        return
    assert engine.cuda
    majors = [TABLE.major(version) for version in engine.cuda]
    oldest = min(int(major.driver) for major in majors if major)
    assert int(engine.minimum_driver) >= oldest


def test_every_installer_is_pinned_for_both_processors() -> None:
    seen: dict[str, set[bool]] = {}
    for name, sha256 in stack_table.runfiles().items():
        found = INSTALLER.fullmatch(name)
        assert found
        assert SHA256.fullmatch(sha256)
        seen.setdefault(found.group(1), set()).add(bool(found.group(4)))
    assert all(both == {True, False} for both in seen.values())
    assert {".".join(version.split(".")[:2]) for version in seen} <= set(TABLE.drivers)
    assert len(set(stack_table.runfiles().values())) == len(stack_table.runfiles())


def test_command_and_host_read_names_alike() -> None:
    assert compatibility._INSTALLER.pattern == INSTALLER.pattern
    assert re.fullmatch(stack.VERSION, "13.0.2")
