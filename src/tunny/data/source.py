"""One input file: finding it, opening it, saying what format it is, and checking every example that a reader makes of it.

A reader decides how bytes become examples; this file decides what a good example is and what happens to a bad one
(`data.on_error`). Spans are checked against their text here, once for all formats.
"""

import codecs
import contextlib
import glob
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from tunny.core.errors import DataError, did_you_mean
from tunny.data.audit import Audit
from tunny.data.example import Example, Span
from tunny.data.labels import types_of
from tunny.data.settings import TOKEN_KINDS, DataSettings

_TAG = re.compile(r"(O|[BIESLU]-\S+)$")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ENDINGS = {
    ".conll": "conll", ".bio": "conll", ".iob": "conll", ".conllu": "conllu", ".csv": "csv", ".tsv": "tsv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet", ".txt": "text",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A file with all that a reader needs to know about it."""

    path: Path
    settings: DataSettings
    kind: str  # the task's kind: what labels are wanted
    names: Sequence[str] | None  # label names in id order, where the user gave them
    audit: Audit
    labels_needed: bool = True  # False for prediction: labels are neither read nor missed

    def where(self, line: int | str) -> str:
        """Return the place of a line for messages."""
        return f"{self.path.name}:{line}"

    def reject(self, line: int | str, problem: str) -> None:
        """Stop on a bad row, or leave it out, counted and listed."""
        if self.settings.on_error == "stop":
            raise DataError(f"{self.where(line)}: {problem}. Set data.on_error: quarantine to leave such rows out.")
        self.audit.event("quarantined", self.where(line), problem)

    def lines(self, *, ends: bool = False) -> Iterator[tuple[int, str]]:
        r"""Yield `(number from 1, line)`, without its end unless that is wanted; only \n and \r\n end a line."""
        try:
            with open(self.path, encoding=self.codec, newline="\n") as file:
                for number, line in enumerate(file, start=1):
                    yield number, line if ends else line.removesuffix("\n").removesuffix("\r")
        except UnicodeError as error:
            self._wrong_encoding(error)

    def text(self) -> str:
        """Return the whole file, line ends as they are."""
        try:
            with open(self.path, encoding=self.codec, newline="") as file:
                return file.read()
        except UnicodeError as error:
            self._wrong_encoding(error)

    @property
    def codec(self) -> str:
        """The encoding with which to open the file; a UTF-8 byte order mark is no text."""
        name = self.settings.encoding.lower().replace("_", "-")
        return "utf-8-sig" if name in {"utf-8", "utf8"} else name

    def _wrong_encoding(self, error: UnicodeError) -> NoReturn:
        """Say the line that cannot be decoded: files are decoded a block at a time, so the line is looked for again."""
        decoder = codecs.getincrementaldecoder(self.codec)()
        number = 0
        with open(self.path, "rb") as file, contextlib.suppress(UnicodeError):
            for number, line in enumerate(file, start=1):  # noqa: B007
                decoder.decode(line)
        found = f"byte {error.object[error.start]:#04x}" if isinstance(error, UnicodeDecodeError) else "something else"
        raise DataError(
            f"{self.where(number)}: expected {self.settings.encoding} text, found {found}. "
            "Set data.encoding, for example cp1252 or latin-1 for files from Windows."
        ) from error

    def accept(self, line: int | str, example: Example) -> Iterator[Example]:
        """Yield the example if it is good, repaired where a stated rule says so; account for it in any case."""
        self.audit.count("read")
        problem = self._problem(example)
        if problem:
            self.reject(line, problem)
            return
        if self.labels_needed and not (example.text.strip() or (example.text_b or "").strip()):
            self.audit.event("empty", self.where(line), "no text; left out")
            return
        if example.spans is not None:
            example = replace(example, spans=self._whole_spans(line, example))
        self.audit.count("examples")
        self.audit.count("spans", len(example.spans or ()))
        yield example

    def _problem(self, example: Example) -> str | None:
        """Say what is wrong with an example, or None."""
        spans = example.spans or ()
        written = (example.id, example.text, example.text_b or "", *(example.labels or ()), *(span.label for span in spans))
        if any(map(_SURROGATE.search, written)):
            return "the text or a label holds half of a surrogate pair, which is no character"
        wanted = example.spans if self.for_tokens else example.score if self.kind == "regress" else example.labels
        if self.labels_needed and wanted is None:
            return "no label; every row needs one here"
        for start, end, label in spans:
            if self.types is not None and label not in self.types:
                return f"label {label!r} is not in data.labels{did_you_mean(label, self.types)}"
            if not 0 <= start <= len(example.text) or end > len(example.text):
                return f"span {start}-{end} ({label}) lies outside the text, which has {len(example.text)} characters"
            if end <= start and self.kind != "pos":
                return f"span {start}-{end} ({label}) has no characters"
        return None

    def _whole_spans(self, line: int | str, example: Example) -> tuple[Span, ...]:
        """Return the spans in order, without white space at their edges and without overlaps."""
        if self.kind == "pos":
            return example.spans or ()
        trimmed = []
        for span in example.spans or ():
            inner = example.text[span.start : span.end]
            start = span.start + len(inner) - len(inner.lstrip())
            end = span.end - (len(inner) - len(inner.rstrip()))
            if start >= end:
                self.audit.event("spans of white space", self.where(line), f"{span.start}-{span.end} ({span.label}) left out")
                continue
            if (start, end) != (span.start, span.end):
                self.audit.event("spans trimmed", self.where(line), f"{span.start}-{span.end} is now {start}-{end} ({span.label})")
            trimmed.append(Span(start, end, span.label))
        return self._without_overlaps(line, trimmed)

    def _without_overlaps(self, line: int | str, spans: list[Span]) -> tuple[Span, ...]:
        spans = sorted(dict.fromkeys(spans))
        if all(before.end <= after.start for before, after in pairwise(spans)):
            return tuple(spans)
        rule = self.settings.overlaps
        key = (lambda s: (s.start - s.end, s.start, s.label)) if rule == "longest" else (lambda s: (s.start, -s.end, s.label))
        kept: list[Span] = []
        for span in sorted(spans, key=key):
            rival = next((other for other in kept if span.start < other.end and other.start < span.end), None)
            if rival is None:
                kept.append(span)
            elif rule == "stop":
                raise DataError(
                    f"{self.where(line)}: spans {rival.start}-{rival.end} ({rival.label}) and {span.start}-{span.end} "
                    f"({span.label}) overlap. Set data.overlaps: longest or first to keep one of them."
                )
            else:
                detail = f"{span.start}-{span.end} ({span.label}) left out for {rival.start}-{rival.end} ({rival.label})"
                self.audit.event("spans overlapping", self.where(line), detail)
        return tuple(sorted(kept))

    def name_of(self, value: Any) -> str:
        """Return a label's name: integers count into the label names where the user gave these."""
        if isinstance(value, (list, dict)):
            raise ValueError(f"expected one label, found {value!r}")
        text = str(value).strip() if not isinstance(value, float) or not value.is_integer() else str(int(value))
        if self.names is None or text in self.names:
            return text
        if text.isdigit() and int(text) < len(self.names):
            return self.names[int(text)]
        raise ValueError(f"label {text!r} is not in data.labels{did_you_mean(text, self.names)}")

    @cached_property
    def types(self) -> Sequence[str] | None:
        """The labels that spans may have, where the user gave label names."""
        return self.names if self.names is None or self.kind == "pos" else types_of(self.names)

    @property
    def for_tokens(self) -> bool:
        """Whether the task labels tokens."""
        return self.kind in TOKEN_KINDS


def find_files(pattern: str) -> list[Path]:
    """Return the files of a path or glob in name order; raise DataError where there is none."""
    path = Path(pattern)
    if path.is_dir():
        raise DataError(f"{path}: expected a file, found a folder. Name its files, for example {path}/*.jsonl.")
    if path.is_file():
        return [path]
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name))
    if not found:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file{did_you_mean(path.name, beside)}")
    return found


