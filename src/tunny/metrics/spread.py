"""How far a score would move on other documents: bootstrap intervals, and the test whether two models differ.

Documents are drawn, not examples or spans, as those of one document are alike. Intervals are bias-corrected and accelerated
(Efron 1987); the test exchanges the answers of two models document by document (approximate randomisation, Noreen 1989).

Letters: R draws, U different documents, S cells.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from scipy.special import ndtr, ndtri

from tunny.metrics.sums import Cell, Floats, Sums, Table

DRAWS = 1000
LEVEL = 0.95
GROUPS = 20_000  # of documents that are drawn together where more of them differ
AT_ONCE = 2_000_000  # numbers in memory at a time

Name = TypeVar("Name", bound=str | tuple[str, ...])
Measure = Callable[[Sums], Mapping[Name, Floats]]  # metrics of sums, nan where not defined
Interval = tuple[float, float]


class Difference(NamedTuple):
    """How much higher the second of two models scores on the same documents."""

    value: float
    interval: Interval | None
    p_value: float  # how often models that are equally good differ as much


def intervals(table: Table, measure: Measure[Name], draws: int = DRAWS, seed: int = 0) -> dict[Name, Interval | None]:
    """Return for each metric the interval that holds its value on all documents of the kind in 95 of 100 cases, None if nothing can be said."""
    random = np.random.default_rng(seed)
    counts, times = _grouped(table.counts(), table.times(), random)
    total, num = times @ counts, int(times.sum())
    values = measure(Sums(table.columns, total))
    if num < 2:
        return dict.fromkeys(values)
    drawn = _measured(table.columns, measure, _draws(counts, times, draws, random))
    without = _measured(table.columns, measure, (total - counts[part].toarray() for part in _parts(*counts.shape)))
    return {name: _accelerated(float(value), drawn[name], without[name], times) for name, value in values.items()}


def compare(first: Table, second: Table, measure: Measure[Name], draws: int = DRAWS, seed: int = 0) -> dict[Name, Difference]:
    """Return how the metrics of two models differ; both tables hold the same documents in the same order."""
    random = np.random.default_rng(seed)
    columns: dict[Cell, int] = {}
    for cell in (*first.columns, *second.columns):
        columns.setdefault(cell, len(columns))
    pairs, often = np.unique(np.stack([first.of_document, second.of_document]), axis=1, return_counts=True)
    sides = [table.counts()[rows] @ _moved(table, columns) for table, rows in zip((first, second), pairs, strict=True)]
    counts, times = _grouped(csr_array(hstack(sides)), often.astype(float), random)
    total = times @ counts

    def both(sums: Iterable[Floats]) -> list[dict[Name, Floats]]:
        parts = zip(*(np.split(block, 2, axis=-1) for block in sums), strict=True)
        return [_measured(columns, measure, side) for side in parts]

    values, drawn = both([total[None]]), both(_draws(counts, times, draws, random))
    exchange = _swapped(counts)
    mixed = both(total + chosen @ exchange for chosen in _chosen(times, draws, counts.shape[1], random))
    found = {}
    for name, (value,) in values[1].items():
        difference = float(value - values[0][name][0])
        spread, chance = drawn[1][name] - drawn[0][name], mixed[1][name] - mixed[0][name]
        as_much = int((np.abs(chance) >= abs(difference) - 1e-12).sum())
        found[name] = Difference(difference, _quantiles(spread, (1 - LEVEL) / 2, (1 + LEVEL) / 2), (1 + as_much) / (1 + draws))
    return found


def _measured(columns: Mapping[Cell, int], measure: Measure[Name], sums: Iterable[Floats]) -> dict[Name, Floats]:
    """Return the metrics of many sums (some, S) at once."""
    parts = [measure(Sums(columns, part)) for part in sums]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _draws(counts: csr_array, times: Floats, draws: int, random: Generator) -> Iterator[Floats]:
    """Yield the sums (some, S) over as many documents as there are, drawn with replacement, R times."""
    num = int(times.sum())
    for part in _parts(draws, max(counts.shape)):
        yield random.multinomial(num, times / num, len(part)) @ counts


def _chosen(times: Floats, draws: int, width: int, random: Generator) -> Iterator[Floats]:
    """Yield how many documents of each kind (some, U) are exchanged, each with probability 1/2, R times."""
    for part in _parts(draws, max(len(times), width)):
        yield random.binomial(times.astype(np.int64), 0.5, (len(part), len(times))).astype(float)


def _parts(number: int, width: int) -> list[NDArray[np.int64]]:
    """Cut so many rows of a width into parts that fit in memory."""
    return np.array_split(np.arange(number), -(-number * width // AT_ONCE))


def _moved(table: Table, columns: Mapping[Cell, int]) -> csr_array:
    """Return the matrix that takes the columns of a table to their places among others."""
    places = (list(table.columns.values()), [columns[cell] for cell in table.columns])
    return csr_array((np.ones(len(table.columns)), places), shape=(len(table.columns), len(columns)))


def _swapped(counts: csr_array) -> csr_array:
    """Return what exchanging the two sides of each row adds to it."""
    half = counts.shape[1] // 2
    more = counts[:, half:] - counts[:, :half]
    return csr_array(hstack([more, -more]))


def _grouped(counts: csr_array, times: Floats, random: Generator) -> tuple[csr_array, Floats]:
    """Return the rows that documents have and how many have each; where these are too many, sums of documents put together by lot."""
    counts, times = counts[times > 0], times[times > 0]
    if len(times) <= GROUPS:
        return counts, times
    row_of = np.repeat(np.arange(len(times)), times.astype(np.int64))
    group_of = random.permutation(len(row_of)) % GROUPS
    return csr_array((np.ones(len(row_of)), (group_of, row_of)), shape=(GROUPS, len(times))) @ counts, np.ones(GROUPS)


def _accelerated(value: float, drawn: Floats, without: Floats, times: Floats) -> Interval | None:
    """Return the interval of a metric from its values on drawn documents (R,) and without each of the documents (U,)."""
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(drawn):
        return None
    known = np.isfinite(without)
    distance = np.average(without[known], weights=times[known]) - without[known]
    spread = times[known] @ distance**2
    skew = times[known] @ distance**3 / (6 * spread**1.5) if spread > 0 else 0.0
    lower = ((drawn < value).sum() + 0.5 * (drawn == value).sum()) / len(drawn)
    bias = ndtri(np.clip(lower, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    tail = ndtri((1 - LEVEL) / 2)
    low, high = (ndtr(bias + (bias + end) / max(1e-9, 1 - skew * (bias + end))) for end in (tail, -tail))
    found = _quantiles(drawn, low, high)
    return None if found is None or found[0] == found[1] else found  # where no draw differs nothing can be said of the spread


def _quantiles(values: Floats, low: float, high: float) -> Interval | None:
    values = values[np.isfinite(values)]
    return (float(np.quantile(values, low)), float(np.quantile(values, high))) if len(values) else None
