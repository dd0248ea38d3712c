"""A task of a user's own: its model, rows, batches, losses, predictions and scores in one class. What it gives is checked.

`task.kind: my_package.my_module:MyTask` names it; its settings stand beside `kind`. Devices, precision, several processes, checkpoints,
logs and the run folder are the same as for Tunny's own tasks.
"""

import inspect
import math
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import ConfigDict, Field, create_model
from safetensors.torch import load_file
from torch import Tensor, nn

from tunny.core import settings
from tunny.core.console import warn
from tunny.core.errors import ConfigError, ModelError, TaskFailed, TunnyError
from tunny.core.files import read_json
from tunny.core.named import made, named
from tunny.data.stream import Stream
from tunny.engine.backend import is_out_of_memory
from tunny.engine.group import is_left_alone
from tunny.tasks.lessons import moved
from tunny.tasks.model import quiet_transformers
from tunny.tasks.settings import FACTS


class Task(ABC):
    """What is learnt and answered. A row is whatever `read` yields, a batch whatever `batch` returns (tensors in mappings or sequences)."""

    class Settings(settings.Settings):
        """What stands beside `task.kind`."""

    metric: ClassVar[str | None] = None  # the score that chooses the best model: the highest, of a loss or an error the lowest

    def __init__(self, settings: Any):
        self.settings = settings

    @abstractmethod
    def model(self) -> nn.Module:
        """Return the model to start from; torch's random numbers are seeded."""

    @abstractmethod
    def read(self, path: str) -> Iterator[Any]:
        """Yield the rows of a file."""

    def rows(self, paths: Sequence[str]) -> Sequence[Any] | Stream:
        """Return the rows of a set: all in memory here, or any sequence; `tunny.Stream(self.read, paths)` for more than memory holds."""
        return list(Stream(self.read, paths).told())

    def length(self, row: Any) -> int:
        """Return the length of a row: rows of like length come into a batch together."""
        return 1

    @abstractmethod
    def batch(self, rows: Sequence[Any]) -> Any:
        """Collate rows, of which those to predict may have no labels."""

    def num_targets(self, batch: Any) -> float | None:
        """Return what the loss sum of a batch is to be divided by; None: the number of rows."""
        return None

    @abstractmethod
    def train_step(self, model: nn.Module, batch: Any) -> Tensor | tuple[Tensor, Sequence[Any]]:
        """Return the sum (no mean) of the losses of a batch, or that and one output a row, which `step_end` of callbacks sees.

        `model` is the wrapped model: call this one.
        """

    @abstractmethod
    def predict_step(self, model: nn.Module, batch: Any) -> Sequence[Any]:
        """Return one prediction a row, as JSON can hold them; gradients are off."""

    @abstractmethod
    def score(self, rows: Iterable[Any], predictions: Sequence[Any]) -> Mapping[str, float | None]:
        """Return the scores of predictions, which are in the order of the rows of a set, whatever computed them."""

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer | None:
        """Return an optimizer over the wrapped model; None: AdamW as `train` says."""
        return None

    def rate(self, step: int, total_steps: int) -> float | None:
        """Return the factor on the learning rates in a step (from 0); None: the schedule that `train` says."""
        return None

    def save(self, model: nn.Module, folder: Path) -> None:  # noqa: B027 - may be left out
        """Write what others need beside the weights into the model's folder, such as a tokenizer."""

    @classmethod
    def load(cls, folder: str | Path, **changed: Any) -> tuple[Self, nn.Module]:
        """Return the task with the settings of a model folder, some of them changed, and its trained model on the CPU, as it answers.

        Raises ModelError where the weights do not fit.
        """
        saved = read_json(Path(folder).expanduser() / FACTS)["task"]
        task = cls(cls.Settings(**{name: value for name, value in {**saved, **changed}.items() if name != "kind"}))
        return task, trained(task, folder, torch.device("cpu"))


class Named(settings.Settings):
    """A user's task that is named beside a model, which knows its settings; some of them may be given anew."""

    model_config = ConfigDict(extra="allow")


