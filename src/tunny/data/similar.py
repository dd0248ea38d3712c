"""Which rows say nearly the same: MinHash with bands over character 5-grams, and each pair found verified by exact Jaccard.

Own code instead of datasketch, which hashes text after text in Python and keeps its buckets in dictionaries: minutes and gigabytes for
a million texts. Here the sketches of a batch are a few numpy calls, and a bucket is a run of a sorted array in which a row meets only
its next neighbours: a mould that a hundred thousand texts share costs no more than others. All constants stand in this file, so
the groups are the same on every machine.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tunny.data.rows import Ints, Rows

THRESHOLD = 0.8  # least Jaccard similarity of two near duplicates
GRAM = 5  # characters; shorter ones make any two long texts of a language look alike
BANDS, DEPTH = 20, 5  # rows that agree in all 5 values of one of 20 bands meet: 99.97 % of pairs of similarity 0.8, a third of 0.5
NEXT = 4  # rows of its bucket that a row is compared with
MARGIN = 0.12  # three standard deviations of what 100 values say: a pair so far below the threshold is not verified
PATIENCE = 10  # comparisons that may fail before a row is given up: it stands among many of one mould that are not alike enough
LONGEST = 100_000  # characters of a text that are compared

_PAD = " " * (GRAM - 1)  # between texts, so that no 5-gram holds characters of two
_BASE, _MIX, _HIGH = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(32)
_OWNER = np.uint64(44)  # bits of a 5-gram's hash that stand below the number of its text


def similar_groups(rows: Rows, threshold: float = THRESHOLD) -> Ints:
    """Return the group of each row (N,), named by its first row: its own number where nothing is like it.

    Two rows are of one group if a chain of pairs joins them whose texts (and whose second texts) have this Jaccard similarity of
    their sets of 5-grams, lower-cased and with white space collapsed. Exact copies are of one group in any case.
    """
    single = np.unique(rows.first)  # of exact copies the first stands for all
    bands, sketch = _sketches(rows, single)
    group, failed = np.arange(len(single)), np.zeros(len(single), np.int64)
    for left, right in _neighbours(bands):
        apart = (group[left] != group[right]) & (failed[left] + failed[right] < 2 * PATIENCE)
        left, right = left[apart], right[apart]
        likely = (sketch[left] == sketch[right]).mean(axis=1) >= threshold - MARGIN
        left, right = left[likely], right[likely]
        alike = jaccard(rows, single[left], single[right]) >= threshold
        group = _united(group, left[alike], right[alike])
        failed += np.bincount(np.concatenate([left[~alike], right[~alike]]), minlength=len(failed))
    return single[group][np.searchsorted(single, rows.first)]


def _sketches(rows: Rows, single: Ints) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Return the hash of each band of each row (bands, rows), and the lowest 8 bits of each of its minima (rows, minima)."""
    seeds = np.arange(1, 2 * BANDS * DEPTH + 1, dtype=np.uint64) * _BASE
    flips, factors = ((seeds ^ seeds >> np.uint64(30)) * _MIX >> _HIGH).astype(np.uint32).reshape(2, -1)
    bands = np.empty((BANDS, len(single)), np.uint32)
    sketch = np.empty((len(single), BANDS * DEPTH), np.uint8)
    for part in rows.portions(single, longest=LONGEST):
        texts = [f"{row['text']} {row['text_b'] or ''}" for row in rows.take(single[part], "text", "text_b", longest=LONGEST)]
        hashes, starts = _hashes(texts)
        short = (hashes >> _HIGH).astype(np.uint32)
        permuted = ((short ^ flip) * (factor | 1) for flip, factor in zip(flips, factors, strict=True))
        minima = np.stack([np.minimum.reduceat(values, starts[:-1]) for values in permuted])
        sketch[part] = minima.T.astype(np.uint8)
        mixed = np.zeros((BANDS, len(texts)), np.uint64)
        for values in minima.reshape(BANDS, DEPTH, -1).transpose(1, 0, 2):
            mixed = (mixed ^ mixed >> _HIGH ^ values) * _MIX
        bands[:, part] = mixed >> _HIGH
    return bands, sketch


def _neighbours(bands: NDArray[np.uint32]) -> Iterator[tuple[Ints, Ints]]:
    """Yield pairs to compare, some thousand at a time: of the rows that agree in a band, those that stand side by side when sorted."""
    for number, band in enumerate(bands):
        order = np.argsort(band.astype(np.uint64) << _HIGH | bands[number - 1], kind="stable")  # alike in two bands: nearest
        here = band[order]
        for step in range(1, NEXT + 1):
            places = np.flatnonzero(here[step:] == here[:-step])
            for part in np.array_split(places, len(places) // 65_536 + 1):
                yield order[part], order[part + step]


def jaccard(rows: Rows, left: Ints, right: Ints) -> NDArray[np.float64]:
    """Return the similarity of pairs of rows (P,): where there are second texts, that of the less similar side."""
    found = np.ones(len(left))
    for part in rows.portions(left, right, longest=LONGEST) if len(left) else ():
        some, places = np.unique(np.concatenate([left[part], right[part]]), return_inverse=True)
        taken = list(rows.take(some, "text", "text_b", longest=LONGEST))
        for side in ("text", "text_b"):
            found[part] = np.minimum(found[part], _similarity([row[side] or "" for row in taken], *np.split(places, 2)))
    return found


def _similarity(texts: list[str], left: Ints, right: Ints) -> NDArray[np.float64]:
    hashes, starts = _hashes(texts)
    owners = np.arange(len(texts) + 1, dtype=np.uint64) << _OWNER
    grams = np.sort(np.repeat(owners[:-1], np.diff(starts)) | hashes >> np.uint64(64) - _OWNER)
    grams = grams[np.append(True, grams[1:] != grams[:-1])]  # the set of each text, one after the other
    begins = np.searchsorted(grams, owners)
    sizes = np.diff(begins)
    pair = np.repeat(np.arange(len(left)), sizes[left])
    place = np.arange(len(pair)) + (begins[left] - np.cumsum(sizes[left]) + sizes[left])[pair]
    wanted = grams[place] - owners[left][pair] + owners[right][pair]  # the left set as the right one's would be written
    found = grams[np.minimum(np.searchsorted(grams, wanted), len(grams) - 1)] == wanted
    shared = np.bincount(pair[found], minlength=len(left))
    return np.asarray(shared / (sizes[left] + sizes[right] - shared))


def _hashes(texts: list[str]) -> tuple[NDArray[np.uint64], Ints]:
    """Return a 64-bit hash of each 5-gram of each text, and where each text's begin, with the end of the last."""
    normal = [" ".join(text.lower().split()) for text in texts]
    codes = np.frombuffer((_PAD + _PAD.join(normal) + _PAD).encode("utf-32-le"), np.uint32).astype(np.uint64)
    hashes = codes[: 1 - GRAM].copy()
    for place in range(1, GRAM):
        hashes = hashes * _BASE + codes[place : len(codes) - GRAM + 1 + place]
    return (hashes ^ hashes >> np.uint64(29)) * _MIX, np.cumsum([0, *(len(text) + GRAM - 1 for text in normal)])


def _united(group: Ints, left: Ints, right: Ints) -> Ints:
    """Return the groups after these pairs were joined, each named by its lowest number."""
    while (group[left] != group[right]).any():
        lower = np.minimum(group[left], group[right])
        np.minimum.at(group, group[left], lower)
        np.minimum.at(group, group[right], lower)
        while (group[group] != group).any():
            group = group[group]
    return group
