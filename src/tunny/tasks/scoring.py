"""What is counted of one answer, and the metrics of such counts: of tags and spans, of classes, of sets of labels, of numbers.

A scorer needs no model: an example with its gold labels and a line of predictions.jsonl are enough, so saved answers can be scored again.
Metrics take sums over any documents, or many such sums at once, and are nan where they are not defined.
"""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunny.data.example import Example, Span
from tunny.data.labels import LabelSet
from tunny.data.settings import TOKEN_KINDS
from tunny.data.tags import split_tag, tag_words
from tunny.data.words import words_of
from tunny.metrics.classes import by_class, class_metrics, label_metrics, ranking, spearman, value_counts, value_metrics
from tunny.metrics.spans import labels_of, prf, ratio, scheme_scores, span_counts
from tunny.metrics.sums import Cell, Counts, Floats, Sums

RANKED = 50_000_000  # scores kept for metrics of their order

Metrics = dict[str, Floats]
Scores = NDArray[np.float32]
Prediction = Mapping[str, Any]  # a line of predictions.jsonl


class TokenScorer:
    """Exact spans of whole texts for ner and chunk, tags word by word for all."""

    def __init__(self, labels: LabelSet):
        self._names = labels.names
        self._is_pos = labels.kind == "pos"

    def count(self, example: Example, prediction: Prediction) -> Counts:
        """Count the spans of an example and the tags of its words; those of ner and chunk as IOB2."""
        if example.spans is None:
            return {}
        words = words_of(example)
        if self._is_pos:
            gold = {(span.start, span.end): span.label for span in example.spans}
            return Counter(("tag", gold[word], tag) for word, tag in zip(words, prediction["tags"], strict=True) if word in gold)
        predicted = predicted_spans(prediction)
        if not example.spans and not predicted:
            return {("tag", "O", "O"): len(words)}
        counts = span_counts(example.spans, predicted)
        tags = tag_words(example.spans, words)
        answers = tags if example.spans == tuple(predicted) else tag_words(predicted, words)
        for tag, answer in zip(tags, answers, strict=True):
            counts["tag", tag, answer] += 1
        return counts

    def metrics(self, sums: Sums) -> Metrics:
        """Return the metrics of the kind."""
        if self._is_pos:
            found = class_metrics(sums, "tag", self._names)
            return {"token_accuracy": found["accuracy"], "macro_f1": found["macro_f1"]}
        overall = scheme_scores(sums, "strict")
        right, same, predicted, gold, total = np.zeros((5, *overall["f1"].shape))
        for (truth, guess), number in sums.family("tag"):
            right += number * (truth == guess)
            same += number * (truth != "O" and guess != "O" and split_tag(truth)[1] == split_tag(guess)[1])
            predicted, gold, total = predicted + number * (guess != "O"), gold + number * (truth != "O"), total + number
        spans = {name: overall[name] for name in ("precision", "recall", "f1")}
        return {**spans, "token_f1": prf(same, predicted, gold)["f1"], "token_accuracy": ratio(right, total)}

    def per_label(self, sums: Sums) -> dict[str, Metrics]:
        """Return precision, recall, f1 and support of each entity type or tag."""
        if self._is_pos:
            return _by_name(by_class(sums, "tag", self._names))
        found = {label: scheme_scores(sums, "strict", label) for label in labels_of(sums)}
        return {
            label: {**{name: one[name] for name in ("precision", "recall", "f1")}, "support": one["possible"]}
            for label, one in found.items()
        }

    def rank(self, example: Example, scores: Scores) -> None:
        """Keep nothing: no metric needs the order of scores."""

    def ranked(self) -> dict[str, float | None]:
        """Return no metrics."""
        return {}


class _Ranking:
    """Keeps the probabilities of labels beside gold labels, as many as fit in memory."""

    def __init__(self, labels: LabelSet):
        self._names = labels.names
        self._ranked = [1] if labels.kind == "classify" and len(labels.names) == 2 else range(len(labels.names))
        self._scores, self._gold = array("f"), bytearray()

    def rank(self, example: Example, scores: Scores) -> None:
        """Keep the probabilities (K,) of an example."""
        if example.labels is not None and len(self._scores) <= RANKED:
            self._scores.frombytes(np.asarray(scores, np.float32).tobytes())
            self._gold += bytes(name in example.labels for name in self._names)

    def kept(self) -> tuple[Scores, NDArray[np.bool_]]:
        """Return the probabilities of the examples with gold labels, and which labels are gold (N, K each)."""
        shape = (-1, len(self._names))
        return np.array(self._scores, np.float32).reshape(shape), np.frombuffer(bytes(self._gold), np.bool_).reshape(shape)

    def ranked(self) -> dict[str, float | None]:
        """Return ROC-AUC and average precision: of the second of two classes, else their means over the labels that have them."""
        scores, gold = self.kept()
        found = [ranking(gold[:, k], scores[:, k]) for k in self._ranked] if len(self._scores) <= RANKED else [(None, None)]
        known = [[value for value in values if value is not None] for values in zip(*found, strict=True)]
        means = (float(np.mean(values)) if values else None for values in known)
        return dict(zip(("roc_auc", "average_precision"), means, strict=True))


