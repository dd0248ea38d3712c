"""Backends of several processes, straight over torch.distributed: every rank with the whole model, or with a part of it."""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from tunny.core.errors import ConfigError, TrainingFailed
from tunny.engine.backend import SingleProcess
from tunny.engine.group import World

T = TypeVar("T")
Item = TypeVar("Item")


class DataParallel(SingleProcess):
    """Every rank holds the model and works on its own micro-batches."""

    def __init__(self, device: torch.device, world: World):
        super().__init__(device)
        self.rank, self.world_size = world.rank, world.size

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap in torch's DistributedDataParallel, which sums gradients while the backward pass goes on.

        In every pass it looks for parameters that nothing is learnt of, such as Longformer's global attention or the head of another task.
        """
        warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")  # and none was found
        wrapped = nn.parallel.DistributedDataParallel(
            model.to(self.device), [self.device] if self.device.type == "cuda" else None,
            forward_sync_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=True,
        )  # fmt: skip
        wrapped.register_comm_hook(None, _summed)
        return wrapped

    def bare(self, model: nn.Module) -> nn.Module:
        """Unwrap."""
        return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model

    def hold_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Keep gradients here."""
        assert isinstance(model, nn.parallel.DistributedDataParallel)
        return model.no_sync()

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum in double precision."""
        if self.world_size == 1:
            return super().sum(values)
        device = self.device if self.device.type == "cuda" else "cpu"  # where the group exchanges
        both = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(both)
        return both.tolist()

    def gather(self, value: T) -> list[T]:
        """Exchange by pickling, in memory only."""
        if self.world_size == 1:
            return super().gather(value)
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value)
        return found

    def map(self, work: Callable[[Item], T], items: Sequence[Item]) -> Iterable[T]:
        """Deal item i to rank i modulo the ranks. A rank that lacks one does the last again for nothing: a pass may need all ranks."""
        turns = [range(at, at + self.world_size) for at in range(0, len(items), self.world_size)]
        done = self.gather([work(items[min(turn[self.rank], len(items) - 1)]) for turn in turns])
        return [done[at % self.world_size][at // self.world_size] for at in range(len(items))]

    def share_buffers(self, model: nn.Module) -> None:
        """Send those of rank 0."""
        for part in model.modules() if self.world_size > 1 else ():
            for name, buffer in part._buffers.items():
                if buffer is not None and name not in part._non_persistent_buffers_set:
                    dist.broadcast(buffer, 0)


class FullySharded(DataParallel):
    """Every rank holds a part of each layer's weights, gradients and moments, and fetches the rest for the layer's turn (FSDP2)."""

    sharded = True

    def wrap(self, model: nn.Module) -> nn.Module:
        """Shard each layer, then what is left, in place."""
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # nothing here changes one in place
        mesh = init_device_mesh(self.device.type, (self.world_size,))
        model.to(self.device)
        layers = [layer for part in model.modules() if isinstance(part, nn.ModuleList) for layer in part]
        for part in (*layers, model):
            try:
                fully_shard(part, mesh=mesh)
            except ValueError as error:  # a parameter of no dimension
                raise ConfigError(f"engine.strategy: fsdp cannot divide this model: {error} Set it to ddp.") from error
        for part in model.modules():
            if isinstance(part, FSDPModule):
                part.set_gradient_divide_factor(1.0)
                part.set_force_sum_reduction_for_comms(True)
        return model

    @contextlib.contextmanager
    def hold_sync(self, model: nn.Module) -> Iterator[None]:
        """Keep gradients whole and here."""
        assert isinstance(model, FSDPModule)
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)

    def clip(self, optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
        """Clip, where all ranks have gradients of the same parameters: torch sums what stands at the same place, whatever it is."""
        learnt = [one.grad is not None for group in optimizer.param_groups for one in group["params"]]
        if any(one != learnt for one in self.gather(learnt)):
            raise TrainingFailed(
                "engine.strategy: fsdp is for models of which all ranks need the same parameters in a step, and here some were needed on one "
                "rank only. Set it to ddp."
            )
        return super().clip(optimizer, max_norm)

    def whole(self, tensor: Tensor) -> Tensor:
        """Fetch the parts of the other ranks."""
        return tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """Cut a tensor as another is cut."""
        if not isinstance(like, DTensor) or tensor.ndim == 0:
            return tensor.to(like.device)
        return distribute_tensor(tensor.to(self.device), like.device_mesh, like.placements)


def _summed(_: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Sum a bucket of gradients over all ranks; DistributedDataParallel by itself would average."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]
