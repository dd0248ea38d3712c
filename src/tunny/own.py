"""Training, scoring and predicting with a task of a user's own; what such a task is, `tasks/own.py` says.

A model folder of one holds its weights and the name and settings of its class. That class is run only where the user names it.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from safetensors.torch import save_file
from torch import nn

from tunny.config import Config, EvaluateSettings, FileSettings
from tunny.core.console import progress, say
from tunny.core.errors import ConfigError, DataError, ModelError, TaskFailed
from tunny.core.files import digest_bytes, new_folder, read_json, require_free_space, write_json
from tunny.core.settings import Resolved
from tunny.core.signals import StopRequest
from tunny.core.version import __version__, versions
from tunny.data.find import HUB, find_files, split_files
from tunny.data.plan import POOL, Budget, Shuffled, Steps
from tunny.data.settings import DataSettings
from tunny.data.stream import Stream, Streamed
from tunny.data.write import write_pieces
from tunny.engine.backend import SingleProcess, is_out_of_memory
from tunny.engine.ceiling import Ceiling
from tunny.engine.choose import choose_backend
from tunny.engine.compute import Compute
from tunny.engine.precision import Precision, choose_precision
from tunny.engine.settings import EngineSettings
from tunny.evaluation.report import in_order, number
from tunny.tasks.lessons import moved
from tunny.tasks.own import Task, TaskLesson, calling, check_sum, make_own, model_of, one_each, reading, settings_of, trained
from tunny.tasks.settings import FACTS
from tunny.training.checkpoint import Checkpoints, needed_bytes
from tunny.training.folder import used_bytes
from tunny.training.loop import Job, Metrics
from tunny.training.optimizer import make_optimizer, rate_factor
from tunny.training.step import Work
from tunny.training.trackers.base import Evaluated, PerLabel
from tunny.training.trackers.together import Trackers

FILES = {"train", "validation", "test", "max_examples"}
FOREIGN = {  # settings that mean nothing for a task of one's own
    "data": {*DataSettings.model_fields} - FILES, "evaluate": {*EvaluateSettings.model_fields} - {"max_examples"},
    "engine": {"gradient_checkpointing", "variant"}, "checkpoint": {"push"}, "model": None, "encode": None, "distill": None,
}  # fmt: skip
ENDS = 1 << 20  # bytes of a file's start and end that tell whether it is the same, beside its size


@dataclass(frozen=True)
class OwnTask:
    """A user's task with its rows, ready for training."""

    resolved: Resolved[Config]
    task: Task
    files: dict[str, dict[str, str]]  # of each part, with their digests
    rows: dict[str, Any]  # of each part: a sequence, or a Stream

    def data(self) -> dict[str, str]:
        """Return a digest of each part of the data that is learnt from or chooses the best model."""
        return {part: digest_bytes(str(len(self.rows[part])), *files.values()) for part, files in self.files.items() if part != "test"}

    def deciding(self) -> tuple[str, ...]:
        """Return nothing: what a class does is not known, only its name and settings."""
        return ()

    def manifest(self) -> dict[str, Any]:
        """Return what the run's manifest says of it."""
        return {"model": self.resolved.settings.task.kind, "data": self.files, "labels": {}}

    def records(self) -> dict[str, Any]:
        """Return how many rows each part has."""
        counts = {part: {"counts": {"rows read": len(rows)}} for part, rows in self.rows.items()}
        return {"audit.json": {"splits": counts, "all": {"counts": {"rows read": sum(map(len, self.rows.values()))}}}}

    def job(
        self, folder: Path, backend: SingleProcess, precision: Precision, checkpoints: Checkpoints, trackers: Trackers, stop: StopRequest
    ) -> Job:  # fmt: skip
        """Make the model, look whether the task gives sums, and put everything that training needs together."""
        config, task, lesson = self.resolved.settings, self.task, TaskLesson(self.task)
        compute, model, steps = Compute(backend.device, precision), self._model(backend.device), self._steps()
        check_sum(lesson, model, list(islice(iter(self.rows["train"]), 2)), partial(compute.of, ()))
        require_free_space(folder, needed_bytes(model, config.checkpoint.keep_last) - used_bytes(folder), "training")
        scored = {part.removeprefix("validation/"): rows for part, rows in self.rows.items() if part.startswith("validation")}
        metric, size = config.train.metric_for_best or task.metric, _size(config.engine, config.train.batch_size)
        if metric is None and config.train.early_stopping_patience is not None:
            raise ConfigError(f"train.early_stopping_patience: {config.task.kind} names no metric. Set train.metric_for_best.")

        def require_metric(values: Iterable[str]) -> None:
            if metric is not None and metric not in values:
                raise ConfigError(
                    f"train.metric_for_best: expected one of the task's scores, {', '.join(values) or 'none'}; found {metric!r}"
                )

        for rows in scored.values():  # what would fail after an epoch fails now; scores of two rows need not be defined
            few = list(islice(iter(rows), 2))
            answers = list(predicted(task, model, few, compute, size))
            for answer in answers:
                _line(task, answer)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    if found := scores_of(task, few, answers):
                        require_metric(found)
            except TaskFailed as error:
                if not isinstance(error.__cause__, (ArithmeticError, LookupError, ValueError)):
                    raise

        def validate(current: nn.Module) -> tuple[Metrics, PerLabel]:
            values: Metrics = {}
            for name, rows in scored.items():
                answers = list(predicted(task, current, rows, compute, size, backend))
                require_metric(found := scores_of(task, rows, answers))
                values |= {f"{name}/{score}": value for score, value in found.items()}
            return values, {}

        def optimizer(wrapped: nn.Module) -> torch.optim.Optimizer:
            with calling(task, "optimizer"):
                own = task.optimizer(wrapped)
            if own is not None and not isinstance(own, torch.optim.Optimizer):
                raise TaskFailed(f"{config.task.kind}.optimizer: expected a torch.optim.Optimizer or None, found {own!r}")
            return make_optimizer(wrapped, config.train) if own is None else own

        def rate(step: int, total: int) -> float:
            with calling(task, "rate"):
                own = task.rate(step, total)
                return rate_factor(step, total, config.train) if own is None else float(own)

        optimizer(model)  # tried, as all that is the user's
        rate(0, config.train.max_steps or config.train.epochs * len(steps))
        return Job(
            Work(lesson, steps, config.seed, config.train, backend, compute), model,
            config.checkpoint, config.engine.micro_batch_limit, validate if scored else None,
            f"{next(iter(scored))}/{metric}" if scored and metric else "", checkpoints, trackers, stop,
            6.0 * sum(parameter.numel() for parameter in model.parameters()), Ceiling(backend.device, precision), optimizer, rate,
        )  # fmt: skip

    def finish(self, folder: Path, job: Job, best_step: int | None) -> dict[str, Evaluated]:
        """Score the best model on every set, write its folder, print what came of it, and return the evaluations."""
        backend, compute, config = SingleProcess(job.work.backend.device), job.work.compute, self.resolved.settings
        model = self._model(backend.device) if job.work.backend.sharded else job.model
        state = job.checkpoints.best_weights()
        model.load_state_dict(state)
        found = {}
        for part, rows in self.rows.items():
            if part != "train":
                answers = predicted(self.task, model, rows, compute, _size(config.engine, config.train.batch_size), backend)
                evaluate_to(folder / part, self.task, rows, answers, str(folder / "model"), ", ".join(self.files[part]))
                found[part] = Evaluated(folder / part, {})
        with new_folder(folder / "model", replace=True) as target:
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, target / "model.safetensors")
            content = {
                "tunny": __version__,
                "versions": versions(),
                "task": config.task.model_dump(mode="json"),
                "precision": compute.precision.name,
            }
            write_json(target / FACTS, {"format_version": 1, **content})
            with calling(self.task, "save"):
                self.task.save(model, target)
        say(f"model: {folder / 'model'}")
        say(f"next: tunny predict {folder / 'model'} FILE --task {config.task.kind} --out predictions.jsonl")
        return found

    def _model(self, device: torch.device) -> nn.Module:
        torch.manual_seed(self.resolved.settings.seed)
        return model_of(self.task, device)

    def _steps(self) -> Steps:
        config, rows = self.resolved.settings, self.rows["train"]
        if isinstance(rows, Stream):
            if config.train.batch_tokens is not None:
                raise ConfigError("train.batch_tokens: not for a Stream, whose lengths are not known beforehand. Set train.batch_size.")
            return Streamed(rows, config.train.batch_size, config.seed, partial(_length, self.task))
        lengths = np.array([_length(self.task, row) for row in rows], dtype=np.int64)
        return Shuffled(rows, lengths, Budget(config.train.batch_size, config.train.batch_tokens), config.seed)


