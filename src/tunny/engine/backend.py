"""Where training runs. A backend knows ranks and devices; the loop does not. One process is a world of one.

Gradients of a step are summed over ranks, not averaged: the loss is divided by the targets of all of them beforehand.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from tunny.core.console import choice, silence
from tunny.core.errors import ConfigError
from tunny.engine.device import choose_device, use_device
from tunny.engine.group import World, join, world_of
from tunny.engine.settings import EngineSettings

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


def choose_backend(settings: EngineSettings) -> SingleProcess:
    """Return the backend that the settings and the launcher ask for, and say why; of several processes this meets the others."""
    world = world_of(os.environ)
    if world.size == 1 and settings.strategy in ("ddp", "fsdp"):
        raise ConfigError(f"engine.strategy: {settings.strategy} needs several processes. Start with: tunny launch -n 2 train CONFIG")
    if world.size > 1 and settings.strategy == "single":
        raise ConfigError(f"engine.strategy: single is for one process, and {world.size} were started. Set it to auto, ddp or fsdp.")
    if world.rank:
        silence()  # rank 0 speaks for all
    if settings.strategy == "accelerate":
        from tunny.engine.accelerated import Accelerated

        accelerated = Accelerated(settings.device, world)
        use_device(settings, str(accelerated.device), f"; {torch.get_num_threads()} threads")
        choice("strategy", "accelerate", f"{world.size} processes")
        return accelerated
    device = _device(settings, world)
    if world.size == 1:
        return SingleProcess(device)
    if settings.strategy == "fsdp" and settings.precision == "fp16":
        raise ConfigError("engine.precision: fp16 is not for engine.strategy fsdp; choose bf16 or fp32, or the strategy ddp")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    from tunny.engine.many import DataParallel, FullySharded  # loads for most of a second

    join(world, "nccl" if device.type == "cuda" else "gloo")
    chosen = FullySharded if settings.strategy == "fsdp" else DataParallel
    choice("strategy", "fsdp" if chosen is FullySharded else "ddp", f"{world.size} processes")
    return chosen(device, world)


def _device(settings: EngineSettings, world: World) -> torch.device:
    """Choose the device of this process; of several, the GPU of its number on the machine."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = choose_device(settings, gpus, "torch")
    if world.size > 1 and device.startswith("cuda"):
        if ":" in device:
            raise ConfigError(
                f"engine.device: {device} is one GPU, and {world.size} processes were started. Set engine.device: cuda or auto."
            )
        device = choose_device(settings.model_copy(update={"device": f"cuda:{world.local_rank}"}), gpus, "torch")
    use_device(settings, device, f"; {torch.get_num_threads()} threads")
    return torch.device(device)


def runs_aside(device: torch.device) -> bool:
    """Say whether a device computes while Python goes on, so that a loop should prepare what comes next and not ask for numbers."""
    return device.type != "cpu"


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory did not suffice, on a GPU or a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)
