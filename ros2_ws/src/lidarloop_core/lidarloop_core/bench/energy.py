"""Energy used, by the counter of an NVIDIA GPU or of an Intel or AMD processor, where it may be read."""

from __future__ import annotations

import ctypes
from pathlib import Path

_RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


def gpu_joules(device: int = 0) -> float | None:
    """Energy used by the GPU since its driver was loaded, joules; None without a GPU that counts it."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    if nvml.nvmlInit_v2() != 0:
        return None
    try:
        if nvml.nvmlDeviceGetHandleByIndex_v2(device, ctypes.byref(handle)) != 0:
            return None
        if nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)) != 0:
            return None
    finally:
        nvml.nvmlShutdown()
    return millijoules.value / 1e3


def cpu_joules() -> float | None:
    """Energy used by the first processor package, joules; it wraps around. None where it may not be read."""
    try:
        return int(_RAPL.read_text()) / 1e6
    except (OSError, ValueError):
        return None
