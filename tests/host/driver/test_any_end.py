# SPDX-License-Identifier: Apache-2.0
"""However a driver's job ends, what is not proven is rolled back, and what served serves again."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.provision.driver import main, record
from ansible.module_utils.provision.driver.orders import Orders
from ansible.module_utils.provision.gpu import kernel
from ansible.module_utils.provision.gpu.kernel import KernelModule
from ansible.module_utils.provision.host.files import read_json

from tests.host.jobs.breaking import Case, break_everywhere, each_error
from tests.unit.driver.test_install import KERNEL, NEW, Host

PACKAGE = "libnvidia-compute-580"


def change(folder: Path, patch: pytest.MonkeyPatch) -> Case:
    """Prepare a host whose driver is about to be upgraded."""
    host = Host(patch, folder)
    before, noted = dict(host.packages), read_json(record.RECORD, None)

    def module(_kernel: str) -> KernelModule:
        return KernelModule(host.packages[PACKAGE].partition("-")[0], "open", KERNEL, "")

    patch.setattr(kernel, "module", module)

    def failed() -> None:
        if host.packages == before:
            assert read_json(record.RECORD, None) == noted, "the record is not that of before"
        else:
            # A driver that is proven stays, and the next run goes on from there.
            assert "prove" in host.done
            assert host.packages[PACKAGE].startswith(NEW)
            assert read_json(record.RECORD, {})["state"] in (record.CHANGING, record.DONE)
        stopped = "stop vllm.service" in host.done
        assert "start vllm.service" in host.done or not stopped, "what served was not started again"

    def done() -> None:
        assert host.packages[PACKAGE].startswith(NEW)
        assert read_json(record.RECORD, {})["state"] == record.DONE

    return Case(main.PROGRAM, "install", Orders(**host.orders()).to_dict(), failed, done)


@each_error
def test_a_change_ends_well_wherever_it_breaks(tmp_path: Path, error: BaseException | None) -> None:
    assert break_everywhere(change, tmp_path, error, Path(__file__).parent) > 50
