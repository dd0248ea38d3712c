"""The tasks of GLUE in their own TSV files: one text or two, classes or a score. The files have a header.

tunny train --task glue_recipe:Glue --task.name RTE --data.train RTE/train.tsv --data.validation RTE/dev.tsv
tunny predict runs/tunny/model RTE/test.tsv --task glue_recipe:Glue --out predictions.jsonl
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from sklearn.metrics import f1_score, matthews_corrcoef
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tunny

Name = Literal["SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE"]
TEXTS = {
    "SST-2": ("sentence", None), "MRPC": ("#1 String", "#2 String"), "STS-B": ("sentence1", "sentence2"),
    "QQP": ("question1", "question2"), "MNLI": ("sentence1", "sentence2"), "QNLI": ("question", "sentence"), "RTE": ("sentence1", "sentence2"),
}  # fmt: skip
LABEL = {"MRPC": "Quality", "STS-B": "score", "QQP": "is_duplicate", "MNLI": "gold_label"}
CLASSES = {
    "MNLI": ["contradiction", "entailment", "neutral"], "QNLI": ["entailment", "not_entailment"], "RTE": ["entailment", "not_entailment"],
}  # fmt: skip


class Pair(NamedTuple):
    """One text or two, with what is to be learnt of them, where that is known."""

    first: str
    second: str | None
    label: str | None


class Glue(tunny.Task):
    """Classes or a score of texts by a pretrained encoder."""

    class Settings(tunny.Settings):
        """Stands under `task`."""

        name: Name = Field(description="which task of GLUE")
        encoder: str = Field("embedded", description="embedded, a Hub id or a folder")
        max_tokens: int = Field(128, ge=8, description="longer texts are cut")

    settings: Settings
    metric = "score"

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.folder, self.is_score = tunny.locate(settings.encoder), settings.name == "STS-B"
        self.classes = CLASSES.get(settings.name, ["0", "1"])
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)

    def model(self) -> nn.Module:
        outputs = 1 if self.is_score else len(self.classes)
        model: nn.Module = AutoModelForSequenceClassification.from_pretrained(self.folder, num_labels=outputs)
        return model

    def read(self, path: str) -> Iterator[Pair]:
        first, second = TEXTS[self.settings.name]
        label = LABEL.get(self.settings.name, "label")
        with open(path, newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield Pair(row[first], row[second] if second else None, row.get(label))

    def length(self, row: Pair) -> int:
        return len(row.first) + len(row.second or "")

    def batch(self, rows: Sequence[Pair]) -> dict[str, Any]:
        texts = [[row.first for row in rows], *([[str(row.second) for row in rows]] if rows[0].second is not None else [])]
        inputs = self.tokenizer(*texts, truncation=True, max_length=self.settings.max_tokens, padding=True, return_tensors="pt")
        known = [row.label for row in rows if row.label is not None]
        values = [float(label) if self.is_score else self.classes.index(label) for label in known]
        return {"inputs": dict(inputs), "labels": torch.tensor(values)}

    def train_step(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        logits = model(**batch["inputs"]).logits
        if self.is_score:
            return nn.functional.mse_loss(logits.squeeze(1), batch["labels"], reduction="sum")
        return nn.functional.cross_entropy(logits, batch["labels"], reduction="sum")

    def predict_step(self, model: nn.Module, batch: Mapping[str, Any]) -> list[str | float]:
        logits = model(**batch["inputs"]).logits
        if self.is_score:
            return list(map(float, logits.squeeze(1).tolist()))
        return [self.classes[number] for number in logits.argmax(1).tolist()]

    def score(self, rows: Iterable[Pair], predictions: Sequence[Any]) -> dict[str, float | None]:
        gold = [row.label for row in rows]
        if None in gold:
            return {}
        if self.is_score:
            pearson = float(np.corrcoef([float(str(one)) for one in gold], predictions)[0, 1])
            return {"pearson": pearson, "score": pearson}
        accuracy = float(np.mean([one == found for one, found in zip(gold, predictions, strict=True)]))
        if self.settings.name in ("MRPC", "QQP"):
            f1 = float(f1_score(gold, predictions, pos_label="1"))
            return {"accuracy": accuracy, "f1": f1, "score": (accuracy + f1) / 2}
        return {"accuracy": accuracy, "matthews": float(matthews_corrcoef(gold, predictions)), "score": accuracy}
