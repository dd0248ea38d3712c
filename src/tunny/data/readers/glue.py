"""The nine tasks of GLUE as their official archive has them: TSV without quoting, columns and labels as each task names them.

Labels are names from here on ("entailment", or CoLA's "1"), so that it does not matter in which order a data set or a model
numbers them. Columns are found by the names in the first row; CoLA's training files have no such row. Source: gluebenchmark.com.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tunny.core.errors import DataError
from tunny.data.example import Example, Row
from tunny.data.records import read_records
from tunny.data.source import Source

_BINARY = ("0", "1")
_COLA = ["source", "label", "mark", "sentence"]  # its columns; only its test file names them
TASKS: dict[str, tuple[str, str | None, str, tuple[str, ...]]] = {  # columns of text, second text and label; the labels, of scores none
    "CoLA": ("sentence", None, "label", _BINARY),
    "SST-2": ("sentence", None, "label", _BINARY),
    "MRPC": ("#1 String", "#2 String", "Quality", _BINARY),
    "STS-B": ("sentence1", "sentence2", "score", ()),
    "QQP": ("question1", "question2", "is_duplicate", _BINARY),
    "MNLI": ("sentence1", "sentence2", "gold_label", ("contradiction", "entailment", "neutral")),
    "QNLI": ("question", "sentence", "label", ("entailment", "not_entailment")),
    "RTE": ("sentence1", "sentence2", "label", ("entailment", "not_entailment")),
    "WNLI": ("sentence1", "sentence2", "label", _BINARY),
}


def glue_files(folder: Path, task: str, split: str) -> dict[str, Path]:
    """Return the files of a split in a task's folder, or in that of all tasks: {"": FILE}; of MNLI matched and mismatched ones."""
    stem = "dev" if split == "validation" else split
    parts = ("matched", "mismatched") if task == "MNLI" and split != "train" else ("",)
    folder = folder / task if (folder / task).is_dir() else folder
    found = {part: folder / (f"{stem}_{part}.tsv" if part else f"{stem}.tsv") for part in parts}
    for path in found.values():
        if not path.is_file():
            beside = ", ".join(sorted(other.name for other in folder.glob("*.tsv"))) or "no TSV file"
            raise DataError(f"{path}: no such file; {task}'s {split} data is called so. In the folder: {beside}")
    return found


def read(source: Source) -> Iterator[Example]:
    """Yield one example a row."""
    name, columns = source.settings.format.partition(":")[2], _columns(source)
    text, text_b, label, labels = TASKS[name]
    kind = "classify" if labels else "regress"
    if source.labels_needed and source.kind != kind:
        raise DataError(f"{source.path.name}: {name} is a task of kind {kind}, found {source.kind}. Set task: {kind}")
    wanted = [column for column in (text, text_b, label if source.labels_needed else None) if column]
    if columns and not set(wanted) <= set(columns):
        what = f"{name}'s columns {', '.join(wanted)}"
        raise DataError(f"{source.where(1)}: expected {what}, found {', '.join(columns)}. Test files hold no labels")
    source = replace(source, settings=source.settings.model_copy(update={"text": text, "text_b": text_b, "label": label}))
    yield from read_records(rows, source)


def rows(source: Source) -> Iterator[Row]:
    """Yield the rows after the names of their columns; those of another width, as QQP has, and of unknown labels are bad."""
    columns = _columns(source)
    _, _, label, labels = TASKS[source.settings.format.partition(":")[2]]
    known = f", {label} one of {', '.join(labels)}" if labels else ""
    for line, text in source.lines():
        cells, raw = text.split("\t") if text else [], text + "\n"
        if line == 1 and cells == columns:
            yield Row(0, raw, columns)
        elif cells:
            record, problem = dict(zip(columns, cells, strict=False)), ""
            if len(cells) != len(columns) or (labels and source.labels_needed and record[label] not in labels):
                problem = f"expected {len(columns)} columns{known}; found {len(cells)}: {raw[-60:]!r}"
            yield Row(line, raw, record, problem)


def _columns(source: Source) -> list[str]:
    """Return the names of the columns; none of an empty file."""
    first = next((text.split("\t") for _, text in source.lines()), [])
    return _COLA if source.settings.format == "glue:CoLA" and len(first) == len(_COLA) else first
