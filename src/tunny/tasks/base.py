"""What a task is, and what passes between it, the loop and evaluation.

Letters: B rows (windows), T tokens, K labels, W words.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tunny.core.errors import ConfigError, did_you_mean
from tunny.data.example import Example
from tunny.data.labels import LabelSet
from tunny.data.store import Window, WindowColumns
from tunny.metrics.calibration import Tuned
from tunny.metrics.sums import Counts, Sums

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Rows padded to the longest among them, with the number of targets counted before the device works."""

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) int64, 0 at padding
    token_type_ids: Tensor | None  # (B, T) int64, for models that take them
    labels: Tensor  # tokens: (B, T) int64, -100 where nothing is learnt; classify (B,) int64; multilabel (B, K), regress (B,) float32
    weights: Tensor  # (B,) float32, of each row in the loss
    num_targets: float  # what the loss sum is divided by
    lengths: tuple[int, ...]  # tokens of each row, without padding

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        types = self.token_type_ids
        return replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=True),
            attention_mask=self.attention_mask.to(device, non_blocking=True),
            token_type_ids=None if types is None else types.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            weights=self.weights.to(device, non_blocking=True),
        )

    @property
    def num_tokens(self) -> int:
        """Tokens without padding."""
        return sum(self.lengths)

    def inputs(self) -> dict[str, Tensor]:
        """Return the arguments of a transformers model."""
        taken = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        return taken if self.token_type_ids is None else {**taken, "token_type_ids": self.token_type_ids}


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


class Lesson(Protocol):
    """What is learnt of rows: all that the loop asks of a task."""

    def batch(self, windows: Sequence[Window]) -> Any:
        """Collate rows to a `Batch` or more."""

    def train_step(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the sum of the losses of a batch; `model` is the wrapped model."""


class Task(Lesson, Protocol):
    """What is learnt and answered. It knows nothing of devices, files and optimizers."""

    labels: LabelSet
    metric: str  # that chooses the best model
    padding: "Padding"
    tuned: Tuned  # what its answers were tuned to after training

    def batch(self, windows: Sequence[Window]) -> Batch:
        """Collate rows."""

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the sum of the losses of logits, (B, T, K) or (B, K), against the labels of a batch."""

    def predict_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the logits: (B, T, K) or (B, K)."""

    def merged(self, examples: Sequence[Example], windows: WindowColumns, first_row: int, logits: Sequence[Floats]) -> list[Floats]:
        """Return the logits of each example from those of its windows: of its words (W, K), nan where none is given, or of it (1, K)."""

    def answers(self, examples: Sequence[Example], windows: WindowColumns, first_row: int, logits: Sequence[Floats]) -> list[Answer]:
        """Return one answer an example from the logits of its windows ((T, K) or (K,) each)."""

    def scorer(self) -> Scorer:
        """Return an empty scorer."""


@dataclass(frozen=True)
class Padding:
    """What the model wants of its inputs."""

    pad_id: int
    token_types: bool
    positions: int | None = field(default=None)  # most tokens the model takes


def pad(windows: Sequence[Window], padding: Padding) -> tuple[Tensor, Tensor, Tensor | None, tuple[int, ...]]:
    """Return input_ids, attention_mask, token_type_ids ((B, T) each) and the number of tokens of each row."""
    longest = max(len(window.ids) for window in windows)
    lengths = tuple(len(window.ids) for window in windows)
    ids = np.full((len(windows), longest), padding.pad_id, dtype=np.int64)
    mask, types = np.zeros((2, len(windows), longest), dtype=np.int64)
    for row, (window, length) in enumerate(zip(windows, lengths, strict=True)):
        ids[row, :length] = window.ids
        mask[row, :length] = 1
        types[row, window.second : length] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(types) if padding.token_types else None, lengths


def class_weights(
    wanted: dict[str, float] | str | None, names: Sequence[str], counts: Counter[int], groups: dict[str, list[int]]
) -> Tensor | None:
    """Return the weight of each label (K,) float32, or None where all weigh the same.

    `groups` maps a name the user may write to the label ids it stands for (an entity type to its tags). Balanced is
    total / (number of labels that occur * count), as in scikit-learn.
    """
    if wanted is None:
        return None
    weights = torch.ones(len(names))
    if wanted == "balanced":
        total = sum(counts.values())
        for label, count in counts.items():
            weights[label] = total / (len(counts) * count)
        return weights
    assert isinstance(wanted, dict)
    for name, weight in wanted.items():
        if name not in groups:
            raise ConfigError(f"task.class_weights: no label {name!r}{did_you_mean(name, groups)}")
        if weight < 0:
            raise ConfigError(f"task.class_weights.{name}: expected a weight of at least 0, found {weight}")
        weights[groups[name]] = weight
    return weights
