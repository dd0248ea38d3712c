"""From a record (a JSON object, a row with named columns) to an Example: which column is what, and what its value means.

Shared by the json, jsonl, csv, tsv and parquet readers. Columns that the settings do not name are found by name, and what was
taken is noted in the audit. Cells of text files may hold lists as JSON or, for tokens and tags, parted by spaces.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunny.core.errors import DataError, did_you_mean
from tunny.data.example import Example, Span
from tunny.data.source import Source
from tunny.data.tags import Scheme, SchemeFinder, tags_to_spans

Key = str | int
Numbered = Iterator[tuple[int, Mapping[Any, Any]]]  # place and record
_TOKENS = ("tokens", "words", "token")
_TEXT = ("text", "sentence", "content", "document", "body", "sentence1", "premise", "question1", "text_a")
_TEXT_B = ("text_b", "sentence2", "hypothesis", "question2")
_LABEL = {
    "classify": ("label", "labels", "class", "category", "sentiment"),
    "multilabel": ("labels", "label", "classes", "categories"),
    "regress": ("score", "label", "value", "rating"),
}
_SPANS = ("spans", "entities", "label", "labels")


@dataclass(frozen=True)
class Columns:
    """Which key of a record holds what; None where there is no such thing."""

    id: Key | None
    text: Key | None
    text_b: Key | None
    tokens: Key | None
    tags: Key | None
    label: Key | None
    spans: Key | None


def find_columns(source: Source, keys: Sequence[Key]) -> Columns:
    """Choose the columns by the settings and, where these are silent, by name; raise DataError where none fits."""
    wanted = source.settings
    for setting in ("id", "text", "text_b", "tokens", "tags", "label"):
        named = getattr(wanted, setting)
        if named is not None and named not in keys and (source.labels_needed or setting in {"text", "text_b"}):
            listed = ", ".join(str(key) for key in keys)
            raise DataError(
                f"{source.path.name}: no column {named!r} (data.{setting}); there are: {listed}"
                + did_you_mean(str(named), [str(key) for key in keys])
            )
    lower = {str(key).lower(): key for key in keys}

    def pick(named: Key | None, candidates: Sequence[str]) -> Key | None:
        if named is not None:
            return named if named in keys else None
        return next((lower[name.lower()] for name in candidates if name.lower() in lower), None)

    tokens = tags = spans = label = None
    if source.for_tokens:
        candidates = ("sentence",) if {"sentence", "slot"} <= set(lower) else _TOKENS
        tokens = pick(wanted.tokens, candidates) if wanted.text is None or wanted.tokens is not None else None
        if tokens is not None:
            tags = pick(wanted.tags, (f"{source.kind}_tags", "tags", "labels", f"{source.kind}", "ner_tags", "slot", "tag"))
        if tags is None:
            spans = pick(wanted.label, _SPANS) if source.kind != "pos" else None  # a part of speech belongs to a word of the source
            tokens = None if spans is not None and wanted.tokens is None else tokens
    else:
        label = pick(wanted.label, _LABEL[source.kind])
    text = None if tokens is not None else pick(wanted.text, _TEXT)
    text_b = pick(wanted.text_b, () if source.for_tokens or wanted.text is not None else _TEXT_B)
    columns = Columns(pick(wanted.id, ("id",)), text, text_b, tokens, tags, label, spans)
    free = [key for key in keys if key not in vars(columns).values()]
    if text is None and tokens is None and wanted.text is None and len(free) == 1:
        columns = replace(columns, text=free[0])  # the only column left can be nothing else
    _require(source, columns, keys)
    taken = {name: key for name, key in vars(columns).items() if key is not None}
    source.audit.note(f"{source.path.name}: columns " + ", ".join(f"{name} = {key}" for name, key in taken.items()))
    return columns


def _require(source: Source, columns: Columns, keys: Sequence[Key]) -> None:
    listed = ", ".join(str(key) for key in keys)
    if columns.text is None and columns.tokens is None:
        raise DataError(f"{source.path.name}: no column for the text; there are: {listed}. Set data.text or data.tokens.")
    if not source.labels_needed:
        return
    if source.for_tokens and columns.tags is None and columns.spans is None:
        raise DataError(f"{source.path.name}: no column for tags or spans; there are: {listed}. Set data.tags or data.label.")
    if not source.for_tokens and columns.label is None:
        raise DataError(f"{source.path.name}: no column for the label; there are: {listed}. Set data.label.")


class RecordReader:
    """Turns the records of one source into examples; holds the columns and the tag scheme found for it."""

    def __init__(self, source: Source, columns: Columns, scheme: Scheme = "none"):
        self.source = source
        self.columns = columns
        self.scheme = scheme

    def read(self, line: int, record: Mapping[Any, Any]) -> Iterator[Example]:
        """Yield the example of one record, if it is a good one."""
        columns, source = self.columns, self.source
        identity = record.get(columns.id) if columns.id is not None else None
        name = str(identity) if identity not in (None, "") else source.where(line)
        try:
            if columns.tokens is not None:
                example = self._tagged(name, line, record)
            else:
                example = self._labelled(name, record)
        except ValueError as error:
            source.audit.count("read")
            source.reject(line, str(error))
            return
        yield from source.accept(line, example)

    def _tagged(self, name: str, line: int, record: Mapping[Key, Any]) -> Example:
        tokens = as_list(_cell(record, self.columns.tokens), "tokens")
        tags = self.tags(record) if self.source.labels_needed else None
        return tokens_to_example(name, tokens, tags, self.source, line, self.scheme)

    def tags(self, record: Mapping[Any, Any]) -> list[str]:
        """Return the tags of a record as names."""
        found = []
        for value in as_list(_cell(record, self.columns.tags), "tags"):
            if isinstance(value, int) and self.source.names is None:
                raise ValueError("the tags are integers; name them in id order in data.labels")
            numbered = isinstance(value, int) or str(value).isdigit()
            found.append(self.source.name_of(value) if numbered else str(value))
        return found

    def all_tags(self, records: Numbered) -> Iterator[tuple[int, list[str]]]:
        """Yield the tags of all records that have good ones; the reading pass reports the others with their place."""
        for line, record in records:
            try:
                yield line, self.tags(record)
            except ValueError:
                continue

    def _labelled(self, name: str, record: Mapping[Key, Any]) -> Example:
        columns, kind = self.columns, self.source.kind
        text = as_text(_cell(record, columns.text), "text")
        text_b = as_text(_cell(record, columns.text_b), "text_b") if columns.text_b is not None else None
        value = _cell(record, columns.spans if self.source.for_tokens else columns.label) if self.source.labels_needed else None
        if value is None or (isinstance(value, float) and math.isnan(value) and kind != "regress"):
            return Example(name, text, text_b=text_b)
        if self.source.for_tokens:
            return Example(name, text, spans=as_spans(value))
        if kind == "regress":
            return Example(name, text, text_b=text_b, score=as_score(value))
        if kind == "multilabel":
            values = as_labels(value, self.source.settings.label_separator)
            return Example(name, text, text_b=text_b, labels=tuple(dict.fromkeys(self.source.name_of(item) for item in values)))
        if isinstance(value, str) and not value.strip():
            return Example(name, text, text_b=text_b)
        return Example(name, text, text_b=text_b, labels=(self.source.name_of(value),))


def read_records(source: Source, keys: Sequence[Key], records: Callable[[bool], Numbered]) -> Iterator[Example]:
    """Yield the examples of all records; `records(report)` starts from the first, and rejects bad ones where told to report."""
    reader = RecordReader(source, find_columns(source, keys))
    if reader.columns.tags is not None and source.for_tokens:
        reader.scheme = find_scheme(source, reader.all_tags(records(False)))
    for line, record in records(True):
        yield from reader.read(line, record)


def _cell(record: Mapping[Key, Any], key: Key | None) -> Any:
    return None if key is None else record.get(key)


def find_scheme(source: Source, sentences: Iterator[tuple[int, Sequence[str]]]) -> Scheme:
    """Look at all tags of a file and return their scheme; a tag that no scheme has goes to the reader, which rejects it."""
    if source.kind == "pos" or not source.labels_needed:
        return "none"
    finder = SchemeFinder()
    for _, tags in sentences:
        try:
            finder.see(tags)
        except ValueError:
            continue
    scheme, reason = finder.found()
    source.audit.note(f"{source.path.name}: tag scheme {scheme} ({reason})")
    return scheme


def tokens_to_example(
    name: str, tokens: Sequence[Any], tags: Sequence[str] | None, source: Source, line: int | str, scheme: Scheme,
    document: str | None = None, spaces: Sequence[bool] | None = None,
) -> Example:  # fmt: skip
    """Join tokens into a text (by single spaces, or as `spaces` says) and turn their tags into character spans.

    Raises ValueError where the numbers differ or a tag belongs to no scheme.
    """
    words = []
    pieces: list[str] = []
    position = 0
    for number, token in enumerate(tokens):
        text = "" if token is None else str(token)
        inner = text.strip() or text  # white space at the edges of a token is text, but not of the word
        start = position + text.index(inner)
        words.append((start, start + len(inner)))
        gap = " " if number + 1 < len(tokens) and (spaces is None or spaces[number]) else ""
        pieces += [text, gap]
        position += len(text) + len(gap)
    spans: tuple[Span, ...] | None = None
    if tags is not None:
        if len(tags) != len(tokens):
            raise ValueError(f"expected one tag a token, found {len(tokens)} tokens and {len(tags)} tags")
        if source.kind == "pos":
            spans = tuple(Span(*word, tag) for word, tag in zip(words, tags, strict=True) if tag not in ("_", ""))
        else:
            grouped, repaired = tags_to_spans(tags, scheme)
            if repaired:
                source.audit.event("tags repaired", source.where(line), f"{repaired} that break {scheme} start a span of their own")
            spans = tuple(Span(words[first][0], words[last][1], label) for first, last, label in grouped)
    return Example(name, "".join(pieces), spans=spans, words=tuple(words), document=document)


def as_text(value: Any, what: str) -> str:
    """Return a text cell; numbers become text, None an empty one."""
    if value is None:
        return ""
    if isinstance(value, (list, dict)):
        raise ValueError(f"expected {what} as text, found a {type(value).__name__}")
    return str(value)


def as_list(value: Any, what: str) -> list[Any]:
    """Return a list cell: a list, JSON, or values parted by white space."""
    if value is None:
        return []
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        text = value.strip()
        return _json_list(text, what) if text.startswith("[") and text.endswith("]") and len(text) > 1 else text.split()
    if isinstance(value, (list, tuple)):
        return list(value)
    raise ValueError(f"expected {what} as a list, found {value!r}")


def _json_list(text: str, what: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError:
        if text.startswith(("['", '["', "[{")):
            raise ValueError(f"expected {what} as JSON, found {text[:40]!r}") from None
        return text.split()
    if not isinstance(value, list):
        raise ValueError(f"expected {what} as a list, found {text[:40]!r}")
    return value


def as_labels(value: Any, separator: str) -> list[Any]:
    """Return the labels of a multi-label cell: a list, JSON, or names with a separator; an empty cell has none."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            return _json_list(text, "labels")
        return [part.strip() for part in text.split(separator) if part.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def as_score(value: Any) -> float:
    """Return a score; raise ValueError for what is no finite number."""
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected a number as the score, found {value!r}") from None
    if not math.isfinite(score):
        raise ValueError(f"expected a finite score, found {value!r}")
    return score


def as_spans(value: Any) -> tuple[Span, ...]:
    """Return spans from a list of {start, end, label} or [start, end, label]."""
    if isinstance(value, str):
        value = _json_list(value, "spans") if value.strip() else []
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected spans as a list, found {value!r}")
    return tuple(_span(item) for item in value)


def _span(item: Any) -> Span:
    if isinstance(item, Mapping):
        label = item.get("label", item.get("type"))
        start, end = item.get("start"), item.get("end")
    elif isinstance(item, (list, tuple)) and len(item) == 3:
        start, end, label = item
    else:
        raise ValueError(f"expected a span as {{start, end, label}}, found {item!r}")
    if isinstance(start, bool) or not isinstance(start, int) or not isinstance(end, int) or not isinstance(label, str) or not label:
        raise ValueError(f"expected a span with whole numbers start and end and a label, found {item!r}")
    return Span(start, end, label)
