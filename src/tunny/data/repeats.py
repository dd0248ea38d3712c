"""Texts and ids that stand twice in a split, and texts of other splits that training holds too: counted in bounded memory.

What is equal falls into the same part of the rows; the parts are looked at one after another, so memory does not grow with them.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tunny.data.audit import Audit
from tunny.data.pieces import Array
from tunny.data.store import read_rows

PART = 1_000_000  # rows that are compared at a time


def find_repeats(files: Mapping[str, Path], audit: Audit) -> None:
    """Tell the audit what repeats; `files` hold the examples of each split."""
    sizes = {name: sum(batch.num_rows for batch in read_rows(file, "key")) for name, file in files.items()}
    num_parts = max(1, -(-sum(sizes.values()) // PART))
    again, ids_again, leaked = Counter[str](), Counter[str](), Counter[str]()
    commonest = dict.fromkeys(files, (0, 0))  # how often its text stands there, and the key of that
    some_id: dict[str, str] = {}
    for part in range(num_parts):
        keys = {name: _part(file, "key", part, num_parts).to_numpy() for name, file in files.items()}
        for name, file in files.items():
            different, counts = np.unique(keys[name], return_counts=True)
            again[name] += len(keys[name]) - len(different)
            if len(counts) and counts.max() > commonest[name][0]:
                commonest[name] = int(counts.max()), int(different[counts.argmax()])
            leaked[name] += int(np.isin(keys[name], keys["train"]).sum()) if name != "train" and "train" in keys else 0
            ids = _part(file, "id", part, num_parts)
            found = pc.value_counts(ids)
            ids_again[name] += len(ids) - len(found)
            for given_twice in found.filter(pc.greater(found.field("counts"), 1))[:1]:
                some_id.setdefault(name, given_twice["values"].as_py())
    for name, file in files.items():
        if again[name]:
            often, key = commonest[name]
            row = _first_row(file, key) + 1
            audit.event("duplicates", name, f"{again[name]} texts stand there before; the commonest {often} times, first in row {row}")
        if ids_again[name]:
            said = f"{ids_again[name]} examples have an id that stands there before, such as {some_id[name]!r}"
            audit.event("ids given twice", name, said, ids_again[name])
        if leaked[name]:
            audit.event("leakage", name, f"{leaked[name]} of {sizes[name]} texts are in the training data too")


def _first_row(file: Path, key: int) -> int:
    """Return the first row that has a key."""
    row = 0
    for batch in read_rows(file, "key"):
        at = pc.index(batch.column("key"), pa.scalar(key, pa.uint64())).as_py()
        if at >= 0:
            return row + int(at)
        row += batch.num_rows
    raise ValueError(f"no row has the key {key}")


def _part(file: Path, column: str, part: int, num_parts: int) -> pa.ChunkedArray:
    """Return the values of a column that fall into a part: all that are equal into the same."""
    found = []
    for batch in read_rows(file, column):
        values = batch.column(column)
        numbers = values.to_numpy() if pa.types.is_integer(values.type) else _sums(values)
        found.append(values.filter(pa.array(numbers % num_parts == part)))  # a copy: the batch is not held in memory
    return pa.chunked_array(found, values.type if found else pa.string())


def _sums(strings: pa.StringArray) -> Array:
    """Return the sum of the bytes of each string."""
    sizes = pc.binary_length(strings).to_numpy()
    rows = np.repeat(np.arange(len(strings)), sizes)
    text = strings.cast(pa.binary()).buffers()[2]
    data = np.zeros(0, np.uint8) if text is None else np.frombuffer(text, np.uint8)
    first = np.frombuffer(strings.buffers()[1], np.int32)[strings.offset] if len(strings) else 0
    return np.bincount(rows, data[first : first + len(rows)], len(strings)).astype(np.int64)
