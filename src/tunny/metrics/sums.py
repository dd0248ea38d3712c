"""What is counted of documents: every metric is a function of sums over them.

One mechanism so gives a metric, its interval (documents drawn anew), its value on a slice (cells of its own) and the test between
two models (documents exchanged). Documents with the same counts are kept once, so memory does not grow with short texts.

Letters: D documents, U rows that are kept (different documents), S cells.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Cell = tuple[str, ...]  # what is counted: a family of cells, such as "class", and what tells its cells apart
Counts = Mapping[Cell, float]
Floats = NDArray[np.float64]

REMEMBERED = 20_000  # different rows that are looked for among those kept


class Sums:
    """Sums of cells; each is one number, or an array where sums were taken in several ways at once."""

    def __init__(self, columns: Mapping[Cell, int], values: Floats):
        self._columns = columns
        self._values = values  # (..., S)

    def __getitem__(self, cell: Cell) -> Floats:
        column = self._columns.get(cell)
        return np.zeros(self._values.shape[:-1]) if column is None else self._values[..., column]

    def family(self, name: str) -> Iterator[tuple[Cell, Floats]]:
        """Yield the cells of a family without its name, each with its sum."""
        for cell, column in self._columns.items():
            if cell[0] == name:
                yield cell[1:], self._values[..., column]


class Table:
    """Counts by document; rows that name no document are documents of their own."""

    def __init__(self) -> None:
        self.columns: defaultdict[Cell, int] = defaultdict(count().__next__)
        self.of_document = array("q")  # (D,) the row that holds its counts
        self._documents: dict[str, int] = {}
        self._rows: dict[tuple[tuple[int, float], ...], int] = {}
        self._bounds, self._cells, self._values = array("q", [0]), array("i"), array("d")

    def __len__(self) -> int:
        return len(self.of_document)

    def add(self, counts: Counts, document: str | None = None) -> None:
        """Add what was counted in one example."""
        columns = self.columns
        row = tuple(sorted([(columns[cell], value) for cell, value in counts.items() if value]))
        if document is None or document not in self._documents:
            if document is not None:
                self._documents[document] = len(self.of_document)
            self.of_document.append(self._number(row))
            return
        at = self._documents[document]
        joint = dict(self._row(self.of_document[at]))
        for column, value in row:
            joint[column] = joint.get(column, 0.0) + value
        self.of_document[at] = self._number(tuple(sorted(joint.items())))

    def _number(self, row: tuple[tuple[int, float], ...]) -> int:
        """Return the number under which a row is kept."""
        number = self._rows.get(row)
        if number is None:
            number = len(self._bounds) - 1
            if len(self._rows) < REMEMBERED:
                self._rows[row] = number
            self._cells.extend([column for column, _ in row])
            self._values.extend([value for _, value in row])
            self._bounds.append(len(self._cells))
        return number

    def _row(self, number: int) -> Iterator[tuple[int, float]]:
        part = slice(self._bounds[number], self._bounds[number + 1])
        return zip(self._cells[part], self._values[part], strict=True)

    def counts(self) -> csr_array:
        """Return the rows that are kept (U, S)."""
        shape = (len(self._bounds) - 1, len(self.columns))
        return csr_array((np.array(self._values), np.array(self._cells), np.array(self._bounds)), shape=shape)

    def times(self) -> Floats:
        """Return how many documents have each row (U,)."""
        return np.bincount(np.array(self.of_document), minlength=len(self._bounds) - 1).astype(float)

    def sums(self) -> Sums:
        """Return the sums over all documents."""
        return Sums(self.columns, self.times() @ self.counts())
