"""Arrow files on disk, memory-mapped: examples as they were read, and windows as the model takes them.

Both are written a batch at a time and read without copying, so memory does not grow with the data. A row of a list column is
a view into the mapped file.
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunny.data.example import Example, Origin, Span, text_key

CHUNK = 2048  # examples of one batch; evaluation forms its batches inside chunks, so this is part of the result

_SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string())])
_TEXT, _INTEGERS = pa.string(), pa.list_(pa.int32())
EXAMPLES = pa.schema({
    "id": _TEXT, "text": _TEXT, "text_b": _TEXT, "spans": pa.list_(_SPAN), "labels": pa.list_(_TEXT), "score": pa.float64(),
    "document": _TEXT, "word_starts": _INTEGERS, "word_ends": _INTEGERS, "meta": _TEXT,
    "file": pa.int32(), "line": pa.int64(), "place": _TEXT,  # number of the file among those read, line or number there, its name
    "key": pa.uint64(),  # 64 bits of a digest of the texts, for duplicates and leakage
})  # fmt: skip
WINDOWS = pa.schema({
    "example": pa.int64(),  # row of the example
    "ids": _INTEGERS,  # token ids, special tokens included
    "words": _INTEGERS,  # by token: number of the word whose answer this token gives, or -1
    "labels": _INTEGERS,  # token tasks, by token: label id or -100; sequence tasks: the label ids
    "joined": _INTEGERS,  # words that share the token of the word before them
    "second": pa.int32(),  # first token of the second segment; the number of tokens where there is none
    "weight": pa.float32(),  # of this window in the loss: 1 / windows of the example in sequence tasks
    "score": pa.float32(),  # regress: the target
})  # fmt: skip
TO_ENCODE = pa.schema([EXAMPLES.field(name) for name in ("id", "text", "text_b", "spans", "labels", "score", "word_starts", "word_ends")])
_CELLS: dict[str, Callable[[Example], Any]] = {  # of columns that are no attributes of an example
    "word_starts": lambda example: None if example.words is None else [start for start, _ in example.words],
    "word_ends": lambda example: None if example.words is None else [end for _, end in example.words],
    "meta": lambda example: json.dumps(dict(example.meta)) if example.meta else None,
    "file": lambda example: example.origin.file if example.origin else -1,
    "line": lambda example: example.origin.line if example.origin else 0,
    "key": lambda example: int(text_key(example), 16),
}
LOGITS = pa.schema([("logits", pa.list_(pa.float32()))])  # a teacher's, of the words of an example or of it
LISTS = ("ids", "words", "labels", "joined")


def to_rows(examples: Sequence[Example], schema: pa.Schema = EXAMPLES) -> pa.RecordBatch:
    """Return examples as an Arrow batch, all columns or those of a smaller schema."""
    columns = [pa.array(list(map(_CELLS.get(field.name, attrgetter(field.name)), examples)), field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def from_rows(batch: pa.RecordBatch) -> list[Example]:
    """Return the examples of an Arrow batch; columns that it lacks are as if empty."""
    found = []
    for row in batch.to_pylist():
        get = row.get
        spans, labels, starts = get("spans"), get("labels"), get("word_starts")
        found.append(
            Example(
                get("id", ""), row["text"], None if spans is None else tuple([Span(**span) for span in spans]),
                None if labels is None else tuple(labels), get("score"), get("text_b"), get("document"),
                None if starts is None else tuple(zip(starts, row["word_ends"], strict=True)),
                json.loads(row["meta"]) if get("meta") else {}, Origin(row["file"], row["line"]) if get("file", -1) >= 0 else None, get("place", ""),
            )
        )  # fmt: skip
    return found


def list_lengths(column: pa.ListArray) -> NDArray[np.int32]:
    """Return how many items each list has; none where there is no list."""
    return np.asarray(column.value_lengths().fill_null(0))


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write batches to an Arrow file as they come and return the number of rows."""
    rows = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def read_rows(path: Path, *columns: str) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow file one after another, or some columns of them, and leave none in memory."""
    with pa.OSFile(str(path)) as source:
        names = pa.ipc.open_file(source).schema.names
        options = pa.ipc.IpcReadOptions(included_fields=[names.index(column) for column in columns or names])
        file = pa.ipc.open_file(source, options=options)
        yield from map(file.get_batch, range(file.num_record_batches))


class ArrowRows:
    """Memory-mapped Arrow files of one schema, one behind the other; a batch is opened when it is asked for."""

    def __init__(self, *paths: Path):
        self.paths = paths
        files = [pa.ipc.open_file(pa.memory_map(str(path))) for path in paths]
        self.parts = [[file.get_batch(number) for number in range(file.num_record_batches)] for file in files]
        self.batches = list(chain.from_iterable(self.parts))
        self.starts = np.cumsum([0, *(batch.num_rows for batch in self.batches)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def column(self, name: str) -> NDArray[Any]:
        """Return a whole column of numbers as one array."""
        parts = [batch.column(name).to_numpy(zero_copy_only=False) for batch in self.batches]
        return np.concatenate(parts) if parts else np.zeros(0)

    def locate(self, row: int) -> tuple[int, int]:
        """Return the batch of a row and its place there."""
        number = bisect_right(self.starts, row) - 1
        return number, int(row - self.starts[number])


class ExampleStore(ArrowRows):
    """Examples on disk, in the order they were read."""

    def chunks(self) -> Iterator[list[Example]]:
        """Yield the examples a chunk at a time."""
        return map(from_rows, self.batches)

    def __iter__(self) -> Iterator[Example]:
        return chain.from_iterable(self.chunks())


class WindowStore(ArrowRows):
    """Windows on disk, and one window as views of numpy; examples are counted on from file to file."""

    def __init__(self, *paths: Path):
        super().__init__(*paths)
        self._columns: list[WindowColumns] = []
        for part in self.parts:
            first = int(self._columns[-1].example[-1]) + 1 if self._columns else 0
            self._columns += [WindowColumns.of(batch, first) for batch in part]
        self.lengths: NDArray[np.int64] = np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in self._columns)])

    def __getitem__(self, row: int) -> "Window":
        number, place = self.locate(row)
        return self._columns[number][place]

    def token_ids(self) -> Iterator[NDArray[np.int32]]:
        """Yield the token ids of all windows, a batch of windows at a time."""
        for batch in self.batches:
            yield batch.column("ids").values.to_numpy()

    def chunk(self, number: int) -> "WindowColumns":
        """Return the windows of one chunk of examples."""
        return self._columns[number]


class Window(NamedTuple):
    """One row the model takes; arrays are views, letters: T tokens."""

    example: int
    ids: NDArray[np.int32]  # (T,)
    words: NDArray[np.int32]  # (T,), or empty in sequence tasks
    labels: NDArray[np.int32]  # (T,) in token tasks, label ids in sequence tasks
    joined: NDArray[np.int32]  # word numbers
    second: int
    weight: float
    score: float


class WindowColumns:
    """The windows of a chunk of examples, by the names of `WINDOWS`: numbers as one array, lists as their items and their bounds."""

    def __init__(self, numbers: Mapping[str, NDArray[Any]], lists: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]):
        self._numbers, self._lists = numbers, lists
        self.example: NDArray[np.int64] = numbers["example"]
        self.lengths: NDArray[np.int64] = np.diff(lists["ids"][1]).astype(np.int64)

    @classmethod
    def of(cls, batch: pa.RecordBatch, first_example: int = 0) -> "WindowColumns":
        """Return the windows of an Arrow batch as views; examples are counted from `first_example`."""
        lists = {name: (batch[name].values.to_numpy(), batch[name].offsets.to_numpy()) for name in LISTS}
        numbers = {name: batch[name].to_numpy() for name in WINDOWS.names if name not in LISTS}
        return cls({**numbers, "example": numbers["example"] + first_example} if first_example else numbers, lists)

    def rows(self) -> pa.RecordBatch:
        """Return them as an Arrow batch."""
        pairs = {name: [part.astype(np.int32) for part in (ends, items)] for name, (items, ends) in self._lists.items()}
        columns = {**self._numbers, **{name: pa.ListArray.from_arrays(*pair) for name, pair in pairs.items()}}
        return pa.RecordBatch.from_arrays([pa.array(columns[field.name], field.type) for field in WINDOWS], schema=WINDOWS)

    def flat(self, name: str) -> NDArray[np.int32]:
        """Return a column of lists end to end."""
        return self._lists[name][0]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> Window:
        ids, words, labels, joined = (items[ends[row] : ends[row + 1]] for items, ends in map(self._lists.__getitem__, LISTS))
        second, weight, score = (self._numbers[name][row].item() for name in ("second", "weight", "score"))
        return Window(int(self.example[row]), ids, words, labels, joined, second, weight, score)


class LogitStore(ArrowRows):
    """A teacher's answers on disk, by example."""

    def __init__(self, num_labels: int, *paths: Path):
        super().__init__(*paths)
        self._num_labels = num_labels

    def __getitem__(self, row: int) -> NDArray[np.float32]:
        """Return the logits of an example's words (W, K), nan for a word without an answer, or of the example (1, K)."""
        number, place = self.locate(row)
        return np.array(self.batches[number]["logits"][place].values, np.float32).reshape(-1, self._num_labels)