def prepare(resolved: Resolved[Config]) -> OwnTask:
    """Make the task and read its rows; raise ConfigError for settings that mean nothing to it."""
    config = resolved.settings
    problems = []
    for section, foreign in FOREIGN.items():
        given, plain = getattr(config, section), Config.model_fields[section].default
        names = [f"{section}.{name}" for name in _changed(given, plain) if foreign is None or name in foreign]
        problems += [f"{name}: is for Tunny's own tasks; settings of {config.task.kind} stand under task" for name in names]
    if problems:
        raise ConfigError("\n".join(problems))
    task = make_own(config.task)
    files = {part: _paths(paths) for part, paths in split_files(config.data).items()}
    rows: dict[str, Any] = {}
    for part, paths in files.items():
        rows[part] = reading(task, paths)
        most = config.data.most_of(part.partition("/")[0])
        if part != "train" and config.evaluate.max_examples is not None:
            most = min(most or config.evaluate.max_examples, config.evaluate.max_examples)
        if most is not None:
            if isinstance(rows[part], Stream):
                raise ConfigError("data.max_examples: not for a Stream; let read yield fewer, or name fewer files")
            rows[part] = [rows[part][at] for at in range(min(most, len(rows[part])))]
        if not len(rows[part]):
            raise DataError(f"{part}: no rows in {', '.join(paths)}")
        say(f"{part}: {len(rows[part]):,} rows of {len(paths)} file{'s' * (len(paths) != 1)}")
    digests = {part: {path: _digest(path) for path in paths} for part, paths in files.items()}
    return OwnTask(resolved, task, digests, rows)


