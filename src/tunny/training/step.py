"""One optimizer step: rows to batches, forward and backward over the micro-batches, clip, update.

The loss of a step is the sum over all its targets divided by their number, whatever the micro-batches; each forward pass reseeds
from (seed, step, micro-batch), so a resumed run and an accumulated one draw the same dropout. What the device counts stays there
until `settle` fetches it, so a GPU need not wait for the next step.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tunny.core.console import warn
from tunny.core.errors import TrainingFailed
from tunny.data.plan import Step
from tunny.data.store import WindowStore
from tunny.engine.backend import Backend, is_out_of_memory
from tunny.engine.compute import Compute
from tunny.tasks.lessons import Batch, Lesson
from tunny.training.optimizer import Learner
from tunny.training.settings import TrainSettings

Item = TypeVar("Item")
Made = TypeVar("Made")
Batches = list[tuple[int, Batch]]  # each with its number in the global batch


@dataclass(frozen=True)
class Work:
    """What every step needs beside the model: the task, the rows, and how and where they are computed."""

    task: Lesson
    rows: WindowStore
    seed: int
    settings: TrainSettings
    backend: Backend
    compute: Compute

    def batches(self, step: Step, limit: int | None) -> Batches:
        """Collate this rank's micro-batches, none above `limit` rows."""
        micro = step.micro_batches(limit or len(step.rows), self.backend.rank, self.backend.world_size)
        return [(at, self.task.batch([self.rows[int(row)] for row in rows])) for at, rows in micro if len(rows)]


@dataclass(frozen=True)
class Taken:
    """What one step counted; tensors are on the device, this rank's only."""

    step: int  # from 1
    loss: Tensor  # sum over the targets
    norm: Tensor | None  # of the gradient before clipping
    targets: float  # of all ranks
    tokens: int
    slots: int  # tokens with padding
    limit: int | None  # most rows of a micro-batch, after memory ran out


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Yield what `make` returns for each item, the next one being made while the caller works."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for item in items:
            following = pool.submit(make, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def take_step(work: Work, learner: Learner, step: Step, batches: Batches, number: int, limit: int | None) -> Taken:
    """Take optimizer step `number` (from 0); halve the micro-batches where memory runs out."""
    learner.model.train()
    while True:
        learner.optimizer.zero_grad(set_to_none=True)
        try:
            if limit is not None and any(len(batch.weights) > limit for _, batch in batches):
                batches = work.batches(step, limit)
            loss, targets = _backward(work, learner, batches, number)
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            largest = max(len(batch.weights) for _, batch in batches)
            if largest == 1:
                raise TrainingFailed(
                    f"step {number + 1}: out of memory with a single row. Lower encode.max_tokens, set "
                    "engine.gradient_checkpointing, or choose a smaller model."
                ) from error
            limit = largest // 2
            warn(f"step {number + 1}: out of memory; micro-batches now hold at most {limit} rows")
    norm = None
    if targets:
        learner.scaler.unscale_(learner.optimizer)
        norm = work.backend.clip(learner.optimizer, work.settings.max_grad_norm or math.inf)
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
    tokens = int(work.backend.sum(sum(batch.num_tokens for _, batch in batches)))
    slots = int(work.backend.sum(sum(batch.inputs["input_ids"].numel() for _, batch in batches)))
    return Taken(number + 1, loss, norm, targets, tokens, slots, limit)


def _backward(work: Work, learner: Learner, batches: Batches, number: int) -> tuple[Tensor, float]:
    """Accumulate the gradient of the mean loss over all targets of the step; return this rank's loss sum, and all targets."""
    targets = work.backend.sum(sum(batch.num_targets for _, batch in batches))
    losses = [torch.zeros((), device=work.backend.device)]
    for at, batch in batches:
        torch.manual_seed(forward_seed(work.seed, number, at))
        with work.compute.of(batch.lengths):
            loss = work.task.train_step(learner.model, batch.to(work.backend.device))
        losses.append(loss.detach())
        if targets:
            with work.backend.hold_sync(learner.model) if at != batches[-1][0] else nullcontext():
                learner.scaler.scale(loss / targets).backward()  # type: ignore[no-untyped-call]
    return torch.stack(losses).sum(), targets


def forward_seed(seed: int, step: int, micro_batch: int) -> int:
    """Return the seed of one forward pass, the same on one rank and on many."""
    return int(np.random.SeedSequence([seed, step, micro_batch]).generate_state(1, np.uint64)[0] >> 1)


def settle(work: Work, taken: Sequence[Taken]) -> tuple[float, float | None]:
    """Fetch what steps counted on the device; return the loss sum over all ranks and the last gradient norm.

    Raises TrainingFailed, naming the step, where a loss or a gradient is not finite; fp16's scaler looks after gradients itself.
    """
    losses = torch.stack([one.loss for one in taken]).tolist()
    steps = [(one.step, loss, one.targets) for one, loss in zip(taken, losses, strict=True)]
    norms = {one.step: one.norm for one in taken if one.norm is not None}
    lengths = dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True)) if norms else {}
    for step, loss, targets in steps:
        if not math.isfinite(loss):
            raise diverged(f"the loss became {loss / targets if targets else loss}", step, work.settings)
        if not work.compute.precision.scaled and not math.isfinite(lengths.get(step, 0.0)):
            raise diverged("the gradient is not finite", step, work.settings)
    return work.backend.sum(sum(losses)), lengths.get(taken[-1].step)


def diverged(what: str, step: int, settings: TrainSettings) -> TrainingFailed:
    """Return the error for numbers that are no numbers any more, with the usual causes."""
    return TrainingFailed(
        f"step {step}: {what}, so training cannot go on. Usual causes: a learning rate that is too high (train.learning_rate is "
        f"{settings.learning_rate:g}), no warm-up (train.warmup_ratio is {settings.warmup_ratio:g}), or weights that were "
        "not finite to begin with. Checkpoints before this step are whole."
    )
