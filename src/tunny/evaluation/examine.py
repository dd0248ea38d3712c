"""What an evaluation looks at beside its metrics: errors, what is taken for what, slices, and how far scores can be trusted.

All of it comes from outcomes: a gold label beside what was answered in its place. An outcome of a whole text has no place in it.
"""

import heapq
import zlib
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count, product
from math import isnan
from typing import Any, NamedTuple

import numpy as np

from tunny.data.example import Example, Span
from tunny.data.words import words_of
from tunny.metrics.spans import pairs
from tunny.metrics.sums import Cell, Counts
from tunny.tasks.base import Answer
from tunny.tasks.scoring import predicted_spans

LISTED = 1500  # errors that are kept, those of the highest scores
AROUND = 90  # characters of a text shown before and after an error
VALUES, LONGEST = 20, 40  # different values of a column by which slices are made, and characters of one
WHOLE = -1  # in place of a character: the whole text is meant
SIZES = {"text": (10, 20, 40, 80), "entity": (1, 2, 4)}  # words at which slices end


class Outcome(NamedTuple):
    """A gold label beside what was answered in its place, and how sure the model was of that."""

    gold: Span | None
    predicted: Span | None
    score: float

    @property
    def kind(self) -> str:
        """What it is, in words; blank where it is right."""
        gold, predicted = self.gold, self.predicted
        if gold is None or predicted is None:
            return "spurious" if gold is None else "missed"
        place, label = gold[:2] == predicted[:2], gold.label == predicted.label
        if place and label:
            return ""
        return "wrong label" if place else "wrong boundary" if label else "wrong label and boundary"


def outcomes(example: Example, answer: Answer, names: Sequence[str]) -> Iterator[Outcome]:
    """Yield what became of every gold label of an example and of every answer to it; `names` are the model's labels."""
    prediction = answer.prediction
    if "spans" in prediction or "tags" in prediction:
        words = words_of(example)
        if example.spans is None:
            return
        if "tags" in prediction:
            gold = {(span.start, span.end): span for span in example.spans}
            for word, tag, sure in zip(words, prediction["tags"], answer.scores.tolist(), strict=True):
                if word in gold:
                    yield Outcome(gold[word], gold[word]._replace(label=tag), sure)
            return
        scores = {(span["start"], span["end"]): span["score"] for span in prediction["spans"]}
        for one, other in pairs(example.spans, predicted_spans(prediction)):
            yield Outcome(one, other, scores[other[:2]] if other else _around(answer, words, one))
    elif "labels" in prediction:
        given, gold_labels = {one["label"]: one["score"] for one in prediction["labels"]}, set(example.labels or ())
        for label in sorted(gold_labels | set(given)) if example.labels is not None else ():
            mark = Span(WHOLE, WHOLE, label)
            belief = float(answer.scores[names.index(label)]) if label in names else 0.0
            yield Outcome(mark if label in gold_labels else None, mark if label in given else None, given.get(label, 1 - belief))
    elif "label" in prediction and example.labels:
        yield Outcome(Span(WHOLE, WHOLE, example.labels[0]), Span(WHOLE, WHOLE, prediction["label"]), prediction["score"])


def _around(answer: Answer, words: Sequence[tuple[int, int]], span: Any) -> float:
    """Return how sure the model is of the least sure of the tags that it gave to the words of a span."""
    inside = (answer.scores[at].item() for at, (start, end) in enumerate(words) if start < span[1] and span[0] < end)
    return min((score for score in inside if not isnan(score)), default=0.0)


