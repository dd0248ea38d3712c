"""How numbers are multiplied: an axis of its own, beside device and strategy. Chosen by what the processor reports."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from tunny.core.console import choice
from tunny.core.errors import ConfigError

CPU_INFO = Path("/proc/cpuinfo")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """The type of matrix products; weights, gradients and optimizer stay fp32."""

    name: str  # fp32, bf16, fp16
    device_type: str

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context in which a forward pass runs."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The type itself."""
        return _DTYPES[self.name]

    @property
    def scaled(self) -> bool:
        """Whether gradients need scaling against underflow."""
        return self.name == "fp16"


def choose_precision(wanted: str, device: torch.device, reason: str = "engine.precision", trained: str = "auto") -> Precision:
    """Return the precision that is wanted, or for auto that of a finished model's training, else what the hardware multiplies fast; say why."""
    if wanted == "auto":
        for_gpus = trained == "fp16" and device.type == "cpu"
        wanted, reason = ("fp32", "training used fp16, which is for GPUs") if for_gpus else (trained, "as in training")
    if wanted == "auto":
        wanted, reason = fast_precision(device)
    if wanted == "fp16" and device.type == "cpu":
        raise ConfigError("engine.precision: fp16 is for GPUs; on a CPU choose bf16, fp32 or auto")
    choice("precision", wanted, reason)
    if wanted == "fp32" and device.type == "cpu":
        _choose_products()
    return Precision(wanted, device.type)


def _choose_products() -> None:
    """Have fp32 products computed by the library that is fast here: oneDNN in place of MKL where the processor is not Intel's.

    MKL runs at less than half of what an AMD core with AVX512 does, and as fast as oneDNN on Intel's. With AMX torch's way to
    oneDNN would round to bf16, so it stays MKL there.
    """
    flags, intel = cpu_flags(), cpu_vendor() == "GenuineIntel"
    one = "avx512f" in flags and not intel and "amx_tile" not in flags
    if one:
        torch.set_float32_matmul_precision("medium")  # to torch a licence for less, to oneDNN without AMX still true fp32
    reason = "AVX512 of another maker than Intel, where MKL is slow" if one else "Intel's own is fast" if intel else "no AVX512, or AMX"
    choice("fp32 products", "oneDNN" if one else "MKL", reason)


def fast_precision(device: torch.device) -> tuple[str, str]:
    """Return what the hardware multiplies fast, bf16 or fp32, and the reason."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU has bf16 matrix units"
        return "fp32", "the GPU has no bf16 matrix units"
    flags = cpu_flags()
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in flags:
            return "bf16", f"the processor has {flag}"
    return "fp32", "the processor reports neither avx512_bf16 nor amx_bf16"


def cpu_flags() -> frozenset[str]:
    """Return the instruction sets that the processor reports; none where the system does not say."""
    return frozenset(_cpu_line("flags").split())


def cpu_vendor() -> str:
    """Return the maker that the processor reports; nothing where the system does not say."""
    return _cpu_line("vendor_id")


def _cpu_line(name: str) -> str:
    lines = CPU_INFO.read_text("utf-8", errors="replace").splitlines() if CPU_INFO.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
