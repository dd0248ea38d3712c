"""From a record (a JSON object, a row with named columns) or a tagged sentence to an Example: what its values mean.

Shared by the json, jsonl, spans, csv, tsv, parquet and hub readers; the sentences by the conll readers too. Cells of text files may
hold lists as JSON or, for tokens and tags, parted by spaces.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tunny.data.cells import as_labels, as_list, as_meta, as_ranges, as_score, as_spans, as_text, shown
from tunny.data.columns import USUAL, Columns, Key, find_columns
from tunny.data.example import Example, Origin, Row, Span
from tunny.data.sentences import find_scheme, read_sentence
from tunny.data.source import Source
from tunny.data.tags import Scheme, WordSpan

Numbered = Iterator[tuple[int, Mapping[Any, Any]]]  # line and record
_TAGS = 10_000  # tags whose names are kept at hand
Words = tuple[tuple[int, int], ...]
Answer = tuple[tuple[Span, ...] | None, tuple[str, ...] | None, float | None]


def line_rows(source: Source) -> Iterator[Row]:
    """Yield each line that is not blank."""
    for number, line in source.lines():
        if line.strip():
            yield Row(number, line + "\n")


class RecordReader:
    """Turns the records of one source into examples; holds the columns and the tag scheme found for it."""

    def __init__(self, source: Source, columns: Columns, others: frozenset[Key] = frozenset()):
        self.source = source
        self.columns = columns
        self.others = others  # usual keys that the columns were not chosen from
        self.scheme: Scheme = "none"
        self._names: dict[int | str, str] = {}  # of the tags met so far
        self._unnamed: set[int | str] = set()  # those that data.labels leaves out

    def read(self, line: int, record: Mapping[Any, Any]) -> Iterator[Example]:
        """Yield the example of one record, if it is a good one."""
        columns, source = self.columns, self.source
        if not self.others.isdisjoint(record):
            late = ", ".join(str(key) for key in record if key in self.others)
            source.audit.event("keys that come too late", source.where(line), f"{late}: the columns were chosen by the first rows")
        if self._unwanted(line, record):
            return
        if relations := record.get(columns.relations):
            number = len(relations) if isinstance(relations, list) else 1
            source.audit.take("relations", number)
            source.audit.drop("relations", "relations not used", source.where(line), f"{number} relations", number)
        identity = record.get(columns.id)
        name = str(identity) if identity not in (None, "") else source.where(line)
        grouped = record.get(columns.document)
        document = None if grouped in (None, "") else str(grouped)
        try:
            if columns.tokens is None:
                yield from source.accept(line, self._example(line, name, record, document))
                return
            tokens = as_list(record.get(columns.tokens), "tokens")
            tags = self.tags(record, line) if source.labels_needed and columns.tags is not None else None
            entities = self._entities(record, len(tokens)) if source.labels_needed and columns.spans is not None else None
            yield from read_sentence(source, line, name, tokens, tags, self.scheme, document, entities=entities)
        except ValueError as error:
            source.refuse(line, str(error))

    def _unwanted(self, line: int, record: Mapping[Any, Any]) -> bool:
        """Count and leave out a row in another language, or one that an annotator did not accept."""
        language, answer = record.get(self.columns.language), record.get(self.columns.answer)
        wanted = self.source.settings.language
        if wanted is not None and language != wanted:
            why, detail = "other languages", f"{language!r}"
        elif answer in ("reject", "ignore"):
            why, detail = "not accepted", f"the annotator's answer is {answer!r}"
        else:
            return False
        self.source.audit.take("examples")
        self.source.audit.drop("examples", why, self.source.where(line), detail)
        return True

    def _entities(self, record: Mapping[Any, Any], num_tokens: int) -> list[WordSpan]:
        """Return entities given as [first token, last token, label], as GLiNER has them."""
        found = [WordSpan(*span) for span in as_spans(record.get(self.columns.spans))]
        for first, last, label in found:
            if not 0 <= first <= last < num_tokens:
                raise ValueError(f"expected an entity of tokens 0 to {num_tokens - 1}, found {first}-{last} ({label})")
        return found

    def tags(self, record: Mapping[Any, Any], line: int | None = None) -> list[str]:
        """Return the tags of a record as names; where a line is given, count those that `data.labels` leaves out."""
        values = as_list(record.get(self.columns.tags), "tags")
        try:
            found = [self._names[value] for value in values]
        except (KeyError, TypeError):
            found = [self._tag(value) for value in values]
        if self._unnamed and line is not None and (others := sum(value in self._unnamed for value in values)):
            self.source.audit.event(
                "tags without a name", self.source.where(line), f"{others} that data.labels leaves out are read as O", others
            )
        return found

    def _tag(self, value: Any) -> str:
        numbered = isinstance(value, int) or (isinstance(value, str) and value.isdecimal())
        if not numbered and not isinstance(value, str):
            raise ValueError(f"expected tags as names or integers, found {shown(value)}")
        if isinstance(value, int) and self.source.names is None:
            raise ValueError("the tags are integers; name them in id order in data.labels")
        name = self.source.name_of(value) if numbered else value
        if len(self._names) < _TAGS:
            self._names[value] = name
        if numbered and not self.source.has_name(value):
            self._unnamed.add(value)
        return name

    def all_tags(self, records: Numbered) -> Iterator[list[str]]:
        """Yield the tags of all records that have good ones; the reading pass reports the others with their place."""
        for _, record in records:
            try:
                yield self.tags(record)
            except ValueError:
                continue

    def _example(self, line: int, name: str, record: Mapping[Any, Any], document: str | None) -> Example:
        """Return the example of a record that has a text."""
        columns = self.columns
        text = as_text(record.get(columns.text), "text")
        second, meta, words = record.get(columns.text_b), as_meta(record.get(columns.meta)), None
        text_b = None if second is None else as_text(second, "text_b")
        if meta or columns.words is not None:
            words = as_ranges(meta.get("words"), text)
            if words is not None:
                del meta["words"]
            else:
                words = as_ranges(record.get(columns.words), text)
            document = document or as_text(meta.pop("document", None), "the document") or None
        spans, labels, score = self._answer(record, words) if self.source.labels_needed else (None, None, None)
        return Example(name, text, spans, labels, score, text_b, document, words, meta, Origin(self.source.number, line))

    def _answer(self, record: Mapping[Any, Any], words: Words | None) -> Answer:
        """Return the spans, labels or score of a record; None where its cell is empty."""
        columns, kind = self.columns, self.source.kind
        if columns.words is not None and columns.tags is not None:
            tags = self.tags(record)
            if words is None or len(words) != len(tags):
                raise ValueError(f"expected one tag a word, found {len(words or ())} words and {len(tags)} tags")
            return tuple(Span(*word, tag) for word, tag in zip(words, tags, strict=True)), None, None
        value = record.get(columns.spans if self.source.for_tokens else columns.label)
        if value is None or (isinstance(value, float) and math.isnan(value) and kind != "regress"):
            return None, None, None
        if self.source.for_tokens:
            return as_spans(value), None, None
        if kind == "regress":
            return None, None, as_score(value)
        if kind == "classify":
            return None, self._one_label(value), None
        separated = as_labels(value, self.source.settings.label_separator)
        return None, tuple(dict.fromkeys(self.source.name_of(item) for item in separated)), None

    def _one_label(self, value: Any) -> tuple[str, ...] | None:
        if isinstance(value, (dict, list)):
            names = as_labels(value, self.source.settings.label_separator)
            if len(names) != 1:
                raise ValueError(f"expected one label, found {shown(value)}")
            value = names[0]
        if isinstance(value, str) and not value.strip():
            return None
        return (self.source.name_of(value),)


def read_records(source: Source, keys: Sequence[Key], records: Callable[[bool], Numbered]) -> Iterator[Example]:
    """Yield the examples of all records; `records(report)` starts from the first, and rejects bad ones where told to report."""
    reader = RecordReader(source, find_columns(source, keys), USUAL.difference(keys))
    if reader.columns.tags is not None and source.for_tokens:
        reader.scheme = find_scheme(source, reader.all_tags(records(False)))
    for line, record in records(True):
        yield from reader.read(line, record)
