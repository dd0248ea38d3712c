"""From the names of files to a stream of checked examples: the one way into the data, whatever the format.

Where nobody said what task a file is for, it is the first kind as which its beginning can be read with labels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa

from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.example import Example, Row
from tunny.data.find import HUB, find_files, look_at
from tunny.data.labels import given_names
from tunny.data.opening import digest
from tunny.data.readers import conll, conllu, glue, hub, json_records, label_studio, label_studio_shapes, plain, table
from tunny.data.records import read_records
from tunny.data.sentences import read_sentences, sentence_rows
from tunny.data.settings import DataSettings, Kind
from tunny.data.source import Source, units

LOOKED_AT = 500  # examples by which the kind of task is told
SCORES = 10  # distinct numbers from which on labels are scores
REASONS = {
    "ner": "it has spans or tags in a scheme", "pos": "it has a tag for each word", "classify": "each row has one label",
    "multilabel": "rows have any number of labels", "regress": "its labels are numbers",
}  # fmt: skip


@dataclass(frozen=True)
class Format:
    """How a format is read, what new files of it end with, and how its rows are taken out as they stand, where they are text."""

    read: Callable[[Source], Iterator[Example]]
    ending: str
    rows: Callable[[Source], Iterator[Row]] = lambda source: iter(())


FORMATS: dict[str, Format] = {
    "conll": Format(partial(read_sentences, conll.sentences), "conll", partial(sentence_rows, conll.sentences)),
    "conllu": Format(partial(read_sentences, conllu.sentences), "conllu", partial(sentence_rows, conllu.sentences)),
    "jsonl": Format(partial(read_records, json_records.rows), "jsonl", json_records.rows),
    "spans": Format(partial(read_records, json_records.rows), "jsonl", json_records.rows),
    "json": Format(partial(read_records, json_records.rows), "json", json_records.rows),
    "csv": Format(table.read, "csv", table.rows),
    "tsv": Format(table.read, "tsv", table.rows),
    "parquet": Format(table.read_parquet, "parquet"),
    "label-studio": Format(label_studio.read, "json", label_studio_shapes.tasks),
    "glue": Format(glue.read, "tsv", glue.rows),
    "hub": Format(hub.read, "parquet"),
    "text": Format(plain.read, "txt", plain.rows),
}


def digest_of(path: Path) -> str:
    """Return the digest of everything that reading this file, data set or saved folder depends on."""
    return hub.digest(path) if str(path).startswith(HUB) or path.is_dir() else digest(path)


def class_names(path: str) -> dict[str, list[str]]:
    """Return the names of classes by column, in id order, which data sets of the library datasets have and other files have not."""
    return hub.class_names(Path(path)) if path.startswith(HUB) or Path(path).is_dir() else {}


def sources(
    paths: Iterable[str], settings: DataSettings, kind: str, audit: Audit, names: Mapping[str, int] | None, labels_needed: bool
) -> Iterator[Source]:
    """Yield each file of the paths as a source, and note what it was taken for."""
    noted = set()
    for number, path in enumerate(path for pattern in paths for path in find_files(pattern)):
        try:
            looks = look_at(path, settings)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        if (looks.format, looks.reason) not in noted:  # a folder of a thousand annotations is one note
            noted.add((looks.format, looks.reason))
            audit.note(f"{path.name}: format {looks.format} ({looks.reason})")
        encoding = looks.encoding
        if encoding is not None and encoding.guessed:
            audit.event("encodings guessed", path.name, f"{encoding.name} ({encoding.reason}); data.encoding settles it")
        elif encoding is not None and encoding.name not in ("utf-8-sig", settings.encoding):
            audit.note(f"{path.name}: encoding {encoding.name} ({encoding.reason})")
        form, name = looks.format.partition(":")[0], encoding.name if encoding else ""
        yield Source(path, settings, kind, names, audit, labels_needed, name, form, number)


def read(
    paths: Iterable[str], settings: DataSettings, kind: str, audit: Audit, *, names: Mapping[str, int] | None = None,
    labels_needed: bool = True,
) -> Iterator[Example]:  # fmt: skip
    """Yield the examples of the files in order, at most `data.max_examples`; account for everything in `audit`.

    Raises DataError where a file is missing or unreadable, a row is bad (unless quarantined), or nothing is left.
    """
    paths = list(paths)
    number = 0
    found = read_all(sources(paths, settings, kind, audit, names, labels_needed))
    assert not isinstance(settings.max_examples, dict)  # see config.split_settings
    for example in islice(found, settings.max_examples):
        number += 1
        for unit, count in units(example):
            audit.give(unit, count)
        yield example
    audit.settle()
    if not number and labels_needed:
        why = ", ".join(f"{kind}: {audit.counts[kind]} ({listed[0]['detail']})" for kind, listed in audit.events.items())
        raise DataError(f"{', '.join(paths)}: no example left; {why if audit.flow('examples').taken else 'the file is empty'}")


def read_all(found: Iterator[Source]) -> Iterator[Example]:
    """Yield the examples of all sources, not yet counted as given; raise DataError for a file that cannot be read."""
    for source in found:
        for setting in ("language", "group_by"):
            if source.format in ("conll", "conllu", "text") and getattr(source.settings, setting) is not None:
                raise DataError(f"{source.path.name}: data.{setting} speaks of a column of records, and {source.format} files have none")
        example = None
        try:
            for example in FORMATS[source.format].read(source):
                yield example
            if example is None:
                source.audit.event("files without examples", source.path.name, "no row of it could be used, or it is empty")
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{source.path}: cannot be read: {error}") from error


def find_kind(path: str, settings: DataSettings) -> tuple[Kind, str]:
    """Return the kind of task that a file's labels are for, and the reason; raise DataError where it holds none."""
    lenient = settings.model_copy(update={"on_error": "quarantine"})
    files = list(sources([path], lenient, "ner", Audit(), given_names(settings), True))  # looked at once for all kinds
    kinds: tuple[Kind, ...] = ("pos", "ner") if files[0].format == "conllu" else ("ner", "pos")
    begun: list[tuple[Kind, list[Example]]] = []
    problems = []
    for kind in (*kinds, "classify", "multilabel", "regress"):
        audit = Audit()
        try:
            as_kind = (replace(file, kind=kind, audit=audit, kind_is_told=False) for file in files)
            found = list(islice(read_all(as_kind), LOOKED_AT))
        except DataError as error:
            problems.append(f"as {kind}: {error}")
            continue
        if found and (kind == "regress" or any(example.spans or example.labels for example in found)):
            begun.append((kind, found))
            if len(found) >= len(audit.rejected):  # bad rows among good ones are no reason against it
                begun = begun[-1:]
                break
        problems += [f"as {kind}: {one['where']}: {one['detail']}" for one in audit.events.get("quarantined", [])[:1]]
    if not begun:
        why = "\n".join(problems) or "it holds no row with a text and a label"
        raise DataError(f"{path}: what task it is for cannot be told; give --task\n{why}")
    kind, found = max(begun, key=lambda each: len(each[1]))  # the kind that reads most
    if kind == "classify" and _are_scores(found):
        return "regress", "its labels are numbers of many values"
    return kind, REASONS[kind]


def _are_scores(found: list[Example]) -> bool:
    try:
        numbers = {float(example.labels[0]) for example in found if example.labels}
    except ValueError:
        return False
    return any(not number.is_integer() for number in numbers) or (len(numbers) > SCORES and len(found) < 20 * len(numbers))
