"""Figures of the process and its GPU, sampled on a thread of their own. Nothing is written here: the next log point takes them."""

import threading
import time
from pathlib import Path
from types import TracebackType

import torch

MIB = 2**20
PAGES = Path("/proc/self/statm")  # of Linux; elsewhere there is no figure for memory


class System:
    """Samples while its block runs."""

    def __init__(self, every_seconds: float):
        self._every = every_seconds
        self._newest: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="track.system", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(1.0)

    def newest(self) -> dict[str, float]:
        """Return the newest sample, once; empty where there is none since the last call."""
        found, self._newest = self._newest, {}
        return found

    def _work(self) -> None:
        wall, busy = time.monotonic(), time.process_time()
        while not self._ended.wait(self._every):
            now, used = time.monotonic(), time.process_time()
            self._newest = {"system/cpu_percent": 100 * (used - busy) / (now - wall), **_memory(), **_gpu()}
            wall, busy = now, used


def _memory() -> dict[str, float]:
    """Return the memory of this process that is not swapped out."""
    try:
        pages = int(PAGES.read_text().split()[1])
    except OSError:
        return {}
    import resource

    return {"system/memory_mib": pages * resource.getpagesize() / MIB}


def _gpu() -> dict[str, float]:
    """Return what is used of the GPU that this process trains on, by all processes; how busy it is where NVIDIA's package is installed."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    free, total = torch.cuda.mem_get_info()
    found = {"system/gpu_memory_mib": (total - free) / MIB}
    try:
        return {**found, "system/gpu_percent": float(torch.cuda.utilization())}
    except (ModuleNotFoundError, RuntimeError):
        return found
