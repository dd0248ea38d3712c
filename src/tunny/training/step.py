"""One optimizer step: rows to batches, forward and backward over the micro-batches, clip, update.

The loss of a step is the sum over all its targets divided by their number, whatever the micro-batches; each forward pass reseeds from
(seed, step, micro-batch), and so does the making of a user's batch: a resumed run and an accumulated one draw the same. What the device
counts stays there until `settle` fetches it, so a GPU need not wait for the next step.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from tunny.core.console import warn
from tunny.core.errors import TrainingFailed
from tunny.data.plan import Step, Steps
from tunny.engine.backend import SingleProcess, is_out_of_memory
from tunny.engine.compute import Compute
from tunny.tasks.lessons import Lesson
from tunny.training.optimizer import Learner
from tunny.training.settings import TrainSettings

Item = TypeVar("Item")
Made = TypeVar("Made")


class MicroBatch(NamedTuple):
    """What goes through the model at once."""

    number: int  # in the global batch
    batch: Any  # as the lesson makes them
    counts: bool  # whether anything is learnt of it


Batches = list[MicroBatch]


@dataclass(frozen=True)
class Work:
    """What every step needs beside the model: the task, the steps and their rows, and how and where they are computed."""

    task: Lesson
    steps: Steps
    seed: int
    settings: TrainSettings
    backend: SingleProcess
    compute: Compute

    def batches(self, step: Step, number: int, limit: int | None) -> Batches:
        """Collate this rank's micro-batches of step `number`, none above `limit` rows. One without rows has a row that does not count:
        all ranks must go through the model equally often.
        """
        made = []
        for at, rows in step.micro_batches(limit or len(step.rows), self.backend.rank, self.backend.world_size):
            taken = self.steps.rows(rows if len(rows) else step.rows[:1])
            if self.task.draws:
                seed = seed_of(self.seed, number, at, 1)
                random.seed(seed)
                np.random.seed(seed % 2**32)
                torch.default_generator.manual_seed(seed)
            made.append(MicroBatch(at, self.task.batch(taken), len(rows) > 0))
        return made


class Asked(NamedTuple):
    """What was asked for while steps went on."""

    stop: bool = False  # by a signal: save, and leave the rest for later
    end: bool = False  # by a callback: training is done


Outputs = list[tuple[int, Sequence[Any]]]  # numbers of micro-batches, and one output a row


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
    asked: Asked  # of any rank, before it
    outputs: Outputs | None  # where the task gives some


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


def take_step(
    work: Work, learner: Learner, step: Step, batches: Batches, number: int, limit: int | None, asked: Asked,
    after: Callable[[Tensor], None],
) -> Taken:  # fmt: skip
    """Take optimizer step `number` (from 0); one process halves the micro-batches where memory runs out. `after` sees their losses."""
    learner.model.train()
    while True:
        learner.optimizer.zero_grad(set_to_none=True)
        try:
            if limit is not None and any(batch.num_rows > limit for _, batch, _ in batches):
                batches = work.batches(step, number, limit)
            targets, tokens, slots, *flags = work.backend.sum([*_counts(batches), *asked])
            loss, outputs = _backward(work, learner, batches, number, targets, after)
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            largest = max(batch.num_rows for _, batch, _ in batches)
            if work.backend.world_size > 1:
                raise TrainingFailed(
                    f"step {number + 1}: out of memory on rank {work.backend.rank} with {largest} rows at once. Set engine.micro_batch_limit "
                    "lower: with several processes it is not found by trying."
                ) from error
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
        _update(learner, number)
    return Taken(number + 1, loss, norm, targets, int(tokens), int(slots), limit, Asked(*(flag > 0 for flag in flags)), outputs)


def _counts(batches: Batches) -> list[float]:
    """Return the targets, tokens, and tokens with padding of this rank's batches."""
    counted = [batch for _, batch, counts in batches if counts]
    return [sum(getattr(batch, name) for batch in counted) for name in ("num_targets", "num_tokens", "num_slots")]


def _backward(
    work: Work, learner: Learner, batches: Batches, number: int, targets: float, after: Callable[[Tensor], None]
) -> tuple[Tensor, Outputs | None]:
    """Accumulate the gradient of the mean loss over all targets of the step; return this rank's loss sum, and its outputs."""
    losses, outputs = [torch.zeros((), device=work.backend.device)], None
    for at, batch, counts in batches:
        # where batches are made ahead, the generator of the CPU is theirs
        reseed = torch.cuda.manual_seed_all if work.backend.device.type == "cuda" else torch.manual_seed
        reseed(seed_of(work.seed, number, at))
        with work.backend.hold_sync(learner.model) if at != batches[-1].number else nullcontext():  # torch looks in both passes
            with work.compute.of(batch.lengths):
                found = work.task.train_step(learner.model, batch.to(work.backend.device))
            loss, given = found if isinstance(found, tuple) else (found, None)
            loss = loss * counts
            if given is not None:
                outputs = [*(outputs or ()), *([(at, given)] if counts else ())]
            losses.append(loss.detach())
            if targets:
                learner.scaler.scale(loss / targets).backward()  # type: ignore[no-untyped-call]
        after(losses[-1])
    return torch.stack(losses).sum(), outputs


def _update(learner: Learner, number: int) -> None:
    """Let the optimizer take its step; its first one takes memory for two moments of every weight."""
    try:
        learner.scaler.step(learner.optimizer)
    except Exception as error:
        if not is_out_of_memory(error):
            name = type(learner.optimizer).__name__
            raise TrainingFailed(f"step {number + 1}: the optimizer {name} raised {type(error).__name__}: {error}") from error
        raise TrainingFailed(
            f"step {number + 1}: out of memory for the optimizer, which holds two numbers beside each weight. Choose a smaller "
            "model, or several GPUs with engine.strategy fsdp."
        ) from error
    learner.scaler.update()


def seed_of(seed: int, step: int, micro_batch: int, *what: int) -> int:
    """Return the seed of a micro-batch's forward pass, or of something else that is drawn for it, the same on one rank and on many."""
    return int(np.random.SeedSequence([seed, step, micro_batch, *what]).generate_state(1, np.uint64)[0] >> 1)


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
    return work.backend.sum([sum(losses)])[0], lengths.get(taken[-1].step)


def diverged(what: str, step: int, settings: TrainSettings) -> TrainingFailed:
    """Return the error for numbers that are no numbers any more, with the usual causes."""
    return TrainingFailed(
        f"step {step}: {what}, so training cannot go on. Usual causes: a learning rate that is too high (train.learning_rate is "
        f"{settings.learning_rate:g}), no warm-up (train.warmup_ratio is {settings.warmup_ratio:g}), or weights that were "
        "not finite to begin with. Checkpoints made before it, if any, are whole."
    )