def find_format(path: Path, settings: DataSettings) -> tuple[str, str]:
    """Return the format of a file and the reason: by content first and by the ending second."""
    if settings.format != "auto":
        return settings.format, "data.format says so"
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head[:4] == b"PAR1":
        return "parquet", "it starts with Parquet's mark"
    encoding = "utf-8-sig" if settings.encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else settings.encoding
    text = head.decode(encoding, errors="replace").lstrip("\ufeff")
    whole = len(head) < 1 << 16
    lines = text.split("\n") if whole else text.split("\n")[:-1]
    lines = [line.rstrip("\r") for line in lines]
    return _json_format(path, text, lines) or _columns_format(lines) or _by_ending(path)


def _json_format(path: Path, text: str, lines: list[str]) -> tuple[str, str] | None:
    start = text.lstrip()
    if start.startswith("[") and re.match(r"\[\s*[{\]]", start):
        if re.search(r'"annotations"\s*:', start) and re.search(r'"data"\s*:', start):
            return "label-studio", "it is a JSON list of tasks with data and annotations"
        return "json", "it is a JSON list of objects"
    if start.startswith("{"):
        written = [line for line in lines if line.strip()] or [""]
        if len(written) == 1 and path.suffix.lower() == ".json":
            return "json", "it is a JSON object, and its ending is .json"
        try:
            json.loads(written[0])
        except json.JSONDecodeError:
            return ("json", "it is a JSON object") if written[0].strip() == "{" else None
        return "jsonl", "each line is a JSON object"
    return None


def _columns_format(lines: list[str]) -> tuple[str, str] | None:
    body = [line for line in lines if line.strip() and not line.startswith("#")][:50]
    if not body:
        return None
    if all(line.count("\t") == 9 and line[0].isdigit() for line in body):
        return "conllu", "its lines have ten columns and start with a number"
    rows = [line.split("\t") if "\t" in line else line.split() for line in body]
    same = len({len(row) for row in rows}) == 1  # a text may end in a word like a tag: "vitamin O"
    if same and len(rows) > 1 and all(len(row) >= 2 and _TAG.match(row[-1]) for row in rows):
        return "conll", "each line is a word and a tag"
    return None


def _by_ending(path: Path) -> tuple[str, str]:
    name = _ENDINGS.get(path.suffix.lower())
    return (name, f"its ending is {path.suffix}") if name else ("text", "nothing else fits; each line is a text")
