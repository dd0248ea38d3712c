"""Tables: csv, tsv and parquet, a row an example.

Whether double quotes enclose cells is found by looking at every one of them: a file in which any quote is not well-formed
(GLUE's are such) is read with quoting off, and both answers are said with their reason.
"""

import csv
import re
from collections.abc import Iterator, Sequence

from tunny.core.errors import DataError
from tunny.data.example import Example
from tunny.data.records import Key, Numbered, read_records
from tunny.data.source import Source

_LIMIT = 1 << 30  # characters of a cell


def read_csv(source: Source) -> Iterator[Example]:
    """Yield one example a row of a comma-separated file (or as `data.delimiter` says)."""
    yield from _read_delimited(source, source.settings.delimiter or _sniff(source))


def read_tsv(source: Source) -> Iterator[Example]:
    """Yield one example a row of a tab-separated file."""
    yield from _read_delimited(source, source.settings.delimiter or "\t")


def read_parquet(source: Source) -> Iterator[Example]:
    """Yield one example a row of a Parquet file."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source.path)
    except (OSError, ValueError) as error:
        raise DataError(f"{source.path.name}: not a readable Parquet file: {error}") from error

    def rows(report: bool) -> Numbered:
        batches = file.iter_batches(batch_size=1024)
        yield from enumerate((record for batch in batches for record in batch.to_pylist()), start=1)

    yield from read_records(source, file.schema_arrow.names, rows)


def _read_delimited(source: Source, delimiter: str) -> Iterator[Example]:
    quoted = _is_quoted(source, delimiter)
    header = next(_cells(source, delimiter, quoted), None)
    if header is None:
        return
    names: Sequence[Key] = header[1] if source.settings.header else list(range(len(header[1])))
    if len(set(names)) != len(names):
        raise DataError(f"{source.where(1)}: two columns have the same name: {', '.join(map(str, names))}")

    def rows(report: bool) -> Numbered:
        cells = _cells(source, delimiter, quoted)
        if source.settings.header:
            next(cells)
        for line, row in cells:
            if len(row) == len(names):
                yield line, dict(zip(names, row, strict=True))
            elif report:
                source.audit.count("read")
                advice = "Set data.delimiter or data.quoting if the file is written otherwise"
                source.reject(line, f"expected {len(names)} columns as in the first row, found {len(row)}. {advice}")

    yield from read_records(source, names, rows)


def _cells(source: Source, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield `(line the row starts on, cells)`; blank lines are no rows, line breaks inside quotes stay as they are."""
    if not quoted:
        for number, line in source.lines():
            if line:
                yield number, line.split(delimiter)
        return
    csv.field_size_limit(_LIMIT)
    reader = csv.reader((line for _, line in source.lines(ends=True)), delimiter=delimiter, strict=True)
    before = 0
    try:
        for row in reader:
            start, before = before + 1, reader.line_num
            if row:
                yield start, row
    except csv.Error as error:
        raise DataError(f"{source.where(before + 1)}: {error}. Set data.quoting: none if quotes do not enclose cells.") from error


def _sniff(source: Source) -> str:
    """Return the delimiter that the first line holds most of: comma, semicolon or tab."""
    first = next((line for _, line in source.lines() if line.strip()), "")
    counts = {mark: first.count(mark) for mark in (",", ";", "\t")}
    best = max(counts, key=lambda mark: counts[mark])
    if best != "," and counts[best]:
        source.audit.note(f"{source.path.name}: columns are parted by {best!r} (the first line has most of these)")
    return best if counts[best] else ","


def _is_quoted(source: Source, delimiter: str) -> bool:
    if source.settings.quoting != "auto" or delimiter != "\t":
        return source.settings.quoting != "none"
    whole = re.compile(rf'(?:^|{re.escape(delimiter)})"(?:[^"]|"")*"(?={re.escape(delimiter)}|$)')
    seen = 0
    for number, line in source.lines():
        if '"' not in line:
            continue
        seen = seen or number
        if whole.sub("", line).count('"'):
            reason = f"line {number} has a double quote that closes no cell"
            source.audit.note(f"{source.path.name}: double quotes are plain characters ({reason})")
            return False
    if seen:
        source.audit.note(f"{source.path.name}: double quotes enclose cells (first in line {seen})")
    return True
