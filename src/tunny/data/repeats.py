"""Texts and ids that stand twice in a split, and texts of other splits that training holds too: counted in bounded memory.

What is equal falls into the same part of the rows; the parts are looked at one after another, so memory does not grow with them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tunny.data.audit import Audit
from tunny.data.pieces import Array
from tunny.data.store import read_rows

PART = 1_000_000  # rows that are compared at a time


def find_repeats(files: Mapping[str, Path], audit: Audit) -> None:
    """Tell the audit what repeats; `files` hold the examples of each split."""
    sizes = {name: sum(map(len, _numbers(file, "key"))) for name, file in files.items()}
    num_parts = max(1, -(-sum(sizes.values()) // PART))
    again, leaked = Counter[tuple[str, str]](), Counter[str]()
    commonest = dict[tuple[str, str], tuple[int, int]]()  # by split and column: how often it stands there, and its number
    for part, column in ((part, column) for part in range(num_parts) for column in ("key", "id")):
        held = {name: [some[some % num_parts == part] for some in _numbers(file, column)] for name, file in files.items()}
        for name, parts in held.items():
            values = np.concatenate(parts) if parts else np.zeros(0, np.int64)
            different, counts = np.unique(values, return_counts=True)
            again[name, column] += len(values) - len(different)
            most = (counts.max().item(), different[counts.argmax()].item()) if len(counts) else (0, 0)
            commonest[name, column] = max(commonest.get((name, column), (0, 0)), most, key=lambda one: one[0])
            if column == "key" and name != "train" and parts and held.get("train"):
                leaked[name] += int(np.isin(values, np.concatenate(held["train"])).sum())
    for name, file in files.items():
        if number := again[name, "key"]:
            often, key = commonest[name, "key"]
            row = 1 + next(at for at, some in enumerate(value for some in _numbers(file, "key") for value in some) if some == key)
            audit.event("duplicates", name, f"{number} texts stand there before; the commonest {often} times, first in row {row}")
        if number := again[name, "id"]:
            ids = (one for batch in read_rows(file, "id") for one in batch["id"].to_pylist())
            some_id = next(one for one in ids if hash(one) == commonest[name, "id"][1])
            audit.event("ids given twice", name, f"{number} examples have an id that stands there before, such as {some_id!r}", number)
        if leaked[name]:
            audit.event("leakage", name, f"{leaked[name]} of {sizes[name]} texts are in the training data too")


def _numbers(file: Path, column: str) -> Iterator[Array]:
    """Yield 64 bits for each text or id, a batch at a time."""
    for batch in read_rows(file, column):
        yield batch["key"].to_numpy() if column == "key" else np.array([hash(one) for one in batch["id"].to_pylist()], np.int64)
