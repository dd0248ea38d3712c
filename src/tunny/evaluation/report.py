"""`report.md`: an evaluation for the terminal and for pull requests, made from metrics.json alone."""

from typing import Any

ORDER = (
    "f1", "precision", "recall", "macro_f1", "weighted_f1", "accuracy", "matthews", "pearson", "spearman", "token_f1",
    "token_accuracy", "mse", "loss",
)  # fmt: skip


def report(content: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    metrics: dict[str, float | None] = content["metrics"]
    names = [name for name in ORDER if name in metrics] + [name for name in metrics if name not in ORDER]
    lines = [f"# {content['task']}: {content['data']}", ""]
    lines += [f"Model `{content['model']}`, {content['examples']:,} examples, {_speed(content['speed'])}.", ""]
    lines += table(["metric", "value"], [[name, number(metrics[name])] for name in names])
    if content["per_label"]:
        rows = [
            [name, number(row["precision"]), number(row["recall"]), number(row["f1"]), f"{row['support']:,}"]
            for name, row in content["per_label"].items()
        ]
        lines += ["", "## By label", "", *table(["label", "precision", "recall", "f1", "support"], rows)]
    lines += ["", "## What happened to the data", ""]
    audit = content["audit"]
    lines += table(["what", "count"], [[name, f"{count:,}"] for name, count in audit["counts"].items()])
    for kind, events in audit["events"].items():
        lines += ["", f"{kind[0].upper()}{kind[1:]}:", ""]
        lines += [f"- {event['where']}: {_inline(event['detail'])}" for event in events[:5]]
        if audit["counts"][kind] > 5:
            lines += [f"- ... {audit['counts'][kind]:,} in all; metrics.json lists the first {len(events)}"]
    if audit["notes"]:
        lines += ["", "Chosen automatically:", "", *(f"- {_inline(note)}" for note in audit["notes"])]
    return "\n".join(lines) + "\n"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return a Markdown table with its first column to the left and the others to the right, padded for a terminal."""
    escaped = [[_inline(cell).replace("|", "\\|") for cell in row] for row in [head, *rows]]
    widths = [max(3, *(len(row[column]) for row in escaped)) for column in range(len(head))]

    def line(cells: list[str]) -> str:
        padded = [cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) if at == 0 else "-" * (width + 1) + ":" for at, width in enumerate(widths)) + "|"
    return [line(escaped[0]), rule, *map(line, escaped[1:])]


def number(value: float | None) -> str:
    """Return a metric with four digits behind the point, or a dash where it is not defined."""
    return "-" if value is None else f"{value:.4f}"


def _inline(text: str) -> str:
    return " ".join(text.split())


def _speed(speed: dict[str, float]) -> str:
    return f"{speed['examples_per_second']:,.0f} examples/s"
