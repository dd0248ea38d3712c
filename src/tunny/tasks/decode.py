"""From scores of tags to the best sequence of tags that its scheme allows. Numpy only.

Letters: W words, K tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunny.data.tags import Scheme, split_tag, transitions

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
_MUTE = -1e-4  # of a tag other than O for a word without tokens: decides ties only


@dataclass(frozen=True)
class TagRules:
    """What a scheme allows: which tag first (K,), which after which (K, K), which last (K,), which continues which (K, K)."""

    first: Bools
    follow: Bools
    last: Bools
    continues: Bools
    outside: int | None  # id of O


def tag_rules(names: Sequence[str], scheme: Scheme) -> TagRules:
    """Return the rules for a model's tag names."""
    first, follow, last = transitions(names, scheme)
    if scheme == "none":
        return TagRules(first, follow, last, np.eye(len(names), dtype=bool), None)
    parts = [split_tag(name) for name in names]
    continues = np.array([[a[1] == b[1] and (b[0] in "IEL" or a[0] == b[0] == "O") for b in parts] for a in parts])
    return TagRules(first, follow, last, continues & follow, names.index("O") if "O" in names else None)


def best_path(log_probs: Floats, rules: TagRules, joined: Sequence[int] = (), mute: Sequence[int] = ()) -> NDArray[np.int64]:
    """Return the tags (W,) with the highest sum of `log_probs` (W, K) among the sequences that the rules allow.

    `joined` words continue the tag of the word before; `mute` words have no scores of their own: they are O or inside a span
    as their neighbours are, and without a scheme they take the tag of the word before (the first ones, of the word after).
    """
    size = len(log_probs)
    if size == 0:
        return np.zeros(0, dtype=np.int64)
    scores = log_probs.astype(np.float64)
    for word in mute:
        scores[word] = np.where(rules.continues.any(axis=0), _MUTE, 2 * _MUTE)  # a word without tokens rather continues than begins
        if rules.outside is not None:
            scores[word, rules.outside] = 0.0
    scores[list(joined)] = 0.0
    follow = np.where(rules.follow, 0.0, -np.inf)
    continues = np.where(rules.continues, 0.0, -np.inf)
    joins = set(joined)
    if rules.outside is None:
        leading = next((word for word in range(size) if word not in mute), 0)
        joins |= {*mute, leading}
    back = np.zeros((size, scores.shape[1]), dtype=np.int64)
    best = np.where(rules.first, scores[0], -np.inf)
    for word in range(1, size):
        ways = best[:, None] + (continues if word in joins else follow)
        back[word] = ways.argmax(axis=0)
        best = ways.max(axis=0) + scores[word]
    best = np.where(rules.last, best, -np.inf)
    path = np.empty(size, dtype=np.int64)
    path[-1] = best.argmax()
    for word in range(size - 1, 0, -1):
        path[word - 1] = back[word, path[word]]
    return path


def log_softmax(logits: Floats) -> Floats:
    """Return the logarithms of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), dtype=np.float32)
