"""Scores of classes, of sets of labels and of numbers: from sums of what was counted, and from all scores where these are needed.

Names and definitions are scikit-learn's and scipy's; tests hold them against both.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunny.metrics.spans import prf, ratio
from tunny.metrics.sums import Counts, Floats, Sums


def by_class(sums: Sums, family: str, names: Sequence[str]) -> dict[str, tuple[Floats, Floats, Floats]]:
    """Return how often each class was right, predicted and gold: those named, then others that the data holds, never right.

    Cells of the family are ("gold class", "predicted class").
    """
    none = sums[()]
    found = {name: [none, none, none] for name in names}
    for (gold, predicted), number in sums.family(family):
        for name in (gold, predicted):
            found.setdefault(name, [none, none, none])
        if gold == predicted:
            found[gold][0] = found[gold][0] + number
        found[predicted][1] = found[predicted][1] + number
        found[gold][2] = found[gold][2] + number
    return {name: (right, predicted, gold) for name, (right, predicted, gold) in found.items()}


def class_metrics(sums: Sums, family: str, names: Sequence[str]) -> dict[str, Floats]:
    """Return accuracy, F1 averages, Matthews' correlation, and where two classes are named precision, recall and f1
    of the second, and the mean of accuracy and f1, as GLUE has it.
    """
    classes = by_class(sums, family, names)
    right, predicted, gold = (np.stack(part, -1) for part in zip(*classes.values(), strict=True))  # (..., K)
    metrics = {"accuracy": ratio(right.sum(-1), gold.sum(-1)), **_averages(right, predicted, gold)}
    metrics["matthews"] = _matthews(right, predicted, gold)
    if len(names) == 2:
        metrics |= prf(*classes[names[1]])
        metrics["accuracy_and_f1"] = (metrics["accuracy"] + metrics["f1"]) / 2
    return metrics


def _averages(right: Floats, predicted: Floats, gold: Floats) -> dict[str, Floats]:
    """Return the mean F1 of the classes that occur, and the mean weighted by gold counts."""
    f1, present = ratio(2 * right, predicted + gold), predicted + gold > 0
    return {"macro_f1": ratio(f1.sum(-1), present.sum(-1)), "weighted_f1": ratio((f1 * gold).sum(-1), gold.sum(-1))}


def _matthews(right: Floats, predicted: Floats, gold: Floats) -> Floats:
    """Return Matthews' correlation for any number of classes, 0 where it is not defined (Gorodkin 2004)."""
    total = gold.sum(-1)
    covariance = right.sum(-1) * total - (predicted * gold).sum(-1)
    spread = (total**2 - (predicted**2).sum(-1)) * (total**2 - (gold**2).sum(-1))
    return ratio(covariance, np.sqrt(np.maximum(spread, 0)))


def label_metrics(sums: Sums, names: Sequence[str]) -> dict[str, Floats]:
    """Return micro precision, recall and f1, macro_f1, weighted_f1, the mean F1 of examples, and accuracy (of whole sets).

    Cells are ("labels", name, "right" | "predicted" | "gold") and ("sets", "right" | "f1" | "examples").
    """
    right, predicted, gold = (np.stack([sums["labels", name, what] for name in names], -1) for what in ("right", "predicted", "gold"))
    f1 = ratio(2 * right, predicted + gold)
    return {
        **prf(right.sum(-1), predicted.sum(-1), gold.sum(-1)),
        "macro_f1": f1.mean(-1),
        "weighted_f1": ratio((f1 * gold).sum(-1), gold.sum(-1)),
        "samples_f1": ratio(sums["sets", "f1"], sums["sets", "examples"]),
        "accuracy": ratio(sums["sets", "right"], sums["sets", "examples"]),
    }


def value_counts(gold: float, predicted: float) -> Counts:
    """Return what correlation and error are made of; both values may be counted from any point that stays the same."""
    return {
        ("values", "examples"): 1.0, ("values", "x"): gold, ("values", "y"): predicted, ("values", "xx"): gold * gold,
        ("values", "yy"): predicted * predicted, ("values", "xy"): gold * predicted,
    }  # fmt: skip


def value_metrics(sums: Sums) -> dict[str, Floats]:
    """Return pearson and mse, nan where they are not defined."""
    num, x, y, xx, yy, xy = (sums["values", name] for name in ("examples", "x", "y", "xx", "yy", "xy"))
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = (num * xx - x * x) * (num * yy - y * y)
        tiny = 1e-12 * num * num * xx * yy
        pearson = np.where(spread > tiny, (num * xy - x * y) / np.sqrt(np.maximum(spread, tiny)), np.nan)
        return {"pearson": np.clip(pearson, -1, 1), "mse": np.where(num > 0, np.maximum(xx - 2 * xy + yy, 0) / num, np.nan)}


def spearman(gold: Sequence[float], predicted: Sequence[float]) -> float | None:
    """Return the correlation of ranks, None where one side does not vary."""
    from scipy.stats import rankdata

    a, b = rankdata(gold), rankdata(predicted)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def ranking(gold: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[float | None, float | None]:
    """Return the area under the ROC curve and the average precision of scores (N,), None where one kind of gold is missing."""
    order = np.argsort(-scores, kind="stable")
    hits, ordered = gold[order].astype(float), scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1) if len(ordered) else np.zeros(0, np.int64)  # of equal scores
    true, seen = np.cumsum(hits)[last], last + 1.0
    positives, negatives = float(hits.sum()), float(len(hits) - hits.sum())
    precision = float(np.sum(np.diff(true, prepend=0) / positives * true / seen)) if positives else None
    if not positives or not negatives:
        return None, precision
    false = seen - true
    area = float(np.sum(np.diff(false, prepend=0) * (true + np.append(0.0, true[:-1])) / 2)) / (positives * negatives)
    return area, precision
