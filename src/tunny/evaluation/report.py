"""`report.md`: an evaluation for the terminal and for pull requests, made from metrics.json alone."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from tunny.core.page import render

ORDER = (
    "f1", "precision", "recall", "macro_f1", "weighted_f1", "samples_f1", "accuracy", "matthews", "roc_auc", "average_precision",
    "pearson", "spearman", "token_f1", "token_accuracy", "mse", "loss",
)  # fmt: skip


def markdown(content: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    by_label = [
        [label, *(number(row[name]) for name in ("precision", "recall", "f1")), between(row["interval"]), row["support"]]
        for label, row in content["per_label"].items()
    ]
    scores = [(name, value, between(content["intervals"].get(name))) for name, value in ranked(content["metrics"])]
    counted = ("correct", "incorrect", "partial", "missed", "spurious")
    rows = {
        "scheme_rows": [
            [scheme, *(row[name] for name in counted), *(number(row[name]) for name in ("precision", "recall", "f1"))]
            for scheme, row in content.get("schemes", {}).items()
        ],
        "threshold_rows": [[number(row[name]) for name in ("precision", "threshold", "coverage")] for row in content.get("thresholds", ())],
    }
    rows["beside"] = beside_teacher(content)
    return render("report.md", {**content, **rows, "scores": scores, "by_label": by_label, "number": number})


def beside_teacher(content: Mapping[str, Any]) -> list[list[str]]:
    """Return the lines of a table of a student beside its teacher; none where there was no teacher."""
    if (found := content.get("distilled")) is None:
        return []
    rows = []
    for name in in_order(content["metrics"]):
        cells = ((number(one["metrics"].get(name)), between(one["intervals"].get(name))) for one in (found["teacher"], content))
        rows.append([name, *chain(*cells)])
    for name in ("parameters", "examples_per_second"):
        teacher, student = found[name]["teacher"], found[name]["student"]
        rows.append([name.replace("_", " "), f"{teacher:,.0f}", "", f"{student:,.0f}", f"{student / teacher:.2f} times"])
    return rows


def ranked(metrics: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Return the metrics with their values as they are shown, those that say most first."""
    return [(name, number(value)) for name, value in in_order(metrics).items()]


def in_order(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the metrics, those that say most first."""
    names = [name for name in ORDER if name in metrics] + [name for name in metrics if name not in ORDER]
    return {name: metrics[name] for name in names}


def between(interval: Sequence[float] | None) -> str:
    """Return an interval as it is shown."""
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def number(value: float | None) -> str:
    """Return a metric with four digits behind the point, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.4f}"
