# SPDX-License-Identifier: Apache-2.0
"""Read what NVIDIA's management library (NVML) says of each GPU; only in a process that may hang for ever."""

from __future__ import annotations

import functools
from typing import Any, Callable

MILLIWATTS = 1000


def cuda_version(nvml: Any) -> str | None:
    """Return the newest CUDA that the driver offers, as 13.0."""
    number = _reported(nvml, nvml.nvmlSystemGetCudaDriverVersion)
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


def cards(nvml: Any, *, with_programs: bool = False) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the GPUs, and what NVML says of those that it cannot reach."""
    gpus, lost = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_card(nvml, index, with_programs=with_programs))
        except nvml.NVMLError as error:  # noqa: PERF203 - one lost GPU must not hide the others
            lost.append(f"GPU {index}: {error}")
    return gpus, lost


def _card(nvml: Any, index: int, *, with_programs: bool) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)

    def optional(call: Callable[[Any], Any]) -> Any:
        try:
            return call(handle)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):  # older GPU, older library
            return None

    memory = optional(nvml.nvmlDeviceGetMemoryInfo)
    mig = optional(nvml.nvmlDeviceGetMigMode)
    card = {
        "index": index,
        "uuid": str(nvml.nvmlDeviceGetUUID(handle)),
        "name": str(nvml.nvmlDeviceGetName(handle)),
        "memory_bytes": int(memory.total) if memory else 0,
        "free_bytes": int(memory.free) if memory else 0,
        "compute_capability": ".".join(map(str, nvml.nvmlDeviceGetCudaComputeCapability(handle))),
        "pci": slot(str(nvml.nvmlDeviceGetPciInfo(handle).busId)),
        "mig": None if mig is None else bool(mig[0]),
        "mig_devices": _mig_devices(nvml, handle) if mig and mig[0] else None,
        **_health(nvml, handle),
    }
    if with_programs:
        card["programs"] = _reported(nvml, lambda: _programs(nvml, handle)) or []
    return card


def _health(nvml: Any, handle: Any) -> dict[str, Any]:
    """Return how the GPU is; what it does not report, for whatever reason, is None."""
    power = _reported(nvml, lambda: nvml.nvmlDeviceGetPowerManagementLimit(handle))
    return {
        # Since the driver was loaded, in all the memory of the GPU.
        "ecc_uncorrected": _reported(
            nvml,
            lambda: nvml.nvmlDeviceGetTotalEccErrors(
                handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            ),
        ),
        "persistence": _reported(nvml, lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle))),
        "celsius": _reported(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        "busy_percent": _reported(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        "power_limit_watts": None if power is None else round(power / MILLIWATTS),
    }


def _reported(nvml: Any, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except nvml.NVMLError:
        return None


def _mig_devices(nvml: Any, handle: Any) -> list[str] | None:
    """Return the UUIDs of the parts that a GPU is divided into, None when the library cannot list them."""
    most = _reported(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    if most is None:
        return None
    # Free places between the parts that there are have no device.
    found = [_reported(nvml, functools.partial(_mig_device, nvml, handle, number)) for number in range(most)]
    return [uuid for uuid in found if uuid]


def _mig_device(nvml: Any, handle: Any, number: int) -> str:
    return str(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)))


def _programs(nvml: Any, handle: Any) -> list[dict[str, Any]]:
    return [
        {"pid": int(one.pid), "bytes": one.usedGpuMemory}
        for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    ]


def slot(bus_id: str) -> str:
    """Return a PCI address as the kernel writes it: NVML's domain has eight digits, in capitals."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}"
