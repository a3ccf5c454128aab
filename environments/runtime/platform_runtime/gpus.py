"""NVIDIA's GPUs, through the driver's own library. Where there is none, there are no GPUs. Stdlib only."""

import ctypes
from collections.abc import Iterable
from typing import Any, Final

MOST: Final = 16
_LIBRARY: Final = "libnvidia-ml.so.1"


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Gpus:
    """Asks NVML: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html. Every call may block for as
    long as a driver hangs: ask from a thread of its own."""

    def __init__(self, visible: str | None = None) -> None:
        """`visible` is CUDA_VISIBLE_DEVICES of the run: with plain numbers in it these alone are looked at, in the
        driver's order; an empty one hides all."""
        self._devices: list[tuple[int, Any]] = []
        try:
            self._nvml = ctypes.CDLL(_LIBRARY)
            if self._nvml.nvmlInit_v2() != 0:
                return
            count = ctypes.c_uint()
            if self._nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
                return
            for index in _chosen(count.value, visible):
                handle = ctypes.c_void_p()
                if self._nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == 0:
                    self._devices.append((index, handle))
        except (OSError, AttributeError):
            self._devices = []  # no driver, or one too old to have these

    def sample(self) -> dict[str, float]:
        """`gpu.N.use_percent`, `gpu.N.memory_used_bytes` and `gpu.N.memory_total_bytes` of each that answers."""
        found: dict[str, float] = {}
        for index, handle in self._devices:
            use, memory = _Utilization(), _Memory()
            # Sliced GPUs (MIG) tell no use, yet their memory.
            if self._nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(use)) == 0:
                found[f"gpu.{index}.use_percent"] = use.gpu
            if self._nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0:
                found[f"gpu.{index}.memory_used_bytes"] = memory.used
                found[f"gpu.{index}.memory_total_bytes"] = memory.total
        return found


def _chosen(count: int, visible: str | None) -> Iterable[int]:
    if visible is None:
        return range(min(count, MOST))
    names = [name.strip() for name in visible.split(",")]
    if visible.strip() and not all(name.lstrip("-").isdigit() for name in names):
        return range(min(count, MOST))  # by their serial names: which of ours these are, NVML need not be asked
    return [int(name) for name in names if name.isdigit() and int(name) < count][:MOST]
