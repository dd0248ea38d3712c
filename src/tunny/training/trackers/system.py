"""Figures of the process and its GPU, sampled on a thread of their own. Nothing is written here: the next log point takes them."""

import contextlib
import os
import threading
import time
from pathlib import Path

import torch

MIB = 2**20
PAGES = Path("/proc/self/statm")  # of Linux; elsewhere there is no figure for memory


class System(threading.Thread):
    """Samples from `start` to `close`."""

    def __init__(self, every_seconds: float):
        super().__init__(name="track.system", daemon=True)
        self._every = every_seconds
        self._newest: dict[str, float] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample until it is closed."""
        wall, busy = time.monotonic(), time.process_time()
        while not self._ended.wait(self._every):
            now, used = time.monotonic(), time.process_time()
            found = {"system/cpu_percent": 100 * (used - busy) / (now - wall)}  # 100 for each core that is always busy
            wall, busy = now, used
            if PAGES.exists():
                found["system/memory_mib"] = int(PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                free, total = torch.cuda.mem_get_info()
                found["system/gpu_memory_mib"] = (total - free) / MIB  # of all processes
                with contextlib.suppress(ModuleNotFoundError, RuntimeError):  # where NVIDIA's package for it is not installed
                    found["system/gpu_percent"] = float(torch.cuda.utilization())
            self._newest = found

    def newest(self) -> dict[str, float]:
        """Return the newest sample, once; empty where there is none since the last call."""
        found, self._newest = self._newest, {}
        return found

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self.join(1.0)
