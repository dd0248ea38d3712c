"""Scoring: predictions beside gold labels, in one pass."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunny.core.console import progress
from tunny.data.example import Example
from tunny.evaluation.predict import Chunk, Spread, predict
from tunny.metrics.spans import prf, ratio
from tunny.metrics.spread import Interval, intervals
from tunny.metrics.sums import Counts, Sums, Table
from tunny.tasks.base import Answer, Model, Scorer, Task
from tunny.tasks.scoring import ClassScorer, LabelsScorer

Array = NDArray[np.float64]
Watch = Callable[[Example, Answer], Counts]  # sees an answered example, and gives cells of slices


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
        rows = {label: {name: float(value) for name, value in row.items()} for label, row in found.items()}
        return {label: {**row, "support": int(row["support"])} for label, row in rows.items()}

    def curves(self, names: Sequence[str]) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.float32]]]:
        """Return of each label what is gold and how probable it was, by example, where the task keeps that."""
        if not isinstance(self.scorer, (ClassScorer, LabelsScorer)):
            return {}
        scores, gold = self.scorer.kept()
        return {name: (gold[:, number], scores[:, number]) for number, name in enumerate(names)} if len(gold) else {}

    def measure(self, sums: Sums) -> dict[tuple[str, ...], Array]:
        """Return everything that has an interval: ("metrics", NAME), ("labels", LABEL) and ("slices", NAME, VALUE)."""
        return {
            **{("metrics", name): value for name, value in self.scorer.metrics(sums).items()},
            **{("labels", label): row["f1"] for label, row in self.scorer.per_label(sums).items()},
            **{("slices", *names): row["score"] for names, row in slices(sums).items()},
        }

    def intervals(self) -> dict[tuple[str, ...], Interval | None]:
        """Return the interval of everything that is measured, by documents drawn anew."""
        return intervals(self.table, self.measure) if len(self.table) else {}


def score(model: Model, task: Task, chunks: Iterable[Chunk], watch: Watch | None = None, spread: Spread = map) -> Scores:
    """Predict and score everything once; `watch` sees each answer and may count more cells of it."""
    scorer, table = task.scorer(), Table()
    loss, targets, examples = 0.0, 0.0, 0
    started = time.monotonic()
    for example, answer in progress(predict(model, task, chunks, spread), "scoring", unit="examples"):
        counts = scorer.count(example, answer.prediction)
        if watch is not None:
            counts = {**counts, **watch(example, answer)}
        if counts:
            table.add(counts, example.document)
        scorer.rank(example, answer.scores)
        loss, targets, examples = loss + answer.loss, targets + answer.num_targets, examples + 1
    metrics = {name: float(value) if np.isfinite(value) else None for name, value in scorer.metrics(table.sums()).items()}
    metrics |= {**scorer.ranked(), "loss": loss / targets if targets else None}
    return Scores(task.labels.kind, examples, scorer, table, metrics, time.monotonic() - started)


def slices(sums: Sums) -> dict[tuple[str, str], dict[str, Array]]:
    """Return for each slice and value its score (micro F1, or the mean squared error) and what it was made of."""
    found: dict[tuple[str, str], dict[str, Array]] = {}
    for (name, value, what), number in sums.family("slice"):
        found.setdefault((name, value), {})[what] = number
    none = np.zeros_like(sums[()])
    for row in found.values():
        gold, predicted, right = (row.setdefault(what, none) for what in ("gold", "predicted", "right"))
        f1 = np.where(gold + predicted > 0, prf(right, predicted, gold)["f1"], np.nan)
        row["score"] = ratio(row["error"], row["examples"]) if "error" in row else f1
    return found