def predicted(
    task: Task, model: nn.Module, rows: Iterable[Any], compute: Compute, size: int, backend: SingleProcess | None = None
) -> Iterator[Any]:
    """Yield one prediction a row, in order; up to `size` rows of like length share a batch, and ranks share the batches."""
    backend, lesson, waiting = backend or SingleProcess(compute.device), TaskLesson(task), iter(rows)

    def answer(some: list[Any]) -> list[Any]:
        batch = moved(lesson.made(some), compute.device)
        try:
            with torch.inference_mode(), compute.of(()), calling(task, "predict_step"):
                return one_each(task, "predict_step", task.predict_step(model, batch), len(some))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TaskFailed(
                f"{type(task).__name__}.predict_step: out of memory with {len(some)} rows at once. Set engine.micro_batch_limit lower."
            ) from error

    model.eval()
    while chunk := list(islice(waiting, POOL * size)):
        order = np.argsort([-_length(task, row) for row in chunk], kind="stable")
        answers = chain.from_iterable(
            backend.map(answer, [[chunk[row] for row in order[at : at + size]] for at in range(0, len(chunk), size)])
        )
        yield from (found for _, found in sorted(zip(order.tolist(), answers, strict=True), key=itemgetter(0)))


def scores_of(task: Task, rows: Iterable[Any], answers: list[Any]) -> dict[str, float | None]:
    """Return the task's scores; a value that is no number is None."""
    with calling(task, "score"):
        scores = task.score(rows, answers)
        if not isinstance(scores, Mapping):
            raise TaskFailed(f"{type(task).__name__}.score: expected scores by name, found {scores!r}")
        found = {str(name): None if value is None else float(value) for name, value in scores.items()}
    return {name: value if value is not None and np.isfinite(value) else None for name, value in found.items()}


def evaluate_to(folder: Path, task: Task, rows: Any, answers: Iterable[Any], model: str, data: str) -> dict[str, float | None]:
    """Write an evaluation folder (predictions.jsonl, metrics.json), print the scores and return them."""
    with new_folder(folder, replace=True) as target:
        kept = list(progress(answers, "scoring", total=len(rows), unit="rows"))
        write_pieces(target / "predictions.jsonl", (_line(task, answer) for answer in kept))
        metrics = scores_of(task, rows, kept)
        content = {
            "task": type(task).__name__, "labels": [], "model": model, "data": data, "examples": len(kept), "metrics": in_order(metrics),
            "intervals": {}, "per_label": {},
        }  # fmt: skip
        write_json(target / "metrics.json", content)
    say(f"{folder.name}: " + "  ".join([*(f"{name} {number(value)}" for name, value in metrics.items()), f"({len(kept):,} rows)"]))
    return metrics


