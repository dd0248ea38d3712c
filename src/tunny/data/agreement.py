"""How far the annotators of the same tasks agree: Cohen's kappa, Krippendorff's alpha, F1 of their spans.

Kept in memory are only the tasks that several annotated. A measure is nan where there is one value alone, which says nothing.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from math import isnan, nan
from typing import Any


class Agreement:
    """Collects what several annotators said of the same tasks, for one kind of task."""

    def __init__(self, kind: str):
        self.kind, self.tasks = kind, list[dict[str, Any]]()

    def add(self, said: Mapping[str, Sequence[Any]]) -> None:
        """Take the spans, choices or numbers that each annotator of a task gave; where one is wanted, others do not count."""
        one = self.kind in ("classify", "regress")
        values = {name: found[0] if one else frozenset(found) for name, found in said.items() if not one or len(found) == 1}
        if len(values) > 1:
            self.tasks.append(values)

    def note(self) -> str:
        """Return the agreement as a sentence."""
        if self.kind in ("ner", "chunk"):
            measured = {"mean F1 of their spans": mean_of_pairs(self.tasks, span_f1)}
        else:
            measured = {} if self.kind == "regress" else {"Cohen's kappa": mean_of_pairs(self.tasks, cohens_kappa)}
            measured["Krippendorff's alpha"] = krippendorffs_alpha([[*said.values()] for said in self.tasks], self.kind == "regress")
        parts = [f"{name} {'not defined' if isnan(value) else f'{value:.2f}'}" for name, value in measured.items()]
        return f"agreement of {len(set().union(*self.tasks))} annotators on {len(self.tasks)} task{'s' * (len(self.tasks) > 1)}: {', '.join(parts)}"


def mean_of_pairs(tasks: Sequence[Mapping[str, Any]], measure: Callable[[Sequence[tuple[Any, Any]]], float]) -> float:
    """Return the mean of a measure over the pairs of annotators, weighted by the tasks that they share."""
    shared: dict[tuple[str, ...], list[tuple[Any, Any]]] = {}
    for said, pair in ((one, pair) for one in tasks for pair in combinations(sorted(one), 2)):
        shared.setdefault(pair, []).append((said[pair[0]], said[pair[1]]))
    known = [(score, len(pairs)) for pairs in shared.values() if not isnan(score := measure(pairs))]
    return sum(score * weight for score, weight in known) / sum(weight for _, weight in known) if known else nan


def cohens_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float:
    """Return Cohen's kappa (1960) of two annotators."""
    first, second = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(first[value] * second[value] for value in first) / len(pairs) ** 2
    return 1 - (1 - sum(one == other for one, other in pairs) / len(pairs)) / (1 - chance) if chance < 1 else nan


def krippendorffs_alpha(units: Sequence[Sequence[Any]], intervals: bool = False) -> float:
    """Return Krippendorff's alpha (2011) of units with two values or more each, which are names or, as intervals, numbers."""

    def spread(values: Sequence[Any]) -> float:  # over ordered pairs: how many differ, or the sum of their squared differences
        if intervals:
            mean = sum(values) / len(values)
            return float(2 * len(values) * sum((value - mean) * (value - mean) for value in values))
        return len(values) ** 2 - sum(count**2 for count in Counter(values).values())

    pooled = [value for unit in units for value in unit]
    expected = spread(pooled) / (len(pooled) - 1) if len(set(pooled)) > 1 else 0
    return 1 - sum(spread(unit) / (len(unit) - 1) for unit in units) / expected if expected else nan


def span_f1(pairs: Sequence[tuple[frozenset[Any], frozenset[Any]]]) -> float:
    """Return the micro F1 of the spans of two annotators, which match where place and label do."""
    marked = sum(len(one) + len(other) for one, other in pairs)
    return 2 * sum(len(one & other) for one, other in pairs) / marked if marked else nan
