"""Names of processors, and the energy counter of a GPU."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any


def processor_name(threads: int) -> str:
    """The name of this machine's processor, with the number of threads, as in `AMD EPYC 7B13, 2 threads`."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    name = found[1].strip() if found else platform.processor() or platform.machine() or "cpu"
    return f"{name}, {threads} thread{'' if threads == 1 else 's'}"


class Energy:
    """The energy counter of a GPU, which NVML keeps for the whole GPU.

    Args:
        nvml: The module `pynvml`, initialised.
        handle: NVML's handle of the GPU.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    @classmethod
    def of_this_gpu(cls) -> Energy | None:
        """The counter of torch's current GPU; None where `pynvml` is not installed, or the GPU has none."""
        try:
            import pynvml
        except ImportError:
            return None
        import torch

        # torch numbers the GPUs that are visible to it, NVML all of them.
        uuid = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
        try:
            pynvml.nvmlInit()
            counter = cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
            counter.joules()
        except pynvml.NVMLError:
            return None
        return counter

    def joules(self) -> float:
        """Energy since the driver was loaded."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000
