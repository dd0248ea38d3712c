"""A backend over Accelerate, for devices that torch's own backends do not know, such as TPUs; tried on CPUs only.

Accelerate chooses the device and exchanges gradients. Numbers and objects go over a group of Tunny's own. DeepSpeed is refused: it would
take the backward pass and the optimizer's step over, of which there is one in `training/step.py`.
"""

import os
from contextlib import AbstractContextManager
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from tunny.core.errors import ConfigError
from tunny.engine.group import World, join
from tunny.engine.many import DataParallel

TAKE_OVER = {"ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_FSDP": "its FSDP", "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM"}


class Accelerated(DataParallel):
    """Every rank holds the model, on the device that Accelerate gives it."""

    def __init__(self, device: str, world: World):
        if device not in ("auto", "cpu"):
            raise ConfigError(
                f"engine.device: with engine.strategy accelerate expected auto or cpu, found {device!r}: Accelerate chooses it"
            )
        for name, what in TAKE_OVER.items():
            if os.environ.get(name, "").lower() == "true":
                raise ConfigError(
                    f"engine.strategy: accelerate does not work with {what}, which {name} asks for. Choose none of them in accelerate's "
                    "config; engine.strategy fsdp spreads a model over devices."
                )
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ConfigError("engine.strategy: accelerate needs the package accelerate. pip install tunny[accelerate]") from error
        on_cpu = device == "cpu" or not (torch.accelerator.is_available() or find_spec("torch_xla"))
        if world.size > 1:
            join(world, "gloo" if on_cpu or not torch.cuda.is_available() else "nccl")
        self._accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")  # precision is Tunny's own
        super().__init__(self._accelerator.device, world)
        if self._accelerator.num_processes != world.size:
            raise ConfigError(
                f"engine.strategy: Accelerate counts {self._accelerator.num_processes} processes, and WORLD_SIZE is {world.size}. Start with: "
                "accelerate launch --num_processes N -m tunny train CONFIG"
            )

    def wrap(self, model: nn.Module) -> nn.Module:
        """Have the model prepared."""
        prepared: nn.Module = self._accelerator.prepare_model(model.to(self.device))
        return prepared

    def hold_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Keep gradients here."""
        held: AbstractContextManager[None] = self._accelerator.no_sync(model)
        return held

    def clip(self, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
        """Make sums of the means that Accelerate exchanges, or of gradients that it leaves to each rank; then clip."""
        if self.world_size > 1:
            for gradient in (one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None):
                if self.device.type == "xla":
                    gradient.copy_(self._accelerator.reduce(gradient, "sum"))
                else:
                    gradient.mul_(self.world_size)
        return super().clip(optimizer, max_norm)
