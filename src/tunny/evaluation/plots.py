"""The plots of the evaluation page as SVG files with colours of their own, for papers and slides. The same macros draw both."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunny.core.drawing import by_metric, extent
from tunny.core.page import render

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def plots(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the plots that the content of `report.html` allows, by the names of their files."""
    return {_NOT_IN_NAMES.sub("-", name) + ".svg": drawn(plot, arguments) for name, plot, arguments in _drawn(content)}


def drawn(plot: str, arguments: Sequence[Any]) -> str:
    """Return one plot, a macro of `plots.html` with its arguments, as a file."""
    return _NOT_XML.sub("\ufffd", render("plot.svg", {"plot": plot, "arguments": arguments})).strip() + "\n"


def _drawn(content: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield file name, macro and the macro's arguments of every plot."""
    metrics, curves = content["metrics"], content.get("curves")
    for metric, series in by_metric(curves).items():
        yield f"curves-{metric}", "curves", [metric, series, curves and curves["best_step"]]
    if content["per_label"]:
        rows = [[label, row["f1"], row.get("interval")] for label, row in content["per_label"].items()]
        yield "labels", "bars", [rows, "f1", (0, 1), metrics.get("f1")]
    if confusion := content.get("confusion"):
        yield "confusion", "heat", [confusion["names"], confusion["counts"]]
    if calibration := content.get("calibration"):
        for when in ("before", "after"):
            if calibration[when]:
                yield f"reliability-{when}", "reliability", [calibration[when], f"{when} calibration"]
    for number, part in enumerate(content["slices"], 1):
        rows = [[row["value"], row["score"], row["interval"]] for row in part["rows"]]
        ends = extent(part["metric"], part["rows"])
        yield f"slice-{number}-{part['name']}", "bars", [rows, part["metric"], ends, metrics.get(part["metric"])]
