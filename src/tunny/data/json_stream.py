"""A JSON list an element at a time: files larger than memory, and the line of whatever is wrong.

Text is decoded a block at a time; an element that is not whole yet is tried again with twice as much, so the work stays linear.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

BLOCK = 1 << 20  # characters
_NEAR = 64  # characters from the end of a block within which an error may only mean that the rest is still to come
_SPACE = " \t\r\n"
_decode = json.JSONDecoder().raw_decode


class Element(NamedTuple):
    """One element of the list: the line it begins on, its text, and its value."""

    line: int
    raw: str
    value: Any


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


def as_record(value: Any) -> dict[str, Any] | None:
    """Return what a record of a file means: an object, or a pair `["text", {"entities": [...]}]` as spaCy's training data has; else None."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict):
        return {"text": value[0], **value[1]}
    return value if isinstance(value, dict) else None


def elements(file: TextIO) -> Iterator[Element]:
    """Yield the elements of the list that the file holds; raise JSONProblem where it breaks."""
    stream = _Stream(file)
    if stream.peek() != "[":
        raise JSONProblem(stream.line, "expected a JSON list")
    stream.skip()
    if stream.peek() == "]":
        stream.skip()
        stream.end()
        return
    while True:
        yield stream.element()
        mark = stream.peek()
        stream.skip()
        if mark == "]":
            stream.end()
            return
        if mark != ",":
            raise JSONProblem(stream.line, f"expected , or ] after an element of the list, found {mark or 'the end of the file'!r}")


class _Stream:
    """The part of the file that is in memory, and the place in it."""

    def __init__(self, file: TextIO):
        self._file = file
        self._text = ""
        self._at = 0
        self._ended = False
        self.line = 1

    def _more(self) -> None:
        """Drop what is done and read as much again as there is, a block at least."""
        self._text = self._text[self._at :]
        self._at = 0
        wanted = max(BLOCK, len(self._text))
        read = self._file.read(wanted)
        self._ended = len(read) < wanted
        self._text += read

    def peek(self) -> str:
        """Return the next character that is no white space, "" at the end."""
        while True:
            while self._at < len(self._text):
                letter = self._text[self._at]
                if letter not in _SPACE:
                    return letter
                self.line += letter == "\n"
                self._at += 1
            if self._ended:
                return ""
            self._more()

    def skip(self) -> None:
        """Go past the character that `peek` returned."""
        self._at += 1

    def element(self) -> Element:
        """Return the next value."""
        self.peek()
        while True:
            try:
                value, end = _decode(self._text, self._at)
                closed = self._text[self._at] in '{["'  # a number may go on in the next block
                if self._ended or len(self._text) - end > (0 if closed else _NEAR):
                    break
            except json.JSONDecodeError as error:
                cut = error.pos >= len(self._text) - _NEAR or error.msg.startswith("Unterminated string")
                if self._ended or not cut:
                    line = self.line + self._text.count("\n", self._at, error.pos)
                    raise JSONProblem(line, f"not valid JSON: {error.msg}") from None
            except RecursionError:
                raise JSONProblem(self.line, "not readable JSON: it is nested too deeply") from None
            except ValueError as error:  # a number of thousands of digits
                raise JSONProblem(self.line, f"not readable JSON: {error}") from None
            self._more()
        raw = self._text[self._at : end]
        found = Element(self.line, raw, value)
        self.line += raw.count("\n")
        self._at = end
        return found

    def end(self) -> None:
        """Raise JSONProblem if anything but white space follows the list."""
        if self.peek():
            raise JSONProblem(self.line, f"expected the end of the file after the list, found {self.peek()!r}")
