"""Rows of files that are larger than memory: read file by file, counted once, shuffled across files and within them.

Every process reads all files, in the same order, and works on its own rows: reading should be cheap, and work be left to the batch.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from tunny.core.console import progress, warn
from tunny.core.errors import DataError
from tunny.data.plan import Budget, Rows, Step, plan_epoch

OPEN = 8  # files that are read at a time, a row of each in turn
KEPT = 16_384  # rows that are shuffled together, about


class Stream:
    """The rows that `read` yields of each file; each time anew, and none is kept."""

    def __init__(self, read: Callable[[str], Iterator[Any]], paths: Sequence[str]):
        self.read, self.paths = read, list(paths)
        self._rows: int | None = None

    def __iter__(self) -> Iterator[Any]:
        for path in self.paths:
            yield from self.read(path)

    def told(self) -> Iterator[Any]:
        """Yield all rows and say which files have none."""
        for path in self.paths:
            number = 0
            for number, row in enumerate(self.read(path), 1):  # noqa: B007
                yield row
            if not number:
                warn(f"{path}: no rows")

    def __len__(self) -> int:
        """Return the number of rows, for which all files are read once."""
        if self._rows is None:
            self._rows = sum(1 for _ in progress(self.told(), "counting", unit="rows"))
        return self._rows

    def mixed(self, order: Sequence[int]) -> Iterator[Any]:
        """Yield all rows, of some files in turn, which are opened in this order."""
        waiting, reading = deque(order), deque[Iterator[Any]]()
        while waiting or reading:
            while waiting and len(reading) < OPEN:
                reading.append(iter(self.read(self.paths[waiting.popleft()])))
            one = reading.popleft()
            with suppress(StopIteration):
                yield next(one)
                reading.append(one)


class Streamed:
    """The steps over a stream: `KEPT` rows after another in an order of the seed, planned as rows in memory are."""

    def __init__(self, stream: Stream, batch_size: int, seed: int, length: Callable[[Any], int]):
        self.stream, self.batch_size, self.seed, self.length = stream, batch_size, seed, length
        # the last two blocks: `rows` may be asked for a step in another thread while the next step is planned
        self._kept: tuple[tuple[int, list[Any]], ...] = ()

    def __len__(self) -> int:
        return -(-len(self.stream) // self.batch_size)

    def epoch(self, number: int, first: int) -> Iterator[Step]:
        """Read the files in the order of an epoch and yield its steps; those before `first` are read over."""
        order = np.random.Generator(np.random.PCG64([self.seed, number])).permutation(len(self.stream.paths))
        rows, size = self.stream.mixed(order.tolist()), max(1, KEPT // self.batch_size) * self.batch_size
        self._kept = ()  # blocks of the epoch before have the same numbers
        for start in range(0, len(self.stream), size):
            block, done = [row for _, row in zip(range(size), rows, strict=False)], start // self.batch_size
            if len(block) != min(size, len(self.stream) - start):
                raise DataError(
                    f"{len(self.stream):,} rows were counted and {start + len(block):,} read: did the files change, or is reading them random?"
                )
            if done + -(-len(block) // self.batch_size) > first:
                self._kept = (*self._kept[-1:], (start, block))
                lengths = np.array([self.length(row) for row in block], dtype=np.int64)
                steps = plan_epoch(lengths, Budget(self.batch_size), self.seed, (number << 32) + start)
                yield from (Step(step.rows + start) for step in steps[max(0, first - done) :])

    def rows(self, numbers: Rows) -> list[Any]:
        """Return rows of a step."""
        start, block = next((start, block) for start, block in self._kept if start <= numbers[0] < start + len(block))
        return [block[number - start] for number in numbers]
