"""A linear tagger of word forms: what a word, its letters, its case and its neighbours say of its tag, learnt in seconds.

It is a second opinion to a model of meanings: their faults differ, and an uncased model sees nothing of case. Multinomial logistic regression
by L-BFGS, cross-fitted: the tags of a text are told by the others.

Letters: W words of all texts, K tags, F features.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array

from tunny.core.console import progress
from tunny.tasks.decode import log_softmax

FOLDS = 5
ITERATIONS = 40
Array = NDArray[np.float32]


def cross_fitted(texts: Sequence[Sequence[str]], tags: NDArray[np.int64], num_tags: int) -> Array:
    """Return the logarithms of the probabilities (W, K) of the tags of all words, each learnt from the texts of other folds.

    `tags` (W,) are the gold ones, -1 for a word that has none and teaches nothing.
    """
    table = _table(texts)
    fold = np.repeat(np.arange(len(texts)) % FOLDS, [len(words) for words in texts])
    found = np.full((len(tags), num_tags), -np.log(num_tags), dtype=np.float32)
    for at in progress(range(FOLDS), "word forms", total=FOLDS, unit="folds"):
        learnt, asked = np.flatnonzero((fold != at) & (tags >= 0)), np.flatnonzero(fold == at)
        if len(learnt) and len(asked):
            found[asked] = log_softmax(table[asked] @ _weights(table[learnt], tags[learnt], num_tags))
    return found


def _table(texts: Sequence[Sequence[str]]) -> csr_array:
    """Return which features (W, F) the words have."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    columns, ends = [], [0]
    for words in texts:
        for features in _features(words):
            columns.extend([numbers[feature] for feature in features])
            ends.append(len(columns))
    return csr_array((np.ones(len(columns), np.float32), np.array(columns, np.int32), np.array(ends)), shape=(len(ends) - 1, len(numbers)))


def _weights(table: csr_array, tags: NDArray[np.int64], num_tags: int) -> Array:
    """Return the weights (F, K) that fit tags best, with a penalty of half their squares; 0 for features seen once."""
    common = np.flatnonzero(np.bincount(table.indices, minlength=table.shape[1]) > 1)
    known = csr_array(table[:, common])
    turned, rows = csr_array(known.T), np.arange(len(tags))

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(-1, num_tags).astype(np.float32)
        logs = log_softmax(known @ weights)
        errors = np.exp(logs)
        errors[rows, tags] -= 1
        gradient = turned @ errors + weights
        total = -logs[rows, tags].sum(dtype=np.float64) + 0.5 * np.square(weights, dtype=np.float64).sum()
        return float(total), gradient.ravel().astype(np.float64)

    fitted = minimize(loss, np.zeros(len(common) * num_tags), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x
    found = np.zeros((table.shape[1], num_tags), dtype=np.float32)
    found[common] = fitted.reshape(-1, num_tags)
    return found


def _features(words: Sequence[str]) -> Iterator[list[str]]:
    low = ["", "", *(word.lower() for word in words), "", ""]
    cases = ["", "", *map(_case, words), "", ""]
    for at in range(2, len(words) + 2):
        own, before, behind = low[at], low[at - 1], low[at + 1]
        framed = f"^{own}$"
        yield [
            "", f"word {words[at - 2]}", f"low {own}", f"case {cases[at]}", f"cases {cases[at - 1]} {cases[at]} {cases[at + 1]}",
            *(f"end {own[-size:]}" for size in (2, 3, 4, 5)), *(f"start {size} {own[:size]}" for size in (3, 4, 5)),
            *{f"part {framed[start : start + size]}" for size in (3, 4) for start in range(max(1, len(framed) - size + 1))},
            f"before {before}", f"behind {behind}", f"before {before} {cases[at]}", f"behind {behind} {cases[at]}", f"between {before} {behind}",
            f"after {before} {own}", f"then {own} {behind}", f"two before {low[at - 2]}", f"two behind {low[at + 2]}",
            f"before ends {before[-3:]}", f"behind ends {behind[-3:]}", f"before starts {before[:4]}", f"behind starts {behind[:4]}",
        ]  # fmt: skip


def _case(word: str) -> str:
    size = "upper" if word.isupper() else "title" if word[:1].isupper() else "lower"
    return f"{size} with digits" if any(letter.isdigit() for letter in word) else size
