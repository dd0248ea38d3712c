"""`report.md`: an evaluation for the terminal and for pull requests, made from metrics.json alone."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from tunny.core.page import render

ORDER = (
    "f1", "precision", "recall", "macro_f1", "weighted_f1", "samples_f1", "accuracy", "matthews", "roc_auc", "average_precision",
    "pearson", "spearman", "token_f1", "token_accuracy", "mse", "loss",
)  # fmt: skip
PRF, COUNTED = ("precision", "recall", "f1"), ("correct", "incorrect", "partial", "missed", "spurious")


def markdown(content: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""

    def cells(row: Mapping[str, Any], *names: str) -> list[str]:
        return [number(row[name]) for name in names]

    found, schemes = content["per_label"].items(), content.get("schemes", {}).items()
    scores = [(name, number(value), between(content["intervals"].get(name))) for name, value in in_order(content["metrics"]).items()]
    by_label = [[label, *cells(row, *PRF), between(row["interval"]), row["support"]] for label, row in found]
    scheme_rows = [[scheme, *(row[name] for name in COUNTED), *cells(row, *PRF)] for scheme, row in schemes]
    threshold_rows = [cells(row, "precision", "threshold", "coverage") for row in content.get("thresholds", ())]
    return render("report.md", {
        **content, "scores": scores, "by_label": by_label, "scheme_rows": scheme_rows, "threshold_rows": threshold_rows,
        "beside": beside_teacher(content), "number": number,
    })  # fmt: skip


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
