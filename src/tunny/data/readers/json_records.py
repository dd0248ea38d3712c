"""JSON files: a list of objects, one object with such a list in it, or JSON Lines, an object a line.

An object that has a text of its own is one record, whatever lists it holds.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from tunny.core.errors import DataError
from tunny.data.cells import shown
from tunny.data.columns import TEXTS
from tunny.data.example import Example
from tunny.data.json_stream import Element, JSONProblem, as_record, elements, loads
from tunny.data.records import Numbered, Row, read_records
from tunny.data.source import Source

LOOKED_AT = 100  # records whose keys are the columns


def read_lines(source: Source) -> Iterator[Example]:
    """Yield one example a line of a JSON Lines file."""
    yield from _read(source, lambda report: _lines(source, report))


def read_list(source: Source) -> Iterator[Example]:
    """Yield one example an object of a JSON list; its place is its number, from 1."""
    yield from _read(source, lambda report: _records(source, list_elements(source, report), report))


def line_rows(source: Source) -> Iterator[Row]:
    """Yield each line that is not blank."""
    for number, line in source.lines():
        if line.strip():
            yield Row(number, line + "\n")


def list_rows(source: Source) -> Iterator[Row]:
    """Yield the text of each element of the list."""
    for number, element in enumerate(list_elements(source, report=False), 1):
        yield Row(number, element.raw)


def _read(source: Source, records: Callable[[bool], Numbered]) -> Iterator[Example]:
    keys = list(dict.fromkeys(key for _, record in islice(records(False), LOOKED_AT) for key in record))
    if not keys:
        for line, _ in records(True):  # which reports bad ones
            source.refuse(line, "expected a JSON object with a text, found {}")
        return
    yield from read_records(source, keys, records)


def _lines(source: Source, report: bool) -> Numbered:
    for number, line in source.lines():
        if not line.strip():
            continue
        try:
            value = loads(line)
        except ValueError as error:
            if report:
                source.refuse(number, f"expected a JSON object, found {shown(line)} ({error})")
            continue
        if (record := _as_record(source, number, line, value, report)) is not None:
            yield number, record


def _records(source: Source, found: Iterator[Element], report: bool) -> Numbered:
    for number, element in enumerate(found, 1):
        if (record := _as_record(source, number, element.raw, element.value, report)) is not None:
            yield number, record


def _as_record(source: Source, line: int, raw: str, value: Any, report: bool) -> Mapping[str, Any] | None:
    record = as_record(value)
    problem = source.bad_byte(raw) or (f"expected a JSON object, found {shown(value)}" if record is None else None)
    if problem and report:
        source.refuse(line, problem)
    return None if problem else record


def list_elements(source: Source, report: bool) -> Iterator[Element]:
    """Yield the elements of a file that is a JSON list, holds one in an object, or is a single object."""
    with source.text(newline="") as file:
        head = file.read(1 << 12)
    try:
        if head.lstrip("\ufeff \t\r\n").startswith("["):
            with source.text(newline="") as file:
                yield from elements(file)
            return
        with source.text(newline="") as file:
            yield from _in_object(file.read())
    except JSONProblem as problem:
        if source.settings.on_error == "stop":
            raise DataError(f"{source.where(problem.line)}: {problem}") from problem
        if report:
            source.refuse(0, f"{problem}; nothing after it can be read", problem.line)


def _in_object(text: str) -> Iterator[Element]:
    try:
        value = loads(text)
    except ValueError as error:
        raise JSONProblem(getattr(error, "lineno", 1), f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise JSONProblem(1, f"expected a list of objects, found {shown(value)}")
    lists = [] if {str(key).lower() for key in value} & TEXTS else [item for item in value.values() if isinstance(item, list)]
    inside = [items for items in lists if items and all(isinstance(item, dict) for item in items)]
    for number, item in enumerate(inside[0] if len(inside) == 1 else [value], 1):
        yield Element(number, json.dumps(item, ensure_ascii=False), item)
