"""All trackers of a run as one: which there are, and that none of them can stop or slow training.

In a run of several processes the first one alone has them.
"""

import contextlib
import importlib.util
import queue
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

from torch import nn

from tunny.core.console import warn
from tunny.core.errors import ConfigError
from tunny.core.named import made
from tunny.training.settings import TrackSettings
from tunny.training.trackers.base import Evaluated, LogFile, PerLabel, Tracker, Values
from tunny.training.trackers.mlflow import MLflow
from tunny.training.trackers.system import System
from tunny.training.trackers.tensorboard import TensorBoard

WAITING = 10_000  # calls that a tracker may be behind; more are counted, not made
HURRY_SECONDS = 5.0  # to close a tracker of a run that was stopped
PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "azureml": "azureml.mlflow"}  # that trackers need; the last two are servers


class Guard:
    """Calls a tracker, tells once what it raises, and counts it."""

    def __init__(self, name: str, tracker: Tracker):
        self.name, self.tracker, self.missed = name, tracker, 0

    def call(self, method: str, *arguments: Any) -> None:
        """Call a method of the tracker."""
        try:
            getattr(self.tracker, method)(*arguments)
        except (Exception, SystemExit) as error:
            if not self.missed:
                warn(f"track.{self.name}: {method}: {type(error).__name__}: {error}. Training goes on; more of these are only counted.")
            self.missed += 1

    def close(self, error: BaseException | None) -> None:
        """Close the tracker."""
        self.call("close", error)


class Aside(Guard):
    """A tracker on a thread of its own: a call costs the training a place in a queue, whatever the tracker does."""

    def __init__(self, name: str, tracker: Tracker):
        super().__init__(name, tracker)
        self._left_out = 0
        self._calls: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue(WAITING)
        self._thread = Thread(target=self._work, name=f"track.{name}", daemon=True)
        self._thread.start()

    def call(self, method: str, *arguments: Any) -> None:
        """Let the thread call a method of the tracker."""
        try:
            self._calls.put_nowait((method, arguments))
        except queue.Full:
            self._left_out += 1

    def _work(self) -> None:
        method, due = "", time.monotonic() + 1.0
        while method != "close":
            tick = time.monotonic() >= due
            with contextlib.suppress(queue.Empty):
                method, arguments = ("tick", ()) if tick else self._calls.get(timeout=max(due - time.monotonic(), 0.0))
                super().call(method, *arguments)
            due = time.monotonic() + 1.0 if tick else due

    def close(self, error: BaseException | None) -> None:
        """Give the tracker its time to end; one that takes longer is left behind."""
        seconds = HURRY_SECONDS if error is not None else self.tracker.wait_seconds
        with contextlib.suppress(queue.Full):
            self._calls.put(("close", (error,)), timeout=seconds)
        self._thread.join(seconds)
        self.missed += self._left_out
        if self._thread.is_alive():
            self.missed += self._calls.qsize() + 1
            warn(f"track.{self.name}: did not end within {seconds:g} seconds and is left behind.")


class Trackers:
    """The log file, whose errors are the run's, and behind it all that were asked for."""

    def __init__(self, file: LogFile, others: Mapping[str, Tracker], system: System | None = None):
        self._file, self._others, self._system = file, others, system
        self._guards: list[Guard] = []

    @contextlib.contextmanager
    def started(self, config: Mapping[str, Any], step: int) -> Iterator[None]:
        """Open all, and close them however the block ends."""
        self._file.start(step)
        self._guards = [(Aside if one.aside else Guard)(name, one) for name, one in self._others.items()]
        if self._system:
            self._system.start()
        ended: BaseException | None = None
        try:
            self._call("start", config, step)
            yield
        except BaseException as error:
            ended = error
            raise
        finally:
            for guard in self._guards:
                guard.close(ended)
                if guard.missed:
                    warn(f"track.{guard.name}: {guard.missed} calls failed or were not made. log.jsonl holds all values.")
            if self._system:
                self._system.close()

    def _call(self, method: str, *arguments: Any) -> None:
        for guard in self._guards:
            if getattr(type(guard.tracker), method) is not getattr(Tracker, method):  # which would do nothing
                guard.call(method, *arguments)

    def log(self, values: Values, step: int, per_label: PerLabel | None = None) -> None:
        """Take the values of a step, and of the machine what was sampled since the last one; each step comes once."""
        values = {**values, **(self._system.newest() if self._system else {})}
        self._file.log(values, step, per_label)
        self._call("log", values, step)

    def weights(self, model: nn.Module, step: int) -> None:
        """Let trackers that want to see weights and gradients do so, before they change."""
        for guard in self._guards:
            if not guard.tracker.aside:
                guard.call("weights", model, step)

    def evaluated(self, found: Mapping[str, Evaluated], step: int) -> None:
        """Take the evaluations of the best model."""
        self._call("evaluated", found, step)


def make_trackers(settings: TrackSettings, folder: Path, name: str) -> Trackers:
    """Return the trackers asked for; raise ConfigError where a package is missing or a tracker of one's own cannot be made."""
    found = dict(_ours(settings, folder, name))
    found |= {
        own: made(own, Tracker, options, f"track.{own}") for own, options in (settings.model_extra or {}).items() if options is not None
    }
    return Trackers(LogFile(folder / "log.jsonl"), found, System(settings.system.every_seconds) if settings.system else None)


def catch_up(settings: TrackSettings, folder: Path, name: str) -> None:
    """Send what a finished run could not send to a server."""
    for _, tracker in _ours(settings.model_copy(update={"tensorboard": None}), folder, name):
        if isinstance(tracker, MLflow):
            tracker.catch_up()


def _ours(settings: TrackSettings, folder: Path, name: str) -> Iterator[tuple[str, Tracker]]:
    for own, module in PACKAGES.items():
        if (options := getattr(settings, own)) is None:
            continue
        there = False
        with contextlib.suppress(ModuleNotFoundError):  # of the package around it
            there = importlib.util.find_spec(module) is not None
        if not there:
            raise ConfigError(f"track.{own}: {module} is not installed. Run: pip install 'tunny[{own}]'")
        yield own, TensorBoard(folder / own, options) if own == "tensorboard" else MLflow(own, options, folder, name)
