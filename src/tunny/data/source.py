"""One input file as a reader sees it: its lines, and the check of every example that a reader makes of it.

A reader decides how bytes become examples; this file decides what a good example is and what happens to a bad one
(`data.on_error`). Spans are checked against their text here, once for all formats.
"""

import codecs
import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from tunny.core.errors import DataError, did_you_mean
from tunny.data.audit import Audit
from tunny.data.cells import shown
from tunny.data.example import Example, Origin, Span
from tunny.data.labels import types_of
from tunny.data.opening import ESCAPE, open_bytes, open_text
from tunny.data.settings import TOKEN_KINDS, DataSettings

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_UNDECODED = re.compile(r"[\udc00-\udcff]")  # as open_text keeps bytes
GOLD = {  # what the data is to hold, for tasks that label texts and for those that label tokens
    False: "Each text needs a label here; tokens with tags and texts with spans are for ner, pos and chunk, texts alone for tunny predict MODEL FILE.",
    True: "Each token needs a tag here, or each text spans; labels of texts are for classify, multilabel and regress, texts or words alone for tunny predict MODEL FILE.",
}
ESCAPED = ("json", "jsonl", "spans", "label-studio", "parquet", "hub")  # formats in which a NUL is a character like others


def units(example: Example) -> list[tuple[str, int]]:
    """Return how many examples, tokens and spans an example is, without what it has none of."""
    counts = [("examples", 1)]
    if example.words:
        counts.append(("tokens", len(example.words)))
    if example.spans:
        counts.append(("spans", len(example.spans)))
    return counts


