"""Tag schemes: finding one, tags to spans of words, spans to IOB2, and which tag may follow which.

IOB1 marks B- only between two neighbours of one type, IOB2 at every start, BIOES and BILOU mark ends and singles too
(E = L, S = U). Spans here count words: first and last, both inclusive. A tag that breaks its scheme is repaired as conlleval
does (it starts a new span) and counted. Source: Tjong Kim Sang & Veenstra 1999; Ratinov & Roth 2009.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunny.data.audit import Audit
from tunny.data.example import Example

Scheme = Literal["IOB1", "IOB2", "BIOES", "BILOU", "none"]
_TAG = re.compile("O|[BIESLU]-.+", re.DOTALL)
_NORMAL = {"L": "E", "U": "S"}  # BILOU's names for the two prefixes of BIOES
_UNHEARD = Audit()  # takes the accounts that nobody asked for; making one costs more than tagging a text


class WordSpan(NamedTuple):
    """Words `first` to `last`, both inclusive, with a label."""

    first: int
    last: int
    label: str


def split_tag(tag: str) -> tuple[str, str]:
    """Return prefix and label of a tag, ("O", "") for O; raise ValueError for what no scheme has."""
    if tag == "O":
        return "O", ""
    prefix, dash, label = tag.partition("-")
    if not dash or prefix not in {"B", "I", "E", "S", "L", "U"} or not label:
        raise ValueError(f"expected O or a tag such as B-PER or I-PER, found {tag!r}")
    return prefix, label


def bad_tag(tags: Sequence[str]) -> int:
    """Return the place of the first tag that no scheme has; 0 where there is none."""
    return next((place for place, tag in enumerate(tags) if not _TAG.fullmatch(tag)), 0)


class SchemeFinder:
    """Collects what tells the schemes apart, a sentence at a time."""

    def __init__(self) -> None:
        self.prefixes: set[str] = set()
        self.inside_starts = False  # an I- where nothing of its type stands before it
        self.begin_starts = False  # a B- where nothing of its type stands before it

    def see(self, tags: Iterable[str]) -> None:
        """Look at the tags of one sentence."""
        before = ""
        for tag in tags:
            prefix, label = split_tag(tag)
            self.prefixes.add(prefix)
            if label and label != before:
                self.inside_starts |= prefix == "I"
                self.begin_starts |= prefix == "B"
            before = label

    def found(self) -> tuple[Scheme, str]:
        """Return the scheme and the reason."""
        if self.prefixes & {"L", "U"}:
            return "BILOU", "tags with L- or U- were found"
        if self.prefixes & {"E", "S"}:
            return "BIOES", "tags with E- or S- were found"
        if self.inside_starts and not self.begin_starts:
            return "IOB1", "spans start with I-"
        return "IOB2", "spans start with B-"


def tags_to_spans(tags: Sequence[str], scheme: Scheme) -> tuple[list[WordSpan], int]:
    """Return the spans of one sentence and how many tags broke the scheme."""
    spans: list[WordSpan] = []
    broken: set[int] = set()  # places of tags
    open_at, before, before_label = -1, "O", ""
    for position, tag in enumerate([*tags, "O"]):
        prefix, label = split_tag(tag)
        prefix = _NORMAL.get(prefix, prefix)
        continues = prefix in {"I", "E"} and label == before_label and before in {"B", "I"}
        if not continues:
            if open_at >= 0:
                spans.append(WordSpan(open_at, position - 1, before_label))
                if scheme in {"BIOES", "BILOU"} and before in {"B", "I"}:
                    broken.add(position - 1)
            open_at = position if label else -1
            if prefix in {"I", "E"} and scheme != "IOB1":
                broken.add(position)
        before, before_label = prefix, label
    return spans, len(broken)


def spans_to_tags(spans: Iterable[WordSpan], num_words: int) -> list[str]:
    """Return IOB2 tags for spans that do not overlap."""
    tags = ["O"] * num_words
    for first, last, label in spans:
        tags[first : last + 1] = [f"B-{label}", *[f"I-{label}"] * (last - first)]
    return tags


def tag_words(
    spans: Iterable[tuple[int, int, str]], words: Sequence[tuple[int, int]], audit: Audit | None = None, where: str = "",
    unit: str = "spans",
) -> list[str]:  # fmt: skip
    """Return IOB2 tags of the words that character spans touch; a word belongs to the first span that does.

    Spans that the tags cannot say exactly are accounted for under `unit`, with what becomes of them.
    """
    spans = sorted(spans)
    if not spans:
        return ["O"] * len(words)
    audit = audit or _UNHEARD
    audit.take(unit, len(spans))
    starts, ends = [start for start, _ in words], [end for _, end in words]
    found: list[WordSpan] = []
    for start, end, label in spans:
        first, last = bisect_right(ends, start), bisect_left(starts, end) - 1
        if first > last:
            audit.drop(unit, "spans without words", where, f"{start}-{end} ({label}) touches no word")
        elif found and first <= found[-1].last:
            audit.drop(unit, "spans inside one word", where, f"{start}-{end} ({label}) begins in a word that belongs to the span before")
        else:
            found.append(WordSpan(first, last, label))
            if starts[first] != start or ends[last] != end:
                why = f"{start}-{end} ({label}) begins or ends inside a word; the whole word is taken"
                audit.repair(unit, "spans snapped to words", where, why)
    audit.give(unit, len(found))
    return spans_to_tags(found, len(words))


def word_tags(
    example: Example, words: Sequence[tuple[int, int]], kind: str, audit: Audit | None = None, unit: str = "spans"
) -> Sequence[str | None]:
    """Return one tag a word (None: unlabelled) and account for the spans under `unit`."""
    audit, spans, known = audit or Audit(), example.spans or (), set(words)
    if kind != "pos":
        return tag_words(spans, words, audit, example.id, unit)
    by_word = {(start, end): label for start, end, label in spans}
    others = [f"{start}-{end} ({label})" for start, end, label in spans if (start, end) not in known]
    audit.take(unit, len(spans))
    audit.give(unit, len(spans) - len(others))
    if others:
        audit.drop(unit, "spans that are no words", example.id, others[0], len(others))
    return [by_word.get(word) for word in words]


def scheme_of(names: Sequence[str]) -> Scheme:
    """Return the scheme that a model's label names follow; "none" where they are plain tags."""
    finder = SchemeFinder()
    try:
        finder.prefixes = {split_tag(name)[0] for name in names}
    except ValueError:
        return "none"
    return "IOB1" if "I" in finder.prefixes <= {"I", "O"} else finder.found()[0]


def transitions(names: Sequence[str], scheme: Scheme) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which tag may come first (K,), which may follow which (K, K) as [before, after], and which last (K,)."""
    size = len(names)
    if scheme == "none":
        return np.ones(size, bool), np.ones((size, size), bool), np.ones(size, bool)
    parts = [(_NORMAL.get(prefix, prefix), label) for prefix, label in map(split_tag, [*names, "O"])]  # O stands before and after all
    follow = np.array([[_may_follow(before, after, scheme) for after in parts] for before in parts])
    return follow[-1, :-1], follow[:-1, :-1], follow[:-1, -1]


def _may_follow(before: tuple[str, str], after: tuple[str, str], scheme: Scheme) -> bool:
    same = bool(after[1]) and before[1] == after[1]
    if scheme in ("IOB1", "IOB2"):
        return same or after[0] != ("B" if scheme == "IOB1" else "I")
    is_open = before[0] in {"B", "I"}
    return is_open and same if after[0] in {"I", "E"} else not is_open


def inside_of(name: str) -> str:
    """Return the tag that continues a tag: I- for B-, the tag itself for anything else."""
    return f"I-{name[2:]}" if name.startswith("B-") else name
