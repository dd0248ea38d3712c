"""From a record (a JSON object, a row with named columns) to an Example: what its values mean.

Shared by the json, jsonl, spans, csv, tsv, parquet and hub readers. Cells of text files may hold lists as JSON or, for tokens and
tags, parted by spaces.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from tunny.data.cells import as_labels, as_list, as_meta, as_ranges, as_score, as_spans, as_text, shown
from tunny.data.columns import USUAL, find_columns
from tunny.data.example import Example, Origin, Row, Span
from tunny.data.sentences import find_scheme, read_sentence
from tunny.data.source import Source
from tunny.data.tags import Scheme, WordSpan

Record = Mapping[Any, Any]
LOOKED_AT = 100  # records whose keys are the columns, where no head names these
_TAGS = 10_000  # tags whose names are kept at hand


def read_records(rows: Callable[[Source], Iterator[Row]], source: Source) -> Iterator[Example]:
    """Yield the examples of all records of a file; the first of its rows may be a head with the names of columns."""
    first = list(islice((row for row in rows(source) if not row.problem), LOOKED_AT))
    keys = list(first[0].value if first and not first[0].line else dict.fromkeys(key for row in first for key in row.value))
    reader = _Reader(source, keys, rows) if keys else None
    for row in rows(source):
        if row.problem or (row.line and reader is None):
            source.refuse(row.line, row.problem or "expected a JSON object with a text, found {}", row.at)
        elif row.line and reader is not None:
            yield from reader.read(row.line, row.value)


class _Reader:
    """Turns the records of one source into examples; holds the columns and the tag scheme found for it."""

    def __init__(self, source: Source, keys: list[Any], rows: Callable[[Source], Iterator[Row]]):
        self.source, self.columns = source, find_columns(source, keys)
        self.late = USUAL.difference(keys)  # usual keys that the columns were not chosen from
        self._names: dict[int | str, str] = {}  # of the tags met so far
        self._unnamed: set[int | str] = set()  # those that data.labels leaves out
        tagged = "tags" in self.columns and source.for_tokens
        self.scheme: Scheme = find_scheme(source, self._all_tags(rows(source))) if tagged else "none"

    def _all_tags(self, rows: Iterator[Row]) -> Iterator[list[str]]:
        """Yield the tags of all records that have good ones; the reading pass reports the others with their place."""
        for row in rows:
            try:
                if row.line and not row.problem:
                    yield self._tags(row.value)
            except ValueError:
                continue

    def read(self, line: int, record: Record) -> Iterator[Example]:
        """Yield the example of one record, if it is a good one."""
        source, get, key = self.source, record.get, self.columns.get
        where = source.where(line)
        if not self.late.isdisjoint(record):
            late = ", ".join(str(key) for key in record if key in self.late)
            source.audit.event("keys that come too late", where, f"{late}: the columns were chosen by the first rows")
        wanted, answer = source.settings.language, get(key("answer"))
        if wanted is not None and (language := get(key("language"))) != wanted:
            source.leave("other languages", line, f"{language!r}")
            return
        if answer in ("reject", "ignore"):
            source.leave("not accepted", line, f"the annotator's answer is {answer!r}")
            return
        if relations := get(key("relations")):
            number = len(relations) if isinstance(relations, list) else 1
            source.audit.take("relations", number)
            source.audit.drop("relations", "relations not used", where, f"{number} relations", number)
        name, document = (None if value in (None, "") else str(value) for value in (get(key("id")), get(key("document"))))
        try:
            if "tokens" not in self.columns:
                yield from source.accept(line, self._example(line, name or where, record, document))
                return
            tokens = as_list(get(key("tokens")), "tokens")
            tags = self._tags(record, where) if source.labels_needed and "tags" in self.columns else None
            entities = self._entities(record, len(tokens)) if source.labels_needed and "spans" in self.columns else None
            yield from read_sentence(source, line, name or where, tokens, tags, self.scheme, document, entities=entities)
        except ValueError as error:
            source.refuse(line, str(error))

    def _entities(self, record: Record, num_tokens: int) -> list[WordSpan]:
        """Return entities given as [first token, last token, label], as GLiNER has them."""
        found = [WordSpan(*span) for span in as_spans(record.get(self.columns.get("spans")))]
        for first, last, label in found:
            if not 0 <= first <= last < num_tokens:
                raise ValueError(f"expected an entity of tokens 0 to {num_tokens - 1}, found {first}-{last} ({label})")
        return found

    def _tags(self, record: Record, where: str = "") -> list[str]:
        """Return the tags of a record as names; where a place is given, count those that `data.labels` leaves out."""
        values = as_list(record.get(self.columns.get("tags")), "tags")
        try:
            found = [self._names[value] for value in values]
        except (KeyError, TypeError):
            found = [self._tag(value) for value in values]
        if self._unnamed and where and (others := sum(value in self._unnamed for value in values)):
            self.source.audit.event("tags without a name", where, f"{others} that data.labels leaves out are read as O", others)
        return found

    def _tag(self, value: Any) -> str:
        numbered = isinstance(value, int) or (isinstance(value, str) and value.isdecimal())
        if not numbered and not isinstance(value, str):
            raise ValueError(f"expected tags as names or integers, found {shown(value)}")
        if isinstance(value, int) and self.source.names is None:
            raise ValueError("the tags are integers; name them in id order in data.labels, as in --data.labels '[O, B-PER, I-PER]'.")
        name = self.source.name_of(value) if numbered else value
        if len(self._names) < _TAGS:
            self._names[value] = name
        if numbered and not self.source.has_name(value):
            self._unnamed.add(value)
        return name

    def _example(self, line: int, name: str, record: Record, document: str | None) -> Example:
        """Return the example of a record that has a text; its labels are None where their cell is empty."""
        source, get, key = self.source, record.get, self.columns.get
        text, second, meta, words = as_text(get(key("text")), "text"), get(key("text_b")), as_meta(get(key("meta"))), None
        if meta or "words" in self.columns:
            words = as_ranges(meta.get("words"), text)
            if words is not None:
                del meta["words"]
            else:
                words = as_ranges(get(key("words")), text)
            document = document or as_text(meta.pop("document", None), "the document") or None
        spans: tuple[Span, ...] | None = None
        labels: tuple[str, ...] | None = None
        score = None
        value = get(key("spans" if source.for_tokens else "label")) if source.labels_needed else None
        if source.labels_needed and "words" in self.columns and "tags" in self.columns:
            tags = self._tags(record)
            if words is None or len(words) != len(tags):
                raise ValueError(f"expected one tag a word, found {len(words or ())} words and {len(tags)} tags")
            spans = tuple(Span(*word, tag) for word, tag in zip(words, tags, strict=True))
        elif value is None or (isinstance(value, float) and math.isnan(value) and source.kind != "regress"):
            pass
        elif source.for_tokens:
            spans = as_spans(value)
        elif source.kind == "regress":
            score = as_score(value)
        else:
            labels = self._labels(value)
        text_b = None if second is None else as_text(second, "text_b")
        return Example(name, text, spans, labels, score, text_b, document, words, meta, Origin(source.number, line), source.place(line))

    def _labels(self, value: Any) -> tuple[str, ...] | None:
        if self.source.kind == "multilabel" or isinstance(value, (dict, list)):
            names = as_labels(value, self.source.settings.label_separator)
            if self.source.kind == "multilabel":
                return tuple(dict.fromkeys(map(self.source.name_of, names)))
            if len(names) != 1:
                raise ValueError(f"expected one label, found {shown(value)}")
            value = names[0]
        return None if isinstance(value, str) and not value.strip() else (self.source.name_of(value),)
