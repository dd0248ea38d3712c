"""JSON files: a list of objects, one object with such a list in it, or JSON Lines, an object a line."""

import json
from collections.abc import Iterator
from typing import Any

from tunny.core.errors import DataError
from tunny.data.example import Example
from tunny.data.records import Numbered, read_records
from tunny.data.source import Source


def read_lines(source: Source) -> Iterator[Example]:
    """Yield one example a line of a JSON Lines file."""
    yield from _read(source, lambda report: _lines(source, report))


def read_list(source: Source) -> Iterator[Example]:
    """Yield one example an object of a JSON list; place is the number of the object, from 1."""
    objects = _objects(source)
    yield from _read(source, lambda report: ((n, record) for n, record in enumerate(objects, 1) if _is_object(source, n, record, report)))


def _read(source: Source, records: Any) -> Iterator[Example]:
    first = next(iter(records(False)), None)
    if first is None:
        list(records(True))  # nothing but bad ones, which this reports
        return
    keys = list(first[1])
    for _, record in zip(range(100), (record for _, record in records(False)), strict=False):
        keys += [key for key in record if key not in keys]
    yield from read_records(source, keys, records)


def _lines(source: Source, report: bool) -> Numbered:
    for number, line in source.lines():
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:  # json's own, or Python's for a number of thousands of digits
            if report:
                source.audit.count("read")
                source.reject(number, f"expected a JSON object, found {line[:60]!r} ({error})")
            continue
        if _is_object(source, number, record, report):
            yield number, record


def _is_object(source: Source, number: int, record: object, report: bool) -> bool:
    if isinstance(record, dict):
        return True
    if report:
        source.audit.count("read")
        source.reject(number, f"expected a JSON object, found {str(record)[:60]!r}")
    return False


def _objects(source: Source) -> list[Any]:
    try:
        value = json.loads(source.text())
    except json.JSONDecodeError as error:
        raise DataError(f"{source.where(error.lineno)}: not valid JSON: {error.msg} at column {error.colno}") from error
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        inside = [items for items in lists if items and all(isinstance(item, dict) and "start" not in item for item in items)]
        value = inside[0] if len(inside) == 1 else [value]
    if not isinstance(value, list):
        raise DataError(f"{source.where(1)}: expected a list of objects, found {str(value)[:60]!r}")
    return value
