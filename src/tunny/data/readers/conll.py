"""CoNLL files: a word a line in columns parted by tabs or spaces, a blank line after each sentence.

The first column is the word and the last one the tag unless the settings say otherwise. `-DOCSTART-` lines part documents.
Lines of white space only, and lines that hold nothing but an empty word with its tab, are blank.
"""

from collections.abc import Iterator

from tunny.core.errors import DataError
from tunny.data.example import Example
from tunny.data.records import find_scheme, tokens_to_example
from tunny.data.source import Source

Sentence = tuple[int, list[str], list[str] | None, str | None]  # first line, words, tags, document


def read(source: Source) -> Iterator[Example]:
    """Yield one example a sentence."""
    tagged = ((line, tags) for line, _, tags, _ in _sentences(source) if tags is not None)
    scheme = find_scheme(source, tagged)
    for line, words, tags, document in _sentences(source):
        try:
            wanted = tags if source.labels_needed else None
            example = tokens_to_example(source.where(line), words, wanted, source, line, scheme, document)
        except ValueError as error:
            source.audit.count("read")
            source.reject(_line_of_bad_tag(line, tags, scheme), str(error))
            continue
        yield from source.accept(line, example)


def _sentences(source: Source) -> Iterator[Sentence]:
    words: list[str] = []
    tags: list[str] = []
    documents = 0
    first = 1
    width = 0
    for number, line in source.lines():
        if not line.strip():
            if words:
                yield first, words, tags or None, _document(source, documents)
            words, tags = [], []
            continue
        columns = _split(source, line)
        if columns[0] == "-DOCSTART-":
            documents += 1
            continue
        if line.startswith("# ") and not words and len(columns) != width:
            continue  # a comment before a sentence
        width = width or len(columns)
        if len(columns) != width or (width < 2 and source.labels_needed):
            raise DataError(
                f"{source.where(number)}: expected {max(width, 2)} columns (word, ..., tag), found {len(columns)}: {line[:60]!r}. "
                "Set data.delimiter if the columns are parted otherwise."
            )
        if not words:
            first = number
        words.append(columns[_column(source.settings.tokens, 0, width)])
        if width > 1:
            tags.append(columns[_column(source.settings.tags, width - 1, width)])
    if words:
        yield first, words, tags or None, _document(source, documents)


def _split(source: Source, line: str) -> list[str]:
    delimiter = source.settings.delimiter
    if delimiter:
        return line.split(delimiter)
    return line.split("\t") if "\t" in line else line.split()


def _column(named: str | int | None, default: int, width: int) -> int:
    if named is None:
        return default
    if not str(named).isdigit() or int(named) >= width:
        raise DataError(f"conll columns are numbers from 0 to {width - 1}, found {named!r} in data.tokens or data.tags")
    return int(named)


def _document(source: Source, number: int) -> str | None:
    return f"{source.path.name}#{number}" if number else None


def _line_of_bad_tag(first: int, tags: list[str] | None, scheme: str) -> int:
    from tunny.data.tags import split_tag

    for offset, tag in enumerate(tags or []):
        try:
            split_tag(tag)
        except ValueError:
            return first + offset
    return first