def settings_of(kind: str, whole: bool = True) -> type[settings.Settings]:
    """Return the settings class of the `task` section for a user's class, with all its settings or without what is required.

    Raises ConfigError where it is no class of tasks.
    """
    found = named(kind, "task.kind")
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(f"task.kind: {kind} is no task: expected a subclass of tunny.Task, found {found!r}")
    if not issubclass(found.Settings, settings.Settings):
        raise ConfigError(f"task.kind: {kind}.Settings is to be a subclass of tunny.Settings")
    of_kind: Any = (Literal[kind], Field(description="class of the task"))
    return create_model("OwnTaskSettings", __base__=found.Settings if whole else Named, kind=of_kind)


def make_own(section: settings.Settings) -> Task:
    """Make the task that a `task` section names; raise ConfigError where it lacks a method or cannot be made."""
    return made(section.kind, Task, section, "task.kind")  # type: ignore[attr-defined, type-abstract]


@contextmanager
def calling(task: Task, method: str) -> Iterator[None]:
    """Turn what a user's method raises into a TaskFailed that names it and its line; that memory ran out, or a process is gone, stays."""
    try:
        yield
    except TunnyError:
        raise
    except Exception as error:
        if is_out_of_memory(error) or is_left_alone(error):
            raise
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        if code := getattr(inspect.unwrap(getattr(type(task), method)), "__code__", None):  # its line is told where it was not even begun
            frames = [(code.co_filename, code.co_firstlineno), *(frame for frame in frames if frame[0] == code.co_filename)]
        file, line = frames[-1]
        raise TaskFailed(f"{type(task).__name__}.{method} raised {type(error).__name__}: {error} ({file}:{line})") from error


@dataclass(frozen=True)
class OwnBatch:
    """A user's batch, and what the loop counts of it."""

    made: Any
    num_rows: int
    num_targets: float
    num_tokens: ClassVar = 0  # what tokens are, and their padding, is the task's affair
    num_slots: ClassVar = 0
    lengths: ClassVar = ()

    def to(self, device: torch.device) -> "OwnBatch":
        """Return the batch on a device."""
        return replace(self, made=moved(self.made, device))


class TaskLesson:
    """What a user's task learns."""

    draws = True

    def __init__(self, task: Task):
        self.task = task
        self._gives: bool | None = None  # outputs beside the loss; known since `check_sum`

    def batch(self, rows: Sequence[Any]) -> OwnBatch:
        """Collate rows and count their targets."""
        made = self.made(rows)
        with calling(self.task, "num_targets"):
            targets = self.task.num_targets(made)
            targets = float(len(rows) if targets is None else targets)
        if not (math.isfinite(targets) and targets >= 0):
            raise TaskFailed(f"{type(self.task).__name__}.num_targets: expected a number of at least 0, found {targets}")
        return OwnBatch(made, len(rows), targets)

    def made(self, rows: Sequence[Any]) -> Any:
        """Collate rows as the task does."""
        with calling(self.task, "batch"):
            if (made := self.task.batch(rows)) is None:
                raise TaskFailed(f"{type(self.task).__name__}.batch: expected the rows as tensors, found None")
            return made

    def train_step(self, model: nn.Module, batch: OwnBatch) -> Tensor | tuple[Tensor, Sequence[Any]]:
        """Return the loss sum, with the outputs where the task gives some."""
        with calling(self.task, "train_step"):
            found = self.task.train_step(model, batch.made)
        loss, outputs = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shown = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise TaskFailed(
                f"{type(self.task).__name__}.train_step: expected the sum of the losses as a tensor of one number, found {shown}"
            )
        if not loss.requires_grad:
            raise TaskFailed(f"{type(self.task).__name__}.train_step: its loss does not depend on what learns in the model")
        if self._gives not in (None, gives := outputs is not None):
            raise TaskFailed(
                f"{type(self.task).__name__}.train_step: gave outputs for some batches and not for others. Give them always or never."
            )
        self._gives = gives
        return loss.reshape(()) if outputs is None else (loss.reshape(()), one_each(self.task, "train_step", outputs, batch.num_rows))


