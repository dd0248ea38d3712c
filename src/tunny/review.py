"""What models say of gold labels (`tunny check --with-model`, `--folds`): doubts, as findings of the check.

The answers are those of a model that is given, which must not have learnt from these rows, or out of fold: each part of the documents
is answered by a model that learnt from all others. Training is the ordinary one, to its end, as no row is left to choose an epoch by.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tunny.config import Config
from tunny.core.console import progress, say
from tunny.core.errors import DataError, did_you_mean
from tunny.core.files import TEMPORARY
from tunny.core.settings import Resolved
from tunny.core.signals import StopRequest
from tunny.data.example import Example
from tunny.data.prepare import Dataset, Split, cache_folder, encode_splits, part_of, require_labels
from tunny.data.rows import Rows
from tunny.data.split import deal, documents_of
from tunny.data.survey import excerpt, whole
from tunny.engine.choose import choose_backend
from tunny.engine.compute import TorchModel
from tunny.engine.precision import choose_precision
from tunny.evaluation.doubts import WHATS, Doubt, rank
from tunny.evaluation.predict import encoded_chunks, predict
from tunny.ship.predictor import Predictor
from tunny.tasks.base import Answer
from tunny.tasks.model import encoder_of, load_tokenizer, make_task
from tunny.texts import Texts
from tunny.training.checkpoint import Checkpoints
from tunny.training.loop import fit
from tunny.training.settings import TrackSettings
from tunny.training.trackers.together import make_trackers

LISTED = 200  # doubts that findings name; their counts go on


def model_doubts(predictor: Predictor, dataset: Dataset) -> list[Doubt]:
    """Return the doubts of a model about all examples; raise DataError for a label that it does not know."""
    labels = predictor.task.labels
    known = labels.in_data
    told = [
        f"{f'{name} data'.removeprefix('data ')}: the model does not know the label {label!r} ({', '.join(known)}){did_you_mean(label, known) or '.'}"
        for name, split in dataset.splits.items() for label in split.label_counts if label not in known
    ]  # fmt: skip
    if told:
        raise DataError("\n".join(told) + " Try --folds.")
    examples = chain.from_iterable(split.examples for split in dataset.splits.values())
    answered = progress(predictor.answers(examples), "answering", unit="examples")
    return rank(((row, *pair) for row, pair in enumerate(answered)), labels)


def fold_doubts(resolved: Resolved[Config], dataset: Dataset, folds: int) -> list[Doubt]:
    """Return the doubts about all examples of models that learnt from all folds of the documents but the example's own."""
    require_labels(dataset)
    return rank(fold_answers(resolved, dataset, folds), dataset.labels)


def fold_answers(resolved: Resolved[Config], dataset: Dataset, folds: int) -> Iterator[tuple[int, Example, Answer]]:
    """Yield every example with the number of its row and the answer of the model that did not see its document, fold by fold."""
    config = resolved.settings.model_copy(update={"distill": None, "track": TrackSettings()})
    resolved = replace(resolved, settings=config)
    documents = documents_of(chain.from_iterable(split.examples for split in dataset.splits.values()), dataset.labels.kind)
    if len(documents.numbers) < folds:
        raise DataError(f"--folds {folds}: expected at least as many documents, found {len(documents.numbers)}")
    fold_of = deal(documents, [1 / folds] * folds, config.seed)[np.array(documents.of_example, dtype=np.int64)]
    loaded = load_tokenizer(config.model)
    encoder = encoder_of(loaded, config.encode)
    for fold in range(folds):
        inside = fold_of == fold
        say(f"fold {fold + 1} of {folds}: a model learns from {(~inside).sum():,} examples and answers the {inside.sum():,} others")
        parts = {"train": part_of(dataset.splits, ~inside, "train"), "fold": part_of(dataset.splits, inside, "fold")}
        answered = _answers(Texts(resolved, encode_splits(replace(dataset, splits=parts), encoder), loaded, encoder))
        yield from ((row, *pair) for row, pair in zip(np.flatnonzero(inside).tolist(), answered, strict=True))


def _answers(texts: Texts) -> Iterator[tuple[Example, Answer]]:
    """Train on one part and yield the examples of the other with their answers; nothing of the training stays."""
    config = texts.resolved.settings
    engine = config.engine
    backend = choose_backend(engine)
    precision = choose_precision(engine.precision, backend.device)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=cache_folder()) as name:
        checkpoints, trackers = Checkpoints(Path(name) / "checkpoints", 1, ""), make_trackers(config.track, Path(name), config.name)
        job = texts.job(Path(name), backend, precision, checkpoints, trackers, StopRequest())  # a signal ends it at once
        fit(replace(job, publish=None))
    task = make_task(config.task, texts.dataset.labels, texts.loaded.padding)
    yield from predict(TorchModel(job.model, job.work.compute), task, encoded_chunks(texts.dataset.splits["fold"]))


def described(doubts: Sequence[Doubt], splits: Mapping[str, Split], by: str) -> dict[str, Any]:
    """Return doubts as findings of a check: how many of each kind, and the first of all."""
    rows = Rows(splits)
    listed: dict[str, list[dict[str, Any]]] = {what: [] for what in WHATS}
    for number, doubt in enumerate(doubts[:LISTED], 1):
        example = doubt.example
        place = rows.place(doubt.row, *(example.origin or (-1, 0)), example.place)
        place |= {"text": excerpt(whole(example.text, example.text_b), doubt.start), "label": excerpt(f"{doubt.gold} → {doubt.answer}")}
        form = excerpt(example.text[doubt.start : doubt.end])
        listed[doubt.what].append({"what": form, "counts": {}, "rank": number, "score": doubt.score, "places": [place]})
    number_of = {what: sum(doubt.what == what for doubt in doubts) for what in WHATS}
    kinds = {what: {"number": number, "listed": listed[what]} for what, number in number_of.items() if number}
    return {"by": by, "number": len(doubts), "rows": len({doubt.row for doubt in doubts}), "kinds": kinds}
