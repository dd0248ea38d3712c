"""Scoring: predictions beside gold labels, and the evaluation folder: metrics.json, predictions.jsonl, report.md."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tunny.core.console import progress
from tunny.core.errors import RunError
from tunny.core.files import new_folder, write_json, write_text
from tunny.data.audit import Audit
from tunny.engine.compute import Compute
from tunny.evaluation.predict import Chunk, predict
from tunny.evaluation.report import report
from tunny.metrics.spread import Interval, intervals
from tunny.metrics.sums import Sums, Table
from tunny.tasks.base import Scorer, Task

Array = NDArray[np.float64]
FILES = ("metrics.json", "predictions.jsonl", "report.md")


@dataclass(frozen=True)
class Scores:
    """What one evaluation found; metrics are 0 to 1 where they are shares, None where not defined."""

    task: str
    examples: int
    scorer: Scorer
    table: Table
    metrics: dict[str, float | None]
    seconds: float

    @property
    def per_label(self) -> dict[str, dict[str, float]]:
        """Precision, recall, f1 and support of each label."""
        found = self.scorer.per_label(self.table.sums())
        return {
            label: {**{name: float(value) for name, value in row.items()}, "support": int(row["support"])} for label, row in found.items()
        }

    def intervals(self) -> dict[str, Interval | None]:
        """Return the intervals of the metrics that are sums over documents, and of the F1 of each label under `LABEL/f1`."""

        def measure(sums: Sums) -> dict[str, Array]:
            return {**self.scorer.metrics(sums), **{f"{label}/f1": row["f1"] for label, row in self.scorer.per_label(sums).items()}}

        return intervals(self.table, measure) if len(self.table) else {}

    def to_json(self, model: str, data: str, audit: Audit) -> dict[str, Any]:
        """Return the content of metrics.json."""
        spread = self.intervals()
        return {
            "task": self.task, "model": model, "data": data, "examples": self.examples, "metrics": self.metrics,
            "intervals": {name: spread[name] for name in self.metrics if name in spread},
            "per_label": {label: {**row, "interval": spread.get(f"{label}/f1")} for label, row in self.per_label.items()},
            "speed": {"examples_per_second": self.examples / max(self.seconds, 1e-9), "seconds": self.seconds},
            "audit": audit.to_json(),
        }  # fmt: skip


def score(model: nn.Module, task: Task, chunks: Iterable[Chunk], compute: Compute, predictions: TextIO | None = None) -> Scores:
    """Predict and score everything once, writing each prediction as a JSON line where a file is given."""
    scorer, table = task.scorer(), Table()
    loss, targets, examples = 0.0, 0.0, 0
    started = time.monotonic()
    for example, answer in progress(predict(model, task, chunks, compute), "scoring", unit="examples"):
        if counts := scorer.count(example, answer.prediction):
            table.add(counts, example.document)
        scorer.rank(example, answer.scores)
        loss, targets, examples = loss + answer.loss, targets + answer.num_targets, examples + 1
        if predictions is not None:
            predictions.write(json.dumps(answer.prediction, ensure_ascii=False) + "\n")
    metrics = {name: float(value) if np.isfinite(value) else None for name, value in scorer.metrics(table.sums()).items()}
    metrics |= {**scorer.ranked(), "loss": loss / targets if targets else None}
    return Scores(task.labels.kind, examples, scorer, table, metrics, time.monotonic() - started)


def require_own(folder: Path) -> None:
    """Raise RunError where a folder holds anything that an evaluation did not write: it would be lost."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: expected a folder for the evaluation, found a file. Choose another --out.")
    theirs = sorted(path.name for path in folder.glob("*") if path.name not in FILES)
    if theirs:
        raise RunError(f"{folder}: holds {theirs[0]!r}, which an evaluation would replace. Choose an empty or new folder for --out.")


def evaluate_to(
    folder: Path, model: nn.Module, task: Task, chunks: Iterable[Chunk], compute: Compute,
    audit: Audit, *, model_name: str, data_name: str,
) -> Scores:  # fmt: skip
    """Score and write the evaluation folder, whole or not at all; a folder that is there already is replaced."""
    with new_folder(folder, replace=True) as temporary:
        with (temporary / "predictions.jsonl").open("w", encoding="utf-8") as file:
            scores = score(model, task, chunks, compute, file)
        content = scores.to_json(model_name, data_name, audit)
        write_json(temporary / "metrics.json", content)
        write_text(temporary / "report.md", report(content))
    return scores
