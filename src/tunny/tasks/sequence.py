"""Sequence classification: one class, several labels or a score, for a text or a pair of texts.

The answer to a long text is the mean of its windows' logits.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tunny.data.example import Example
from tunny.data.inputs import Padding
from tunny.data.labels import LabelSet
from tunny.data.store import WindowColumns
from tunny.metrics.calibration import Tuned
from tunny.tasks.base import Answer, Floats, Scorer
from tunny.tasks.decode import log_softmax
from tunny.tasks.scoring import scorer_of
from tunny.tasks.settings import SequenceTaskSettings

_METRICS = {"classify": "macro_f1", "multilabel": "f1", "regress": "pearson"}


class SequenceTask:
    """Labels whole texts; `labels.names` are the classes in id order, for regress the one name `score`."""

    def __init__(self, settings: SequenceTaskSettings, labels: LabelSet, padding: Padding):
        self.settings, self.labels, self.padding = settings, labels, padding
        self.metric = _METRICS[settings.kind]
        self.tuned = Tuned()

    def merged(self, examples: Sequence[Example], windows: WindowColumns, first_row: int, logits: Sequence[Floats]) -> list[Floats]:
        """Return the mean of the logits of each example's windows (1, K)."""
        at = windows.example - first_row
        sums = np.zeros((len(examples), len(self.labels.names)), dtype=np.float64)
        np.add.at(sums, at, np.stack(logits))
        counts = np.bincount(at, minlength=len(examples))
        return list((sums / counts[:, None]).astype(np.float32)[:, None])

    def answers(self, examples: Sequence[Example], windows: WindowColumns, first_row: int, logits: Sequence[Floats]) -> list[Answer]:
        """Return the class, labels or value of each example."""
        means = self.merged(examples, windows, first_row, logits)
        return [self._answer(example, mean[0]) for example, mean in zip(examples, means, strict=True)]

    def _answer(self, example: Example, logits: Floats) -> Answer:
        base: dict[str, object] = {"id": example.id, "text": example.text}
        if example.text_b is not None:
            base["text_b"] = example.text_b
        ids = self.labels.ids
        gold = [ids[name] for name in example.labels or () if name in ids]
        if self.settings.kind == "regress":
            value = float(logits[0])
            loss = 0.0 if example.score is None else (value - example.score) ** 2
            return Answer({**base, "value": value}, np.zeros(0, np.int64), logits, loss, float(example.score is not None))
        if self.settings.kind == "multilabel":
            return self._labels_answer(base, example, logits, gold)
        log_probs = log_softmax(logits)
        best = int(log_probs.argmax())
        loss = -float(log_probs[gold[0]]) if gold else 0.0
        prediction = {**base, "label": self.labels.names[best], **self.tuned.scored(float(np.exp(log_probs[best])))}
        return Answer(prediction, np.array([best]), np.exp(log_probs), loss, float(bool(gold)))

    def _thresholds(self) -> float | NDArray[np.float64]:
        """Return the probability from which each label is given; while it is to be tuned 0.5."""
        if self.tuned.thresholds is not None:
            return np.array([self.tuned.thresholds[name] for name in self.labels.names])
        return 0.5 if self.settings.threshold == "tuned" else self.settings.threshold

    def _labels_answer(self, base: dict[str, object], example: Example, logits: Floats, gold: list[int]) -> Answer:
        probabilities = np.asarray(expit(logits), dtype=np.float32)
        given = np.nonzero(probabilities >= self._thresholds())[0]
        listed = [
            {"label": self.labels.names[k], **self.tuned.scored(float(probabilities[k]))}
            for k in sorted(given, key=lambda k: -probabilities[k])
        ]
        loss, targets = 0.0, 0.0
        if example.labels is not None:
            truth = np.zeros(len(logits), dtype=np.float32)
            truth[gold] = 1.0
            loss = float((np.logaddexp(0.0, logits) - truth * logits).sum())
            targets = float(len(logits))
        return Answer({**base, "labels": listed}, given.astype(np.int64), probabilities, loss, targets)

    def scorer(self) -> Scorer:
        """Return an empty scorer."""
        return scorer_of(self.labels)
