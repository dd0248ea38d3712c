"""Scores of spans, counted as answers pass, so that memory does not grow with the data.

A span is right when start, end and label are those of a gold span (exact match, micro-averaged; conlleval, Tjong Kim Sang 2002).
"""

from collections import Counter
from collections.abc import Iterable

Key = tuple[int, int, str]


class SpanScores:
    """True positives, predicted and gold spans by label."""

    def __init__(self) -> None:
        self.right: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()
        self.gold: Counter[str] = Counter()

    def add(self, gold: Iterable[Key], predicted: Iterable[Key]) -> None:
        """Compare the spans of one text, given as (start, end, label)."""
        truth, guess = set(gold), set(predicted)
        self.gold.update(label for _, _, label in truth)
        self.predicted.update(label for _, _, label in guess)
        self.right.update(label for _, _, label in truth & guess)

    def overall(self) -> dict[str, float]:
        """Return precision, recall and f1 over all labels."""
        return prf(self.right.total(), self.predicted.total(), self.gold.total())

    def per_label(self) -> dict[str, dict[str, float]]:
        """Return precision, recall, f1 and support of each label, in alphabetical order."""
        names = sorted(set(self.gold) | set(self.predicted))
        return {name: {**prf(self.right[name], self.predicted[name], self.gold[name]), "support": self.gold[name]} for name in names}


def prf(right: int, predicted: int, gold: int) -> dict[str, float]:
    """Return precision, recall and their harmonic mean; 0 where there is nothing to divide by."""
    precision, recall = ratio(right, predicted), ratio(right, gold)
    return {"precision": precision, "recall": recall, "f1": ratio(2 * right, predicted + gold)}


def ratio(part: float, whole: float) -> float:
    """Return part / whole, 0 for an empty whole."""
    return float(part) / float(whole) if whole else 0.0
