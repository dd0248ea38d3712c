"""What is learnt of rows: their batches, and the sum of their losses. Only training needs this; what is answered the tasks say.

A token learns the tag of the word that it answers, a window the label of its text.

Letters: B rows (windows), T tokens, K labels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunny.core.errors import ConfigError, did_you_mean
from tunny.data.align import IGNORED
from tunny.data.inputs import Padding, pad
from tunny.data.labels import LabelSet
from tunny.data.settings import TOKEN_KINDS
from tunny.data.store import Window
from tunny.tasks.sequence import SequenceTask
from tunny.tasks.token import TokenTask


@dataclass(frozen=True)
class Batch:
    """Padded rows with what they learn, and the number of targets counted before the device works."""

    inputs: Mapping[str, Tensor]  # input_ids, attention_mask and, for models that take them, token_type_ids: (B, T) int64
    labels: Tensor  # tokens: (B, T) int64, -100 where nothing is learnt; classify (B,) int64; multilabel (B, K), regress (B,) float32
    weights: Tensor  # (B,) float32, of each row in the loss
    num_targets: float  # what the loss sum is divided by
    lengths: tuple[int, ...]  # tokens of each row, without padding

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        labels, weights = (tensor.to(device, non_blocking=True) for tensor in (self.labels, self.weights))
        return replace(self, inputs=moved(self.inputs, device), labels=labels, weights=weights)

    @property
    def num_tokens(self) -> int:
        """Tokens without padding."""
        return sum(self.lengths)

    @property
    def num_rows(self) -> int:
        """Rows."""
        return len(self.lengths)

    @property
    def num_slots(self) -> int:
        """Tokens with padding."""
        return self.inputs["input_ids"].numel()


class Lesson(Protocol):
    """What is learnt of rows: all that the loop asks of it."""

    draws: bool  # whether batches may be made with random numbers, from `random`, numpy or torch

    def batch(self, rows: Sequence[Any]) -> Any:
        """Collate rows to a `Batch`, or to what has its `num_` attributes, its `lengths` and its `to`."""

    def train_step(self, model: nn.Module, batch: Any) -> Tensor | tuple[Tensor, Sequence[Any]]:
        """Return the sum of the losses of a batch, and where callbacks are to see them, one output a row; `model` is the wrapped model."""


class OwnLesson:
    """What a task learns of the labels of the data."""

    draws = False

    def __init__(self, task: TokenTask | SequenceTask, counts: Counter[int] | None = None):
        self.task, self.kind = task, task.settings.kind
        self.weights = class_weights(task.settings.class_weights, task.labels, counts or Counter())

    def batch(self, rows: Sequence[Window]) -> Batch:
        """Collate windows; targets are counted by window weight, and by class weight where one of several classes is learnt."""
        inputs, lengths = tensors(rows, self.task.padding)
        weights = torch.tensor([window.weight for window in rows], dtype=torch.float32)
        targets, num_labels = float(weights.sum()), len(self.task.labels.names)
        if self.kind in TOKEN_KINDS:
            tags = np.full((len(rows), max(lengths)), IGNORED, dtype=np.int64)
            for row, window in enumerate(rows):
                tags[row, : len(window.labels)] = window.labels
            learnt, labels = tags[tags != IGNORED], torch.from_numpy(tags)
            targets = float(len(learnt)) if self.weights is None else float(self.weights[learnt].sum())
        elif self.kind == "classify":
            labels = torch.tensor([int(window.labels[0]) if len(window.labels) else IGNORED for window in rows])
            by_class = torch.ones(len(rows)) if self.weights is None else self.weights[labels.clamp(min=0)]
            weights = weights * (labels >= 0)
            targets = float((weights * by_class).sum())
        elif self.kind == "multilabel":
            labels, targets = torch.zeros(len(rows), num_labels), targets * num_labels
            for row, window in enumerate(rows):
                labels[row, window.labels.astype(np.int64)] = 1.0
        else:
            labels = torch.tensor([window.score for window in rows], dtype=torch.float32)
        return Batch(inputs, labels, weights, targets, lengths)

    def train_step(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the weighted sum of cross-entropies, binary cross-entropies or squared errors over the targets."""
        return self.loss(model(**batch.inputs).logits.float(), batch)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the same of logits, (B, T, K) or (B, K)."""
        weights, smoothing = None if self.weights is None else self.weights.to(logits.device), self.task.settings.label_smoothing
        entropy = partial(functional.cross_entropy, weight=weights, label_smoothing=smoothing, ignore_index=IGNORED)
        if self.kind in TOKEN_KINDS:
            return entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="sum")
        if self.kind == "classify":
            losses = entropy(logits, batch.labels, reduction="none")
        elif self.kind == "multilabel":
            targets = batch.labels * (1.0 - smoothing) + 0.5 * smoothing
            losses = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights, reduction="none").sum(dim=1)
        else:
            losses = (logits.squeeze(-1) - batch.labels) ** 2
        return (losses * batch.weights).sum()


def tensors(windows: Sequence[Window], padding: Padding) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Return padded rows as tensors that share the memory of `pad`'s arrays, and the number of tokens of each."""
    inputs, lengths = pad(windows, padding)
    return {name: torch.from_numpy(values) for name, values in inputs.items()}, lengths


def moved(value: Any, device: torch.device) -> Any:
    """Return a value with the tensors in it on a device: those in mappings, sequences, and whatever has a `to`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if hasattr(value, "to"):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(item, device) for item in value))
    return type(value)(moved(item, device) for item in value) if isinstance(value, (list, tuple)) else value


def class_weights(wanted: dict[str, float] | str | None, labels: LabelSet, counts: Counter[int]) -> Tensor | None:
    """Return the weight of each label (K,) float32, or None where all weigh the same.

    A name may be an entity type, which stands for its tags. Balanced is total / (number of labels that occur * count), as in
    scikit-learn.
    """
    if wanted is None:
        return None
    weights = torch.ones(len(labels.names))
    if wanted == "balanced":
        total = sum(counts.values())
        for label, count in counts.items():
            weights[label] = total / (len(counts) * count)
        return weights
    assert isinstance(wanted, dict)
    groups = label_groups(labels)
    for name, weight in wanted.items():
        if name not in groups:
            raise ConfigError(f"task.class_weights: no label {name!r}{did_you_mean(name, groups)}")
        if weight < 0:
            raise ConfigError(f"task.class_weights.{name}: expected a weight of at least 0, found {weight}")
        weights[groups[name]] = weight
    return weights


def label_groups(labels: LabelSet) -> dict[str, list[int]]:
    """Return the ids behind each name a user may write: a label, or an entity type with all its tags."""
    groups: dict[str, list[int]] = {name: [number] for number, name in enumerate(labels.names)}
    if labels.kind in ("ner", "chunk"):
        for number, name in enumerate(labels.names):
            if "-" in name:
                groups.setdefault(name.partition("-")[2], []).append(number)
    return groups
