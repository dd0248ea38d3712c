"""JSON files: a list of objects, one object with such a list in it, or JSON Lines, an object a line.

An object that has a text of its own is one record, whatever lists it holds.
"""

import json
from collections.abc import Iterator

from tunny.core.errors import DataError
from tunny.data.cells import shown
from tunny.data.columns import TEXTS
from tunny.data.example import Row
from tunny.data.json_stream import JSONProblem, as_record, elements, loads, parsed
from tunny.data.source import Source


def rows(source: Source) -> Iterator[Row]:
    """Yield the record of each line that is not blank, or of each element of the list by its number, from 1."""
    lines = (parsed(number, line, "\n") for number, line in source.lines() if line.strip())
    for row in list_elements(source) if source.format == "json" else lines:
        record, problem = as_record(row.value), row.problem
        if record is None and row.at is None:
            found = shown(row.raw.removesuffix("\n") if problem else row.value)
            problem = f"expected a JSON object, found {found}" + (f" ({problem})" if problem else "")
        yield Row(row.line, row.raw, record, source.bad_byte(row.raw) or problem, row.at)


def list_elements(source: Source) -> Iterator[Row]:
    """Yield the elements of a file that is a JSON list, holds one in an object, or is a single object."""
    try:
        with source.text(newline="") as file:
            yield from elements(file) if source.is_list else _in_object(file.read())
    except JSONProblem as problem:
        if source.settings.on_error == "stop":
            raise DataError(f"{source.where(str(problem.line))}: {problem}") from problem
        yield Row(0, "", None, f"{problem}; nothing after it can be read", problem.line)


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
