"""CoNLL-U files (Universal Dependencies): ten columns, comments, multi-word tokens, empty nodes.

The words are the syntactic words. Inside a multi-word token they stand without spaces where they spell its surface form
("don't" = "do" + "n't") and with spaces where they do not ("du" = "de" + "le"), which is counted. Empty nodes (8.1) are no
words and are counted. Tags are UPOS unless `data.tags` names another column. Source: universaldependencies.org/format.html.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tunny.core.errors import DataError
from tunny.data.example import Example
from tunny.data.records import Row, find_scheme, read_sentence
from tunny.data.source import Source
from tunny.data.tags import bad_tag

_ID = re.compile(r"[0-9]{1,9}([-.][0-9]{1,9})?$")
COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


@dataclass
class _Sentence:
    line: int
    id: str | None = None
    begun: bool = False  # something but comments was met
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    spaces: list[bool] = field(default_factory=list)
    joined: list[tuple[int, int, str, bool]] = field(default_factory=list)  # first word, last word, form, space after
    document: str | None = None
    lines: list[int] = field(default_factory=list)  # of the words
    raw: list[str] = field(default_factory=list)
    problem: tuple[int, str] | None = None  # line and what is wrong there


def read(source: Source) -> Iterator[Example]:
    """Yield one example a sentence."""
    column = _tag_column(source)
    source.audit.note(f"{source.path.name}: tags = {COLUMNS[column]}; the other columns of CoNLL-U are not used")
    scheme = find_scheme(source, (found.tags for found in _sentences(source, column, count=False)))
    for sentence in _sentences(source, column, count=True):
        try:
            if sentence.problem:
                raise ValueError(sentence.problem[1])
            yield from read_sentence(
                source, sentence.line, sentence.id or source.where(sentence.line), sentence.words,
                sentence.tags if source.labels_needed else None, scheme, sentence.document, _spaces(sentence, source),
            )  # fmt: skip
        except ValueError as error:
            places = [sentence.problem[0]] if sentence.problem else sentence.lines or [sentence.line]
            source.refuse(sentence.line, str(error), places[bad_tag(sentence.tags) if len(places) > 1 else 0])


def rows(source: Source) -> Iterator[Row]:
    """Yield the lines of each sentence, comments and the blank line after it included."""
    for found in _sentences(source, _tag_column(source), count=False):
        yield Row(found.line, "\n".join(found.raw) + "\n\n")


def _tag_column(source: Source) -> int:
    named = source.settings.tags
    if named is None:
        return COLUMNS.index("upos")
    if str(named).isdigit() and int(named) < len(COLUMNS):
        return int(named)
    if str(named).lower() not in COLUMNS:
        raise DataError(f"{source.path.name}: no column {named!r} (data.tags); there are: {', '.join(COLUMNS)}")
    return COLUMNS.index(str(named).lower())


def _sentences(source: Source, tag_column: int, count: bool) -> Iterator[_Sentence]:
    document: str | None = None
    documents = 0
    sentence = _Sentence(1)
    for number, line in source.lines():
        if not line.strip():
            if sentence.begun:
                yield sentence
            sentence = _Sentence(number + 1)
            continue
        sentence.raw.append(line)
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() in ("newdoc", "newdoc id"):
                documents += 1
                document = value.strip() or f"{source.path.name}#{documents}"
            elif key.strip() == "sent_id":
                sentence.id = value.strip()
            continue
        sentence.begun = True
        columns = line.split("\t", len(COLUMNS))
        if len(columns) != len(COLUMNS):
            found = f"{len(columns)}{' or more' if len(columns) > len(COLUMNS) else ''}"
            problem = f"expected {len(COLUMNS)} columns parted by tabs, found {found}: {line[:60]!r}"
            sentence.problem = sentence.problem or (number, problem)
        elif not _ID.match(columns[0]):
            problem = f"expected a word number such as 1, 1-2 or 1.1 in the first column, found {columns[0][:20]!r}"
            sentence.problem = sentence.problem or (number, problem)
        else:
            _word(sentence, columns, tag_column, source, number, count)
        sentence.document = document
    if sentence.begun:
        yield sentence


def _word(sentence: _Sentence, columns: list[str], tag_column: int, source: Source, number: int, count: bool) -> None:
    space = "SpaceAfter=No" not in columns[9].split("|")
    if "." in columns[0]:
        if count:
            source.audit.event("empty nodes", source.where(number), f"{columns[1]!r} is no word of the text")
        return
    if "-" in columns[0]:
        first, last = (int(part) for part in columns[0].split("-"))
        sentence.joined.append((first - 1, last - 1, columns[1], space))
        return
    sentence.lines.append(number)
    sentence.words.append(columns[1])
    sentence.tags.append(columns[tag_column])
    sentence.spaces.append(space)


def _spaces(sentence: _Sentence, source: Source) -> list[bool]:
    spaces = list(sentence.spaces)
    for first, last, form, space in sentence.joined:
        if not 0 <= first <= last < len(spaces):
            raise ValueError(f"expected a multi-word token of words 1 to {len(spaces)}, found {first + 1}-{last + 1} {form!r}")
        spelt = "".join(sentence.words[first : last + 1]) == form
        if not spelt:
            detail = f"{form!r} is read as {' '.join(sentence.words[first : last + 1])!r}"
            source.audit.event("multi-word tokens respelt", source.where(sentence.line), detail)
        spaces[first:last] = [not spelt] * (last - first)
        spaces[last] = space
    return spaces
