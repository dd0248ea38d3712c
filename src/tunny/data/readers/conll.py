"""CoNLL files: a word a line in columns parted by tabs or spaces, a blank line after each sentence.

The first column is the word and the last one the tag unless the settings say otherwise. `-DOCSTART-` lines part documents.
Lines of white space only, and lines that hold nothing but an empty word with its tab, are blank.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tunny.core.errors import DataError
from tunny.data.example import Example
from tunny.data.records import Row, find_scheme, read_sentence
from tunny.data.source import Source
from tunny.data.tags import bad_tag

_COMMENT = re.compile(r"# (\w+ = |newdoc\b|newpar\b)")  # as CoNLL-U writes them before a sentence
_DOCUMENT = "-DOCSTART-"
_MOST = 1_000  # columns of a line that are told apart


@dataclass(slots=True)
class _Sentence:
    document: str | None = None
    before: list[str] = field(default_factory=list)  # comments, and the line that begins a document
    lines: list[int] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    columns: list[list[str]] = field(default_factory=list)  # of each line
    problem: tuple[int, str] | None = None  # line and what is wrong there


def read(source: Source) -> Iterator[Example]:
    """Yield one example a sentence."""
    word, tag = (
        number if number is not None else default for number, default in ((_number(source, "tokens"), 0), (_number(source, "tags"), -1))
    )
    scheme = find_scheme(source, ([row[tag] for row in found.columns] for found in _sentences(source) if not found.problem))
    for found in _sentences(source):
        line = found.lines[0]
        source.audit.count("comment lines", sum(text.startswith("#") for text in found.before))
        if found.problem:
            source.refuse(line, found.problem[1], found.problem[0])
            continue
        tags = [row[tag] for row in found.columns] if source.labels_needed else None
        try:
            yield from read_sentence(source, line, source.where(line), [row[word] for row in found.columns], tags, scheme, found.document)
        except ValueError as error:
            source.refuse(line, str(error), found.lines[bad_tag(tags or ())])


def rows(source: Source) -> Iterator[Row]:
    """Yield the lines of each sentence, with what stands before it and the blank line after it."""
    for found in _sentences(source):
        yield Row(found.lines[0], "\n".join([*found.before, *found.raw]) + "\n\n")


def _sentences(source: Source) -> Iterator[_Sentence]:
    delimiter = source.settings.delimiter
    documents = width = 0
    sentence = _Sentence()
    for number, line in source.lines():
        if not line.strip() or line.startswith(_DOCUMENT):
            if sentence.lines:
                yield sentence
                sentence = _Sentence(sentence.document)
            if line.strip():
                documents += 1
                sentence = _Sentence(f"{source.path.name}#{documents}", [line, ""])
            continue
        if delimiter is not None or "\t" in line:
            columns = line.split(delimiter or "\t", _MOST)
        else:
            columns = [column for column in line.split(" ", _MOST) if column]  # a no-break space parts nothing
        if line[0] == "#" and not sentence.lines:
            odd = width and line[1:2] == " " and len(columns) != width
            if odd or _COMMENT.match(line):
                sentence.before.append(line)
                continue
        if not width:
            width = len(columns)
            _check_columns(source, width)
        sentence.lines.append(number)
        sentence.raw.append(line)
        sentence.columns.append(columns)
        if (len(columns) != width or (width < 2 and source.labels_needed)) and not sentence.problem:
            expected = f"expected {max(width, 2)} columns (word, ..., tag), found {len(columns)}: {line[:60]!r}"
            sentence.problem = number, f"{expected}. Set data.delimiter if the columns are parted otherwise"
    if sentence.lines:
        yield sentence


def _number(source: Source, setting: str) -> int | None:
    named = getattr(source.settings, setting)
    if named is not None and not str(named).isdecimal():
        raise DataError(f"{source.path.name}: expected the number of a column, from 0, as data.{setting}, found {named!r}")
    return None if named is None else int(named)


def _check_columns(source: Source, width: int) -> None:
    for setting in ("tokens", "tags"):
        named = _number(source, setting)
        if named is not None and named >= width:
            raise DataError(f"{source.path.name}: expected a column number from 0 to {width - 1} as data.{setting}, found {named!r}")
