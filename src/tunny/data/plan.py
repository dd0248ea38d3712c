"""Which rows go into which step: a pure function of lengths, seed, epoch and settings, the same on every machine.

Rows are shuffled, sorted by length inside pools of 64 batches so that a batch holds rows of like length, cut into steps, and the
steps are shuffled. The plan is made on the global batch and then dealt to ranks and micro-batches, so that one rank with two
micro-batches and two ranks with one see the same rows. Left-over rows make a last, smaller step; none is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
POOL = 64  # batches whose rows are sorted together


@dataclass(frozen=True)
class Step:
    """The rows of one optimizer step, longest first."""

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


def num_steps(rows: int, batch_size: int) -> int:
    """Return the optimizer steps of one epoch."""
    return -(-rows // batch_size)


def plan_epoch(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int, weights: NDArray[np.float64] | None = None
) -> list[Step]:
    """Return the steps of an epoch (from 0).

    With `weights` the rows are drawn with replacement in proportion to them, as many as there are rows.
    """
    random = np.random.Generator(np.random.PCG64([seed, epoch]))
    if weights is None:
        order = random.permutation(len(lengths))
    else:
        order = random.choice(len(lengths), size=len(lengths), p=weights / weights.sum())
    steps = []
    size = batch_size * POOL
    for start in range(0, len(order), size):
        pool = order[start : start + size]
        pool = pool[np.argsort(-lengths[pool], kind="stable")]
        steps += [Step(pool[at : at + batch_size]) for at in range(0, len(pool), batch_size)]
    return [steps[number] for number in random.permutation(len(steps))]


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
