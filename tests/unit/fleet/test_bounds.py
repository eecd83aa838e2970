# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.fleet import variables
from tests.unit.fleet.test_spec import HOST, problems_of


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("model_store_workers=0", "must be between 1 and 64"),
        ("model_store_workers=-1", "must be between 1 and 64"),
        ("model_store_streams=1000", "must be between 1 and 64"),
        ("model_store_attempts=0", "must be between 1 and 1000"),
        ("model_store_stall_timeout=-5", "must be between 1 and 31622400"),
        ("nvidia_driver_reboot_timeout=0", "must be between 1 and 31622400"),
        ("nvidia_driver_timeout=1e30", "must be between 1 and 31622400"),
        ("host_base_clock_skew_seconds=-30", "must be between 1 and 31622400"),
        ("cuda_toolkit_reserve_bytes=-1", "must be between 0 and 1000000000000000"),
        ("nvidia_driver_gpus_expected=-1", "must be between 0 and 1024"),
        ("engine_vllm_max_model_len=1e30", "must be at most 1000000000000000"),
        ("engine_vllm_max_num_seqs=inf", "must be a whole number"),
        ("engine_vllm_start_timeout=-3", "must be at least 1"),
        ("model_store_root=models", "must be an absolute path on the host"),
        ("model_store_root=~/models", "must be an absolute path on the host"),
        ("cuda_toolkit_tmpdir=./tmp", "must be an absolute path on the host"),
        ("model_store_ca_bundle=ca.pem", "must be an absolute path on the host"),
        ("model_store_huggingface_token_file=token", "must be an absolute path on this machine"),
    ],
)
def test_a_value_that_cannot_work_is_refused_before_any_host(tmp_path: Path, line: str, says: str) -> None:
    (said,) = problems_of(tmp_path / "hosts.ini", f"{HOST} {line}\n")
    assert said.startswith(f"{line.partition('=')[0]}: {says}")


def test_certificates_that_do_not_exist_are_found(tmp_path: Path) -> None:
    text = f"[g]\n{HOST}\n[g:vars]\nhost_base_ca_certificates=['ca.pem', '/nowhere/ca.pem']\n"
    relative, missing = problems_of(tmp_path / "hosts.ini", text)
    assert relative.startswith("host_base_ca_certificates: must be an absolute path on this machine")
    assert missing.startswith("host_base_ca_certificates: there is no such file on this machine")


@pytest.mark.parametrize("name", sorted(variables.load().variables))
def test_every_default_is_within_the_bounds(name: str) -> None:
    variable = variables.load().variables[name]
    assert variables.check(variable, variable.default)[1] is None
