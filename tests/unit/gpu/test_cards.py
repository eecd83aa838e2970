# SPDX-License-Identifier: Apache-2.0
"""What a GPU tells beside what it must tell never keeps the rest from being read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible.module_utils.provision.gpu import cards


class NVMLError(Exception):
    """Stand in for NVIDIA's own."""


class Library:
    """Answer as NVML does; what is named in `broken` fails, for a reason that nobody foresaw."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_FunctionNotFound = type("Special", (NVMLError,), {})
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC, NVML_TEMPERATURE_GPU = 1, 0, 0
    ANSWERS: ClassVar[dict[str, Any]] = {
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "handle",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80, free=70),
        "nvmlDeviceGetMigMode": [1, 1],
        "nvmlDeviceGetUUID": "GPU-1",
        "nvmlDeviceGetName": "H100",
        "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetPciInfo": SimpleNamespace(busId="00000000:1B:00.0"),
        "nvmlDeviceGetTotalEccErrors": 0,
        "nvmlDeviceGetPersistenceMode": 1,
        "nvmlDeviceGetTemperature": 40,
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=5),
        "nvmlDeviceGetPowerManagementLimit": 700000,
        "nvmlDeviceGetMaxMigDeviceCount": 0,
        "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=7, usedGpuMemory=None)],
        "nvmlSystemGetCudaDriverVersion": 12080,
    }

    def __init__(self, *broken: str) -> None:
        self.broken = broken

    def __getattr__(self, name: str) -> Any:
        def answer(*_: Any) -> Any:
            if name in self.broken:
                raise NVMLError("Unknown Error")
            return self.ANSWERS[name]

        return answer


@pytest.mark.parametrize(
    ("function", "field"),
    [
        ("nvmlDeviceGetTotalEccErrors", "ecc_uncorrected"),
        ("nvmlDeviceGetPersistenceMode", "persistence"),
        ("nvmlDeviceGetTemperature", "celsius"),
        ("nvmlDeviceGetUtilizationRates", "busy_percent"),
        ("nvmlDeviceGetPowerManagementLimit", "power_limit_watts"),
        ("nvmlDeviceGetMaxMigDeviceCount", "mig_devices"),
    ],
)
def test_one_value_that_fails_is_the_only_one_missing(function: str, field: str) -> None:
    (whole,), _ = cards.cards(Library())
    (card,), lost = cards.cards(Library(function))
    assert lost == []
    assert card == {**whole, field: None}


def test_programs_that_cannot_be_listed_are_none() -> None:
    (card,), _ = cards.cards(Library(), with_programs=True)
    assert card["programs"] == [{"pid": 7, "bytes": None}]
    (card,), _ = cards.cards(Library("nvmlDeviceGetComputeRunningProcesses"), with_programs=True)
    assert card["programs"] == []


def test_a_gpu_that_does_not_say_who_it_is_counts_as_lost() -> None:
    found, lost = cards.cards(Library("nvmlDeviceGetUUID"))
    assert (found, lost) == ([], ["GPU 0: Unknown Error"])


def test_the_drivers_cuda_is_a_version() -> None:
    assert cards.cuda_version(Library()) == "12.8"
    assert cards.cuda_version(Library("nvmlSystemGetCudaDriverVersion")) is None
