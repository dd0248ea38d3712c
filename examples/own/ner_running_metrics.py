"""Named entities from a CSV of one word a line, with metrics that run along with training: macro F1 and accuracy of tags.

The CSV has the columns `sentence`, `word` and `tag`; a word's tag is learnt and answered at its first piece.

    tunny train examples/own/ner_running_metrics.yaml
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, AutoTokenizer

import tunny

Tags = list[int]


class Sentence(NamedTuple):
    """A sentence as it stands in the file."""

    words: list[str]
    tags: list[str]


class Ner(tunny.Task):
    """Tags of words by a pretrained encoder."""

    class Settings(tunny.Settings):
        """Stands under `task`."""

        tags: list[str] = Field(min_length=2, description="all tags, such as O, B-PER and I-PER")
        encoder: str = Field("embedded", description="embedded, a Hub id or a folder")
        max_tokens: int = Field(128, ge=8, description="longer sentences are cut, and their words beyond it answered by O")

    settings: Settings
    metric = "macro_f1"

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.folder = tunny.locate(settings.encoder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)
        self.tokenizer.backend_tokenizer.no_padding()
        self.ids = {tag: number for number, tag in enumerate(settings.tags)}

    def model(self) -> nn.Module:
        model: nn.Module = AutoModelForTokenClassification.from_pretrained(self.folder, num_labels=len(self.ids))
        return model

    def read(self, path: str) -> Iterator[Sentence]:
        with open(path, newline="", encoding="utf-8") as file:
            for _, rows in groupby(csv.DictReader(file), key=lambda row: row["sentence"]):
                pairs = [(row["word"], row.get("tag") or "O") for row in rows]
                yield Sentence([word for word, _ in pairs], [tag for _, tag in pairs])

    def length(self, row: Sentence) -> int:
        return len(row.words)

    def batch(self, rows: Sequence[Sentence]) -> dict[str, Any]:
        encoded = self.tokenizer(
            [row.words for row in rows], is_split_into_words=True, truncation=True, max_length=self.settings.max_tokens,
            padding=True, return_tensors="pt",
        )  # fmt: skip
        labels = torch.full(encoded["input_ids"].shape, -100)
        places = [first_pieces(encoded.word_ids(at)) for at in range(len(rows))]
        for at, row in enumerate(rows):
            for word, token in places[at].items():
                labels[at, token] = self.ids[row.tags[word]]
        return {"inputs": dict(encoded), "labels": labels, "places": places, "sizes": [len(row.words) for row in rows]}

    def num_targets(self, batch: Mapping[str, Any]) -> float:
        return float((batch["labels"] >= 0).sum())

    def train_step(self, model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, list[tuple[Tags, Tags]]]:
        logits = model(**batch["inputs"]).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum")
        learnt = [labels >= 0 for labels in batch["labels"]]
        found = zip(logits.argmax(2), batch["labels"], learnt, strict=True)
        return loss, [(one[mask].tolist(), gold[mask].tolist()) for one, gold, mask in found]

    def predict_step(self, model: nn.Module, batch: Mapping[str, Any]) -> list[list[str]]:
        best = model(**batch["inputs"]).logits.argmax(2).tolist()
        answered = zip(best, batch["places"], batch["sizes"], strict=True)
        return [
            [self.settings.tags[row[places[word]]] if word in places else "O" for word in range(size)] for row, places, size in answered
        ]

    def score(self, rows: Iterable[Sentence], predictions: Sequence[list[str]]) -> dict[str, float | None]:
        pairs = Counter(pair for row, found in zip(rows, predictions, strict=True) for pair in zip(row.tags, found, strict=True))
        return measured(pairs)

    def save(self, model: nn.Module, folder: Any) -> None:
        self.tokenizer.save_pretrained(folder)


class Running(tunny.Callback):
    """Prints the scores of an epoch's own training steps at its end; with several processes, of all of them."""

    def __init__(self) -> None:
        self.pairs = Counter[tuple[int, int]]()

    def epoch_start(self, now: tunny.Moment) -> None:
        self.pairs.clear()

    def step_end(self, now: tunny.Moment) -> None:
        for found, gold in now.outputs:
            self.pairs.update(zip(gold, found, strict=True))

    def epoch_end(self, now: tunny.Moment) -> None:
        if now.rank == 0:
            print(f"epoch {now.epoch}, while learning: " + "  ".join(f"{name} {value:.4f}" for name, value in measured(self.pairs).items()))


def first_pieces(words: Sequence[int | None]) -> dict[int, int]:
    """Return word -> its first token."""
    found: dict[int, int] = {}
    for token, word in enumerate(words):
        if word is not None:
            found.setdefault(word, token)
    return found


def measured(pairs: Counter[Any]) -> dict[str, float | None]:
    """Return macro F1 and accuracy of counted (gold, found) pairs, over the tags that occur."""
    names = {name for pair in pairs for name in pair}
    right = {name: pairs[name, name] for name in names}
    there = {name: sum(count for pair, count in pairs.items() for one in pair if one == name) for name in names}
    f1 = [2 * right[name] / there[name] for name in names]
    return {"macro_f1": sum(f1) / len(f1), "accuracy": sum(right.values()) / pairs.total()} if names else {}
