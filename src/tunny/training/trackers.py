"""Where logged values go: one JSON Lines file always, TensorBoard when asked for. Packages are imported in `start`."""

import contextlib
import importlib.util
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tunny.core.errors import ConfigError
from tunny.core.files import write_text
from tunny.training.settings import TrackSettings

Values = Mapping[str, float | None]
PerLabel = Mapping[str, Mapping[str, Mapping[str, float]]]  # set -> label -> precision, recall, f1, support


class Tracker(Protocol):
    """Takes values by name and step."""

    def start(self, config: Mapping[str, Any], step: int) -> None:
        """Open it; `step` is 0, or the step that a resumed run goes on from."""

    def log(self, values: Values, step: int) -> None:
        """Take the values of a step; each step comes once."""

    def close(self) -> None:
        """Write out what is left."""


class LogFile:
    """`log.jsonl`: one object a log point. A resumed run drops what lies beyond its checkpoint, so each step stands once."""

    def __init__(self, path: Path):
        self.path = path

    def start(self, config: Mapping[str, Any], step: int) -> None:
        """Keep the lines up to `step`."""
        kept = []
        if step and self.path.exists():
            for line in self.path.read_text("utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line)
                except (ValueError, KeyError):
                    continue  # the line a killed process was writing
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def log(self, values: Values, step: int, per_label: PerLabel | None = None) -> None:
        """Append one line; scores of labels stand in it under a key of their own, and nowhere else."""
        clean = {name: None if value is None or not math.isfinite(value) else value for name, value in values.items()}
        line = {"step": step, **clean, **({"per_label": per_label} if per_label else {})}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Do nothing: every line is written at once."""


class TensorBoard:
    """Scalars as TensorBoard event files, and the config as text."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._writer: Any = None

    def start(self, config: Mapping[str, Any], step: int) -> None:
        """Open the writer; values beyond `step` that an earlier part or run left are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=step + 1 if step else 0)
        if not step:
            self._writer.add_text("config", "```\n" + json.dumps(config, indent=2) + "\n```", 0)

    def log(self, values: Values, step: int) -> None:
        """Write every number as a scalar."""
        for name, value in values.items():
            if value is not None and name != "epoch":
                self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a killed run is resumed from a checkpoint that comes after its values

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()


@contextlib.contextmanager
def started(trackers: Sequence[Tracker], config: Mapping[str, Any], step: int) -> Iterator[None]:
    """Open the trackers, and close them however the block ends."""
    try:
        for tracker in trackers:
            tracker.start(config, step)
        yield
    finally:
        for tracker in trackers:
            tracker.close()


def make_trackers(settings: TrackSettings, folder: Path) -> list[Tracker]:
    """Return the trackers asked for; raise ConfigError where a package is missing."""
    trackers: list[Tracker] = []
    if settings.tensorboard is not None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ConfigError("track.tensorboard: TensorBoard is not installed. Run: pip install 'tunny[tensorboard]'")
        trackers.append(TensorBoard(folder / "tensorboard"))
    return trackers
