"""What a cell or value means: text, a list, labels, a score, spans. Each raises ValueError for what it cannot be."""

import ast
import contextlib
import math
import re
import reprlib
from collections.abc import Mapping
from typing import Any

from tunny.data.example import Span
from tunny.data.json_stream import loads

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


def shown(value: Any) -> str:
    """Return a value as messages quote it: short, whatever its size and depth."""
    return _SHORT.repr(value)


def as_text(value: Any, what: str) -> str:
    """Return a text cell; numbers become text, None an empty one."""
    if value is None:
        return ""
    if isinstance(value, (list, dict, bytes)):
        raise ValueError(f"expected {what} as text, found {shown(value)}")
    return str(value)


def as_list(value: Any, what: str) -> list[Any]:
    """Return a list cell: a list, JSON, or values parted by white space."""
    if value is None:
        return []
    if isinstance(value, str):
        found = _json_list(value, what)
        return value.split() if found is None else found
    if isinstance(value, (list, tuple)):
        return list(value)
    raise ValueError(f"expected {what} as a list, found {shown(value)}")


def _json_list(cell: str, what: str) -> list[Any] | None:
    """Return the list that a cell holds as JSON or as Python writes it; None where it is other text."""
    text = cell.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        value = loads(text)
    except ValueError:
        if not text.startswith(("['", '["', "[{")):
            return None
        value = _python_list(text)
    if not isinstance(value, list):
        raise ValueError(f"expected {what} as a JSON list, found {shown(text)}")
    return value


def _python_list(text: str) -> Any:
    """Return a list as Python writes it, which is how pandas puts lists into CSV; None where it is none, or NumPy's without commas."""
    try:
        return None if re.search(r"['\"]\s+['\"]", text) else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def as_labels(value: Any, separator: str) -> list[Any]:
    """Return the labels of a multi-label cell: a list, JSON, or names with a separator; an empty cell has none."""
    if isinstance(value, str):
        found = _json_list(value, "labels")
        return [part.strip() for part in value.split(separator) if part.strip()] if found is None else found
    if isinstance(value, Mapping):  # spaCy's cats: name to share
        return [name for name, share in value.items() if isinstance(share, (int, float)) and share >= 0.5]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def as_meta(value: Any) -> dict[str, Any]:
    """Return what else is known of a text: an object, or JSON of one; of anything else nothing."""
    if isinstance(value, str) and value.startswith("{"):
        with contextlib.suppress(ValueError):
            value = loads(value)
    return dict(value) if isinstance(value, Mapping) else {}


def as_score(value: Any) -> float:
    """Return a score; raise ValueError for what is no finite number."""
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected a number as the score, found {shown(value)}") from None
    if not math.isfinite(score):
        raise ValueError(f"expected a finite score, found {shown(value)}")
    return score


def as_spans(value: Any) -> tuple[Span, ...]:
    """Return spans from a list of {start, end, label} or [start, end, label]."""
    if isinstance(value, str):
        value = _json_list(value, "spans") if value.strip() else []
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected spans as a list, found {shown(value)}")
    return tuple(_span(item) for item in value)


def _span(item: Any) -> Span:
    if isinstance(item, Mapping):
        label = item.get("label", item.get("type"))
        start, end = item.get("start", item.get("start_offset")), item.get("end", item.get("end_offset"))
    elif isinstance(item, (list, tuple)) and len(item) == 3:
        start, end, label = item
    else:
        raise ValueError(f"expected a span as {{start, end, label}}, found {shown(item)}")
    whole = isinstance(start, int) and isinstance(end, int) and not isinstance(start, bool)
    if not whole or not isinstance(label, str) or not label:
        raise ValueError(f"expected a span with whole numbers start and end and a label, found {shown(item)}")
    return Span(start, end, label)


def as_ranges(value: Any, text: str) -> tuple[tuple[int, int], ...] | None:
    """Return words as character ranges from [[start, end], ...], [{start, end}, ...] or the words as they stand in the text; else None.

    Raises ValueError for words that overlap or lie outside the text.
    """
    if isinstance(value, str):
        value = _json_list(value, "words")
    if not isinstance(value, (list, tuple)):
        return None
    found: list[tuple[int, int]] = []
    for item in value:
        before = found[-1][1] if found else 0
        start, end = _range(item, text, before)
        if not isinstance(start, int) or not isinstance(end, int):
            return None
        if not before <= start <= end <= len(text):
            raise ValueError(f"expected words one after another inside the text of {len(text)} characters, found {start}-{end}")
        found.append((start, end))
    return tuple(found)


def _range(item: Any, text: str, before: int) -> tuple[Any, Any]:
    if isinstance(item, str):
        start = text.find(item, before)
        return (start, start + len(item)) if start >= 0 else (None, None)
    if isinstance(item, Mapping):
        return item.get("start"), item.get("end")
    return (item[0], item[1]) if isinstance(item, (list, tuple)) and len(item) == 2 else (None, None)
