"""Which rows go into which step: a pure function of lengths, seed, epoch and settings, the same on every machine.

Rows are shuffled, sorted by length inside pools of 64 batches so that a batch holds rows of like length, cut into steps, and the
steps are shuffled. A step holds so many rows (those left over make a last, smaller one; none is dropped) or about so many tokens. The
plan is made on the global batch and then dealt to ranks and micro-batches, so that one rank with two micro-batches and two ranks
with one see the same rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
POOL = 64  # batches whose rows are sorted together


@dataclass(frozen=True)
class Step:
    """The rows of one optimizer step, of like lengths."""

    rows: Rows

    def micro_batches(self, limit: int, rank: int = 0, world_size: int = 1) -> list[tuple[int, Rows]]:
        """Return `(number in the global batch, rows)` of this rank's micro-batches, none above `limit` rows.

        The global batch is cut into equal-sized runs of like lengths; run i belongs to rank i modulo the ranks. Ranks get
        equally many micro-batches, some of them empty where rows do not suffice.
        """
        num = max(1, -(-len(self.rows) // limit))
        num = -(-num // world_size) * world_size
        parts = np.array_split(self.rows, num)
        return [(number, parts[number]) for number in range(rank, num, world_size)]


@dataclass(frozen=True)
class Budget:
    """What one optimizer step takes: so many rows, or where `tokens` is given, about so many tokens (padding not counted)."""

    rows: int
    tokens: int | None = None

    def steps(self, lengths: NDArray[np.int64]) -> int:
        """Return the optimizer steps of every epoch over rows of these lengths."""
        return -(-len(lengths) // self.rows) if self.tokens is None else min(len(lengths), -(-int(lengths.sum()) // self.tokens))

    def cut(self, lengths: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
        """Return where rows in the order of the plan are cut into steps: at equal numbers of rows, or of tokens."""
        if self.tokens is None:
            return np.arange(1, steps) * self.rows
        ends = np.cumsum(lengths)
        cuts = np.searchsorted(ends, ends[-1] * np.arange(1, steps) / steps) + 1
        firsts = np.arange(steps - 1)  # a row longer than a step's share must not leave a step without rows
        cuts = np.maximum.accumulate(cuts - firsts) + firsts
        return np.asarray(np.minimum(cuts, len(lengths) - steps + 1 + firsts))


def plan_epoch(lengths: NDArray[np.int64], budget: Budget, seed: int, epoch: int, weights: NDArray[np.float64] | None = None) -> list[Step]:
    """Return the steps of an epoch (from 0), equally many in every epoch.

    With `weights` the rows are drawn with replacement in proportion to them, as many as there are rows.
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    if weights is None:
        order = random.permutation(len(lengths))
    else:
        order = random.choice(len(lengths), size=len(lengths), p=weights / weights.sum())
    num = budget.steps(lengths)
    if num == 0:
        return []
    size = budget.rows * POOL if budget.tokens is None else -(-len(order) * POOL // num)
    pools = [order[start : start + size] for start in range(0, len(order), size)]
    pools = [pool[np.argsort(-lengths[pool], kind="stable")] for pool in pools]
    if budget.tokens is not None:  # a step may begin in one pool and end in the next: let them meet at like lengths
        pools = [pool[::-1] if number % 2 else pool for number, pool in enumerate(pools)]
    order = np.concatenate(pools)
    steps = [Step(rows) for rows in np.split(order, budget.cut(lengths[order], num))]
    return [steps[number] for number in random.permutation(len(steps))]


class Steps(Protocol):
    """The steps of a training, equally many in every epoch, and their rows."""

    def __len__(self) -> int:
        """Return the number of steps of an epoch."""

    def epoch(self, number: int, first: int) -> Iterator[Step]:
        """Yield the steps of an epoch (from 0), from its step `first` on."""

    def rows(self, numbers: Rows) -> list[Any]:
        """Return rows of the step that was yielded last, or of the one before."""


@dataclass(frozen=True)
class Shuffled:
    """The steps over rows that can be had in any order."""

    source: Any  # has rows by their numbers
    lengths: NDArray[np.int64]
    budget: Budget
    seed: int
    weights: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return self.budget.steps(self.lengths)

    def epoch(self, number: int, first: int) -> Iterator[Step]:
        """Plan an epoch and yield its steps."""
        return iter(plan_epoch(self.lengths, self.budget, self.seed, number, self.weights)[first:])

    def rows(self, numbers: Rows) -> list[Any]:
        """Look the rows up."""
        return [self.source[int(number)] for number in numbers]


def plan_prediction(lengths: NDArray[np.int64] | Sequence[int], max_tokens: int) -> list[Rows]:
    """Return batches of rows of like length, each of at most `max_tokens` tokens with padding (one row at least)."""
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    batches = []
    at = 0
    while at < len(order):
        rows = max(1, max_tokens // max(1, int(lengths[order[at]])))
        batches.append(order[at : at + rows])
        at += rows
    return batches
