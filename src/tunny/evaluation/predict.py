"""Predicting: examples in, answers out, in input order and constant memory. Training, evaluate and predict share this path.

Examples come a chunk at a time; within a chunk rows of like length share a batch of at most `BATCH_TOKENS` tokens. Processes that
train together share the batches and have all answers; `spread` is then `backend.map`, which must be called on each.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.data.inputs import pad
from tunny.data.plan import Rows, plan_prediction
from tunny.data.prepare import Split, chunked
from tunny.data.store import WindowColumns
from tunny.tasks.base import Answer, Floats, Model, Task

BATCH_TOKENS = {"cpu": 2048, "cuda": 32_768, "xla": 32_768}  # tokens of one forward pass, padding included; a CPU's caches hold no more

Chunk = tuple[list[Example], WindowColumns, int]  # examples, their windows, row of the first example
Spread = Callable[[Callable[[Rows], Floats], Sequence[Rows]], Iterable[Floats]]  # what a function gives of each item, in order


def encoded_chunks(split: Split) -> Iterator[Chunk]:
    """Yield the chunks of a split that was prepared, from its memory-mapped files."""
    windows = split.windows
    row = 0
    for number, examples in enumerate(split.examples.chunks()):
        yield examples, windows.chunk(number), row
        row += len(examples)


def encode_chunks(examples: Iterable[Example], encoder: Encoder, task: Task, audit: Audit) -> Iterator[Chunk]:
    """Encode examples as they come; the same chunks as those of a prepared split."""
    row = 0
    for chunk in chunked(examples):
        yield chunk, encoder.encode(chunk, task.labels, audit, row), row
        row += len(chunk)


def predict(model: Model, task: Task, chunks: Iterable[Chunk], spread: Spread = map) -> Iterator[tuple[Example, Answer]]:
    """Yield every example with its answer, in order."""
    for examples, windows, first_row in chunks:
        logits = forward(model, task, windows, spread)
        yield from zip(examples, task.answers(examples, windows, first_row, logits), strict=True)


def forward(model: Model, task: Task, windows: WindowColumns, spread: Spread = map) -> Sequence[Floats]:
    """Return the logits of each window without padding: (T, K), or (K,) in sequence tasks."""
    found: list[Floats] = [np.zeros(0, dtype=np.float32)] * len(windows)
    batches = plan_prediction(windows.lengths, BATCH_TOKENS[model.device.partition(":")[0]])
    for rows, values in zip(
        batches, spread(lambda rows: model(*pad([windows[int(row)] for row in rows], task.padding)), batches), strict=True
    ):
        for at, row in enumerate(rows):
            found[row] = values[at, : windows.lengths[row]] if values.ndim == 3 else values[at]
    return found
