"""How often labels occur in the training windows, and rows drawn by their rarest label."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tunny.data.store import WindowStore


def label_counts(rows: WindowStore) -> Counter[int]:
    """Return how often each label id is a target; the windows of a long text in a sequence task count as one."""
    counts: Counter[int] = Counter()
    before = -1
    for row in range(len(rows)):
        window = rows[row]
        if len(window.words) or window.example != before:
            counts.update(window.labels[window.labels >= 0].tolist())
        before = window.example
    return counts


def row_weights(rows: WindowStore, counts: Counter[int], power: float) -> NDArray[np.float64]:
    """Return the weight of each row: the frequency of its rarest label to the power of minus `power`."""
    total = sum(counts.values())
    weights = np.ones(len(rows))
    for row in range(len(rows)):
        present = {int(label) for label in rows[row].labels if label >= 0}
        rarest = min((counts[label] for label in present), default=total)
        weights[row] = (rarest / total) ** -power
    return weights
