"""Scores of classes and of numbers: from a confusion matrix, from counts of labels, from pairs of values.

Names and definitions are scikit-learn's and scipy's; tests hold them against both.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tunny.metrics.spans import prf, ratio

Confusion = NDArray[np.int64]  # (K, K) [gold, predicted]


class ConfusionCounts:
    """Gold beside predicted classes. A class that the model does not know gets a row of its own, so it is never right."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.binary = len(self.names) == 2
        self.counts: Confusion = np.zeros((len(self.names), len(self.names)), dtype=np.int64)
        self._ids = {name: number for number, name in enumerate(self.names)}

    def add(self, gold: str, predicted: str) -> None:
        """Count one answer."""
        for name in (gold, predicted):
            if name not in self._ids:
                self._ids[name] = len(self.names)
                self.names.append(name)
                self.counts = np.pad(self.counts, (0, 1))
        self.counts[self._ids[gold], self._ids[predicted]] += 1

    def metrics(self) -> dict[str, float]:
        """Return accuracy, F1 averages, Matthews, and for models of two labels precision, recall and f1 of the second."""
        return confusion_metrics(self.counts, self.binary)

    def per_label(self) -> dict[str, dict[str, float]]:
        """Return precision, recall, f1 and support of each label."""
        right, predicted, gold = np.diag(self.counts), self.counts.sum(axis=0), self.counts.sum(axis=1)
        counts = zip(self.names, right, predicted, gold, strict=True)
        return {name: {**prf(int(r), int(p), int(g)), "support": int(g)} for name, r, p, g in counts}


def confusion_metrics(confusion: Confusion, binary: bool) -> dict[str, float]:
    """Return accuracy, macro_f1, weighted_f1, matthews, and for a binary task precision, recall and f1 of the second label."""
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
    if binary:
        metrics |= prf(int(right[1]), int(predicted[1]), int(gold[1]))
    return metrics


def matthews(confusion: Confusion) -> float:
    """Return Matthews' correlation for any number of classes, 0 where it is not defined (Gorodkin 2004)."""
    exact = confusion.astype(float)
    predicted, gold, total = exact.sum(axis=0), exact.sum(axis=1), exact.sum()
    covariance = np.trace(exact) * total - predicted @ gold
    spread = (total**2 - predicted @ predicted) * (total**2 - gold @ gold)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


class LabelScores:
    """Multi-label answers: right, predicted and gold by label, and examples with exactly the right set.

    A gold label that the model does not know is counted as one that was missed.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.right: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()
        self.gold: Counter[str] = Counter()
        self.exact = 0
        self.examples = 0

    def add(self, gold: Iterable[str], predicted: Iterable[str]) -> None:
        """Compare the labels of one example."""
        truth, guess = set(gold), set(predicted)
        self.names += sorted(truth.difference(self.names))
        self.gold.update(truth)
        self.predicted.update(guess)
        self.right.update(truth & guess)
        self.exact += truth == guess
        self.examples += 1

    def metrics(self) -> dict[str, float]:
        """Return micro precision, recall, f1, macro_f1, weighted_f1 and accuracy (of whole sets)."""
        labels = self.per_label().values()
        return {
            **prf(self.right.total(), self.predicted.total(), self.gold.total()),
            "macro_f1": ratio(sum(label["f1"] for label in labels), len(labels)),
            "weighted_f1": ratio(sum(label["f1"] * label["support"] for label in labels), self.gold.total()),
            "accuracy": ratio(self.exact, self.examples),
        }

    def per_label(self) -> dict[str, dict[str, float]]:
        """Return precision, recall, f1 and support of each label."""
        return {name: {**prf(self.right[name], self.predicted[name], self.gold[name]), "support": self.gold[name]} for name in self.names}


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
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / spread if spread > 0 else None
