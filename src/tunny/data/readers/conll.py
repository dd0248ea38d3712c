"""CoNLL files: a word a line in columns parted by tabs or spaces, a blank line after each sentence.

The first column is the word and the last one the tag unless the settings say otherwise. `-DOCSTART-` lines part documents.
Lines of white space only, and lines that hold nothing but an empty word with its tab, are blank.
"""

import re
from collections.abc import Iterator

from tunny.core.errors import DataError
from tunny.data.sentences import Sentence
from tunny.data.source import Source

_COMMENT = re.compile(r"# (\w+ = |newdoc\b|newpar\b)")  # as CoNLL-U writes them before a sentence
_DOCUMENT = "-DOCSTART-"
_MOST = 1_000  # columns of a line that are told apart


def sentences(source: Source) -> Iterator[Sentence]:
    """Yield the sentences of a file."""
    delimiter = source.settings.delimiter
    documents = width = word = tag = 0
    sentence = Sentence()
    for number, line in source.lines():
        if not line.strip() or line.startswith(_DOCUMENT):
            if sentence.line:
                yield sentence
                sentence = Sentence(document=sentence.document)
            if line.strip():
                documents += 1
                sentence = Sentence(document=f"{source.path.name}#{documents}", raw=[line, ""])
            continue
        if delimiter is not None or "\t" in line:
            columns = line.split(delimiter or "\t", _MOST)
        else:
            columns = [column for column in line.split(" ", _MOST) if column]  # a no-break space parts nothing
        sentence.raw.append(line)
        if line[0] == "#" and not sentence.line:
            odd = width and line[1:2] == " " and len(columns) != width
            if odd or _COMMENT.match(line):
                sentence.comments += 1
                continue
        if not width:
            width = len(columns)
            word, tag = (_column(source, setting, width, default) for setting, default in (("tokens", 0), ("tags", -1)))
        sentence.line = sentence.line or number
        if len(columns) == width and (width > 1 or not source.labels_needed):
            sentence.lines.append(number)
            sentence.words.append(columns[word])
            sentence.tags.append(columns[tag])
        elif not sentence.problem:
            expected = f"expected {max(width, 2)} columns (word, ..., tag), found {len(columns)}: {line[:60]!r}"
            sentence.problem = number, f"{expected}. Set data.delimiter if the columns are parted otherwise"
    if sentence.line:
        yield sentence


def _column(source: Source, setting: str, width: int, default: int) -> int:
    """Return the place of the column that a setting names by its number."""
    named = getattr(source.settings, setting)
    if named is None:
        return default
    if not str(named).isdecimal() or int(named) >= width:
        raise DataError(f"{source.path.name}: expected a column number from 0 to {width - 1} as data.{setting}, found {named!r}")
    return int(named)
