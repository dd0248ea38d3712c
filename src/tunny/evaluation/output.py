"""Predictions as files: jsonl, csv, conll, parquet. Lines are written as they come, the file appears whole or not at all."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tunny.core.errors import ConfigError, did_you_mean
from tunny.core.files import TEMPORARY, no_space
from tunny.data.tags import WordSpan, spans_to_tags

FORMATS = ("jsonl", "csv", "conll", "parquet")
Prediction = dict[str, Any]
Words = tuple[tuple[int, int], ...]


def output_format(to: str | None, out: str) -> str:
    """Return the format asked for, else the one of the file's ending, else jsonl."""
    if to is None:
        ending = Path(out).suffix.removeprefix(".")
        return ending if ending in FORMATS else "jsonl"
    if to not in FORMATS:
        raise ConfigError(f"--to: expected one of {', '.join(FORMATS)}, found {to!r}{did_you_mean(to, FORMATS)}")
    return to


def write_predictions(out: str, form: str, predictions: Iterable[tuple[Prediction, Words]]) -> int:
    """Write predictions with the words of their texts; `-` is standard output. Return how many there were."""
    if form == "parquet":
        return _write_parquet(out, predictions)
    count = 0
    with _opened(out) as file:
        writer = csv.writer(file, lineterminator="\n") if form == "csv" else None
        for prediction, words in predictions:
            count += 1
            if form == "conll":
                file.write("".join(f"{word}\t{tag}\n" for word, tag in _tagged(prediction, words)) + "\n")
            elif writer is not None:
                row = _flat(prediction)
                if count == 1:
                    writer.writerow(row)
                writer.writerow(row.values())
            else:
                file.write(json.dumps(prediction, ensure_ascii=False) + "\n")
    return count


def _tagged(prediction: Prediction, words: Words) -> Iterator[tuple[str, str]]:
    """Yield every word with its IOB2 tag, or its part of speech."""
    text = prediction["text"]
    if "tags" in prediction:
        tags = prediction["tags"]
    elif "spans" in prediction:
        starts, ends = {start: at for at, (start, _) in enumerate(words)}, {end: at for at, (_, end) in enumerate(words)}
        spans = [WordSpan(starts[span["start"]], ends[span["end"]], span["label"]) for span in prediction["spans"]]
        tags = spans_to_tags(spans, len(words))
    else:
        raise ConfigError("--to conll: is for ner, pos and chunk models; use jsonl, csv or parquet")
    for (start, end), tag in zip(words, tags, strict=True):
        yield " ".join(text[start:end].split()) or "_", tag


def _flat(prediction: Prediction) -> Prediction:
    """Return a prediction with lists as JSON, for one cell each."""
    return {name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value for name, value in prediction.items()}


def _write_parquet(out: str, predictions: Iterable[tuple[Prediction, Words]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if out == "-":
        raise ConfigError("--to parquet: needs a file; give --out FILE.parquet")
    target = Path(out)
    temporary = target.with_name(f"{TEMPORARY}{target.name}")
    count, writer = 0, None
    rows: list[Prediction] = []

    def flush() -> None:
        nonlocal writer
        table = pa.Table.from_pylist([_flat(row) for row in rows])
        writer = writer or pq.ParquetWriter(temporary, table.schema)
        writer.write_table(table)
        rows.clear()

    try:
        for prediction, _ in predictions:
            count += 1
            rows.append(prediction)
            if len(rows) == 4096:
                flush()
        flush()
        assert writer is not None
        writer.close()
        temporary.replace(target)
    except OSError as error:
        raise no_space(error, target) from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


@contextmanager
def _opened(out: str) -> Iterator[TextIO]:
    if out == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    target = Path(out)
    temporary = target.with_name(f"{TEMPORARY}{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
        temporary.replace(target)
    except OSError as error:
        raise no_space(error, target) from error
    finally:
        temporary.unlink(missing_ok=True)
