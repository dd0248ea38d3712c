"""Templates of `templates/` filled with values: pages that stand alone, without scripts or styles from elsewhere, and configs.

In pages everything from data is escaped; nothing is loaded, which the page itself forbids the browser as well.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent.parent / "templates"


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return a template, such as `check.html`, filled with values."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    return environment.get_template(template).render(values)
