"""Callbacks: what users do at the moments of a training, in the order in which these stand here.

    train_start
      epoch_start
        backward_end       once a micro-batch of this process
        step_end
        validation_end     once a validation set
      epoch_end            after the validation of the epoch
        save               a checkpoint is whole; after epoch_end where both are due
    train_end              after the last save; not where training failed or was stopped by a signal

With several processes each has its own callbacks and sees the same moments, the metrics of all ranks, and of `backward_end` its own
micro-batches. Where one asks to stop, all do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tunny.core.errors import ConfigError, TrainingFailed, TunnyError
from tunny.core.named import made


@dataclass(frozen=True)
class Moment:
    """Where training stands."""

    step: int  # optimizer steps taken
    epoch: int  # whole epochs done
    total_steps: int
    rank: int
    world_size: int
    model: nn.Module  # as it is called: wrapped where several processes train
    outputs: Sequence[Any] = ()  # at step_end: what a task of one's own gave beside its loss, of all ranks, in the order of the step's rows


class Callback:
    """Does something at the moments of a training. All methods may be left out; one that returns True asks to stop after this step."""

    def train_start(self, now: Moment) -> bool | None:
        """Before the first step, of a resumed run too."""

    def epoch_start(self, now: Moment) -> bool | None:
        """Before the first step of an epoch."""

    def backward_end(self, now: Moment, loss: Tensor) -> bool | None:
        """After the backward pass of a micro-batch; `loss` is its sum over targets, on the device."""

    def step_end(self, now: Moment) -> bool | None:
        """After an optimizer step."""

    def validation_end(self, now: Moment, name: str, metrics: Mapping[str, float | None]) -> bool | None:
        """After a validation set was scored; `name` is validation, or its name in data.validation."""

    def epoch_end(self, now: Moment) -> bool | None:
        """After the last step of an epoch and its validation."""

    def save(self, now: Moment, folder: Path) -> bool | None:
        """After a checkpoint was written."""

    def train_end(self, now: Moment) -> bool | None:
        """After the last step, its validation and its checkpoint."""


class Callbacks:
    """Tells all callbacks of a moment, in their order, and remembers whether one asked to stop."""

    def __init__(self, callbacks: Sequence[Callback] = ()):
        for one in callbacks:
            if not isinstance(one, Callback):
                raise ConfigError(f"callbacks: expected instances of tunny.Callback, found {one!r}")
        self._callbacks = callbacks
        self.stop = False

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def tell(self, moment: str, now: Moment, *more: Any) -> None:
        """Call a method of all callbacks; raise TrainingFailed, naming it, where one raises."""
        for callback in self._callbacks:
            try:
                self.stop |= bool(getattr(callback, moment)(now, *more))
            except TunnyError:
                raise
            except Exception as error:
                raise TrainingFailed(
                    f"step {now.step}: {type(callback).__name__}.{moment} raised {type(error).__name__}: {error}. Checkpoints made before it, if any, are whole."
                ) from error


def make_callbacks(wanted: Sequence[str | Mapping[str, Mapping[str, Any] | None]]) -> list[Callback]:
    """Return the callbacks that settings name as `package.module:Class`, each with its options."""
    pairs = [pair for one in wanted for pair in ([(one, None)] if isinstance(one, str) else one.items())]
    return [made(name, Callback, options or {}, f"train.callbacks.{name}") for name, options in pairs]
