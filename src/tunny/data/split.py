"""Which documents train, validate and test: the same answer whatever the order of the files and on every machine.

Documents are dealt whole. How many each split gets is settled first, by largest remainder; which ones it gets follows the
labels, the rarest first (Sechidis et al. 2011, "On the stratification of multi-label data"), and their sizes. Chance comes from a
digest of seed and document, so it depends on nothing else. Examples that name no document are one by their text: copies of a
text never part.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunny.core.errors import ConfigError
from tunny.core.files import digest_bytes
from tunny.data.example import Example, text_key

SPLITS = ("train", "validation", "test")
LISTED = 10_000  # documents that the report names; the counts go on
_SIZE = ""  # stands among the labels for the number of examples


@dataclass
class Documents:
    """The documents met so far: by example its document, by document what it holds."""

    numbers: dict[str, int] = field(default_factory=dict)  # name -> number, in the order met
    of_example: list[int] = field(default_factory=list)
    labels: list[Counter[str]] = field(default_factory=list)  # by document, with its number of examples under ""
    words: list[int] = field(default_factory=list)


def documents_of(examples: Iterable[Example], kind: str) -> Documents:
    """Return the documents of examples."""
    found = Documents()
    for example in examples:
        name = example.document if example.document is not None else f"text {text_key(example)}"
        number = found.numbers.setdefault(name, len(found.numbers))
        if number == len(found.labels):
            found.labels.append(Counter())
            found.words.append(0)
        found.of_example.append(number)
        found.labels[number][_SIZE] += 1
        if kind != "regress":
            found.labels[number].update(example.labels or [span.label for span in example.spans or ()])
        found.words[number] += len(example.words if example.words is not None else example.text.split())
    return found


def quotas(number: int, ratios: Sequence[float]) -> list[int]:
    """Return how many of `number` documents each split gets: by largest remainder, none empty where there are enough.

    >>> quotas(10, (0.7, 0.15, 0.15))
    [7, 2, 1]
    """
    shares = [Fraction(str(ratio)) * number for ratio in check_ratios(ratios)]
    found = [int(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda at: (found[at] - shares[at], at))
    for at in by_remainder[: number - sum(found)]:
        found[at] += 1
    wanted = [at for at, ratio in enumerate(ratios) if ratio > 0]
    for at in wanted:
        if not found[at] and number >= len(wanted):
            found[max(wanted, key=lambda other: (found[other], -other))] -= 1
            found[at] = 1
    return found


def check_ratios(ratios: Sequence[float]) -> Sequence[float]:
    """Return the ratios; raise ConfigError unless they are shares of one whole."""
    if any(ratio < 0 for ratio in ratios) or abs(sum(ratios) - 1) > 1e-6 or not ratios[0]:
        what = "shares for train, validation and test that add up to 1, with some to train on"
        raise ConfigError(f"--ratios: expected {what}, found {list(ratios)}")
    return ratios


def deal(documents: Documents, ratios: Sequence[float], seed: int) -> NDArray[np.int8]:
    """Return the split of each document (D,): 0 train, 1 validation, 2 test."""
    open_places = quotas(len(documents.numbers), ratios)
    totals = Counter[str]()
    for labels in documents.labels:
        totals.update(labels)
    wanted = [{label: ratio * total for label, total in totals.items()} for ratio in ratios]

    def rarest(number: int) -> str:
        return min(documents.labels[number], key=lambda label: (totals[label], label))

    chance = {number: digest_bytes(str(seed), name) for name, number in documents.numbers.items()}
    order = sorted(chance, key=lambda at: (totals[rarest(at)], rarest(at), -documents.labels[at][_SIZE], chance[at]))
    found = np.zeros(len(order), dtype=np.int8)
    for number in order:
        label = rarest(number)
        places = [at for at in range(len(ratios)) if open_places[at]]
        best = max(places, key=lambda at: (wanted[at][label], wanted[at][_SIZE], open_places[at], -at))
        found[number] = best
        open_places[best] -= 1
        for name, count in documents.labels[number].items():
            wanted[best][name] -= count
    return found


def report(documents: Documents, dealt: NDArray[np.int8], ratios: Sequence[float], seed: int) -> dict[str, Any]:
    """Return what went where, for split.json."""
    parts: dict[str, Any] = {}
    names = list(documents.numbers)
    for at, split in enumerate(SPLITS):
        members = np.flatnonzero(dealt == at).tolist()
        labels = Counter[str]()
        for number in members:
            labels.update(documents.labels[number])
        parts[split] = {
            "documents": len(members), "examples": labels.pop(_SIZE, 0), "words": sum(documents.words[number] for number in members),
            "labels": dict(labels.most_common()), "ids": sorted(names[number] for number in members)[:LISTED],
        }  # fmt: skip
    return {"seed": seed, "ratios": dict(zip(SPLITS, ratios, strict=True)), "splits": parts}
