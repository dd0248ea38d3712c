"""How fast the variants of a model answer here: whole answers, from the text to its spans or labels, the variants in turn."""

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np

from tunny.core.console import progress
from tunny.data.example import Example
from tunny.ship.predictor import Predictor, Text

ALONE, TOGETHER, BATCHES = 200, 32, 8  # texts that are asked one by one, texts of a batch, batches


class Speed(NamedTuple):
    """Milliseconds for a text alone, and texts a second, alone and in batches."""

    p50: float
    p95: float
    alone: float
    together: float


def measure(predictors: Mapping[str, Predictor], examples: Sequence[Example]) -> dict[str, Speed]:
    """Return the speed of each predictor on texts, which are repeated where they are few; all are warmed up first."""
    texts: list[Text] = [one.text if one.text_b is None else (one.text, one.text_b) for one in examples]
    one_by_one = [[text] for text in islice(cycle(texts), ALONE)]
    batches = [list(islice(cycle(texts), at * TOGETHER, (at + 1) * TOGETHER)) for at in range(BATCHES)]
    _seconds(predictors, [*one_by_one[:10], *batches[:1]])
    alone, together = _seconds(predictors, one_by_one), _seconds(predictors, batches)
    p50, p95 = (np.percentile(list(alone.values()), share, axis=1) * 1e3 for share in (50, 95))
    rates = [(ALONE / sum(alone[name]), TOGETHER * BATCHES / sum(together[name])) for name in predictors]
    return {name: Speed(float(p50[at]), float(p95[at]), *rates[at]) for at, name in enumerate(predictors)}


def _seconds(predictors: Mapping[str, Predictor], asked: Iterable[list[Text]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in predictors}
    for texts in progress(asked, "measuring", unit="calls"):
        for name, predictor in predictors.items():
            started = time.perf_counter()
            predictor.predict(texts)
            found[name].append(time.perf_counter() - started)
    return found
