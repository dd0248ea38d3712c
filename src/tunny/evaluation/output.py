"""Predictions as files: jsonl, csv, conll, parquet, and tasks with predictions for a running Label Studio."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, starmap
from pathlib import Path
from typing import Any

import pyarrow as pa

from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.write import check_format, dump, require_known, studio_task, write_examples, write_records
from tunny.evaluation.doubts import Doubt
from tunny.tasks.scoring import as_predicted

FORMATS = ("jsonl", "csv", "conll", "parquet", "label-studio")
Prediction = dict[str, Any]
Answers = Iterable[tuple[Example, Prediction]]


def output_format(to: str | None, out: str) -> str:
    """Return the format asked for, else the one of the file's ending, else jsonl."""
    if to is None:
        ending = Path(out).suffix.removeprefix(".")
        return ending if ending in FORMATS else "jsonl"
    require_known(to, FORMATS)
    return to


def write_predictions(
    out: str, form: str, answers: Answers, kind: str, audit: Audit, *, model_version: str = "tunny", control: str | None = None
) -> int:
    """Write predictions to a file, or to standard output (`-`), and return their number.

    In Label Studio they are the model's of `model_version`, under the control of that name. Raises ConfigError, before anything
    is written, for a format that cannot hold predictions of this kind.
    """
    check_format(form, kind, FORMATS)
    if form == "conll":
        return write_examples(out, form, starmap(as_predicted, answers), kind, audit)
    if form == "label-studio":
        return write_records(out, "json", (_task(*one, model_version, control, audit) for one in answers), {})
    rows: Iterator[Prediction] = (prediction for _, prediction in answers)
    if form == "parquet":
        rows = ({name: dump(value) if isinstance(value, list) else value for name, value in row.items()} for row in rows)
    first = next(rows, None)
    numbers = {name for name, value in (first or {}).items() if isinstance(value, float)}
    types = {name: pa.float64() if name in numbers else pa.string() for name in first or ("id", "text")}
    return write_records(out, form, rows if first is None else chain([first], rows), types)


def _task(example: Example, prediction: Prediction, model_version: str, control: str | None, audit: Audit) -> dict[str, Any]:
    task = studio_task(as_predicted(example, prediction), audit, control)
    [annotation] = task.pop("annotations")
    scores = [item["score"] for item in (*prediction.get("spans", ()), *prediction.get("labels", ()), prediction) if "score" in item]
    whole = sum(scores) / len(scores) if scores else None
    for region, score in zip(annotation["result"], scores if "spans" in prediction else scores and [whole], strict=False):
        region["score"] = score
    return {**task, "predictions": [{"model_version": model_version, "score": whole, "result": annotation["result"]}]}


def write_review(out: str, doubts: Iterable[Doubt], control: str | None) -> int:
    """Write the rows of doubts, in their order, as tasks of Label Studio and return their number: gold labels are the annotation, the
    model's answer is a prediction, and `meta` says what is doubted.
    """
    by_row: dict[int, list[Doubt]] = {}
    for doubt in chain.from_iterable(doubt.members or (doubt,) for doubt in doubts):
        by_row.setdefault(doubt.row, []).append(doubt)
    return write_records(out, "json", (_to_review(some, control, Audit()) for some in by_row.values()), {})


def _to_review(doubts: Sequence[Doubt], control: str | None, audit: Audit) -> dict[str, Any]:
    example, said = doubts[0].example, [f"{doubt.what}: {doubt.gold} → {doubt.answer}" for doubt in doubts]
    gold = studio_task(example, audit, control)
    return {**gold, **_task(example, doubts[0].prediction, "doubts", control, audit), "meta": {"doubts": said}}
