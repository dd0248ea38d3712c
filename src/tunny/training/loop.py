"""The training loop, the only one: plan, step, log, validate, save, stop.

It decides the order of things and knows neither formats, tasks, trackers nor reports; a step itself is in `step.py`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from operator import itemgetter
from signal import SIGTERM
from typing import Any

import torch
from torch import nn

from tunny.core.console import Bar, bar, say, warn
from tunny.core.errors import Stopped
from tunny.core.signals import StopRequest
from tunny.data.plan import Step
from tunny.engine.backend import runs_aside
from tunny.engine.ceiling import Ceiling
from tunny.engine.vocabulary import follow, whole_vocabulary
from tunny.training.callbacks import Callbacks, Moment
from tunny.training.checkpoint import Checkpoint, Checkpoints, optimizer_state
from tunny.training.optimizer import Learner, make_learner, set_rate
from tunny.training.progress import Progress, Window
from tunny.training.settings import CheckpointSettings
from tunny.training.step import Asked, Batches, Taken, Work, ahead, diverged, settle, take_step
from tunny.training.trackers.base import PerLabel
from tunny.training.trackers.together import Trackers

Metrics = dict[str, float | None]  # by full names, such as validation/f1
Validate = Callable[[nn.Module], tuple[Metrics, PerLabel]]


@dataclass(frozen=True)
class Job:
    """Everything one training needs."""

    work: Work
    model: nn.Module
    checkpoint: CheckpointSettings
    micro_batch_limit: int | None
    validate: Validate | None
    best_metric: str  # full name
    checkpoints: Checkpoints
    trackers: Trackers
    stop: StopRequest
    flops_per_token: float
    ceiling: Ceiling
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]  # of the wrapped model
    rate: Callable[[int, int], float]  # (step, steps in all) to the factor on the learning rate
    publish: Callable[[Progress], None] | None = None  # called when a checkpoint holds a new best model, before the last step
    callbacks: Callbacks = field(default_factory=Callbacks)

    @property
    def total_steps(self) -> int:
        """Optimizer steps from start to end."""
        return self.work.settings.max_steps or self.work.settings.epochs * len(self.work.steps)


def fit(job: Job, resume: Checkpoint | None = None) -> Progress:
    """Train to the end and return where it ended; the weights of the best model are in the newest checkpoint."""
    work, settings = job.work, job.work.settings
    progress = resume.progress if resume is not None else Progress()
    if resume is not None:
        resume.load_model(job.model)
    model = work.backend.wrap(job.model)
    learner = make_learner(model, job.optimizer(model), work.compute.precision, progress.loss_scale)
    follow(job.model, learner.optimizer)
    if resume is not None:
        resume.load_optimizer(work.backend, learner.model, learner.optimizer)
    overlaps, alone = runs_aside(work.backend.device), work.backend.world_size == 1
    pending: list[Taken] = []  # steps whose losses are still on the device

    def limit() -> int | None:
        return progress.micro_batch_limit or job.micro_batch_limit

    def tell(moment: str, *more: object, outputs: Sequence[object] = ()) -> None:
        now = Moment(progress.step, progress.epoch, job.total_steps, work.backend.rank, work.backend.world_size, learner.model, outputs)
        job.callbacks.tell(moment, now, *more)

    def asked_here() -> Asked:
        return Asked(job.stop.signum is not None, job.callbacks.stop)

    def asked_of_all() -> Asked:
        return Asked(*(flag > 0 for flag in work.backend.sum(asked_here())))

    def collate(numbered: tuple[int, Step]) -> tuple[Step, Batches]:
        number, step = numbered
        return step, work.batches(step, number, limit())

    started, first = time.monotonic() - progress.seconds, progress.step
    tell("train_start")
    with job.stop.deferred(), bar("training", job.total_steps, progress.step) as shown:
        while progress.step < job.total_steps and not progress.done:
            coming = enumerate(work.steps.epoch(progress.epoch, progress.step_in_epoch), progress.step)
            if progress.step_in_epoch == 0:
                tell("epoch_start")
            mark = time.monotonic()
            for step, batches in ahead(collate, coming) if overlaps else map(collate, coming):
                rate = set_rate(learner.optimizer, job.rate(progress.step, job.total_steps))
                told = partial(tell, "backward_end")
                pending.append(taken := take_step(work, learner, step, batches, progress.step, limit(), asked_here(), told))
                if progress.step == first:
                    optimizer_state(job.model, learner.optimizer)  # what no checkpoint can hold is said now
                progress = _counted(progress, taken, len(step.rows), len(work.steps))
                tell("step_end", outputs=_outputs(work, taken))
                shown.advance()
                last = progress.step_in_epoch == 0 or progress.step == job.total_steps
                asked = asked_of_all() if alone or job.callbacks else taken.asked
                validating = last or asked.end or _due(progress.step, settings.evaluate_every_steps)
                logging = validating or _due(progress.step, settings.log_every_steps)
                saving = validating or asked.stop or _due(progress.step, job.checkpoint.every_steps)
                if overlaps and not (logging or saving):
                    continue
                loss, norm = settle(work, pending)
                pending.clear()
                window = progress.window
                window = replace(window, loss=window.loss + loss, seconds=window.seconds + time.monotonic() - mark)
                progress = replace(progress, window=window)
                values: Metrics = {}
                per_label: PerLabel = {}
                if logging:
                    if not window.targets:
                        warn(f"step {progress.step}: no row had a target since the last line of the log, so nothing was learnt")
                    values = _training_values(job, window, rate, norm)
                    progress = replace(progress, window=Window())
                if validating:
                    progress, validated, per_label = _validate(job, learner.model, progress, tell)
                    values |= validated
                if last:
                    tell("epoch_end")
                if validating:
                    asked = asked_of_all()
                if asked.end and not progress.done:
                    say(f"a callback asked to stop: training ends at step {progress.step}")
                progress = replace(progress, done=progress.done or asked.end, seconds=time.monotonic() - started)
                if logging:
                    _log(job, shown, values, per_label, progress)
                if last and not work.backend.sharded:
                    job.trackers.weights(learner.model, progress.step)
                if saving:
                    _save(job, learner, progress, publish=not (progress.done or asked.stop))
                    tell("save", job.checkpoints.folder / f"step-{progress.step}")
                if asked.stop:
                    raise Stopped(job.stop.signum or SIGTERM, f"stopped by a signal; saved at step {progress.step}. Go on with --resume.")
                if last or progress.done:
                    break
                mark = time.monotonic()
    if job.stop.signum is not None:
        raise Stopped(job.stop.signum, "stopped by a signal; training is done and saved. Score it with --resume.")
    tell("train_end")
    whole_vocabulary(job.model)
    return progress


def _outputs(work: Work, taken: Taken) -> list[Any]:
    """Return what the task gave beside its loss, of the micro-batches of all ranks in the order of the step's rows."""
    if taken.outputs is None:
        return []
    of_all = sorted(chain.from_iterable(work.backend.gather(taken.outputs)), key=itemgetter(0))
    return [output for _, outputs in of_all for output in outputs]


