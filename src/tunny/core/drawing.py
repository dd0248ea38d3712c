"""What templates ask of the numbers that they draw: round marks on an axis, how far it reaches, which series share a plot.

Pure functions, registered as filters by `page.py`; where things stand is decided in `templates/plots.html`.
"""

import math
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

LISTED = 10  # mistakes named beside a confusion matrix
LOSSES = ("loss", "mse", "mae", "rmse")  # metrics that are not shares of one
TINY = 1e-300  # below which a float has no digits left to share out

Series = tuple[str, list[tuple[float, float]]]  # name, points


def ticks(low: float, high: float, number: int = 4) -> list[float]:
    """Return round numbers in equal steps, about so many, the first at most low and the last at least high."""
    size = max(abs(low), abs(high))
    wide = high - low if high - low > max(1e-9 * size, TINY) else size if size > TINY else 1.0  # where both are the same but for rounding
    rough = wide / number * (1 - 1e-9)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 2.5, 5, 10) if times * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [at * step for at in range(first, max(last, first + 1) + 1)]


def columns(text: str) -> int:
    """Return how wide a text is, about, in Latin letters: those of East Asia are two wide."""
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def by_metric(curves: Mapping[str, Any] | None) -> dict[str, list[Series]]:
    """Return the series that are drawn together, by the last part of their names, without values that are missing or not finite."""
    found: defaultdict[str, list[Series]] = defaultdict(list)
    for name, points in (curves or {"series": {}})["series"].items():
        finite = [(step, value) for step, value in points if value is not None and math.isfinite(value)]
        if finite:
            found[name.rpartition("/")[2]].append((name, finite))
    return dict(found)


def confused(confusion: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Return what is taken for something else most often: gold, predicted, how many times."""
    names = confusion["names"]
    rows = enumerate(confusion["counts"])
    wrong = [(names[down], names[across], count) for down, row in rows for across, count in enumerate(row) if count and down != across]
    return sorted(wrong, key=lambda one: -one[2])[:LISTED]


def extent(metric: str, rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the ends of an axis for bars of a metric: zero and one, and farther where values are beyond; of losses the highest value."""
    values = [value for row in rows for value in (row["score"], *(row["interval"] or ())) if value is not None]
    low, high = min(0.0, *values, 0.0), max(0.0 if metric in LOSSES else 1.0, *values, 0.0)
    return low, high if high > low else low + 1.0
