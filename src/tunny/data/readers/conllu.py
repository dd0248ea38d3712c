"""CoNLL-U files (Universal Dependencies): ten columns, comments, multi-word tokens, empty nodes.

The words are the syntactic words. Inside a multi-word token they stand without spaces where they spell its surface form
("don't" = "do" + "n't") and with spaces where they do not ("du" = "de" + "le"), which is counted. Empty nodes (8.1) are no
words and are counted. Tags are UPOS unless `data.tags` names another column. Source: universaldependencies.org/format.html.
"""

import re
from collections.abc import Iterator
from itertools import groupby

from tunny.core.errors import DataError
from tunny.data.sentences import Sentence
from tunny.data.source import Source

_ID = re.compile(r"[0-9]{1,9}([-.][0-9]{1,9})?$")
COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
Joined = tuple[int, int, str, bool]  # a multi-word token: first word, last word, form, whether a space follows


def sentences(source: Source) -> Iterator[Sentence]:
    """Yield the sentences of a file."""
    named, file = "upos" if source.settings.tags is None else str(source.settings.tags).lower(), source.path.name
    tag = COLUMNS[int(named)] if named.isdigit() and int(named) < len(COLUMNS) else named
    if tag not in COLUMNS:
        raise DataError(f"{file}: no column {source.settings.tags!r} (data.tags); there are: {', '.join(COLUMNS)}")
    source.audit.note(f"{file}: tags = {tag}; the other columns of CoNLL-U are not used")
    tag_column = COLUMNS.index(tag)
    document: str | None = None
    documents = 0
    for blank, lines in groupby(source.lines(), lambda numbered: not numbered[1].strip()):
        if blank:
            continue
        block = list(lines)
        sentence = Sentence(block[0][0], raw=[line for _, line in block])
        joined: list[Joined] = []
        for number, line in block:
            if line[0] != "#":
                sentence.document = document
                try:
                    _take(sentence, joined, number, line, tag_column)
                except ValueError as error:
                    sentence.problem = sentence.problem or (number, str(error))
                continue
            key, _, value = line[1:].partition("=")
            if key.strip() in ("newdoc", "newdoc id"):
                documents += 1
                document = value.strip() or f"{file}#{documents}"
            elif key.strip() == "sent_id":
                sentence.name = value.strip()
        if not sentence.problem:
            _join(sentence, joined)
        if not all(line.startswith("#") for line in sentence.raw):
            yield sentence


def _take(sentence: Sentence, joined: list[Joined], number: int, line: str, tag_column: int) -> None:
    """Take what a line says of a sentence; raise ValueError for a line that is none of the format."""
    columns = line.split("\t", len(COLUMNS))
    if len(columns) != len(COLUMNS):
        found = f"{len(columns)}{' or more' if len(columns) > len(COLUMNS) else ''}"
        raise ValueError(f"expected {len(COLUMNS)} columns parted by tabs, found {found}: {line[:60]!r}")
    if not _ID.match(columns[0]):
        raise ValueError(f"expected a word number such as 1, 1-2 or 1.1 in the first column, found {columns[0][:20]!r}")
    space = "SpaceAfter=No" not in columns[9].split("|")
    if "." in columns[0]:
        sentence.events.append(("empty nodes", number, f"{columns[1]!r} is no word of the text"))
    elif "-" in columns[0]:
        first, last = columns[0].split("-")
        joined.append((int(first) - 1, int(last) - 1, columns[1], space))
    else:
        sentence.lines.append(number)
        sentence.words.append(columns[1])
        sentence.tags.append(columns[tag_column])
        sentence.spaces.append(space)


def _join(sentence: Sentence, joined: list[Joined]) -> None:
    """Part the words inside multi-word tokens as the surface forms say."""
    words, spaces = sentence.words, sentence.spaces
    for first, last, form, space in joined:
        if not 0 <= first <= last < len(words):
            problem = f"expected a multi-word token of words 1 to {len(words)}, found {first + 1}-{last + 1} {form!r}"
            sentence.problem = sentence.problem or ([*sentence.lines, sentence.line][0], problem)
            return
        spelt = "".join(words[first : last + 1]) == form
        if not spelt:
            read_as = " ".join(words[first : last + 1])
            sentence.events.append(("multi-word tokens respelt", sentence.line, f"{form!r} is read as {read_as!r}"))
        spaces[first:last] = [not spelt] * (last - first)
        spaces[last] = space