def _save(job: Job, learner: Learner, progress: Progress, publish: bool) -> None:
    """Write a checkpoint, which all ranks wait for, and publish a new best model."""
    work = job.work
    saved = replace(progress, loss_scale=learner.loss_scale)
    job.checkpoints.save(saved, work.compute.precision.name, work.backend, learner.model, learner.optimizer)
    if publish and job.publish is not None and work.backend.rank == 0 and progress.best_step in (None, progress.step):
        job.publish(progress)
    work.backend.gather(None)  # rank 0 has written it


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _counted(progress: Progress, taken: Taken, rows: int, steps: int) -> Progress:
    """Return the progress after one more step of an epoch of `steps`; its loss and time are added when it is settled."""
    now = progress.window
    window = replace(
        now,
        targets=now.targets + taken.targets,
        examples=now.examples + rows,
        tokens=now.tokens + taken.tokens,
        slots=now.slots + taken.slots,
    )
    progress = replace(progress, step=taken.step, step_in_epoch=progress.step_in_epoch + 1, micro_batch_limit=taken.limit, window=window)
    return replace(progress, epoch=progress.epoch + 1, step_in_epoch=0) if progress.step_in_epoch == steps else progress


def _training_values(job: Job, window: Window, rate: float, norm: float | None) -> Metrics:
    seconds = max(window.seconds, 1e-9)
    return {
        "train/loss": window.loss / window.targets if window.targets else None,
        "train/learning_rate": rate,
        "train/grad_norm": norm,
        "throughput/examples_per_second": window.examples / seconds,
        **(_of_tokens(job, window, seconds) if window.slots else {}),
    }