def model_of(task: Task, device: torch.device) -> nn.Module:
    """Make the task's model; raise TaskFailed for what cannot be trained and saved."""
    if "transformers" in sys.modules:
        quiet_transformers()
    with calling(task, "model"):
        model = task.model()
        if not isinstance(model, nn.Module):
            raise TaskFailed(f"{type(task).__name__}.model: expected a torch.nn.Module, found {model!r}")
        if odd := [name for name, value in model.state_dict().items() if not isinstance(value, Tensor)]:
            raise TaskFailed(f"{type(task).__name__}.model: its state has {odd[0]}, which is no tensor; a checkpoint holds tensors only")
        return model.to(device)


def trained(task: Task, folder: str | Path, device: torch.device) -> nn.Module:
    """Return the task's model with the weights of a model folder, as it answers; raise ModelError where they do not fit."""
    model = model_of(task, device)
    try:
        model.load_state_dict(load_file(Path(folder).expanduser() / "model.safetensors"))
    except (RuntimeError, OSError) as error:
        why = str(error).splitlines()[-1].strip()
        raise ModelError(f"{folder}: its weights do not fit the model of {type(task).__name__}: {why}") from error
    return model.eval()


def one_each(task: Task, method: str, outputs: Any, rows: int) -> list[Any]:
    """Return outputs as a list; raise TaskFailed where they are not one a row."""
    found = list(outputs) if isinstance(outputs, Iterable) else [outputs]
    if len(found) != rows:
        raise TaskFailed(f"{type(task).__name__}.{method}: expected one output a row, found {len(found)} for {rows} rows")
    return found


def check_sum(lesson: TaskLesson, model: nn.Module, rows: Sequence[Any], run: Callable[[], Any]) -> None:
    """Raise TaskFailed where the same rows twice have twice the targets, but the loss of once: that is a mean; or where nothing is learnt.

    `run` is the context of a forward pass. The model is asked as it answers, without dropout. Warns of rows that change each other's loss.
    """
    where = f"{type(lesson.task).__name__}.train_step"

    def loss_of(batch: OwnBatch) -> Tensor:
        with run():
            found = lesson.train_step(model, batch)
        return found[0] if isinstance(found, tuple) else found

    model.eval()
    once, twice = (lesson.batch(list(rows) * times) for times in (1, 2))
    loss = loss_of(once)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, learning, allow_unused=True) if learning else []
    if all(one is None for one in gradients):
        raise TaskFailed(f"{where}: its loss does not depend on what learns in the model")
    if any(one is not None and one.is_sparse for one in gradients):
        raise TaskFailed(f"{where}: its gradient is sparse, which clipping does not know. Make the embedding without sparse=True.")
    first, second = float(loss.detach()), float(loss_of(twice).detach())
    if not math.isfinite(first):
        raise TaskFailed(f"{where}: the loss of the first {len(rows)} rows is {first}, before anything was learnt")
    same = math.isclose(first, second, rel_tol=1e-3) and abs(first) > 1e-6
    if same and math.isclose(twice.num_targets, 2 * once.num_targets, rel_tol=1e-3):
        raise TaskFailed(
            f"{where}: expected the sum of the losses, found a mean: the same {len(rows)} rows twice have "
            f"the loss of once, {first:.4g}. Use reduction='sum'; what it is divided by is num_targets."
        )
    with suppress(TaskFailed):  # of a row alone, which such a loss may not know
        if not math.isclose(first, sum(float(loss_of(lesson.batch([row])).detach()) for row in rows), rel_tol=0.01, abs_tol=1e-4):
            warn(f"{where}: rows change each other's loss, so it depends on engine.micro_batch_limit and the number of processes")


def reading(task: Task, paths: Sequence[str]) -> Sequence[Any] | Stream:
    """Return the rows of a set; errors of reading name the method."""
    with calling(task, "read" if type(task).rows is Task.rows else "rows"):
        rows = task.rows(paths)
    if not ((hasattr(rows, "__len__") and hasattr(rows, "__getitem__")) or isinstance(rows, Stream)):
        raise TaskFailed(f"{type(task).__name__}.rows: expected a sequence of rows or a tunny.Stream, found {rows!r}")
    if isinstance(rows, Stream):
        return Stream(partial(_guarded, task, rows.read), rows.paths)
    return rows


def _guarded(task: Task, read: Callable[[str], Iterator[Any]], path: str) -> Iterator[Any]:
    with calling(task, "read"):
        yield from read(path)
