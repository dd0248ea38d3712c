"""What tests of training share: small data, configs, runs in this process, and ways to interrupt them."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from tunny import run
from tunny.config import load_config

PLACES = ["Warsaw", "Paris", "Lerwick", "Bergen", "Peterhead", "Göteborg"]
PEOPLE = ["Marie Curie", "Nobody Knight", "Ada Harbour", "Otto", "Kirsten Dahl"]
SHAPES = [
    "{person} was born in {place} .",
    "The ferry to {place} left on Monday with nine boxes of cod .",
    "{person} bought three ships from a yard in {place} , near the old lighthouse .",
    "Herring was sold at the auction .",
    "In {place} nobody knows why {person} left .",
    "Rough seas , wind from {place} .",
    "{person} laughed .",
]
CALM = ["calm sea and good visibility today", "the ferry was on time and the crew was kind", "fresh cod sold well", "a quiet night"]
ROUGH = ["rough seas and no ferry", "the old lighthouse failed again", "nobody came to the auction and the keeper left", "lost boxes"]
STEADY = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def write_ner(path: Path, count: int, start: int = 0) -> Path:
    """Write sentences with people and places, one a block."""
    blocks = []
    for number in range(start, start + count):
        person, place = PEOPLE[number % len(PEOPLE)], PLACES[(number * 5 + 1) % len(PLACES)]
        lines = []
        for word in SHAPES[number % len(SHAPES)].split():
            if word == "{person}":
                lines += [f"{part} {'B' if at == 0 else 'I'}-PER" for at, part in enumerate(person.split())]
            elif word == "{place}":
                lines.append(f"{place} B-LOC")
            else:
                lines.append(f"{word} O")
        blocks.append("\n".join(lines) + "\n")
    path.write_text("\n".join(blocks), "utf-8")
    return path


def write_texts(path: Path, count: int, start: int = 0) -> Path:
    """Write calm and rough reports in turn, of different lengths."""
    rows = ["text,label"]
    for number in range(start, start + count):
        kind = "rough" if number % 3 == 0 else "calm"
        phrases = ROUGH if kind == "rough" else CALM
        rows.append(f"{' and '.join(phrases[(number + at) % 4] for at in range(1 + number % 3))} on day {number},{kind}")
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return path


def steady(model: Path, folder: Path) -> Path:
    """Copy a model without dropout."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **STEADY}))
    return folder


def settings(folder: Path, model: Path, kind: str = "ner", rows: int = 40, **changes: object) -> dict[str, object]:
    """Return a config on new data in `folder`; changes are dotted names with __ for the dot."""
    write = write_ner if kind == "ner" else write_texts
    ending = "conll" if kind == "ner" else "csv"
    values: dict[str, object] = {
        "output_dir": str(folder / "run"), "task": {"kind": kind}, "model": {"name": str(model)},
        "data": {
            "train": str(write(folder / f"train.{ending}", rows)), "validation": str(write(folder / f"dev.{ending}", 12, start=500))
        },
        "train": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "log_every_steps": 1}, "engine": {"precision": "fp32"},
        "encode": {"max_tokens": 64, "stride": 8},
    }  # fmt: skip
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            values.setdefault(section, {})[key] = value  # type: ignore[index]
        else:
            values[section] = value
    return values


def go(values: dict[str, object], **how: bool) -> Path:
    """Train in this process."""
    return run.train(load_config(values=values), **how)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def model_bytes(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def facts(lines: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return log lines without what a clock decides."""
    return [{name: value for name, value in line.items() if name != "time" and not name.startswith("throughput/")} for line in lines]


def manifest(folder: Path) -> dict[str, object]:
    return json.loads((folder / "manifest.json").read_text())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


class PowerCut(BaseException):
    """Ends a run as a killed process ends: nothing more is saved."""


@contextlib.contextmanager
def in_training_forward(act):
    """Call `act(number, rows)` before each training forward pass of a whole model; numbers count from 1."""
    count = 0

    def hook(module, arguments):
        nonlocal count
        if module.training and type(module).__name__.endswith("Embeddings"):
            count += 1
            act(count)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def cut_at(forward: int):
    """Interrupt the run in the training forward pass of this number, without any clean-up of its own."""

    def act(number: int) -> None:
        if number == forward:
            raise PowerCut

    return in_training_forward(act)


def signal_at(forward: int, signum: int):
    """Send this process a signal in the training forward pass of this number."""

    def act(number: int) -> None:
        if number == forward:
            os.kill(os.getpid(), signum)

    return in_training_forward(act)


@contextlib.contextmanager
def memory_for(rows: int):
    """Let training forward passes of more rows run out of memory."""

    def hook(module, arguments):
        if module.training and isinstance(module, torch.nn.Linear) and len(arguments[0]) > rows:
            raise torch.OutOfMemoryError(f"{len(arguments[0])} rows do not fit")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
