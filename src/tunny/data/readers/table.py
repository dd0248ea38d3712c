"""Tables: csv, tsv and parquet, a row an example.

Whether double quotes enclose cells is found by looking at every one of them: a file in which any quote is not well-formed
(GLUE's are such) is read with quoting off, and both answers are said with their reason.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tunny.core.errors import DataError
from tunny.data.example import Example
from tunny.data.records import Key, RecordReader, find_columns, find_scheme
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

    def rows() -> Iterator[tuple[int, dict[Key, Any]]]:
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for record in batch.to_pylist():
                number += 1
                yield number, record

    yield from _read_rows(source, file.schema_arrow.names, rows)


def _read_delimited(source: Source, delimiter: str) -> Iterator[Example]:
    quoted = _is_quoted(source, delimiter)
    header = next(_cells(source, delimiter, quoted), None)
    if header is None:
        return
    names: Sequence[Key] = header[1] if source.settings.header else list(range(len(header[1])))
    if len(set(names)) != len(names):
        raise DataError(f"{source.where(1)}: two columns have the same name: {', '.join(map(str, names))}")

    def rows() -> Iterator[tuple[int, dict[Key, Any]]]:
        cells = _cells(source, delimiter, quoted)
        if source.settings.header:
            next(cells)
        for line, row in cells:
            if len(row) != len(names):
                raise _Width(line, f"expected {len(names)} columns as in the first row, found {len(row)}")
            yield line, dict(zip(names, row, strict=True))

    yield from _read_rows(source, names, rows)


class _Width(Exception):
    """A row with another number of cells than the first."""

    def __init__(self, line: int, problem: str):
        super().__init__(problem)
        self.line = line


def _read_rows(source: Source, names: Sequence[Key], rows: Any) -> Iterator[Example]:
    reader = RecordReader(source, find_columns(source, names))
    try:
        if reader.columns.tags is not None and source.for_tokens:
            reader.scheme = find_scheme(source, _tags(reader, rows()))
        for line, record in rows():
            yield from reader.read(line, record)
    except _Width as problem:
        raise DataError(
            f"{source.where(problem.line)}: {problem}. Set data.delimiter or data.quoting if the file is written otherwise."
        ) from None


def _tags(reader: RecordReader, rows: Iterator[tuple[int, dict[Key, Any]]]) -> Iterator[tuple[int, list[str]]]:
    for line, record in rows:
        try:
            yield line, reader.tags(record)
        except ValueError:
            continue  # the reading pass reports it with its place


def _cells(source: Source, delimiter: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield `(line the row starts on, cells)`; blank lines are no rows."""
    csv.field_size_limit(_LIMIT)
    numbers: list[int] = [0]

    def physical() -> Iterator[str]:
        for numbers[0], line in source.lines():
            yield line + "\n"

    if not quoted:
        for line in physical():
            if line.strip("\n"):
                yield numbers[0], line.rstrip("\n").split(delimiter)
        return
    reader = csv.reader(physical(), delimiter=delimiter, strict=True)
    before = 0
    try:
        for row in reader:
            start, before = before + 1, reader.line_num
            if row:
                yield start, [cell.removesuffix("\n") if cell.endswith("\n") else cell for cell in row]
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
    if source.settings.quoting != "auto":
        return source.settings.quoting == "csv"
    whole = re.compile(rf'(?:^|{re.escape(delimiter)})"(?:[^"]|"")*"(?={re.escape(delimiter)}|$)')
    inside = False  # of a quoted cell that runs over line breaks
    for number, line in source.lines():
        if '"' not in line:
            continue
        if inside or whole.sub("", line).count('"'):
            if delimiter == "\t":
                reason = f"line {number} has a double quote that closes no cell"
                source.audit.note(f"{source.path.name}: double quotes are plain characters ({reason})")
                return False
            inside = (not inside) if line.count('"') % 2 else inside
    return True
