"""CoNLL files: a word a line in columns parted by tabs or spaces, a blank line after each sentence.

The first column is the word and the last one the tag unless the settings say otherwise. `-DOCSTART-` lines part documents.
Lines of white space only, and lines that hold nothing but an empty word with its tab, are blank.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tunny.core.errors import DataError
from tunny.data.example import Example
from tunny.data.records import find_scheme, tokens_to_example
from tunny.data.source import Source
from tunny.data.tags import bad_tag

_COMMENT = re.compile(r"# (\w+ = |newdoc\b|newpar\b)")  # as CoNLL-U writes them before a sentence


@dataclass
class _Sentence:
    document: str | None
    lines: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    problem: tuple[int, str] | None = None  # line and what is wrong there


def read(source: Source) -> Iterator[Example]:
    """Yield one example a sentence."""
    scheme = find_scheme(source, ((found.lines[0], found.tags) for found in _sentences(source)))
    for found in _sentences(source):
        line = found.lines[0]
        try:
            if found.problem:
                raise ValueError(found.problem[1])
            tags = found.tags if found.tags and source.labels_needed else None
            example = tokens_to_example(source.where(line), found.words, tags, source, line, scheme, found.document)
        except ValueError as error:
            source.audit.count("read")
            source.reject(found.problem[0] if found.problem else found.lines[bad_tag(found.tags)], str(error))
            continue
        yield from source.accept(line, example)


def _sentences(source: Source) -> Iterator[_Sentence]:
    documents = width = 0
    sentence = _Sentence(None)
    for number, line in source.lines():
        columns = _split(source, line) if line.strip() else []
        if not columns or columns[0] == "-DOCSTART-":
            if sentence.lines:
                yield sentence
            documents += bool(columns)
            sentence = _Sentence(f"{source.path.name}#{documents}" if documents else None)
            continue
        odd = width and line.startswith("# ") and len(columns) != width
        if not sentence.lines and (odd or _COMMENT.match(line)):
            source.audit.count("comment lines")
            continue
        width = width or len(columns)
        sentence.lines.append(number)
        if len(columns) != width or (width < 2 and source.labels_needed):
            expected = f"expected {max(width, 2)} columns (word, ..., tag), found {len(columns)}: {line[:60]!r}"
            sentence.problem = sentence.problem or (number, f"{expected}. Set data.delimiter if the columns are parted otherwise")
            continue
        sentence.words.append(columns[_column(source, "tokens", 0, width)])
        if width > 1:
            sentence.tags.append(columns[_column(source, "tags", width - 1, width)])
    if sentence.lines:
        yield sentence


def _split(source: Source, line: str) -> list[str]:
    delimiter = source.settings.delimiter
    if delimiter:
        return line.split(delimiter)
    return line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))  # a no-break space parts nothing


def _column(source: Source, setting: str, default: int, width: int) -> int:
    named = getattr(source.settings, setting)
    if named is None:
        return default
    if not str(named).isdigit() or int(named) >= width:
        raise DataError(f"{source.path.name}: expected a column number from 0 to {width - 1} as data.{setting}, found {named!r}")
    return int(named)
