"""Evaluating a million short answers: seconds beyond the model's own, and peak memory.

Texts of 3 to 9 invented words with gold labels and made-up answers go through everything that `tunny evaluate` does but the forward
pass: scoring, intervals, errors, slices, calibration, the files and the page.

    python benchmarks/evaluate_million.py [--rows 1000000] [--kind ner]
"""

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

from tunny.data.audit import Audit
from tunny.data.example import Example, Origin, Span
from tunny.data.inputs import Padding
from tunny.data.labels import LabelSet
from tunny.evaluation import folder, score
from tunny.tasks.base import Answer
from tunny.tasks.model import make_task
from tunny.tasks.settings import SequenceTaskSettings, TokenTaskSettings

TYPES = ("PER", "LOC", "ORG")
CLASSES = ("a", "b", "c")
CHUNK = 1000  # answers made up at once


def entities(draw, at, words):
    """Return a text with entities, nine in ten of which are found, nine in ten of these with the right label."""
    ends = np.cumsum([len(word) + 1 for word in words]).tolist()
    places = [(end - 1 - len(word), end - 1) for end, word in zip(ends, words, strict=True)]
    gold = tuple(Span(*place, draw.choice(TYPES[:2])) for place in places if draw.random() < 0.15)
    found = [
        {"start": span.start, "end": span.end, "label": span.label if draw.random() < 0.9 else "ORG", "score": round(draw.random(), 6)}
        for span in gold if draw.random() < 0.9
    ]  # fmt: skip
    text, tags = " ".join(words), np.zeros(len(words), np.int64)
    example = Example(str(at), text, spans=gold, origin=Origin(0, at))
    return example, Answer({"id": str(at), "text": text, "spans": found}, tags, np.full(len(words), 0.9, np.float32), 0.1, len(words))


def classes(draw, at, words):
    """Return a text with a class that is told in four of five cases."""
    text, gold, sure = " ".join(words), draw.choice(CLASSES), draw.random()
    label = gold if draw.random() < 0.8 else draw.choice(CLASSES)
    scores = np.array([sure, 1 - sure, 0.0], np.float32)
    prediction = {"id": str(at), "text": text, "label": label, "score": round(sure, 6)}
    return Example(str(at), text, labels=(gold,), origin=Origin(0, at)), Answer(prediction, np.array([0]), scores, 0.1, 1.0)


def values(draw, at, words):
    """Return a text with a number and a guess near it."""
    text, gold = " ".join(words), draw.random() * 5
    guess = gold + draw.gauss(0, 1)
    prediction = {"id": str(at), "text": text, "value": guess}
    return Example(str(at), text, score=gold, origin=Origin(0, at)), Answer(prediction, np.zeros(0, np.int64), np.array([guess]), 0.1, 1.0)


KINDS = {
    "ner": (entities, TokenTaskSettings, ("O", *(f"{prefix}-{name}" for name in TYPES for prefix in "BI"))),
    "classify": (classes, SequenceTaskSettings, CLASSES),
    "regress": (values, SequenceTaskSettings, ("score",)),
}


def main():
    """Measure and print a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=tuple(KINDS), default="ner")
    options = parser.parse_args()
    make, settings, names = KINDS[options.kind]
    task = make_task(settings(kind=options.kind), LabelSet(options.kind, names), Padding(0, token_types=False))

    made = 0.0  # seconds that go into making answers up, where a model would work

    def answered(*_):
        nonlocal made
        draw = random.Random(1)
        for first in range(0, options.rows, CHUNK):
            started = time.perf_counter()
            chunk = [
                make(draw, at, [f"word{draw.randrange(5000)}" for _ in range(draw.randint(3, 9))])
                for at in range(first, min(first + CHUNK, options.rows))
            ]
            made += time.perf_counter() - started
            yield from chunk

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, patch.object(score, "predict", answered):
        folder.evaluate_to(Path(name) / "out", None, task, None, folder.About("made up", "none", "none", Audit(), ["made.csv"]))
    seconds = time.perf_counter() - started - made
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"kind": options.kind, "rows": options.rows, "seconds": round(seconds, 1), "memory": round(peak)}))


if __name__ == "__main__":
    main()
