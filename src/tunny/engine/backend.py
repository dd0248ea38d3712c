"""Where training runs. A backend knows ranks and devices; the loop does not. One process is a world of one.

Gradients of a step are summed over ranks, not averaged: the loss is divided by the targets of all of them beforehand.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
Item = TypeVar("Item")


class SingleProcess:
    """A world of one rank on one device; the other backends are this with more ranks."""

    rank = 0
    world_size = 1
    sharded = False  # whether each rank holds a part of the weights only

    def __init__(self, device: torch.device):
        self.device = device

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model as it is to be called, on the device; before the optimizer is made."""
        return model.to(self.device)

    def bare(self, model: nn.Module) -> nn.Module:
        """Return a wrapped model under the names that its parameters have elsewhere."""
        return model

    def hold_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which gradients are not exchanged (all micro-batches but the last)."""
        return nullcontext()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of numbers over all ranks."""
        return list(values)

    def gather(self, value: T) -> list[T]:
        """Return what each rank gave, on all ranks."""
        return [value]

    def map(self, work: Callable[[Item], T], items: Sequence[Item]) -> Iterable[T]:
        """Return what `work` gives of each item, in order, on all ranks, which share the work; all must have the same items."""
        return map(work, items)

    def share_buffers(self, model: nn.Module) -> None:
        """Give all ranks the buffers of rank 0 that a model keeps, such as running means."""

    def clip(self, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
        """Clip gradients by their global 2-norm and return the norm before; on a CPU the fused optimizer divides, in its own pass."""
        gradients = [one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        if self.device.type == "cpu" and not self.sharded and getattr(optimizer, "_step_supports_amp_scaling", False):
            norm = torch.stack([gradient.flatten().dot(gradient.flatten()) for gradient in gradients]).sum().sqrt()
            optimizer.grad_scale = (norm / max_norm).clamp(min=1.0)  # type: ignore[attr-defined]
            return norm
        norm = torch.nn.utils.get_total_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_([one for group in optimizer.param_groups for one in group["params"]], max_norm, norm)
        return self.whole(norm)

    def whole(self, tensor: Tensor) -> Tensor:
        """Return a tensor of a model or an optimizer, of which a rank may hold a part, as it is on one; all ranks must ask for it."""
        return tensor.detach()

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """Return this rank's part of a whole tensor, divided as `like` is."""
        return tensor.to(like.device)


def runs_aside(device: torch.device) -> bool:
    """Say whether a device computes while Python goes on, so that a loop should prepare what comes next and not ask for numbers."""
    return device.type != "cpu"


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory did not suffice, on a GPU or a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)