class ClassScorer(_Ranking):
    """One class an example."""

    def count(self, example: Example, prediction: Prediction) -> Counts:
        """Count one example."""
        return {("class", example.labels[0], prediction["label"]): 1.0} if example.labels else {}

    def metrics(self, sums: Sums) -> Metrics:
        """Return accuracy, F1 averages, Matthews, and for two classes precision, recall and f1 of the second."""
        return class_metrics(sums, "class", self._names)

    def per_label(self, sums: Sums) -> dict[str, Metrics]:
        """Return precision, recall, f1 and support of each class."""
        return _by_name(by_class(sums, "class", self._names))


class LabelsScorer(_Ranking):
    """Any number of labels an example."""

    def count(self, example: Example, prediction: Prediction) -> Counts:
        """Count one example."""
        if example.labels is None:
            return {}
        truth, guess = set(example.labels), {one["label"] for one in prediction["labels"]}
        counts: dict[Cell, float] = {("labels", name, "gold"): 1.0 for name in truth}
        counts |= {("labels", name, "predicted"): 1.0 for name in guess}
        counts |= {("labels", name, "right"): 1.0 for name in truth & guess}
        agreement = 2 * len(truth & guess) / (len(truth) + len(guess)) if truth or guess else 1.0
        return counts | {("sets", "examples"): 1.0, ("sets", "right"): float(truth == guess), ("sets", "f1"): agreement}

    def _all(self, sums: Sums) -> list[str]:
        """Return the model's labels, then others that the data holds, which are always missed."""
        return [*self._names, *sorted({name for (name, _), _ in sums.family("labels")}.difference(self._names))]

    def metrics(self, sums: Sums) -> Metrics:
        """Return micro precision, recall and f1, the averages, and accuracy of whole sets."""
        return label_metrics(sums, self._all(sums))

    def per_label(self, sums: Sums) -> dict[str, Metrics]:
        """Return precision, recall, f1 and support of each label."""
        kinds = ("right", "predicted", "gold")
        return _by_name({name: tuple(sums["labels", name, kind] for kind in kinds) for name in self._all(sums)})


class ValueScorer:
    """One number an example."""

    def __init__(self) -> None:
        self._origin: float | None = None
        self._gold, self._predicted = array("d"), array("d")

    def count(self, example: Example, prediction: Prediction) -> Counts:
        """Count one pair of values from the first gold value on, so that large ones lose no digits."""
        if example.score is None:
            return {}
        if self._origin is None:
            self._origin = example.score
        return value_counts(example.score - self._origin, prediction["value"] - self._origin)

    def metrics(self, sums: Sums) -> Metrics:
        """Return pearson and mse."""
        return value_metrics(sums)

    def per_label(self, sums: Sums) -> dict[str, Metrics]:
        """Return nothing: there are no labels."""
        return {}

    def rank(self, example: Example, scores: Scores) -> None:
        """Keep one pair of values."""
        if example.score is not None:
            self._gold.append(example.score)
            self._predicted.append(float(scores[0]))

    def ranked(self) -> dict[str, float | None]:
        """Return spearman, and its mean with pearson, as GLUE has it."""
        rank = spearman(self._gold, self._predicted)
        return {
            "spearman": rank,
            "pearson_and_spearman": None if rank is None else (rank + float(np.corrcoef(self._gold, self._predicted)[0, 1])) / 2,
        }


def scorer_of(labels: LabelSet) -> TokenScorer | ClassScorer | LabelsScorer | ValueScorer:
    """Return an empty scorer for the labels of a task of ours."""
    if labels.kind in TOKEN_KINDS:
        return TokenScorer(labels)
    if labels.kind == "classify":
        return ClassScorer(labels)
    return LabelsScorer(labels) if labels.kind == "multilabel" else ValueScorer()


def predicted_spans(prediction: Prediction) -> list[Span]:
    """Return the spans of a prediction, of tags a span for each word."""
    if "tags" in prediction:
        return [Span(start, end, tag) for (start, end), tag in zip(prediction["words"], prediction["tags"], strict=True)]
    return [Span(span["start"], span["end"], span["label"]) for span in prediction.get("spans", ())]


def as_predicted(example: Example, prediction: Prediction) -> Example:
    """Return the example with what is predicted as its labels."""
    labels = [item["label"] for item in prediction.get("labels", ())] or [prediction[name] for name in ("label",) if name in prediction]
    return replace(example, spans=tuple(predicted_spans(prediction)), labels=tuple(labels), score=prediction.get("value"))


def _by_name(counts: Mapping[str, Sequence[Floats]]) -> dict[str, Metrics]:
    return {name: {**prf(right, predicted, gold), "support": gold} for name, (right, predicted, gold) in counts.items()}
