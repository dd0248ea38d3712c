"""The matrix-product ceiling of this machine, against which `throughput/mfu` is measured: a fifth of a second at a time."""

import time

import torch

from tunny.engine.precision import Precision

AGAIN = 60.0  # seconds from one measurement to the next


def measure_ceiling(device: torch.device, precision: Precision) -> float:
    """Return the best FLOP/s of a matrix product of encoder shape, 672 x 384 x 1536 on a CPU, in the run's precision."""
    rows, inner, columns = (8192, 4096, 4096) if device.type == "cuda" else (672, 384, 1536)
    left = torch.full((rows, inner), 0.5, dtype=precision.dtype, device=device)
    right = torch.full((columns, inner), 0.5, dtype=precision.dtype, device=device)
    best = float("inf")
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(5):
            torch.nn.functional.linear(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, (time.perf_counter() - start) / 5)
    return 2.0 * rows * inner * columns / best


class Ceiling:
    """The highest ceiling met so far: a machine that is busy at one moment shows less than it can do."""

    def __init__(self, device: torch.device, precision: Precision):
        self._measured = (device, precision)
        self._highest = self._next = 0.0

    def flops(self) -> float:
        """Return it in FLOP/s, measured again at most once in a minute."""
        if time.monotonic() >= self._next:
            self._highest = max(self._highest, measure_ceiling(*self._measured))
            self._next = time.monotonic() + AGAIN
        return self._highest
