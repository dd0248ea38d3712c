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
    if isinstance(value, (list, dict, bytes)):
        raise ValueError(f"expected {what} as text, found {shown(value)}")
    return "" if value is None else str(value)


def as_list(value: Any, what: str, separator: str | None = None) -> list[Any]:
    """Return a list cell: a list, JSON, or values parted by a separator or white space; None is an empty one."""
    if isinstance(value, str):
        found = _json_list(value, what)
        if found is None:
            return value.split() if separator is None else [part.strip() for part in value.split(separator) if part.strip()]
        return found
    if not isinstance(value, (list, tuple, type(None))):
        raise ValueError(f"expected {what} as a list, found {shown(value)}")
    return list(value or ())


def _json_list(cell: str, what: str) -> list[Any] | None:
    """Return the list that a cell holds as JSON or as Python writes it, which is how pandas does; None where it is other text."""
    text, value = cell.strip(), None
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        value = loads(text)
    except ValueError:
        if not text.startswith(("['", '["', "[{")):
            return None
        if not re.search(r"['\"]\s+['\"]", text):  # of NumPy, which writes no commas
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
                value = ast.literal_eval(text)
    if not isinstance(value, list):
        raise ValueError(f"expected {what} as a JSON list, found {shown(text)}")
    return value


def as_labels(value: Any, separator: str) -> list[Any]:
    """Return the labels of a multi-label cell: a list, JSON, or names with a separator; an empty cell has none."""
    if isinstance(value, Mapping):  # spaCy's cats: name to share
        return [name for name, share in value.items() if isinstance(share, (int, float)) and share >= 0.5]
    return as_list(value, "labels", separator) if isinstance(value, (str, list, tuple)) else [value]


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
        value = [] if not value.strip() else value if (listed := _json_list(value, "spans")) is None else listed
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"expected spans as a list, found {shown(value)}; labels of whole texts are for classify, multilabel and regress")
    found = []
    for item in value:
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
        found.append(Span(start, end, label))
    return tuple(found)


def as_ranges(value: Any, text: str) -> tuple[tuple[int, int], ...] | None:
    """Return words as character ranges from [[start, end], ...], [{start, end}, ...] or the words as they stand in the text; else None.

    Raises ValueError for words that overlap or lie outside the text.
    """
    if isinstance(value, str):
        value = _json_list(value, "words")
    if not isinstance(value, (list, tuple)):
        return None
    found: list[tuple[int, int]] = []
    before, start, end = 0, None, None
    for item in value:
        if isinstance(item, str):
            start = text.find(item, before)
            end = None if start < 0 else start + len(item)
        elif isinstance(item, Mapping):
            start, end = item.get("start"), item.get("end")
        else:
            start, end = item if isinstance(item, (list, tuple)) and len(item) == 2 else (None, None)
        if not isinstance(start, int) or not isinstance(end, int):
            return None
        if not before <= start <= end <= len(text):
            raise ValueError(f"expected words one after another inside the text of {len(text)} characters, found {start}-{end}")
        found.append((start, end))
        before = end
    return tuple(found)
