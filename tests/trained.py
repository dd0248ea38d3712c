"""Small data for every kind of task, and finished runs on it, each trained once for the whole session."""

import atexit
import csv
import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import tunny
from tests.tiny import save_model

PEOPLE = ("Marie Curie", "Nobody", "Peterhead Acme")
PLACES = ("Warsaw", "Paris", "Lerwick", "Bergen", "Göteborg")
PATTERNS = (
    "{0} worked in {1}",
    "in {1} the auction was sold",
    "{0} and {0} left {1} on Monday",
    "the wind from the north , force 6",
    "{0} laughed",
)
KINDS = ("ner", "pos", "classify", "pair", "regress", "multilabel")


@dataclass(frozen=True)
class Run:
    """A finished run and the validation file that it was scored on."""

    folder: Path
    validation: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def metrics(self) -> dict:
        return json.loads((self.folder / "validation" / "metrics.json").read_text("utf-8"))


def ner_sentences() -> list[list[tuple[str, str]]]:
    """Sentences as (word, IOB2 tag): people and places, each known by its words."""
    sentences = []
    for at in range(60):
        filled = []
        for part in PATTERNS[at % len(PATTERNS)].split():
            if part in ("{0}", "{1}"):
                label, names = ("PER", PEOPLE) if part == "{0}" else ("LOC", PLACES)
                words = names[(at * 7 + len(filled)) % len(names)].split()
                filled += [(word, ("B-" if first == 0 else "I-") + label) for first, word in enumerate(words)]
            else:
                filled.append((part, "O"))
        sentences.append(filled)
    return sentences


def rows(kind: str) -> tuple[list[str], list[list[str]]]:
    """Column names and rows of a table for a sequence task."""
    made = []
    for at in range(48):
        sea, price = at % 2, at % 3
        text = f"{'herring and cod' if sea else 'the old lighthouse'} {('sold', 'left', 'landed')[price]} on Monday in {PLACES[at % 5]}"
        if kind == "classify":
            made.append([text, ("sea", "land")[1 - sea] if price else "trade"])
        elif kind == "pair":
            made.append([text, f"it was {'herring' if at % 4 < 2 else 'the wind'}", "yes" if sea == (at % 4 < 2) else "no"])
        elif kind == "regress":
            made.append([text, str(sea * 2 + price / 2)])
        else:
            made.append([text, ",".join(name for name, given in (("sea", sea), ("sold", price == 0), ("left", price == 1)) if given)])
    names = {"pair": ["first", "second", "verdict"], "regress": ["body", "points"], "multilabel": ["body", "topics"]}
    return names.get(kind, ["body", "topic"]), made


def settings(kind: str) -> dict[str, str]:
    """The `data` settings that name the columns of `rows`."""
    names, _ = rows(kind)
    return {"text": names[0], "label": names[-1], **({"text_b": names[1]} if len(names) == 3 else {})}


def write_data(kind: str, folder: Path) -> tuple[Path, Path]:
    """Write train and validation files for a kind and return them."""
    if kind in ("ner", "pos", "chunk"):
        made = ner_sentences()
        if kind == "pos":
            made = [[(word, "NAME" if tag != "O" else "SIGN" if not word.isalnum() else "WORD") for word, tag in each] for each in made]
        blocks = ["".join(f"{word}\t{tag}\n" for word, tag in each) for each in made]
        long = ["".join(blocks[at : at + 20]) for at in range(0, 25, 4)]  # of several windows each
        for name, part in (("train.conll", blocks[:45] + long), ("validation.conll", blocks[45:])):
            (folder / name).write_text("\n".join(part), "utf-8")
        return folder / "train.conll", folder / "validation.conll"
    names, made = rows(kind)
    for name, part in (("train.csv", made[:32]), ("validation.csv", made[32:])):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([names, *part])
    return folder / "train.csv", folder / "validation.csv"


def config(kind: str, model: Path, folder: Path, **train: object) -> dict:
    """A config for the data of a kind, 2 epochs unless told otherwise."""
    training, validation = write_data(kind, folder)
    table = {} if kind in ("ner", "pos", "chunk") else settings(kind)
    return {
        "name": f"tiny-{kind}",
        "output_dir": str(folder / "run"),
        "task": "classify" if kind == "pair" else kind,
        "data": {"train": str(training), "validation": str(validation), **table},
        "model": {"name": str(model)},
        "encode": {"max_tokens": 64, "stride": 16},
        "train": {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3, **train},
        "engine": {"precision": "fp32"},
    }


def train_once(settings: dict, folder: Path) -> Path:
    """Train with a cache of its own, outside any test's environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNNY_CACHE", str(folder / "cache"))
        return tunny.train(settings)


@cache
def trained(kind: str, precision: str = "fp32", family: str = "bert", epochs: int = 2) -> Run:
    """Train a tiny model once a session."""
    folder = Path(tempfile.mkdtemp(prefix="tunny-trained-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    wanted = config(kind, save_model(family, folder / "encoder"), folder, epochs=epochs)
    wanted["engine"] = {"precision": precision}
    return Run(train_once(wanted, folder), folder / "validation.conll" if kind in ("ner", "pos", "chunk") else folder / "validation.csv")
