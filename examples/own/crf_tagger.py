"""A tagger whose tags depend on their neighbours: a conditional random field over the scores of an encoder (Lafferty et al., 2001).

Reads lines of `word TAB tag`, a blank line between sentences.

    tunny train --task crf_tagger:CrfTagger --data.train train.conll --data.validation dev.conll --task.tags [O,B-PER,I-PER]
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

import tunny


class Sentence(NamedTuple):
    """Words with their tags; those to predict may have none."""

    words: list[str]
    tags: list[str]


class Crf(nn.Module):
    """An encoder with scores of tags and of their transitions. Letters: B sentences, W words, K tags."""

    def __init__(self, encoder: nn.Module, width: int, tags: int):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, tags)
        self.start, self.moves, self.end = (
            nn.Parameter(torch.zeros(tags)),
            nn.Parameter(torch.zeros(tags, tags)),
            nn.Parameter(torch.zeros(tags)),
        )

    def forward(self, inputs: Mapping[str, Tensor], first: Tensor, gold: Tensor | None, words: Tensor) -> Any:
        """Return the sum of the negative log-likelihoods of `gold` (B, W), or where it is None the best tags of each sentence.

        `first` (B, W) is the token of each word, `words` (B, W) where there is one.
        """
        states = self.encoder(**inputs).last_hidden_state
        scores = self.head(states[torch.arange(len(first)).unsqueeze(1), first]).float()  # (B, W, K)
        return self.best(scores, words) if gold is None else self.loss(scores, gold, words)

    def loss(self, scores: Tensor, gold: Tensor, words: Tensor) -> Tensor:
        """Return the logarithm of the sum over all paths, less the score of the gold path."""
        total = self.start + scores[:, 0]  # (B, K)
        rows = torch.arange(len(gold))
        path = self.start[gold[:, 0]] + scores[rows, 0, gold[:, 0]]
        for at in range(1, scores.shape[1]):
            here = words[:, at]
            following = torch.logsumexp(total.unsqueeze(2) + self.moves, 1) + scores[:, at]
            total = torch.where(here.unsqueeze(1), following, total)
            path = path + (self.moves[gold[:, at - 1], gold[:, at]] + scores[rows, at, gold[:, at]]) * here
        last = gold[rows, words.sum(1) - 1]
        return (torch.logsumexp(total + self.end, 1) - path - self.end[last]).sum()

    def best(self, scores: Tensor, words: Tensor) -> list[list[int]]:
        """Return the best path of each sentence (Viterbi)."""
        found = []
        for row, size in zip(scores, words.sum(1).tolist(), strict=True):
            total, back = self.start + row[0], []
            for at in range(1, size):
                over = total.unsqueeze(1) + self.moves
                back.append(over.argmax(0))
                total = over.max(0).values + row[at]
            path = [int((total + self.end).argmax())]
            for came in reversed(back):
                path.append(int(came[path[-1]]))
            found.append(path[::-1])
        return found


class CrfTagger(tunny.Task):
    """Tags of words by a pretrained encoder and a CRF."""

    class Settings(tunny.Settings):
        """Stands under `task`."""

        tags: list[str] = Field(min_length=2, description="all tags, such as O, B-PER and I-PER")
        encoder: str = Field("embedded", description="embedded, a Hub id or a folder")
        max_tokens: int = Field(128, ge=8, description="longer sentences are cut, and their words beyond it answered by O")

    settings: Settings
    metric = "f1"

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.folder = tunny.locate(settings.encoder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder)
        self.tokenizer.backend_tokenizer.no_padding()
        self.ids = {tag: number for number, tag in enumerate(settings.tags)}

    def model(self) -> nn.Module:
        encoder: Any = AutoModel.from_pretrained(self.folder, add_pooling_layer=False)  # whose output nothing would learn from
        return Crf(encoder, encoder.config.hidden_size, len(self.ids))

    def read(self, path: str) -> Iterator[Sentence]:
        for block in Path(path).read_text("utf-8").split("\n\n"):
            if lines := [line.split("\t") for line in block.splitlines() if line.strip()]:
                yield Sentence([line[0] for line in lines], [line[1] if len(line) > 1 else "O" for line in lines])

    def length(self, row: Sentence) -> int:
        return len(row.words)

    def batch(self, rows: Sequence[Sentence]) -> dict[str, Any]:
        encoded = self.tokenizer(
            [row.words for row in rows], is_split_into_words=True, truncation=True, max_length=self.settings.max_tokens,
            padding=True, return_tensors="pt",
        )  # fmt: skip
        shape = (len(rows), max(len(row.words) for row in rows))
        first, gold, words = (
            torch.zeros(shape, dtype=torch.int64),
            torch.zeros(shape, dtype=torch.int64),
            torch.zeros(shape, dtype=torch.bool),
        )
        for at, row in enumerate(rows):
            tokens = encoded.word_ids(at)
            seen = [tokens.index(word) for word in range(len(row.words)) if word in tokens]  # those that were not cut
            first[at, : len(seen)] = torch.tensor(seen)
            gold[at, : len(seen)] = torch.tensor([self.ids[tag] for tag in row.tags[: len(seen)]])
            words[at, : len(seen)] = True
        return {"inputs": dict(encoded), "first": first, "gold": gold, "words": words, "sizes": [len(row.words) for row in rows]}

    def num_targets(self, batch: Mapping[str, Any]) -> float:
        return float(batch["words"].sum())

    def train_step(self, model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        loss: Tensor = model(batch["inputs"], batch["first"], batch["gold"], batch["words"])
        return loss

    def predict_step(self, model: nn.Module, batch: Mapping[str, Any]) -> list[list[str]]:
        paths = model(batch["inputs"], batch["first"], None, batch["words"])
        named = ([self.settings.tags[number] for number in path] for path in paths)
        return [tags + ["O"] * (size - len(tags)) for tags, size in zip(named, batch["sizes"], strict=True)]

    def score(self, rows: Iterable[Sentence], predictions: Sequence[list[str]]) -> dict[str, float | None]:
        pairs = [pair for row, found in zip(rows, predictions, strict=True) for pair in zip(row.tags, found, strict=True)]
        right = sum(gold == found != "O" for gold, found in pairs)
        either = sum(one != "O" for pair in pairs for one in pair)
        return {"f1": 2 * right / either if either else None, "accuracy": sum(gold == found for gold, found in pairs) / len(pairs)}

    def save(self, model: nn.Module, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
