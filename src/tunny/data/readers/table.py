"""Tables: csv, tsv and parquet, a row an example, or a row a word (Kaggle's entity corpus).

Whether double quotes enclose cells of a tsv is found by looking: they do where they enclose all of the first row, else where every
one of them is well-formed (GLUE's are not, and are read with quoting off). Both answers are said with their reason.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from tunny.core.errors import DataError
from tunny.data.columns import Key
from tunny.data.example import Example, Row
from tunny.data.records import read_records
from tunny.data.source import Source

_LIMIT = 1 << 30  # characters of a cell
_LONGEST = 100_000  # lines of a row; a quote that stands open for longer was not meant to
_SENTENCE = ("sentence #", "sentence_id", "sentence_number")  # columns that number the sentence of a row that is one word


def read(source: Source) -> Iterator[Example]:
    """Yield the examples of a file of rows parted by tabs (tsv), commas or what is found (csv), or as `data.delimiter` says."""
    table = Table(source)
    if table.words is not None:
        sentence, word, tag = (None if column is None else table.names[column] for column in table.words)
        about = f"each row is a word ({word}), a sentence begins where {sentence} has another value; tags = {tag}"
        source.audit.note(f"{source.path.name}: {about}")
        source = replace(source, settings=source.settings.model_copy(update={"tokens": None, "tags": None}))
    yield from read_records(lambda _: table.rows(), source)


def rows(source: Source) -> Iterator[Row]:
    """Yield the rows of such a file, those of a sentence together."""
    return Table(source).rows()


def read_parquet(source: Source) -> Iterator[Example]:
    """Yield one example a row of a Parquet file, which is not packed once more."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source.path)
    except (OSError, ValueError) as error:
        raise DataError(f"{source.path.name}: not a readable Parquet file: {error}") from error

    def rows(_: Source) -> Iterator[Row]:
        yield Row(0, "", file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            try:
                found = batch.to_pylist()
            except UnicodeDecodeError as error:
                where = source.where(f"rows {number + 1} to {number + batch.num_rows}")
                raise DataError(f"{where}: expected text in UTF-8, found byte {error.object[error.start]:#04x}") from error
            for number, record in enumerate(found, number + 1):  # noqa: B020
                yield Row(number, "", record)

    yield from read_records(rows, source)


class Table:
    """A file of delimited rows: its columns, and how often one likes its rows."""

    def __init__(self, source: Source, *, by_words: bool = True):
        self.source = source
        self.delimiter = source.settings.delimiter or ("\t" if source.format == "tsv" else _sniff(source))
        self.quoted = _is_quoted(source, self.delimiter)
        first = next(self.cells(), None)
        self.has_header = first is not None and source.settings.header
        if first is not None and first.problem:
            raise DataError(f"{source.where(first.line)}: {first.problem}")
        self.names: Sequence[Key] = [] if first is None else first.value if self.has_header else list(range(len(first.value)))
        if len(set(self.names)) != len(self.names):
            raise DataError(f"{source.where(1)}: two columns have the same name: {', '.join(map(str, self.names))}")
        self.words = _word_columns(source, self.names) if by_words else None

    def rows(self) -> Iterator[Row]:
        """Yield the head and the records, those of words a sentence at a time; rows of another width are bad ones."""
        cells = self.cells()
        head = next(cells).raw if self.has_header else ""
        yield Row(0, head, self.names if self.words is None else ("tokens", "tags"))
        if self.words is not None:
            yield from self._sentences(cells, *self.words)
            return
        for row in cells:
            problem = self._problem(row)
            yield Row(row.line, row.raw, None if problem else dict(zip(self.names, row.value, strict=True)), problem)

    def _problem(self, row: Row) -> str:
        """Return what is wrong with a row, "" where it is a good one."""
        if row.problem or len(row.value) == len(self.names):
            return row.problem
        more = row.raw.count("\n") - 1
        lines = f" in lines {row.line} to {row.line + more}" if more > 0 else ""
        advice = "Set data.delimiter or data.quoting if the file is written otherwise"
        return f"expected {len(self.names)} columns as in the first row, found {len(row.value)}{lines}. {advice}"

    def _sentences(self, cells: Iterator[Row], sentence: int, word: int, tag: int | None) -> Iterator[Row]:
        """Yield the rows of each sentence as one; its number stands in its first row only, or in every one."""
        group, before = list[Row](), ""
        for row in chain(cells, [None]):
            number = row.value[sentence].strip() if row and sentence < len(row.value) else ""
            if group and (row is None or number not in ("", before)):
                bad = next((one for one in group if self._problem(one)), None)
                tags = None if bad or tag is None else [one.value[tag] for one in group]
                value = None if bad else {"tokens": [one.value[word] for one in group], "tags": tags}
                problem = (self._problem(bad), bad.line) if bad else ()
                yield Row(group[0].line, "".join([one.raw for one in group]), value, *problem)
                group = []
            group += [row] if row else []
            before = number

    def cells(self) -> Iterator[Row]:
        """Yield the rows; blank lines are none, line breaks inside quotes stay as they are."""
        if not self.quoted:
            for number, line in self.source.lines():
                if line:
                    yield Row(number, line + "\n", line.split(self.delimiter))
            return
        csv.field_size_limit(_LIMIT)
        lines = self.source.lines(ends=True)
        waiting: deque[tuple[int, str]] = deque()  # lines of a row that was none
        taken: list[tuple[int, str]] = []  # lines of the row that is being read

        def feed() -> Iterator[str]:
            while (line := waiting.popleft() if waiting else next(lines, None)) is not None:
                taken.append(line)
                if len(taken) > _LONGEST:
                    raise csv.Error(f"a quote stands open for {_LONGEST:,} lines")
                yield line[1]

        while True:
            try:
                for row in csv.reader(feed(), delimiter=self.delimiter, strict=True):
                    if row:
                        yield Row(taken[0][0], "".join(raw for _, raw in taken), row)
                    taken.clear()
                return
            except csv.Error as error:
                start, raw = taken[0]
                problem = f"{error} in lines {start} to {taken[-1][0]}. Set data.quoting: none if quotes do not enclose cells"
                if self.source.settings.on_error == "stop":
                    raise DataError(f"{self.source.where(start)}: {problem}.") from error
                yield Row(start, raw, [], problem)
                waiting.extendleft(reversed(taken[1:]))  # only the first line is bad for certain
                taken.clear()


def _word_columns(source: Source, names: Sequence[Key]) -> tuple[int, int, int | None] | None:
    """Return the places of sentence, word and tag where each row is a word; None where a row is an example."""
    lower = [str(name).lower() for name in names]

    def pick(named: Key | None, *known: str) -> int | None:
        if named is not None:
            return names.index(named) if named in names else None
        return next((lower.index(name) for name in known if name in lower), None)

    sentence, word = pick(None, *_SENTENCE), pick(source.settings.tokens, "word", "token")
    tag = pick(source.settings.tags, *["pos"] * (source.kind == "pos"), "tag", "ner_tag", "label")
    if not source.for_tokens or sentence is None or word is None or (tag is None and source.labels_needed):
        return None
    return sentence, word, tag


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
    whole = re.compile(rf'(?:^|{re.escape(delimiter)})"[^"]*(?:""[^"]*)*"(?={re.escape(delimiter)}|$)')
    seen = 0
    for number, line in source.lines():
        if number == 1 and all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in line.split(delimiter)):
            source.audit.note(f"{source.path.name}: double quotes enclose cells (they do so with all of the first row)")
            return True
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
