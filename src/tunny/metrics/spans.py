"""Scores of spans, on the characters of whole texts.

A span is right when start, end and label are those of a gold span: the score of conlleval (Tjong Kim Sang & De Meulder 2003). Beside it
stand the four schemes of SemEval-2013 (Segura-Bedmar et al., task 9.1): strict, exact, partial and type, as nervaluate counts them: a
prediction takes the gold span that it equals, else the first free one that it overlaps; each gold span is taken once.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np

from tunny.metrics.sums import Cell, Floats, Sums

Key = tuple[int, int, str]  # start, end, label
One = TypeVar("One", bound=Key)

SCHEMES = ("strict", "exact", "partial", "type")
OUTCOMES = ("correct", "incorrect", "partial", "missed", "spurious")
ALL = ""  # in place of a label: all of them


def _meets(one: Key, other: Key) -> bool:
    return one[0] < other[1] and other[0] < one[1]


_LIKENESSES: tuple[Callable[[Key, Key], bool], ...] = (
    lambda one, other: one == other,
    lambda one, other: one[:2] == other[:2],
    lambda one, other: one[2] == other[2] and _meets(one, other),
    _meets,
)


def span_counts(gold: Sequence[Key], predicted: Sequence[Key]) -> defaultdict[Cell, int]:
    """Return the outcomes of one text in each scheme, over all labels and with the spans of each label alone."""
    counts: defaultdict[Cell, int] = defaultdict(int)
    for cluster in _clusters(gold, predicted):
        for cell, number in _cluster_counts(*cluster):
            counts[cell] += number
    return counts


def _clusters(gold: Sequence[Key], predicted: Sequence[Key]) -> Iterator[tuple[tuple[Key, ...], tuple[Key, ...]]]:
    """Yield gold and predicted spans that overlap one another, with offsets from the first of their characters on."""
    sides: tuple[list[Key], list[Key]] = ([], [])
    first = end = 0
    marks = [(start, end, label, 0) for start, end, label in set(gold)] + [(start, end, label, 1) for start, end, label in set(predicted)]
    for start, stop, label, side in sorted(marks):
        if start >= end:
            if end:
                yield tuple(sides[0]), tuple(sides[1])
            sides, first = ([], []), start
        sides[side].append((start - first, stop - first, label))
        end = max(end, stop)
    if end:
        yield tuple(sides[0]), tuple(sides[1])


@lru_cache(maxsize=10_000)  # most clusters are one span, or two that are equal
def _cluster_counts(gold: tuple[Key, ...], predicted: tuple[Key, ...]) -> list[tuple[Cell, int]]:
    counts: Counter[Cell] = Counter()
    for name in (ALL, *sorted({label for _, _, label in (*gold, *predicted)})):
        some, other = ([span for span in spans if name in (ALL, span[2])] for spans in (gold, predicted))
        for scheme in SCHEMES:
            counts.update((scheme, name, outcome) for outcome in _outcomes(scheme, some, other))
    return list(counts.items())


def _outcomes(scheme: str, gold: Sequence[Key], predicted: Sequence[Key]) -> Iterator[str]:
    """Yield what became of every prediction and of every gold span that none took."""
    free = list(gold)
    for span in predicted:
        overlapped = [other for other in free if _meets(other, span)]
        if not overlapped:
            yield "spurious"
            continue
        right = [other for other in overlapped if _equal(scheme, other, span)]
        if scheme == "type" and right:
            right.sort(key=lambda other: abs(other[0] - span[0]) + abs(other[1] - span[1]))
        free.remove(right[0] if right else overlapped[0])
        yield "correct" if right else "partial" if scheme == "partial" else "incorrect"
    yield from ["missed"] * len(free)


def _equal(scheme: str, gold: Key, predicted: Key) -> bool:
    if scheme == "strict":
        return gold == predicted
    return gold[2] == predicted[2] if scheme == "type" else gold[:2] == predicted[:2]


def pairs(gold: Sequence[One], predicted: Sequence[One]) -> list[tuple[One | None, One | None]]:
    """Return each prediction with the gold span that it meant: the equal one, else of the same place, else of the same label and place
    in part, else one that it overlaps; then the gold spans that nothing meant.
    """
    free, found = sorted(set(gold)), list[tuple[One | None, One | None]]()
    waiting = sorted(set(predicted)) if predicted else []
    if not free or not waiting or free == waiting:  # what most texts are like
        return list(zip_longest(free, waiting))
    for like in _LIKENESSES:
        for span in list(waiting):
            meant = next((other for other in free if like(other, span)), None)
            if meant is not None:
                found.append((meant, span))
                free.remove(meant)
                waiting.remove(span)
    return [*found, *((None, span) for span in waiting), *((span, None) for span in free)]


def scheme_scores(sums: Sums, scheme: str, label: str = ALL) -> dict[str, Floats]:
    """Return the outcomes of a scheme, what was possible and actual, and precision, recall and f1; partial ones count half."""
    found = {outcome: sums[scheme, label, outcome] for outcome in OUTCOMES}
    taken = found["correct"] + found["incorrect"] + found["partial"]
    found |= {"possible": taken + found["missed"], "actual": taken + found["spurious"]}
    return found | prf(found["correct"] + 0.5 * found["partial"], found["actual"], found["possible"])


def labels_of(sums: Sums) -> list[str]:
    """Return the labels that occur in gold or predicted spans, in alphabetical order."""
    return sorted({label for (label, _), _ in sums.family("strict")} - {ALL})


def prf(right: Floats, predicted: Floats, gold: Floats) -> dict[str, Floats]:
    """Return precision, recall and their harmonic mean; 0 where there is nothing to divide by."""
    return {"precision": ratio(right, predicted), "recall": ratio(right, gold), "f1": ratio(2 * right, predicted + gold)}


def ratio(part: Any, whole: Any) -> Floats:
    """Return part / whole, 0 for an empty whole."""
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=float), np.asarray(whole, dtype=float))
    divided: Floats = np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0)
    return divided
