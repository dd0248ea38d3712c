"""What a task answers, and what passes between it, its model and evaluation; all in numpy.

Letters: B rows (windows), T tokens, K labels, W words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tunny.data.example import Example
from tunny.data.inputs import Inputs, Padding
from tunny.data.labels import LabelSet
from tunny.data.store import WindowColumns
from tunny.metrics.calibration import Tuned
from tunny.metrics.sums import Counts, Sums

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What the model says of one example, with what scoring needs."""

    prediction: dict[str, Any]  # a line of predictions.jsonl
    labels: NDArray[np.int64]  # token tasks (W,): tag ids of all words; classify (1,); multilabel: ids given
    scores: Floats  # token tasks (W,): probability of the tag; sequence tasks (K,): probabilities, or the value
    loss: float = 0.0  # sum over the targets; 0 without gold labels
    num_targets: float = 0.0
    near_cut: NDArray[np.bool_] | None = None  # token tasks (W,): words near a place where a text was cut; None where it was not
    logs: Floats | None = None  # token tasks (W, K): log probabilities of the tags; 0 for words without tokens


class Scorer(Protocol):
    """Says what is counted of an answer, and the metrics of such counts."""

    def count(self, example: Example, prediction: Mapping[str, Any]) -> Counts:
        """Return what is counted of one example with gold labels, and nothing of one without."""

    def metrics(self, sums: Sums) -> dict[str, NDArray[np.float64]]:
        """Return the task's metrics by their names, of one sum or of many at once, nan where not defined."""

    def per_label(self, sums: Sums) -> dict[str, dict[str, NDArray[np.float64]]]:
        """Return precision, recall, f1 and support of each label."""

    def rank(self, example: Example, scores: Floats) -> None:
        """Keep the scores of an example for metrics of their order."""

    def ranked(self) -> dict[str, float | None]:
        """Return the metrics of the order of all scores that were kept."""


class Model(Protocol):
    """A model as it answers, whatever computes it."""

    @property
    def device(self) -> str:
        """Where it is computed: cpu, cuda or cuda:N."""

    def __call__(self, inputs: Inputs, lengths: Sequence[int]) -> Floats:
        """Return the logits, (B, T, K) or (B, K), of padded rows of these lengths."""


class Task(Protocol):
    """What is answered; a lesson of `tasks/lessons.py` says how it is learnt. It knows nothing of devices, files and torch."""

    labels: LabelSet
    metric: str  # that chooses the best model
    padding: Padding
    tuned: Tuned  # what its answers were tuned to after training

    def merged(self, examples: Sequence[Example], windows: WindowColumns, first_row: int, logits: Sequence[Floats]) -> list[Floats]:
        """Return the logits of each example from those of its windows: of its words (W, K), nan where none is given, or of it (1, K)."""

    def answers(self, examples: Sequence[Example], windows: WindowColumns, first_row: int, logits: Sequence[Floats]) -> list[Answer]:
        """Return one answer an example from the logits of its windows ((T, K) or (K,) each)."""

    def scorer(self) -> Scorer:
        """Return an empty scorer."""
