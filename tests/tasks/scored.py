"""Scoring by hand: gold labels and predictions in, metrics as plain numbers out."""

import math

from tunny.data.example import Example, Span
from tunny.data.labels import LabelSet
from tunny.metrics.sums import Table
from tunny.tasks.scoring import ClassScorer, LabelsScorer, TokenScorer, ValueScorer


def plain(values):
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


class Scored:
    """A scorer with the table that it fills."""

    def __init__(self, scorer):
        self.scorer, self.table = scorer, Table()

    def add(self, example, prediction, scores=None):
        if counts := self.scorer.count(example, prediction):
            self.table.add(counts, example.document)
        if scores is not None:
            self.scorer.rank(example, scores)
        return self

    def metrics(self):
        return {**plain(self.scorer.metrics(self.table.sums())), **self.scorer.ranked()}

    def per_label(self):
        return {label: plain(row) for label, row in self.scorer.per_label(self.table.sums()).items()}


def spans(gold, predicted, text="x" * 60):
    """Score spans of texts, each a list of (start, end, label)."""
    found = Scored(TokenScorer(LabelSet("ner", ("O",))))
    for truth, guess in zip(gold, predicted, strict=True):
        listed = [{"start": start, "end": end, "label": label} for start, end, label in guess]
        words = tuple((at, at + 1) for at in range(len(text)))
        found.add(Example("0", text, spans=tuple(Span(*span) for span in truth), words=words), {"spans": listed})
    return found


def classes(names, answers):
    """Score pairs of a gold and a predicted class."""
    found = Scored(ClassScorer(LabelSet("classify", tuple(names))))
    for gold, predicted in answers:
        found.add(Example("0", "x", labels=(gold,)), {"label": predicted})
    return found


def label_sets(names, answers):
    """Score pairs of sets of labels."""
    found = Scored(LabelsScorer(LabelSet("multilabel", tuple(names))))
    for gold, predicted in answers:
        found.add(Example("0", "x", labels=tuple(gold)), {"labels": [{"label": name} for name in predicted]})
    return found


def values(gold, predicted):
    """Score pairs of numbers."""
    found = Scored(ValueScorer())
    for truth, guess in zip(gold, predicted, strict=True):
        found.add(Example("0", "x", score=truth), {"value": guess}, [guess])
    return found
