"""From a tagged sentence to an Example: its text, the ranges of its words, and the spans that its tags mean.

Shared by the conll readers and, for records that hold tokens, by all others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunny.data.cells import as_text
from tunny.data.example import Example, Origin, Row, Span
from tunny.data.source import Source
from tunny.data.tags import Scheme, SchemeFinder, WordSpan, bad_tag, tags_to_spans


@dataclass(slots=True)
class Sentence:
    """A sentence as a file of a line a word has it."""

    line: int = 0  # by which its example is known
    name: str = ""  # "" where it has none
    document: str | None = None
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    spaces: list[bool] = field(default_factory=list)  # whether one stands after each word; empty: after all
    lines: list[int] = field(default_factory=list)  # of the words
    raw: list[str] = field(default_factory=list)  # all its lines, with those before the words
    comments: int = 0  # lines among these that are counted
    events: list[tuple[str, int, str]] = field(default_factory=list)  # what the audit is to know: kind, line, detail
    problem: tuple[int, str] | None = None  # line and what is wrong there


def read_sentences(sentences: Callable[[Source], Iterator[Sentence]], source: Source) -> Iterator[Example]:
    """Yield the examples of all sentences of a file."""
    scheme = find_scheme(source, (found.tags for found in sentences(source) if not found.problem))
    for found in sentences(source):
        if found.comments:
            source.audit.count("comment lines", found.comments)
        for kind, line, detail in found.events:
            source.audit.event(kind, source.where(line), detail)
        tags = found.tags if source.labels_needed else None
        name = found.name or source.where(found.line)
        try:
            if found.problem:
                raise ValueError(found.problem[1])
            yield from read_sentence(source, found.line, name, found.words, tags, scheme, found.document, found.spaces or None)
        except ValueError as error:
            source.refuse(found.line, str(error), found.problem[0] if found.problem else found.lines[bad_tag(tags or ())])


def sentence_rows(sentences: Callable[[Source], Iterator[Sentence]], source: Source) -> Iterator[Row]:
    """Yield the lines of each sentence, with what stands before it and the blank line after it."""
    for found in sentences(source):
        yield Row(found.line, "\n".join(found.raw) + "\n\n")


def find_scheme(source: Source, sentences: Iterator[Sequence[str]]) -> Scheme:
    """Look at all tags of a file and return their scheme; a tag that no scheme has goes to the reader, which rejects it."""
    if source.kind == "pos" or not source.labels_needed:
        return "none"
    finder = SchemeFinder()
    for tags in sentences:
        try:
            finder.see(tags)
        except ValueError:
            continue
    scheme, reason = finder.found()
    source.audit.note(f"{source.path.name}: tag scheme {scheme} ({reason})")
    return scheme


def read_sentence(
    source: Source, line: int, name: str, tokens: Sequence[Any], tags: Sequence[str] | None, scheme: Scheme,
    document: str | None = None, spaces: Sequence[bool] | None = None, entities: Sequence[WordSpan] | None = None,
) -> Iterator[Example]:  # fmt: skip
    """Join tokens into a text (by single spaces, or as `spaces` says), turn their tags or entities into character spans, and
    yield the example if it is good. Raises ValueError where the numbers differ or a tag belongs to no scheme.
    """
    text, words = _joined(tokens, spaces)
    spans: tuple[Span, ...] | None = None
    repaired = 0
    if tags is not None:
        if len(tags) != len(words):
            raise ValueError(f"expected one tag a token, found {len(words)} tokens and {len(tags)} tags")
        if source.kind == "pos":
            spans = tuple([Span(*word, tag) for word, tag in zip(words, tags, strict=True) if tag not in ("_", "")])
        else:
            entities, repaired = tags_to_spans(tags, scheme)
    if entities is not None:
        spans = tuple([Span(words[first][0], words[last][1], label) for first, last, label in entities])
    origin, place = Origin(source.number, line), source.place(line)
    example = Example(name, text, spans, document=document, words=tuple(words), origin=origin, place=place)
    for good in source.accept(line, example):
        if repaired:
            detail = f"{repaired} that break {scheme} start a span of their own"
            source.audit.repair("tokens", "tags repaired", source.where(line), detail, repaired)
        yield good


def _joined(tokens: Sequence[Any], spaces: Sequence[bool] | None) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of tokens and the range of each; white space at the edges of a token is text, but not of the word."""
    words = []
    pieces: list[str] = []
    position = 0
    for number, token in enumerate(tokens):
        piece = token if isinstance(token, str) else as_text(token, "a token")
        inner = piece.strip() or piece
        start = position if inner is piece else position + piece.index(inner)
        words.append((start, start + len(inner)))
        pieces.append(piece)
        position += len(piece)
        if spaces is None or spaces[number]:
            pieces.append(" ")
            position += 1
    if pieces and (spaces is None or spaces[-1]):
        pieces.pop()
    return "".join(pieces), words
