"""JSON files: a list of objects, one object with such a list in it, or JSON Lines, an object a line.

An object that has a text of its own is one record, whatever lists it holds.
"""

import json
from collections.abc import Iterator
from itertools import islice

from tunny.core.errors import DataError
from tunny.data.cells import shown
from tunny.data.columns import TEXTS
from tunny.data.example import Example, Row
from tunny.data.json_stream import JSONProblem, as_record, elements, loads, parsed
from tunny.data.records import Numbered, line_rows, read_records
from tunny.data.source import Source

LOOKED_AT = 100  # records whose keys are the columns


def read(source: Source) -> Iterator[Example]:
    """Yield one example an object; its line is its line, in a list its number, from 1."""
    keys = list(dict.fromkeys(key for _, record in islice(_records(source, False), LOOKED_AT) for key in record))
    if keys:
        yield from read_records(source, keys, lambda report: _records(source, report))
        return
    for line, _ in _records(source, True):  # which reports bad ones
        source.refuse(line, "expected a JSON object with a text, found {}")


def rows(source: Source) -> Iterator[Row]:
    """Yield each line that is not blank, or the text of each element of the list."""
    if source.format != "json":
        yield from line_rows(source)
    else:
        yield from list_elements(source, report=False)


def _records(source: Source, report: bool) -> Numbered:
    lines = (parsed(number, line) for number, line in source.lines() if line.strip())
    for line, raw, value, problem in list_elements(source, report) if source.format == "json" else lines:
        record = as_record(value)
        if problem or record is None:
            problem = f"expected a JSON object, found {shown(raw if problem else value)}" + (f" ({problem})" if problem else "")
        problem = source.bad_byte(raw) or problem
        if not problem and record is not None:
            yield line, record
        elif report:
            source.refuse(line, problem)


def list_elements(source: Source, report: bool) -> Iterator[Row]:
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


def _in_object(text: str) -> Iterator[Row]:
    try:
        value = loads(text)
    except ValueError as error:
        raise JSONProblem(getattr(error, "lineno", 1), f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise JSONProblem(1, f"expected a list of objects, found {shown(value)}")
    lists = [] if {str(key).lower() for key in value} & TEXTS else [item for item in value.values() if isinstance(item, list)]
    inside = [items for items in lists if items and all(isinstance(item, dict) for item in items)]
    for number, item in enumerate(inside[0] if len(inside) == 1 else [value], 1):
        yield Row(number, json.dumps(item, ensure_ascii=False), item)
