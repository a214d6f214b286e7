"""The memory of this machine's graphics cards, as their drivers see it: also what other programs use."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYSFS = Path("/sys/class/drm")
"""Where the driver of AMD's cards says what they use."""
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """The memory of one card, in GiB. `used_gb` by all programs."""

    total_gb: float
    used_gb: float


MemoryReader = Callable[[], Sequence[DeviceMemory]]
"""The cards of this machine, in the order of their driver. Empty: no driver answers. It may block for a moment."""


def read_device_memory() -> Sequence[DeviceMemory]:
    """The cards of this machine: NVIDIA's by NVML (package `nvidia-ml-py`), else AMD's by sysfs."""
    return read_nvidia(_nvml()) or read_amd(SYSFS)


def _nvml() -> Any | None:
    """The module of NVML; None: it is not installed."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("pynvml")
    return None


def read_nvidia(nvml: Any | None) -> Sequence[DeviceMemory]:
    """The cards that NVML lists. A machine without its driver has none."""
    if nvml is None:
        return ()
    try:
        nvml.nvmlInit()
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            memories = [nvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
        finally:
            nvml.nvmlShutdown()
    except nvml.NVMLError:
        return ()
    return [DeviceMemory(memory.total / _GIB, memory.used / _GIB) for memory in memories]


def read_amd(sysfs: Path) -> Sequence[DeviceMemory]:
    """The cards whose driver (amdgpu) writes `mem_info_vram_*`."""
    devices = []
    for total in sorted(sysfs.glob("card*/device/mem_info_vram_total"), key=lambda path: _number(path.parts[-3])):
        with contextlib.suppress(OSError, ValueError):
            used = total.with_name("mem_info_vram_used")
            devices.append(DeviceMemory(int(total.read_text()) / _GIB, int(used.read_text()) / _GIB))
    return devices


def _number(name: str) -> int:
    """The number of a card: `card10` comes after `card2`."""
    return int("".join(filter(str.isdigit, name)) or 0)
