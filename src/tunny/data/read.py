"""From the names of files to a stream of checked examples: the one way into the data, whatever the format."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa

from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.example import Example, Row
from tunny.data.find import HUB, find_files, look_at
from tunny.data.opening import digest
from tunny.data.readers import conll, conllu, glue, hub, json_records, label_studio, plain, table
from tunny.data.sentences import read_sentences, sentence_rows
from tunny.data.settings import DataSettings
from tunny.data.source import Source, units


@dataclass(frozen=True)
class Format:
    """How a format is read, and how its rows are taken out as they stand; no row where they are no text."""

    read: Callable[[Source], Iterator[Example]]
    rows: Callable[[Source], Iterator[Row]]
    ending: str


FORMATS: dict[str, Format] = {
    "conll": Format(partial(read_sentences, conll.sentences), partial(sentence_rows, conll.sentences), "conll"),
    "conllu": Format(partial(read_sentences, conllu.sentences), partial(sentence_rows, conllu.sentences), "conllu"),
    "jsonl": Format(json_records.read, json_records.rows, "jsonl"),
    "spans": Format(json_records.read, json_records.rows, "jsonl"),
    "json": Format(json_records.read, json_records.rows, "json"),
    "csv": Format(table.read, table.rows, "csv"),
    "tsv": Format(table.read, table.rows, "tsv"),
    "parquet": Format(table.read_parquet, lambda source: iter(()), "parquet"),
    "label-studio": Format(label_studio.read, label_studio.rows, "json"),
    "glue": Format(glue.read, glue.rows, "tsv"),
    "hub": Format(hub.read, lambda source: iter(()), "parquet"),
    "text": Format(plain.read, plain.rows, "txt"),
}


def digest_of(path: Path) -> str:
    """Return the digest of everything that reading this file, data set or saved folder depends on."""
    return hub.digest(path) if str(path).startswith(HUB) or path.is_dir() else digest(path)


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
        try:
            yield from FORMATS[source.format].read(source)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{source.path}: cannot be read: {error}") from error
