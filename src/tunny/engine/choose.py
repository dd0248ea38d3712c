"""Which backend a training takes, by its settings and its launcher; what the backends are, `backend.py`, `many.py` and `accelerated.py` say."""

import os

import torch

from tunny.core.console import choice, silence
from tunny.core.errors import ConfigError
from tunny.engine.backend import SingleProcess
from tunny.engine.device import choose_device, use_device
from tunny.engine.group import World, join, world_of
from tunny.engine.settings import EngineSettings


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
