"""What learns: the model with AdamW and its usual decay groups; the learning rate as a function of the step."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from tunny.engine.precision import Precision
from tunny.tasks.layers import depth_of
from tunny.training.settings import TrainSettings


@dataclass(frozen=True)
class Learner:
    """A wrapped model with what changes it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # does nothing but in fp16

    @property
    def loss_scale(self) -> float | None:
        """What the loss is multiplied by in fp16."""
        return float(self.scaler.get_scale()) if self.scaler.is_enabled() else None


def make_learner(model: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision, loss_scale: float | None = None) -> Learner:
    """Return the learner of a wrapped model; `loss_scale` is that of a run that goes on."""
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    scaler = torch.amp.GradScaler(precision.device_type, enabled=precision.scaled, init_scale=loss_scale or 2.0**16)
    return Learner(model, optimizer, scaler)


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """Return AdamW over the parameters that learn; `initial_lr` of each group is its peak learning rate.

    Biases and norms (parameters of fewer than two dimensions) have no weight decay. With `layer_decay` d the layer k below
    the head learns at d to the power of k times the learning rate, the head at all of it (Howard & Ruder 2018).
    """
    learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    deepest = max((depth_of(name) or 0 for name, _ in model.named_parameters()), default=0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learning:
        depth = depth_of(name)
        below_head = 0 if depth is None else deepest + 1 - depth
        rate = settings.learning_rate * settings.layer_decay**below_head
        decay = settings.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    listed = [{"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]
    return torch.optim.AdamW(
        listed, lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=learning[0][1].device.type in ("cpu", "cuda")
    )


def rate_factor(step: int, total: int, settings: TrainSettings) -> float:
    """Return the factor on the peak learning rate in step `step` (from 0) of `total`: transformers' schedules."""
    warmup = math.ceil(total * settings.warmup_ratio) if settings.warmup_steps is None else settings.warmup_steps
    if step < warmup:
        return step / max(1, warmup)
    if settings.schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    if settings.schedule == "linear":
        return max(0.0, 1.0 - done)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set the learning rate of every group and return the highest."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return max(float(group["lr"]) for group in optimizer.param_groups)
