"""The rows of all splits under one number each, in the order of the splits: which texts they repeat, and any columns on request.

What is kept in memory is a few numbers a row; everything else stays in the mapped files. Letter N: the rows of all splits.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tunny.data.prepare import Split

Ints = NDArray[np.int64]
PORTION = 500_000  # bytes of text in hand at a time: what a processor's cache holds


class Rows:
    """All rows of some splits."""

    def __init__(self, splits: Mapping[str, Split]):
        stores = [split.examples for split in splits.values()]
        self.names = list(splits)
        self._files = [split.names for split in splits.values()]
        self._batches = [batch for store in stores for batch in store.batches]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self.bounds = np.cumsum([0, *map(len, stores)])  # of splits
        self.split = np.repeat(np.arange(len(stores)), np.diff(self.bounds))  # (N,) number of the row's split
        keys = np.concatenate([np.zeros(0, np.uint64), *(store.column("key").astype(np.uint64) for store in stores)])
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        self.first: Ints = first[number]  # (N,) the first row that holds the same texts
        sizes = [pc.add(*(pc.fill_null(pc.binary_length(batch.column(side)), 0) for side in ("text", "text_b"))) for batch in self._batches]
        self._sizes = np.concatenate([np.zeros(0, np.int64), *map(np.asarray, sizes)])  # (N,) bytes of text

    def __len__(self) -> int:
        return len(self.first)

    def take(self, some: Ints, *columns: str, longest: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield some columns of rows, texts cut to so many characters; quickest where the rows ascend."""
        batches = np.searchsorted(self._starts, some, side="right") - 1
        for part in np.split(np.arange(len(some)), np.flatnonzero(np.diff(batches)) + 1) if len(some) else []:
            number = batches[part[0]]
            taken = self._batches[number].select(list(columns)).take(pa.array(some[part] - self._starts[number]))
            if longest is not None:
                taken = pa.RecordBatch.from_arrays([pc.utf8_slice_codeunits(array, 0, longest) for array in taken], names=list(columns))
            yield from taken.to_pylist()

    def portions(self, *lists: Ints, longest: int) -> Iterator[slice]:
        """Yield slices of equally long lists of rows that are worked on together, counting so many bytes of a text at most."""
        costs = np.cumsum(sum(np.minimum(self._sizes[some], longest) for some in lists))
        cuts = np.flatnonzero(np.diff(costs // PORTION)) + 1
        yield from map(slice, [0, *cuts], [*cuts, len(costs)])

    def place(self, row: int, file: int, line: int, name: str) -> dict[str, str]:
        """Return the split of a row and its place in the files, for people."""
        split = int(self.split[row])
        files, number = self._files[split], row - self.bounds[split] + 1
        return {"split": self.names[split], "where": f"{files[file]}:{name or line}" if 0 <= file < len(files) else f"row {number}"}
