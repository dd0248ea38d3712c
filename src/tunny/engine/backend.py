"""Where training runs. A backend knows ranks and devices; the loop does not. One process is a world of one."""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from tunny.engine.device import choose_device, use_device
from tunny.engine.settings import EngineSettings


class Backend(Protocol):
    """What the loop asks of the place it runs in."""

    rank: int
    world_size: int
    device: torch.device

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model as it is to be called; before the optimizer is made."""

    def hold_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Return a context in which gradients are not exchanged (all micro-batches but the last)."""

    def sum(self, value: float) -> float:
        """Return the sum of a number over all ranks."""

    def clip(self, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
        """Have the optimizer's next step clip gradients by their global norm; return the norm before."""

    def full_state(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the whole state of a model on the CPU."""


class SingleProcess:
    """A world of one rank on one device."""

    rank = 0
    world_size = 1

    def __init__(self, device: torch.device):
        self.device = device

    def wrap(self, model: nn.Module) -> nn.Module:
        """Move the model to the device."""
        return model.to(self.device)

    def hold_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Do nothing: there is nobody to exchange with."""
        return nullcontext()

    def sum(self, value: float) -> float:
        """Return the value."""
        return value

    def clip(self, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
        """Clip by the global 2-norm; on a CPU the fused optimizer divides in its own pass over the gradients."""
        gradients = [one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        if self.device.type == "cpu" and getattr(optimizer, "_step_supports_amp_scaling", False):
            norm = torch.stack([gradient.flatten().dot(gradient.flatten()) for gradient in gradients]).sum().sqrt()
            optimizer.grad_scale = (norm / max_norm).clamp(min=1.0)  # type: ignore[attr-defined]
            return norm
        norm = torch.nn.utils.get_total_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_([one for group in optimizer.param_groups for one in group["params"]], max_norm, norm)
        return norm

    def full_state(self, model: nn.Module) -> dict[str, Tensor]:
        """Return everything that `state_dict` names on the CPU; of a model there, its own tensors."""
        return {name: tensor.detach().to("cpu").contiguous() for name, tensor in model.state_dict().items()}


def choose_backend(settings: EngineSettings) -> SingleProcess:
    """Return the backend that the settings ask for, and say why."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = choose_device(settings, gpus, "torch")
    use_device(settings, device, f"; {torch.get_num_threads()} threads")
    return SingleProcess(torch.device(device))


def runs_aside(device: torch.device) -> bool:
    """Say whether a device computes while Python goes on, so that a loop should prepare what comes next and not ask for numbers."""
    return device.type != "cpu"


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory did not suffice, on a GPU or a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)
