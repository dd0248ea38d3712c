"""A classifier of texts with a loss of one's own: the focal loss, which turns to what is not learnt yet (Lin et al., 2017).

Reads a CSV with the columns `text` and `label`.

    tunny train --task focal_loss:Focal --data.train train.csv --data.validation dev.csv --task.labels [calm,rough] --task.gamma 2
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tunny


class Text(NamedTuple):
    """A text and its label, where that is known."""

    text: str
    label: str | None


class Focal(tunny.Task):
    """One of several labels by a pretrained encoder."""

    class Settings(tunny.Settings):
        """Stands under `task`."""

        labels: list[str] = Field(min_length=2, description="names of the labels")
        gamma: float = Field(2.0, ge=0, description="how much less a text counts that is answered well; 0: cross-entropy")
        encoder: str = Field("embedded", description="embedded, a Hub id or a folder")
        max_tokens: int = Field(128, ge=8, description="longer texts are cut")

    settings: Settings
    metric = "macro_f1"

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.folder = tunny.locate(settings.encoder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)

    def model(self) -> nn.Module:
        model: nn.Module = AutoModelForSequenceClassification.from_pretrained(self.folder, num_labels=len(self.settings.labels))
        return model

    def read(self, path: str) -> Iterator[Text]:
        with open(path, newline="", encoding="utf-8") as file:
            yield from (Text(row["text"], row.get("label")) for row in csv.DictReader(file))

    def length(self, row: Text) -> int:
        return len(row.text)

    def batch(self, rows: Sequence[Text]) -> dict[str, Any]:
        texts, most = [row.text for row in rows], self.settings.max_tokens
        inputs = self.tokenizer(texts, truncation=True, max_length=most, padding=True, return_tensors="pt")
        labels = [self.settings.labels.index(row.label) for row in rows if row.label is not None]
        return {"inputs": dict(inputs), "labels": torch.tensor(labels)}

    def train_step(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        entropy = nn.functional.cross_entropy(model(**batch["inputs"]).logits, batch["labels"], reduction="none")
        return ((1 - torch.exp(-entropy)) ** self.settings.gamma * entropy).sum()

    def predict_step(self, model: nn.Module, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        best = model(**batch["inputs"]).logits.softmax(1).max(1)
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [{"label": self.settings.labels[number], "score": score} for number, score in found]

    def score(self, rows: Iterable[Text], predictions: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
        pairs = [(row.label, found["label"]) for row, found in zip(rows, predictions, strict=True) if row.label is not None]
        f1 = []
        for label in self.settings.labels:
            right, there = sum(pair == (label, label) for pair in pairs), sum(one == label for pair in pairs for one in pair)
            f1 += [2 * right / there] if there else []
        return {"macro_f1": sum(f1) / len(f1) if f1 else None}
