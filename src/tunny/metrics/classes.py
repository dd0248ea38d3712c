"""Scores of classes and of numbers: from a confusion matrix, from counts of labels, from pairs of values.

Names and definitions are scikit-learn's and scipy's; tests hold them against both.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tunny.metrics.spans import prf, ratio

Confusion = NDArray[np.int64]  # (K, K) [gold, predicted]


def confusion_metrics(confusion: Confusion) -> dict[str, float]:
    """Return accuracy, macro_f1, weighted_f1, matthews, and for two labels precision, recall and f1 of the second."""
    total = int(confusion.sum())
    right, predicted, gold = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    present = (predicted + gold) > 0
    f1 = np.array([ratio(2 * int(r), int(p + g)) for r, p, g in zip(right, predicted, gold, strict=True)])
    metrics = {
        "accuracy": ratio(int(right.sum()), total),
        "macro_f1": float(f1[present].mean()) if present.any() else 0.0,
        "weighted_f1": ratio(float((f1 * gold).sum()), total),
        "matthews": matthews(confusion),
    }
    if len(confusion) == 2:
        metrics |= prf(int(right[1]), int(predicted[1]), int(gold[1]))
    return metrics


def matthews(confusion: Confusion) -> float:
    """Return Matthews' correlation for any number of classes, 0 where it is not defined (Gorodkin 2004)."""
    exact = confusion.astype(float)
    predicted, gold, total = exact.sum(axis=0), exact.sum(axis=1), exact.sum()
    covariance = np.trace(exact) * total - predicted @ gold
    spread = (total**2 - predicted @ predicted) * (total**2 - gold @ gold)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def confusion_per_label(confusion: Confusion, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return precision, recall, f1 and support of each label."""
    right, predicted, gold = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    return {name: {**prf(int(right[k]), int(predicted[k]), int(gold[k])), "support": int(gold[k])} for k, name in enumerate(names)}


class LabelScores:
    """Multi-label answers: true positives, predicted and gold by label, and examples with exactly the right set."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        self.right, self.predicted, self.gold = (np.zeros(len(names), dtype=np.int64) for _ in range(3))
        self.exact = 0
        self.examples = 0

    def add(self, gold: Sequence[int], predicted: Sequence[int]) -> None:
        """Compare the label ids of one example."""
        truth, guess = set(gold), set(predicted)
        self.gold[list(truth)] += 1
        self.predicted[list(guess)] += 1
        self.right[list(truth & guess)] += 1
        self.exact += truth == guess
        self.examples += 1

    def metrics(self) -> dict[str, float]:
        """Return micro precision, recall, f1, macro_f1, weighted_f1 and accuracy (of whole sets)."""
        counts = list(zip(self.right, self.predicted, self.gold, strict=True))
        f1 = np.array([prf(int(r), int(p), int(g))["f1"] for r, p, g in counts])
        return {
            **prf(int(self.right.sum()), int(self.predicted.sum()), int(self.gold.sum())),
            "macro_f1": float(f1.mean()) if len(f1) else 0.0,
            "weighted_f1": ratio(float((f1 * self.gold).sum()), int(self.gold.sum())),
            "accuracy": ratio(self.exact, self.examples),
        }

    def per_label(self) -> dict[str, dict[str, float]]:
        """Return precision, recall, f1 and support of each label."""
        counts = zip(self.names, self.right, self.predicted, self.gold, strict=True)
        return {name: {**prf(int(r), int(p), int(g)), "support": int(g)} for name, r, p, g in counts}


def correlation(gold: Sequence[float], predicted: Sequence[float]) -> dict[str, float | None]:
    """Return pearson, spearman and mse; a correlation is None where one side does not vary."""
    from scipy.stats import rankdata

    truth, guess = np.asarray(gold, dtype=float), np.asarray(predicted, dtype=float)
    return {
        "pearson": _pearson(truth, guess),
        "spearman": _pearson(rankdata(truth), rankdata(guess)),
        "mse": float(np.mean((truth - guess) ** 2)) if len(truth) else None,
    }


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    if len(a) < 2:
        return None
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else None
