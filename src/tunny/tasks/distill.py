"""Distillation: a student learns its own task from a teacher's answers, from labels, and from what the teacher's layers do.

The teacher's answers are those of words and texts, so its tokenizer and windows may be others than the student's: each word's own
token learns the word's answer, each window its text's. Layers are compared token by token, by running the teacher beside the student.

Each loss is counted per target, a word or a text, and all are divided by the targets of the step. What is compared token by token
is the mean over a row's tokens, times the row's targets. Texts without labels have no loss of labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tunny.data.inputs import Padding
from tunny.data.settings import TOKEN_KINDS
from tunny.data.store import LogitStore, Window
from tunny.tasks.distill_losses import of_answers, of_attentions, of_states
from tunny.tasks.lessons import Batch, OwnLesson, moved, tensors
from tunny.tasks.settings import DistillSettings


@dataclass(frozen=True)
class TaughtBatch(Batch):
    """A batch of the student's task with what its teacher answers; letters as in `tasks/lessons.py`."""

    taught: Tensor  # (B, T, K) or (B, K) float32, logits
    shares: Tensor  # (B, T) or (B,) float32, how much of a target each is: 0 where there is no answer to learn
    asked: Mapping[str, Tensor] | None  # the same rows as the teacher takes them, where layers are compared

    def to(self, device: torch.device) -> "TaughtBatch":
        """Return the batch on a device."""
        taught, shares = (tensor.to(device, non_blocking=True) for tensor in (self.taught, self.shares))
        asked = None if self.asked is None else moved(self.asked, device)
        return TaughtBatch(**{**vars(super().to(device)), "taught": taught, "shares": shares, "asked": asked})


@dataclass(frozen=True)
class Layers:
    """A teacher whose layers are compared: frozen, in inference mode, on the student's device."""

    model: nn.Module
    padding: Padding
    of_student: Sequence[int]  # its layer for each of the student's


class Distillation:
    """What a student learns beside its own lesson; it answers by its own task."""

    draws = False

    def __init__(self, own: OwnLesson, settings: DistillSettings, taught: LogitStore, num_labelled: int, layers: Layers | None = None):
        self.own, self.labels, self.settings, self.taught, self.layers = own, own.task.labels, settings, taught, layers
        self.num_labelled = num_labelled  # examples; those behind them have no labels
        self.outputs = len(self.labels.names) if self.labels.kind == "multilabel" else 1  # targets of a window

    def batch(self, rows: Sequence[Window]) -> TaughtBatch:
        """Collate rows; targets are the words or windows that the teacher answered, for multilabel times the labels."""
        batch, kind = self.own.batch(rows), self.labels.kind
        places = batch.labels.shape if kind in TOKEN_KINDS else batch.labels.shape[:1]
        taught, shares = torch.zeros(*places, len(self.labels.names)), torch.zeros(places)
        for row, window in enumerate(rows):
            answers = self.taught[window.example]  # (W, K) or (1, K)
            if kind in TOKEN_KINDS:
                own = np.flatnonzero(window.words >= 0)
                own = own[~np.isnan(answers[window.words[own], 0])]
                taught[row, own], shares[row, own] = torch.from_numpy(answers[window.words[own]]), 1.0
            else:
                taught[row], shares[row] = torch.from_numpy(answers[0]), window.weight
        labelled = torch.tensor([float(window.example < self.num_labelled) for window in rows])
        labels = batch.labels.nan_to_num() if kind == "regress" else batch.labels
        known = {"labels": labels, "weights": batch.weights * labelled, "num_targets": float(shares.sum()) * self.outputs}
        asked = tensors(rows, self.layers.padding)[0] if self.layers else None
        return TaughtBatch(**{**vars(batch), **known}, taught=taught, shares=shares, asked=asked)

    def train_step(self, model: nn.Module, batch: TaughtBatch) -> Tensor:
        """Return the weighted sum of all losses; `model` is the wrapped student."""
        losses = self.settings.losses
        looked = {"output_hidden_states": bool(losses.hidden_states), "output_attentions": bool(losses.attentions)} if self.layers else {}
        found = model(**batch.inputs, **looked)
        logits = found.logits.float()
        total = losses.logits * of_answers(logits, batch.taught, batch.shares, self.labels.kind, self.settings.temperature)
        if losses.labels:
            total = total + losses.labels * self.own.loss(logits, batch)
        if self.layers is not None and batch.asked is not None:
            with torch.no_grad():
                shown = self.layers.model(**batch.asked, **looked)
            mask = batch.inputs["attention_mask"].float()
            targets = batch.shares.reshape(len(mask), -1).sum(1) * self.outputs  # (B,)
            if losses.hidden_states:  # the first are the embeddings'
                apart = of_states(found.hidden_states[1:], [shown.hidden_states[at + 1] for at in self.layers.of_student], mask)
                total = total + losses.hidden_states * (apart * targets).sum()
            if losses.attentions:
                apart = of_attentions(found.attentions, [shown.attentions[at] for at in self.layers.of_student], mask)
                total = total + losses.attentions * (apart * targets).sum()
        return total
