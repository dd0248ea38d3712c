"""What a tracker is, and `log.jsonl`, the one that is always there."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tunny.core.files import write_text

Values = Mapping[str, float | None]
PerLabel = Mapping[str, Mapping[str, Mapping[str, float]]]  # set -> label -> precision, recall, f1, support
Curves = Mapping[str, tuple[NDArray[np.bool_], NDArray[np.float32]]]  # label -> gold (N,), probability (N,)


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation: its folder, with `metrics.json` and the reports, and probabilities where the task keeps them."""

    folder: Path
    curves: Curves


class Tracker:
    """Takes what a run finds. Here every method does nothing, so a tracker has only those that it needs.

    It runs on a thread of its own unless `aside` is false; what it raises is told once, counted, and stops nothing.
    """

    aside: ClassVar[bool] = True
    wait_seconds: float = 30.0  # at the end of a run, for what is left to do

    def start(self, config: Mapping[str, Any], step: int) -> None:
        """Open it; `config` is the tree of settings, `step` is 0, or the step that a resumed run goes on from."""

    def log(self, values: Values, step: int) -> None:
        """Take the values of a step."""

    def weights(self, model: nn.Module, step: int) -> None:
        """Look at weights and gradients at the end of an epoch; only trackers that are not aside are asked to."""

    def evaluated(self, found: Mapping[str, Evaluated], step: int) -> None:
        """Take the evaluations of the best model, by name (`validation`, `test`), when the run folder is whole."""

    def tick(self) -> None:
        """Do what waits; called about once a second."""

    def close(self, error: BaseException | None) -> None:
        """Write out what is left; `error` is what ended the run before its end."""


class LogFile:
    """`log.jsonl`: one object a log point. A resumed run drops what lies beyond its checkpoint, so each step stands once."""

    def __init__(self, path: Path):
        self.path = path

    def start(self, step: int) -> None:
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
