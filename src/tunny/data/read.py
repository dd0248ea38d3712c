"""From the names of files to a stream of checked examples: the one way into the data, whatever the format."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.readers import conll, conllu, json_records, label_studio, plain, table
from tunny.data.settings import DataSettings
from tunny.data.source import Source, find_files, find_format

Reader = Callable[[Source], Iterator[Example]]

READERS: dict[str, Reader] = {
    "conll": conll.read,
    "conllu": conllu.read,
    "jsonl": json_records.read_lines,
    "json": json_records.read_list,
    "csv": table.read_csv,
    "tsv": table.read_tsv,
    "parquet": table.read_parquet,
    "label-studio": label_studio.read,
    "text": plain.read,
}


def read(
    paths: Iterable[str], settings: DataSettings, kind: str, audit: Audit, *, names: Sequence[str] | None = None, labels_needed: bool = True
) -> Iterator[Example]:
    """Yield the examples of the files in order, at most `data.max_examples`; account for everything in `audit`.

    Raises DataError where a file is missing or unreadable, a row is bad (unless quarantined), or nothing is left.
    """
    examples = _read_all(paths, settings, kind, audit, names, labels_needed)
    number = 0
    for example in islice(examples, settings.max_examples):
        number += 1
        yield example
    if not number and labels_needed:
        raise DataError(f"{', '.join(paths)}: no example left" + _why(audit))


def _why(audit: Audit) -> str:
    if not audit.counts["read"]:
        return "; the file is empty"
    return "; " + ", ".join(f"{kind}: {audit.counts[kind]}" for kind in audit.events) if audit.events else ""


def _read_all(
    paths: Iterable[str], settings: DataSettings, kind: str, audit: Audit, names: Sequence[str] | None, labels_needed: bool
) -> Iterator[Example]:
    for pattern in paths:
        for path in find_files(pattern):
            found, reason = find_format(path, settings)
            audit.note(f"{path.name}: format {found} ({reason})")
            try:
                yield from READERS[found](Source(path, settings, kind, names, audit, labels_needed))
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path}: cannot be read: {error}") from error
