"""Which device computes: found from the settings and the number of GPUs that are there. No torch, so an exported model can ask too."""

import contextlib
import ctypes
import os
import re

from tunny.core.console import choice
from tunny.core.errors import ConfigError
from tunny.engine.settings import EngineSettings


def choose_device(settings: EngineSettings, gpus: int, seen_by: str) -> str:
    """Return cpu, cuda or cuda:N, as the settings ask for; raise ConfigError for what is not among the `gpus` that somebody sees."""
    wanted = settings.device
    if wanted == "auto":
        return "cuda" if gpus else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", wanted):
        raise ConfigError(f"engine.device: expected auto, cpu, cuda or cuda:N, found {wanted!r}")
    if wanted != "cpu" and gpu_number(wanted) >= gpus:
        raise ConfigError(f"engine.device: {wanted} was asked for, but {seen_by} sees {gpus} GPUs. Set engine.device: cpu or auto.")
    return wanted


def use_device(settings: EngineSettings, device: str, note: str = "") -> None:
    """Say why a device computes, and prepare the process for it."""
    there = {"cpu": f"no GPU is there{note}", "cuda": "a GPU is there"}.get(device.partition(":")[0], "Accelerate chose it")
    choice("device", device, there if settings.device == "auto" else "engine.device")
    if device == "cpu":
        _keep_freed_memory()


def gpu_number(device: str) -> int:
    """Return which of the GPUs a device is."""
    return int(device.partition(":")[2] or 0)


def num_threads() -> int:
    """Return how many threads compute as OMP_NUM_THREADS says, 0 where it leaves that to the library."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() else 0


def num_gpus() -> int:
    """Return how many GPUs the driver shows to this process."""
    count = ctypes.c_int()
    with contextlib.suppress(OSError, AttributeError):
        driver = ctypes.CDLL("libcuda.so.1")
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return 0
    return count.value


def _keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks instead of giving each back to the system and fetching it again zeroed.

    Every step frees and takes the same tensors, among them a gradient as large as the embeddings; measured 1.1 to 1.2 times
    faster. Numbers are those of malloc.h: trim threshold, top pad, and no mmap (older glibc refuses a threshold above 32 MiB).
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        for option, size in ((-1, 1 << 30), (-2, 1 << 28), (-4, 0)):
            libc.mallopt(option, size)
        choice("memory", "freed blocks are kept", "each step takes the same ones again")
