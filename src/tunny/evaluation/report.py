"""`report.md`: an evaluation for the terminal and for pull requests, made from metrics.json alone."""

from collections.abc import Mapping
from typing import Any

from tunny.core.page import render

ORDER = (
    "f1", "precision", "recall", "macro_f1", "weighted_f1", "accuracy", "matthews", "pearson", "spearman", "token_f1",
    "token_accuracy", "mse", "loss",
)  # fmt: skip


def report(content: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    by_label = [
        [label, *(number(row[name]) for name in ("precision", "recall", "f1")), row["support"]]
        for label, row in content["per_label"].items()
    ]
    return render("report.md", {**content, "scores": ranked(content["metrics"]), "by_label": by_label})


def ranked(metrics: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Return the metrics with their values as they are shown, those that say most first."""
    names = [name for name in ORDER if name in metrics] + [name for name in metrics if name not in ORDER]
    return [(name, number(metrics[name])) for name in names]


def number(value: float | None) -> str:
    """Return a metric with four digits behind the point, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.4f}"
