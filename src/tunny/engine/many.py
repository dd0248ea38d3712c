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
from torch.utils._pytree import tree_leaves

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
        """Wrap in torch's DistributedDataParallel, which sums gradients while the backward pass goes on."""
        return Replica(model.to(self.device), self)

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


class Replica(nn.parallel.DistributedDataParallel):
    """A model whose gradients are summed over ranks. Whether it has parameters that an answer does not need, such as Longformer's global
    attention, is found in its first pass, made twice: torch would fail at them, or look for them in every pass, which costs time.
    """

    def __init__(self, model: nn.Module, backend: DataParallel, unused: bool | None = None):
        device_ids = [backend.device] if backend.device.type == "cuda" else None
        super().__init__(model, device_ids, forward_sync_buffers=False, gradient_as_bucket_view=True, find_unused_parameters=bool(unused))
        self.register_comm_hook(None, _summed)
        self.backend, self.unused = backend, unused

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call the model."""
        if self.unused is None and self.training and torch.is_grad_enabled():
            unused, syncs = self.backend.sum([self._without_gradient(inputs, named)])[0] > 0, self.require_backward_grad_sync
            if unused:
                self.__init__(self.module, self.backend, True)  # type: ignore[misc]
                self.require_backward_grad_sync = syncs
            self.unused = unused
        return super().forward(*inputs, **named)  # type: ignore[no-untyped-call]

    def _without_gradient(self, inputs: Any, named: Any) -> int:
        """Return how many parameters learn nothing from these inputs; 1 where the answers cannot be seen in what the model returns."""
        learning = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        with torch.random.fork_rng(self.device_ids or []):
            answers = [one for one in tree_leaves(self.module(*inputs, **named)) if isinstance(one, Tensor) and one.requires_grad]
            found = torch.autograd.grad([one.sum() for one in answers], learning, allow_unused=True) if answers else [None]
        return sum(one is None for one in found)


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
            fully_shard(part, mesh=mesh)
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