class Examination:
    """Collects outcomes as they pass; what it keeps is bounded, but for two numbers an answer."""

    def __init__(self, names: Sequence[str], files: Sequence[str], forms: Collection[str] | None = None):
        self._names, self._files = names, files
        self._forms = forms  # surface forms of the training data, lower case; None: not known
        self.confusion, self.errors = Counter[tuple[str, str]](), Counter[str]()
        self._worst: list[tuple[float, int, dict[str, Any]]] = []
        self._number = count()
        self._values: dict[str, set[str]] = {}
        self.sizes = array("i")  # words of each text
        self.label_half = bytearray()  # of each example with labels, the half that it is in for fitting
        self.scores, self.right, self.half = array("d"), bytearray(), bytearray()

    def look(self, example: Example, answer: Answer) -> Counts:
        """Take in one answered example; return the cells of its slices."""
        about = list(self._slices(example))
        cells: defaultdict[Cell, float] = defaultdict(int, {("slice", *one, "examples"): 1 for one in about})
        half = zlib.crc32((example.document or example.id).encode()) & 1
        if example.labels is not None:
            self.label_half.append(half)
        words = words_of(example)
        near = None if answer.near_cut is None else {words[at][0] for at in np.flatnonzero(answer.near_cut)}
        for outcome in outcomes(example, answer, self._names):
            (gold, predicted, sure), kind = outcome, outcome.kind
            self.confusion[gold.label if gold else "", predicted.label if predicted else ""] += 1
            if predicted is not None:
                self.scores.append(sure)
                self.right.append(not kind)
                self.half.append(half)
            if kind:
                self.errors[kind] += 1
                self._push(sure, example, kind, gold, predicted)
            for mark, whats in ((gold, ("gold",)), (predicted, ("predicted",))) if kind else ((gold, ("gold", "predicted", "right")),):
                for one, what in product((*about, *self._of_mark(example, mark, near)), whats) if mark else ():
                    cells["slice", *one, what] += 1
        if "value" in answer.prediction and example.score is not None:
            found, wanted = float(answer.prediction["value"]), example.score
            for one in about:
                cells["slice", *one, "error"] += (found - wanted) ** 2
            self.errors["distance"] += 1
            self._push(abs(found - wanted), example, "distance", Span(WHOLE, WHOLE, f"{wanted:g}"), Span(WHOLE, WHOLE, f"{found:.3g}"))
        self.sizes.append(len(words))
        return cells

    def _slices(self, example: Example) -> Iterator[tuple[str, str]]:
        size = len(words_of(example))
        yield "text length", _sized(size, SIZES["text"])
        if example.origin is not None and len(self._files) > 1 and 0 <= example.origin.file < len(self._files):
            yield "source file", self._files[example.origin.file]
        data = example.meta.get("data")
        columns = {**data, "annotator": example.meta.get("annotator")} if isinstance(data, Mapping) else example.meta  # of Label Studio
        for name, value in columns.items():
            if isinstance(value, (str, bool, int)) and len(str(value)) <= LONGEST:
                seen = self._values.setdefault(name, set())
                if len(seen) < VALUES:
                    seen.add(str(value))
                yield name, str(value) if str(value) in seen else "others"

    def _of_mark(self, example: Example, mark: Span, near: Collection[int] | None) -> Iterator[tuple[str, str]]:
        """Yield the slices that a label with a place is in."""
        if mark.start != WHOLE:
            form = example.text[mark.start : mark.end]
            yield "entity length", _sized(form.count(" ") + 1, SIZES["entity"])
            if self._forms is not None:
                yield "surface form", "seen in training" if form.lower() in self._forms else "not seen in training"
            if near is not None:
                yield "context of a long text", "cut nearby" if mark.start in near else "whole"

    def _push(self, sure: float, example: Example, kind: str, gold: Span | None, predicted: Span | None) -> None:
        entry = (sure, -next(self._number))
        if len(self._worst) == LISTED and entry < self._worst[0][:2]:
            return
        shown = {**_excerpt(example, gold, predicted), "kind": kind, "id": example.id, "where": self._where(example)}
        shown["score"] = None if kind == "distance" else sure
        (heapq.heappush if len(self._worst) < LISTED else heapq.heappushpop)(self._worst, (*entry, shown))

    def _where(self, example: Example) -> str:
        if example.origin is None or not 0 <= example.origin.file < len(self._files):
            return example.id
        return f"{self._files[example.origin.file]}:{example.place or example.origin.line}"

    def listed(self) -> list[dict[str, Any]]:
        """Return the errors that were kept, the surest first."""
        return [shown for _, _, shown in sorted(self._worst, key=lambda one: one[:2], reverse=True)]


@lru_cache
def _sized(size: int, ends: tuple[int, ...]) -> str:
    at = bisect_left(ends, size)
    if at == len(ends):
        return f"more than {ends[-1]} words"
    low, high = (ends[at - 1] if at else 0) + 1, ends[at]
    return f"{low} to {high} words" if low < high else f"{high} word{'s' * (high > 1)}"


def _excerpt(example: Example, gold: Span | None, predicted: Span | None) -> dict[str, Any]:
    """Return the part of the text around the marks, with the marks moved to places in it."""
    placed = [mark for mark in (gold, predicted) if mark is not None and mark.start != WHOLE]
    low = max(0, min((mark.start for mark in placed), default=0) - AROUND)
    high = max((mark.end for mark in placed), default=2 * AROUND) + AROUND
    shown: dict[str, Any] = {"text": example.text[low:high], **({} if example.text_b is None else {"text_b": example.text_b[:high]})}
    for name, mark in (("gold", gold), ("predicted", predicted)):
        place: Mapping[str, int] = {} if mark is None or mark.start == WHOLE else {"start": mark.start - low, "end": mark.end - low}
        shown[name] = None if mark is None else {"label": mark.label, **place}
    return shown