def evaluate(model: str, data: list[str], out: Path, given: FileSettings) -> dict[str, float | None]:
    """Score a model folder of a user's task on data."""
    task, module, compute = _finished(model, given)
    rows = reading(task, _paths(data))
    if not len(rows):
        raise DataError(f"no rows in {', '.join(data)}")
    answers = predicted(task, module, rows, compute, _size(given.engine))
    return evaluate_to(out, task, rows, answers, model, ", ".join(data))


def predict(model: str, source: str, out: str, given: FileSettings) -> int:
    """Write one line of JSON a row and return their number; rows need no labels."""
    task, module, compute = _finished(model, given)
    rows = reading(task, _paths([source]))
    answers = progress(predicted(task, module, rows, compute, _size(given.engine)), "predicting", unit="rows")
    count = write_pieces(out, (_line(task, answer) for answer in answers))
    say(f"predictions: {out if out != '-' else 'standard output'} ({count:,} jsonl records)")
    return count


def _finished(folder: str, given: FileSettings) -> tuple[Task, nn.Module, Compute]:
    """Load a model folder of a user's task, which the user must have named: its code is run."""
    saved = read_json(Path(folder).expanduser() / FACTS)
    kind = saved["task"]["kind"]
    if given.task is None:
        raise ModelError(f"{folder}: is a model of the task {kind}, whose code would run, and no task is named. Give --task {kind}")
    if given.task.kind != kind:
        say(f"task: {given.task.kind}, as you say; the model was trained with {kind}")
        kind = given.task.kind
    ignored = [f"data.{name}" for name in _changed(given.data, DataSettings()) if name not in FILES - {"max_examples"}]
    ignored += [f"engine.{name}" for name in _changed(given.engine, EngineSettings()) if name in ("gradient_checkpointing", "variant")]
    if ignored:
        raise ConfigError(f"{', '.join(ignored)}: for Tunny's own tasks; settings of {kind} stand under task")
    changed = given.task.model_dump(mode="json", exclude_unset=True)
    try:
        task = make_own(settings_of(kind).model_validate({**saved["task"], **changed, "kind": kind}))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, ('task', *one['loc'])))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"{folder}: its settings do not fit {kind}: {wrong}") from error
    backend = choose_backend(given.engine)
    precision = choose_precision(given.engine.precision, backend.device, trained=saved["precision"])
    return task, trained(task, folder, backend.device), Compute(backend.device, precision)


def _size(engine: EngineSettings, usual: int = 32) -> int:
    """Return the most rows that are answered at once."""
    return engine.micro_batch_limit or usual


def _changed(given: BaseModel | None, plain: BaseModel | None) -> list[str]:
    """Return the names of the settings of a section that are not as they are where nothing is given; of one that is absent none."""
    names = type(given).model_fields if given is not None else ()
    return [name for name in names if plain is None or getattr(given, name) != getattr(plain, name)]


def _paths(patterns: list[str]) -> list[str]:
    if hub := [pattern for pattern in patterns if pattern.startswith(HUB)]:
        raise ConfigError(f"data: {hub[0]}: a task of your own reads files; fetch it first, for example with tunny convert {hub[0]}")
    return [str(path) for pattern in patterns for path in find_files(pattern)]


def _digest(path: str) -> str:
    """Return a digest of a file's size, and of its first and last mebibyte: of many gigabytes the whole would take minutes."""
    size = Path(path).stat().st_size
    with open(path, "rb") as file:
        start = file.read(ENDS)
        file.seek(max(0, size - ENDS))
        return digest_bytes(str(size), start, file.read(ENDS))


def _length(task: Task, row: Any) -> int:
    with calling(task, "length"):
        if (length := int(task.length(row))) < 1:
            raise TaskFailed(f"{type(task).__name__}.length: expected at least 1, found {length}")
        return length


def _line(task: Task, answer: Any) -> str:
    try:
        return json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace").decode() + "\n"
    except (TypeError, ValueError) as error:
        raise TaskFailed(f"{type(task).__name__}.predict_step: expected what JSON holds, found {answer!r}: {error}") from error