def _of_tokens(job: Job, window: Window, seconds: float) -> Metrics:
    """Return speeds that a task of one's own does not have, which counts no tokens."""
    return {
        "throughput/tokens_per_second": window.tokens / seconds,
        "throughput/padding": 1.0 - window.tokens / window.slots,
        "throughput/mfu": window.tokens * job.flops_per_token / seconds / (job.ceiling.flops() * job.work.backend.world_size),
    }


def _validate(job: Job, model: nn.Module, progress: Progress, tell: Callable[..., None]) -> tuple[Progress, Metrics, PerLabel]:
    """Validate, remember the best, count patience."""
    done = progress.step >= job.total_steps
    if job.validate is None:
        return replace(progress, done=done), {}, {}
    model.eval()
    job.work.backend.share_buffers(model)
    values, per_label = job.work.backend.gather(job.validate(model))[0]  # by the same numbers all ranks go on or stop
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise diverged(f"{name} became {value}", progress.step, job.work.settings)
    for part in dict.fromkeys(name.partition("/")[0] for name in values):
        tell("validation_end", part, {name.partition("/")[2]: value for name, value in values.items() if name.partition("/")[0] == part})
    score = values.get(job.best_metric)
    if score is None and job.best_metric:
        warn(f"step {progress.step}: {job.best_metric} is not defined, so this model cannot be the best")
    if score is not None and (progress.best is None or better(score, progress.best, job.best_metric)):
        return replace(progress, best=score, best_step=progress.step, validations_without_gain=0, done=done), values, per_label
    waited = progress.validations_without_gain + 1
    patience = job.work.settings.early_stopping_patience
    if patience is not None and waited >= patience:
        say(f"early stopping: no better {job.best_metric} than {progress.best} in {waited} validations")
        done = True
    return replace(progress, validations_without_gain=waited, done=done), values, per_label


def better(score: float, than: float, metric: str) -> bool:
    """Say whether a score is better; of losses and errors, by their names, the lower one is."""
    return score < than if metric.rpartition("/")[2].endswith(("loss", "mse", "error")) else score > than


def _log(job: Job, shown: Bar, values: Metrics, per_label: PerLabel, progress: Progress) -> None:
    """Hand what was found to the log file and the trackers, and show it: a line, of a validation a row of a table on a terminal."""
    if job.work.backend.rank:
        return
    epoch = progress.epoch + progress.step_in_epoch / len(job.work.steps)
    line = {"epoch": round(epoch, 4), "time": round(progress.seconds, 3), **values}
    job.trackers.log(line, progress.step, per_label)
    parts = [f"step {progress.step}/{job.total_steps}", f"epoch {epoch:.2f}"]
    speed = "tokens" if "throughput/tokens_per_second" in values else "examples"
    names = {"train/loss": "loss", f"throughput/{speed}_per_second": f"{speed}/s", job.best_metric: job.best_metric}
    parts += [f"{name} {values[key]:.4g}" for key, name in names.items() if values.get(key) is not None]
    row = {}
    if job.best_metric in values:
        is_best = progress.best_step == progress.step
        row = {"step": str(progress.step), "epoch": f"{epoch:.2f}", **_main_values(values, job.best_metric), "best": "*" if is_best else ""}
        if values[job.best_metric] is not None:
            parts[-1] += " (best so far)" if is_best else f" (best {progress.best:.4g} at step {progress.best_step})"
    parts += [f"{name} {values[f'throughput/{name}']:.0%}" for name in ("mfu", "padding") if f"throughput/{name}" in values]
    left = round(progress.seconds / progress.step * (job.total_steps - progress.step))
    parts += [f"{left // 60}:{left % 60:02} left"] if left and not progress.done else []
    shown.say("  ".join(parts), "  ".join(parts[1:3]), row)


def _main_values(values: Metrics, deciding: str) -> dict[str, str]:
    """Return the values that a row has room for: the losses, the deciding metric, two beside it, and that of other sets."""
    own, _, metric = deciding.partition("/")
    beside = [name for name in values if name.partition("/")[0] == own and name not in (deciding, f"{own}/loss")]
    others = [name for name in values if name.endswith(f"/{metric}") and name.partition("/")[0] not in (own, "train")]
    names = dict.fromkeys(["train/loss", deciding, *beside[:2], f"{own}/loss", *others])
    shown = {name.removeprefix(f"{own}/").replace("train/", "train "): values[name] for name in names if name in values}
    return {title: "-" if value is None else f"{value:.4f}" for title, value in shown.items()}
