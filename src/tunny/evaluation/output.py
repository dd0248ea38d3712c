"""Predictions as files: jsonl, csv, conll, parquet. Lines are written as they come, the file appears whole or not at all."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tunny.core.errors import ConfigError, did_you_mean
from tunny.core.files import new_file
from tunny.tasks.token import tag_words

FORMATS = ("jsonl", "csv", "conll", "parquet")
ROWS = 4096  # of a row group of Parquet
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
        tags = tag_words([(span["start"], span["end"], span["label"]) for span in prediction["spans"]], words)
    else:
        raise ConfigError("--to conll: is for ner, pos and chunk models; use jsonl, csv or parquet")
    for (start, end), tag in zip(words, tags, strict=True):
        yield " ".join(text[start:end].split()) or "_", tag


def _flat(prediction: Prediction) -> Prediction:
    """Return a prediction with lists as JSON, for one cell each."""
    return {name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value for name, value in prediction.items()}


def _write_parquet(out: str, predictions: Iterable[tuple[Prediction, Words]]) -> int:
    if out == "-":
        raise ConfigError("--to parquet: needs a file; give --out FILE.parquet")
    count, writer = 0, None
    rows: list[Prediction] = []

    with new_file(Path(out).absolute()) as temporary:
        for prediction, _ in predictions:
            count += 1
            rows.append(_flat(prediction))
            if len(rows) == ROWS:
                writer = _flush(rows, writer, temporary)
        if rows or writer is None:
            writer = _flush(rows, writer, temporary)
        writer.close()
    return count


def _flush(rows: list[Prediction], writer: Any, path: Path) -> Any:
    """Write rows to a Parquet file, which is opened with the first of them; return its writer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    writer = writer or pq.ParquetWriter(path, table.schema)
    writer.write_table(table)
    rows.clear()
    return writer


@contextmanager
def _opened(out: str) -> Iterator[TextIO]:
    if out == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    with new_file(Path(out).absolute()) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
