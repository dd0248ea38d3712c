"""Two things learnt together by one encoder: the label of a text, and how long its author waited, as a number.

Reads lines of JSON: {"text": ..., "label": ..., "minutes": ...}, of which a row may lack either; each loss counts where its answer is known.

    tunny train --task multi_task:Both --data.train train.jsonl --data.validation dev.jsonl --task.labels [calm,rough]
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

import tunny

Row = dict[str, Any]


class TwoHeads(nn.Module):
    """An encoder, and of its mean over tokens the scores of labels (B, K) and a number (B,)."""

    def __init__(self, encoder: nn.Module, width: int, labels: int):
        super().__init__()
        self.encoder, self.label, self.number = encoder, nn.Linear(width, labels), nn.Linear(width, 1)

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        mask = inputs["attention_mask"].unsqueeze(2).float()
        mean = (self.encoder(**inputs).last_hidden_state * mask).sum(1) / mask.sum(1)
        return self.label(mean), self.number(mean).squeeze(1)


class Both(tunny.Task):
    """The label and the number; their losses are weighed by settings."""

    class Settings(tunny.Settings):
        """Stands under `task`."""

        labels: list[str] = Field(min_length=2, description="names of the labels")
        weight: float = Field(0.1, ge=0, description="of the squared error of minutes beside the cross-entropy of labels")
        head_rate: float = Field(1e-3, gt=0, description="learning rate of the heads; the encoder's is train.learning_rate")
        encoder_rate: float = Field(5e-5, gt=0, description="learning rate of the encoder")
        encoder: str = Field("embedded", description="embedded, a Hub id or a folder")

    settings: Settings
    metric = "accuracy"

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.folder = tunny.locate(settings.encoder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)

    def model(self) -> nn.Module:
        encoder: Any = AutoModel.from_pretrained(self.folder, add_pooling_layer=False)  # whose output nothing would learn from
        return TwoHeads(encoder, encoder.config.hidden_size, len(self.settings.labels))

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        parts = [(name, part) for name, part in model.named_parameters() if part.requires_grad]
        below = {"params": [part for name, part in parts if "encoder" in name], "lr": self.settings.encoder_rate}
        heads = {"params": [part for name, part in parts if "encoder" not in name], "lr": self.settings.head_rate}
        return torch.optim.AdamW([below, heads], weight_decay=0.01)

    def rate(self, step: int, total_steps: int) -> float:
        return min(1.0, (step + 1) / max(1, total_steps // 10))  # a warm-up, and then as it is

    def read(self, path: str) -> Iterator[Row]:
        with open(path, encoding="utf-8") as file:
            yield from map(json.loads, file)

    def length(self, row: Row) -> int:
        return len(row["text"])

    def batch(self, rows: Sequence[Row]) -> dict[str, Any]:
        inputs = self.tokenizer([row["text"] for row in rows], truncation=True, max_length=128, padding=True, return_tensors="pt")
        labels = [self.settings.labels.index(row["label"]) if row.get("label") else -100 for row in rows]
        minutes = [float("nan") if row.get("minutes") is None else float(row["minutes"]) for row in rows]
        return {"inputs": dict(inputs), "labels": torch.tensor(labels), "minutes": torch.tensor(minutes)}

    def train_step(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        logits, minutes = model(**batch["inputs"])
        entropy = nn.functional.cross_entropy(logits, batch["labels"], reduction="sum")
        known = ~batch["minutes"].isnan()
        wrong: Tensor = ((minutes - batch["minutes"].nan_to_num()) ** 2 * known).sum()
        return entropy + self.settings.weight * wrong

    def predict_step(self, model: nn.Module, batch: Mapping[str, Any]) -> list[Row]:
        logits, minutes = model(**batch["inputs"])
        found = zip(logits.argmax(1).tolist(), minutes.tolist(), strict=True)
        return [{"label": self.settings.labels[label], "minutes": number} for label, number in found]

    def score(self, rows: Iterable[Row], predictions: Sequence[Row]) -> dict[str, float | None]:
        pairs = list(zip(rows, predictions, strict=True))
        right = [row["label"] == found["label"] for row, found in pairs if row.get("label")]
        errors = [(row["minutes"] - found["minutes"]) ** 2 for row, found in pairs if row.get("minutes") is not None]
        return {"accuracy": sum(right) / len(right) if right else None, "minutes_mse": sum(errors) / len(errors) if errors else None}
