"""The training loop, the only one: plan, step, log, validate, save, stop.

It decides the order of things and knows neither formats, tasks, trackers nor reports. The loss of a step is the sum over all its
targets divided by their number, whatever the micro-batches; each forward pass reseeds from (seed, step, micro-batch), so a
resumed run and an accumulated one draw the same dropout.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tunny.core.console import say, warn
from tunny.core.errors import Stopped, TrainingFailed
from tunny.core.signals import StopRequest
from tunny.data.plan import Step, num_steps, plan_epoch
from tunny.data.store import WindowStore
from tunny.engine.backend import Backend, is_out_of_memory
from tunny.engine.precision import Precision
from tunny.tasks.base import Task
from tunny.training.checkpoint import Checkpoint, Checkpoints
from tunny.training.optimizer import make_optimizer, rate_factor, set_rate
from tunny.training.progress import Progress, Window
from tunny.training.settings import CheckpointSettings, TrainSettings
from tunny.training.trackers import Tracker, Values

Validate = Callable[[nn.Module], dict[str, float | None]]  # every value by its full name, such as validation/f1


@dataclass(frozen=True)
class Job:
    """Everything one training needs."""

    task: Task
    model: nn.Module
    rows: WindowStore
    row_weights: NDArray[np.float64] | None  # for drawing rows; None: every row once an epoch
    seed: int
    settings: TrainSettings
    checkpoint: CheckpointSettings
    micro_batch_limit: int | None
    backend: Backend
    precision: Precision
    validate: Validate | None
    best_metric: str  # full name
    checkpoints: Checkpoints
    trackers: Sequence[Tracker]
    stop: StopRequest
    flops_per_token: float
    ceiling: float  # FLOP/s

    @property
    def total_steps(self) -> int:
        """Optimizer steps from start to end."""
        return self.settings.max_steps or self.settings.epochs * num_steps(len(self.rows), self.settings.batch_size)


def fit(job: Job, resume: Checkpoint | None = None) -> Progress:
    """Train to the end and return where it ended; the weights of the best model are in the newest checkpoint."""
    model = job.backend.wrap(job.model)
    optimizer = make_optimizer(model, job.settings)
    progress = Progress()
    if resume is not None:
        resume.load(model, optimizer)
        progress = resume.progress
    scaler = torch.amp.GradScaler(job.backend.device.type, enabled=job.precision.scaled, init_scale=progress.loss_scale or 2.0**16)
    started = time.monotonic() - progress.seconds
    with job.stop.deferred():
        while progress.step < job.total_steps and not progress.done:
            steps = plan_epoch(job.rows.lengths, job.settings.batch_size, job.seed, progress.epoch, job.row_weights)
            for step in steps[progress.step_in_epoch :]:
                rate = set_rate(optimizer, rate_factor(progress.step, job.total_steps, job.settings))
                progress, norm = _train_step(job, model, optimizer, scaler, step, progress)
                if progress.step_in_epoch == len(steps):
                    progress = replace(progress, epoch=progress.epoch + 1, step_in_epoch=0)
                last = progress.step_in_epoch == 0 or progress.step == job.total_steps
                values: dict[str, float | None] = {}
                if progress.step % job.settings.log_every_steps == 0 or last:
                    values = _training_values(job, progress.window, rate, norm)
                    progress = replace(progress, window=Window())
                if last:
                    progress, validated = _end_epoch(job, model, progress)
                    values |= validated
                progress = replace(progress, seconds=time.monotonic() - started)
                if values:
                    _log(job, values, progress, len(steps))
                every = job.checkpoint.every_steps
                stopping = job.stop.signum is not None
                if last or stopping or (every and progress.step % every == 0):
                    saved = replace(progress, loss_scale=_scale(scaler))
                    job.checkpoints.save(saved, job.precision.name, job.backend.full_state(model), model, optimizer)
                if stopping:
                    assert job.stop.signum is not None
                    raise Stopped(job.stop.signum, f"stopped by a signal; saved at step {progress.step}. Go on with --resume.")
                if last:
                    break
    return progress


def _train_step(
    job: Job, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, step: Step, progress: Progress
) -> tuple[Progress, Tensor | None]:
    """Take one optimizer step over the rows of `step`; halve the micro-batch where memory runs out."""
    began = time.monotonic()
    model.train()
    limit = progress.micro_batch_limit or job.micro_batch_limit or len(step.rows)
    while True:
        optimizer.zero_grad(set_to_none=True)
        try:
            loss, targets, tokens = _backward(job, model, scaler, step, progress.step, limit)
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            largest = min(limit, len(step.rows))
            if largest == 1:
                raise TrainingFailed(
                    f"step {progress.step + 1}: out of memory with a single row. Lower encode.max_tokens, set "
                    "engine.gradient_checkpointing, or choose a smaller model."
                ) from error
            limit = largest // 2
            progress = replace(progress, micro_batch_limit=limit)
            warn(f"step {progress.step + 1}: out of memory; micro-batches now hold at most {limit} rows")
    norm = None
    if targets:
        scaler.unscale_(optimizer)
        learning = [parameter for parameter in model.parameters() if parameter.grad is not None]
        norm = job.backend.clip(learning, job.settings.max_grad_norm or math.inf)
        scaler.step(optimizer)
        scaler.update()
    _require_finite(loss, norm, targets, progress.step + 1, job)
    window = progress.window
    window = Window(
        window.loss + loss, window.targets + targets, window.examples + len(step.rows), window.tokens + tokens,
        window.seconds + time.monotonic() - began,
    )  # fmt: skip
    return replace(progress, step=progress.step + 1, step_in_epoch=progress.step_in_epoch + 1, window=window), norm


def _backward(job: Job, model: nn.Module, scaler: torch.amp.GradScaler, step: Step, number: int, limit: int) -> tuple[float, float, int]:
    """Accumulate the gradient of the mean loss over all targets of the step; return loss sum, targets and tokens."""
    backend = job.backend
    micro = step.micro_batches(limit, backend.rank, backend.world_size)
    batches = [(at, job.task.batch([job.rows[int(row)] for row in rows])) for at, rows in micro if len(rows)]
    targets = backend.sum(sum(batch.num_targets for _, batch in batches))
    tokens = int(backend.sum(sum(batch.num_tokens for _, batch in batches)))
    losses = []
    for at, batch in batches:
        torch.manual_seed(forward_seed(job.seed, number, at))
        with job.precision.autocast():
            loss = job.task.train_step(model, batch.to(backend.device))
        losses.append(loss.detach())
        if targets:
            with backend.hold_sync(model) if at != batches[-1][0] else nullcontext():
                scaler.scale(loss / targets).backward()  # type: ignore[no-untyped-call]
    total = float(torch.stack(losses).sum()) if losses else 0.0
    return backend.sum(total), targets, tokens


def forward_seed(seed: int, step: int, micro_batch: int) -> int:
    """Return the seed of one forward pass, the same on one rank and on many."""
    return int(np.random.SeedSequence([seed, step, micro_batch]).generate_state(1, np.uint64)[0] >> 1)


def _require_finite(loss: float, norm: Tensor | None, targets: float, step: int, job: Job) -> None:
    if math.isfinite(loss) and (job.precision.scaled or norm is None or math.isfinite(float(norm))):
        return
    what = f"the loss became {loss / targets if targets else loss}" if not math.isfinite(loss) else "the gradient is not finite"
    raise _diverged(what, step, job)


def _diverged(what: str, step: int, job: Job) -> TrainingFailed:
    return TrainingFailed(
        f"step {step}: {what}, so training cannot go on. Usual causes: a learning rate that is too high (train.learning_rate is "
        f"{job.settings.learning_rate:g}), no warm-up (train.warmup_ratio is {job.settings.warmup_ratio:g}), or weights that were "
        "not finite to begin with. Checkpoints before this step are whole."
    )


def _training_values(job: Job, window: Window, rate: float, norm: Tensor | None) -> dict[str, float | None]:
    seconds = max(window.seconds, 1e-9)
    return {
        "train/loss": window.loss / window.targets if window.targets else None,
        "train/learning_rate": rate,
        "train/grad_norm": None if norm is None else float(norm),
        "throughput/examples_per_second": window.examples / seconds,
        "throughput/tokens_per_second": window.tokens / seconds,
        "throughput/mfu": window.tokens * job.flops_per_token / seconds / job.ceiling,
    }


def _end_epoch(job: Job, model: nn.Module, progress: Progress) -> tuple[Progress, dict[str, float | None]]:
    """Validate, remember the best, count patience."""
    done = progress.step >= job.total_steps
    if job.validate is None:
        return replace(progress, done=done), {}
    model.eval()
    values = job.validate(model)
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise _diverged(f"{name} became {value}", progress.step, job)
    score = values[job.best_metric]
    if score is not None and (progress.best is None or better(score, progress.best, job.best_metric)):
        return replace(progress, best=score, best_step=progress.step, epochs_without_gain=0, done=done), values
    waited = progress.epochs_without_gain + 1
    patience = job.settings.early_stopping_patience
    if patience is not None and waited >= patience:
        say(f"early stopping: no better {job.best_metric} than {progress.best} for {waited} epochs")
        done = True
    return replace(progress, epochs_without_gain=waited, done=done), values


def better(score: float, than: float, metric: str) -> bool:
    """Say whether a score is better; of losses and errors the lower one is."""
    return score < than if metric.rpartition("/")[2] in ("loss", "mse") else score > than


def _log(job: Job, values: Values, progress: Progress, steps_per_epoch: int) -> None:
    epoch = progress.epoch + progress.step_in_epoch / steps_per_epoch
    for tracker in job.trackers:
        tracker.log({"epoch": round(epoch, 4), "time": round(progress.seconds, 3), **values}, progress.step)
    parts = [f"step {progress.step}/{job.total_steps}", f"epoch {epoch:.2f}"]
    shown = {"train/loss": "loss", "throughput/examples_per_second": "examples/s", job.best_metric: job.best_metric}
    parts += [f"{name} {values[key]:.4g}" for key, name in shown.items() if values.get(key) is not None]
    say("  ".join(parts))


def _scale(scaler: torch.amp.GradScaler) -> float | None:
    return float(scaler.get_scale()) if scaler.is_enabled() else None
