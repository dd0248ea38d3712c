"""Scoring: predictions beside gold labels, and the evaluation folder: metrics.json, predictions.jsonl, report.md."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from torch import nn

from tunny.core.console import progress
from tunny.core.errors import RunError
from tunny.core.files import new_folder, write_json, write_text
from tunny.data.audit import Audit
from tunny.engine.compute import Compute
from tunny.evaluation.predict import Chunk, predict
from tunny.evaluation.report import report
from tunny.tasks.base import Task

FILES = ("metrics.json", "predictions.jsonl", "report.md")


@dataclass(frozen=True)
class Scores:
    """What one evaluation found; metrics are 0 to 1 where they are shares, None where not defined."""

    task: str
    examples: int
    metrics: dict[str, float | None]
    per_label: dict[str, dict[str, float]]
    seconds: float

    def to_json(self, model: str, data: str, audit: Audit) -> dict[str, Any]:
        """Return the content of metrics.json."""
        return {
            "task": self.task, "model": model, "data": data, "examples": self.examples, "metrics": self.metrics,
            "per_label": self.per_label,
            "speed": {"examples_per_second": self.examples / max(self.seconds, 1e-9), "seconds": self.seconds},
            "audit": audit.to_json(),
        }  # fmt: skip


def score(model: nn.Module, task: Task, chunks: Iterable[Chunk], compute: Compute, predictions: TextIO | None = None) -> Scores:
    """Predict and score everything once, writing each prediction as a JSON line where a file is given."""
    scorer = task.scorer()
    loss, targets, examples = 0.0, 0.0, 0
    started = time.monotonic()
    for example, answer in progress(predict(model, task, chunks, compute), "scoring", unit="examples"):
        scorer.add(example, answer)
        loss, targets, examples = loss + answer.loss, targets + answer.num_targets, examples + 1
        if predictions is not None:
            predictions.write(json.dumps(answer.prediction, ensure_ascii=False) + "\n")
    metrics = {**scorer.metrics(), "loss": loss / targets if targets else None}
    return Scores(task.labels.kind, examples, metrics, scorer.per_label(), time.monotonic() - started)


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
