"""A JSON list an element at a time: files larger than memory, and the line of whatever is wrong.

Text is decoded a block at a time; an element that is not whole yet is tried again with twice as much, so the work stays linear.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from tunny.data.example import Row

BLOCK = 1 << 20  # characters
_NEAR = 64  # characters from the end of a block within which an error may only mean that the rest is still to come
_SPACE = re.compile(r"[ \t\r\n]*")
_decode = json.JSONDecoder().raw_decode


class JSONProblem(ValueError):
    """What is wrong, with its line. Nothing after it in the file can be read."""

    def __init__(self, line: int, problem: str):
        super().__init__(problem)
        self.line = line


def loads(text: str) -> Any:
    """Return the value of a JSON text; raise ValueError for whatever is wrong, deep nesting and endless numbers included."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parsed(line: int, text: str, end: str = "") -> Row:
    """Return what a JSON text holds, which stands in its file with this end."""
    try:
        return Row(line, text + end, loads(text))
    except ValueError as error:
        return Row(line, text + end, problem=f"not valid JSON: {error}")


def as_record(value: Any) -> dict[str, Any] | None:
    """Return what a record of a file means: an object, or a pair `["text", {"entities": [...]}]` as spaCy's training data has; else None."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict):
        return {"text": value[0], **value[1]}
    return value if isinstance(value, dict) else None


def elements(file: TextIO) -> Iterator[Row]:
    """Yield the elements of the list that the file holds; raise JSONProblem where it breaks."""
    stream = _Stream(file)
    if stream.take() != "[":
        raise JSONProblem(stream.line, "expected a JSON list")
    mark = stream.take() if stream.peek() == "]" else ","
    number = 0
    while mark != "]":
        number += 1
        yield Row(number, *stream.value())
        mark = stream.take()
        if mark not in (",", "]"):
            raise JSONProblem(stream.line, f"expected , or ] after an element of the list, found {mark or 'the end of the file'!r}")
    if rest := stream.peek():
        raise JSONProblem(stream.line, f"expected the end of the file after the list, found {rest!r}")


class _Stream:
    """The part of the file that is in memory, and the line in it."""

    def __init__(self, file: TextIO):
        self._file, self._text, self._at, self._ended = file, "", 0, False
        self.line = 1

    def _more(self) -> None:
        """Drop what is done and read as much again as there is, a block at least."""
        rest = self._text[self._at :]
        wanted = max(BLOCK, len(rest))
        read = self._file.read(wanted)
        self._text, self._at, self._ended = rest + read, 0, len(read) < wanted

    def _go(self, end: int) -> str:
        """Go on to a place and return what stands before it."""
        passed = self._text[self._at : end]
        self.line += passed.count("\n")
        self._at = end
        return passed

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end."""
        while True:
            self._go(_SPACE.match(self._text, self._at).end())  # type: ignore[union-attr]
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._more()

    def take(self) -> str:
        """Return what `peek` returns and go past it."""
        mark = self.peek()
        return self._go(self._at + len(mark))

    def value(self) -> tuple[str, Any]:
        """Return the next value after its text."""
        self.peek()
        while True:
            try:
                value, end = _decode(self._text, self._at)
                closed = self._text[self._at] in '{["'  # a number may go on in the next block
                if self._ended or len(self._text) - end > (0 if closed else _NEAR):
                    return self._go(end), value
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - _NEAR or error.msg.startswith("Unterminated string")
                if self._ended or not cut:
                    line = self.line + self._text.count("\n", self._at, error.pos)
                    raise JSONProblem(line, f"not valid JSON: {error.msg}") from None
            except (RecursionError, ValueError) as error:  # of a number of thousands of digits
                problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
                raise JSONProblem(self.line, f"not readable JSON: {problem}") from None
            self._more()