@dataclass(frozen=True)
class Source:
    """A file with all that a reader needs to know about it."""

    path: Path
    settings: DataSettings
    kind: str  # the task's kind: what labels are wanted
    names: Mapping[str, int] | None  # label names with their ids in the data, where the user gave them
    audit: Audit
    labels_needed: bool = True  # False for prediction: labels are neither read nor missed
    encoding: str = "utf-8-sig"
    format: str = ""
    number: int = 0  # of the file among those read
    kind_is_told: bool = True  # so columns that no name tells may be taken by their place, and advice is for this kind

    def where(self, at: int | str) -> str:
        """Return for messages the place of a row, which is known by a number, or any place by its name."""
        return f"{self._name}:{self.place(at) or at}"

    def place(self, at: int | str) -> str:
        """Return the name of such a place, "" of a row that its line is known by."""
        return at if isinstance(at, str) else f"{self.unit}{at}" if self.unit else ""

    @cached_property
    def is_list(self) -> bool:
        """Whether the file begins as a JSON list does."""
        with self.text(newline="") as file:
            return file.read(1 << 12).lstrip("\ufeff \t\r\n").startswith("[")

    @cached_property
    def unit(self) -> str:
        """What stands before the number of an element of a JSON list, "" in other files."""
        return "record " if self.format == "json" else "task " * (self.format == "label-studio" and self.is_list)

    @cached_property
    def _name(self) -> str:
        return self.path.name

    def reject(self, line: int, problem: str, at: int | str | None = None) -> None:
        """Stop on a bad row, or leave it out, counted and listed; `at` is the place of the fault where that is another line.

        A problem that ends with a full stop, which is one of every row, says itself what to do.
        """
        where = self.where(line if at in (None, line) else str(at))
        if self.settings.on_error == "stop":
            advice = "" if problem.endswith(".") else ". Set data.on_error: quarantine to leave such rows out."
            raise DataError(f"{where}: {problem}{advice}")
        self.audit.drop("examples", "quarantined", where, problem)
        self.audit.rejected.append((self.number, line, problem))

    def refuse(self, line: int, problem: str, at: int | str | None = None) -> None:
        """Reject a row that could not even be read as one."""
        self.audit.take("examples")
        self.reject(line, problem, at)

    def leave(self, reason: str, line: int | str, detail: str) -> None:
        """Leave out a row that nothing is wrong with."""
        self.audit.take("examples")
        self.audit.drop("examples", reason, self.where(line), detail)

    def lines(self, *, ends: bool = False) -> Iterator[tuple[int, str]]:
        r"""Yield `(number from 1, line)`, without its end unless that is wanted; only \n and \r\n end a line."""
        with self.text() as file:
            for number, line in enumerate(file, start=1):
                yield number, line if ends else line.removesuffix("\n").removesuffix("\r")

    @contextlib.contextmanager
    def text(self, newline: str = "\n") -> Iterator[TextIO]:
        """Open the file as text; bytes that its encoding does not have are a bad row where such are left out."""
        try:
            with open_text(self.path, self.encoding, "strict" if self.settings.on_error == "stop" else ESCAPE, newline) as file:
                yield file
        except UnicodeError as error:  # of a block, so the line is looked for again
            number, decoder = 0, codecs.getincrementaldecoder(self.encoding)()
            with open_bytes(self.path) as raw, contextlib.suppress(UnicodeError):
                for number, line in enumerate(raw, start=1):  # noqa: B007
                    decoder.decode(line)
            found = f"byte {error.object[error.start]:#04x}" if isinstance(error, UnicodeDecodeError) else "something else"
            raise DataError(
                f"{self.where(str(number))}: expected {self.encoding.removesuffix('-sig')} text, found {found}. Set data.encoding, for example "
                "cp1252 or latin-1 for files from Windows, or data.on_error: quarantine to leave such rows out."
            ) from error

    def accept(self, line: int, example: Example, at: int | str | None = None) -> Iterator[Example]:
        """Yield the example if it is good, repaired where a stated rule says so; account for it in any case, at `at` where its place has a name."""
        at = line if at is None else at
        for unit, number in units(example):
            self.audit.take(unit, number)
        keep, named = self.settings.keep_labels, example.labels or ()
        others = [] if keep is None else [name for name in named if name not in keep]
        if problem := self._problem(example):
            self.reject(line, problem, at)
        elif self.labels_needed and not (example.text.strip() or (example.text_b or "").strip()):
            self.audit.drop("examples", "empty", self.where(at), "no text; left out")
        elif others and self.kind == "classify":
            self.audit.drop("examples", "labels not kept", self.where(at), f"{others[0]} is not in data.keep_labels")
        else:
            if others:
                self.audit.event("labels not kept", self.where(at), ", ".join(others), len(others))
                example = replace(example, labels=tuple(name for name in named if name not in others))
            spans = example.spans if example.spans is None else self._whole_spans(at, example)
            if spans is not example.spans or example.origin is None:
                example = replace(example, spans=spans, origin=Origin(self.number, line), place=self.place(at))
            yield example
            return
        for unit, number in units(example)[1:]:
            self.audit.drop(unit, f"{unit} of rows left out", self.where(at), f"{number} {unit}", number)

    def _problem(self, example: Example) -> str | None:
        """Say what is wrong with an example, or None."""
        spans = example.spans or ()
        written = (example.id, example.text, example.text_b, example.document, *(example.labels or ()), *(span.label for span in spans))
        for text in written:
            if text and not text.isascii() and _SURROGATE.search(text):
                half = "the text or a label holds half of a surrogate pair, which is no character"
                return half if self.format in ESCAPED else self.bad_byte(text) or half
        if "\0" in example.text and self.format not in ESCAPED:
            return "the text holds a NUL byte, as files do that were not written to their end"
        wanted = example.spans if self.for_tokens else example.score if self.kind == "regress" else example.labels
        if self.labels_needed and wanted is None:
            return f"no label; every row needs one here{'' if self.for_tokens or example.spans is None else ', and its words have only tags or spans, which are for ner, pos and chunk'}"
        for start, end, label in spans:
            if self.types is not None and label not in self.types:
                return f"label {label!r} is not in data.labels{did_you_mean(label, self.types)}"
            if not 0 <= start <= len(example.text) or end > len(example.text):
                return f"span {start}-{end} ({label}) lies outside the text, which has {len(example.text)} characters"
            if end <= start and self.kind != "pos":
                return f"span {start}-{end} ({label}) has no characters"
        return None

    def bad_byte(self, text: str) -> str | None:
        """Say which byte of a text could not be decoded, or None."""
        found = None if text.isascii() else _UNDECODED.search(text)
        return f"expected {self.encoding.removesuffix('-sig')} text, found byte {ord(found[0]) - 0xDC00:#04x}" if found else None

    def _whole_spans(self, line: int | str, example: Example) -> tuple[Span, ...]:
        """Return the spans in order, of the labels that are kept, without white space at their edges and without overlaps."""
        spans = example.spans or ()
        keep = self.settings.keep_labels
        if keep is not None and (others := [span for span in spans if span.label not in keep]):
            for span in others:
                self.audit.drop("spans", "labels not kept", self.where(line), _named(span))
            spans = tuple(span for span in spans if span.label in keep)
        if self.kind == "pos" or _are_whole(example.text, spans):
            return spans
        written: dict[Span, Span] = {}  # as it is kept, as it was written
        for span in spans:
            inner = example.text[span.start : span.end]
            whole = Span(span.end - len(inner.lstrip()), span.start + len(inner.rstrip()), span.label)
            if not inner.strip():
                self.audit.drop("spans", "spans of white space", self.where(line), f"{_named(span)} left out")
            elif whole in written:
                self.audit.drop("spans", "spans given twice", self.where(line), f"{_named(span)} left out")
            else:
                written[whole] = span
        kept = self._without_overlaps(line, [*written])
        for span in kept:
            if span != (was := written[span]):
                self.audit.repair("spans", "spans trimmed", self.where(line), f"{was.start}-{was.end} is now {_named(span)}")
        return kept

    def _without_overlaps(self, line: int | str, spans: list[Span]) -> tuple[Span, ...]:
        rule = self.settings.overlaps
        key = (lambda s: (s.start - s.end, s.start, s.label)) if rule == "longest" else (lambda s: (s.start, -s.end, s.label))
        kept: list[Span] = []
        for span in sorted(spans, key=key):
            rival = next((other for other in kept if span.start < other.end and other.start < span.end), None)
            if rival is None:
                kept.append(span)
            elif rule == "stop":
                both = f"spans {_named(rival)} and {_named(span)} overlap"
                raise DataError(f"{self.where(line)}: {both}. Set data.overlaps: longest or first to keep one of them.")
            else:
                self.audit.drop("spans", "spans overlapping", self.where(line), f"{_named(span)} left out for {_named(rival)}")
        return tuple(sorted(kept))

    def name_of(self, value: Any) -> str:
        """Return a label's name: integers are the ids of `data.labels` where the user gave these."""
        if value is None or isinstance(value, (list, dict)):
            raise ValueError(f"expected one label, found {shown(value)}")
        text = str(value).strip() if not isinstance(value, float) or not value.is_integer() else str(int(value))
        if isinstance(value, str) and text != value:
            self.audit.event("labels trimmed", self.path.name, shown(value))
        if self.names is None or text in self.names:
            return text
        if text in self._by_id:
            return self._by_id[text]
        if self.settings.keep_labels is not None:
            return "O" if self.for_tokens else text
        raise ValueError(f"label {text!r} is not in data.labels{did_you_mean(text, list(self.names))}")

    def has_name(self, value: Any) -> bool:
        """Whether an id, or the name itself, is among those that the user gave."""
        return self.names is None or str(value) in self._by_id or str(value) in self.names

    @cached_property
    def _by_id(self) -> dict[str, str]:
        return {str(number): name for name, number in (self.names or {}).items()}

    @cached_property
    def types(self) -> Collection[str] | None:
        """The labels that spans may have, where the user gave label names."""
        if self.names is None or self.settings.keep_labels is not None:
            return None
        return self.names if self.kind == "pos" else types_of(list(self.names))

    @property
    def for_tokens(self) -> bool:
        """Whether the task labels tokens."""
        return self.kind in TOKEN_KINDS


def _named(span: Span) -> str:
    return f"{span.start}-{span.end} ({span.label})"


def _are_whole(text: str, spans: tuple[Span, ...]) -> bool:
    """Whether spans, as nearly all are, stand in order without overlaps and without white space at their edges."""
    at = 0
    for start, end, _ in spans:
        if start < at or text[start].isspace() or text[end - 1].isspace():
            return False
        at = end
    return True
