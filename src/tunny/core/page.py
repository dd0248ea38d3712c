"""Templates of `templates/` filled with values: pages that stand alone, plots, Markdown and plain text for a terminal, and configs.

In pages and plots everything from data is escaped; nothing is loaded from elsewhere, which the page itself forbids the browser as well.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunny.core.drawing import by_metric, columns, confused, extent, ticks

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent.parent / "templates"
_NUMBER = re.compile(r"-|[\d.,]+( ?%)?")  # a cell that stands to the right; a dash is a number that is not defined


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a template, such as `check.html`, filled with values."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html", "svg"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": _number, "inline": _inline, "percent": lambda value, digits=1: f"{value:.{digits}%}"}
    environment.filters |= {"columns": columns, "by_metric": by_metric, "confused": confused}
    environment.globals |= {"table": table, "ticks": ticks, "extent": extent}
    return environment


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table, padded for a terminal, with columns of numbers to the right."""
    cells = [[_inline(cell).replace("|", "\\|") if isinstance(cell, str) else _number(cell) for cell in row] for row in [head, *rows]]
    padded = []
    for title, *values in zip(*cells, strict=True):
        width, right = max(3, *map(len, (title, *values))), all(map(_NUMBER.fullmatch, values))
        rule = "-" * (width - right) + ":" * right
        padded.append([cell.rjust(width) if right else cell.ljust(width) for cell in (title, rule, *values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*padded, strict=True))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _inline(text: str) -> str:
    return " ".join(text.split())
