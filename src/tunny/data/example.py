"""One labelled text. Character offsets (Python code points of `text`) are the truth; tags and tokens are views of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tunny.core.files import digest_bytes


class Span(NamedTuple):
    """A labelled stretch of a text: characters `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int
    label: str


class Origin(NamedTuple):
    """Where an example comes from: the number of its file among those read, and its first line (or number) there."""

    file: int
    line: int


class Row(NamedTuple):
    """A row as it stands in its file, and what it holds or what is wrong with it."""

    line: int  # by which its example is known, in a list the number; 0 is the head, which holds the names of columns
    raw: str
    value: Any = None
    problem: str = ""
    at: int | None = None  # the line of the problem, where that is another


@dataclass(frozen=True, slots=True)
class Example:
    """A text with whatever labels its task needs; None means unlabelled, an empty tuple means labelled with nothing."""

    id: str
    text: str
    spans: tuple[Span, ...] | None = None  # entities, chunks, or for pos one span a word
    labels: tuple[str, ...] | None = None  # classify: one; multilabel: any number
    score: float | None = None  # regress
    text_b: str | None = None
    document: str | None = None  # examples of one document stay together in splits
    words: tuple[tuple[int, int], ...] | None = None  # character ranges, where the source was tokenised
    meta: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = field(default=None, compare=False)
    place: str = field(default="", compare=False)  # what the origin is called, where its line is none of the file


def text_key(example: Example) -> str:
    """Return 64 bits, as hex, of a digest of the texts: equal for copies, whatever their labels."""
    return digest_bytes(example.text, example.text_b or "")[:16]
