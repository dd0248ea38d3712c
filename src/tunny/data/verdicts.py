"""What the findings of a check mean, in words: verdicts, the most serious first, and lines for a terminal.

The sentences stand in `templates/verdicts.txt`.
"""

from collections.abc import Iterator
from typing import Any

from tunny.core.page import render, table

LEVELS = {"problem": "!!", "warning": "! ", "note": "- ", "fine": "ok"}
IMBALANCE = 20  # times the rarest label that the commonest has before it is said
REPEATS = 0.01  # share of rows that repeat others from which it is a warning
LABELS, SHOWN = 12, 2  # labels in the terminal's table; suspects of each kind, and places of each
DOUBTED = 5  # doubts of a model, of each kind
WHAT, TEXT = 24, 60  # characters of them in a table
SUSPECTS = {
    "shared_documents": "document in several splits", "conflicts": "same text, other labels", "copies": "same text",
    "near_copies": "nearly the same text", "odd_labels": "unusual label", "missing_labels": "label missing?", "encoding": "",
}  # fmt: skip

Findings = dict[str, Any]


def verdicts(findings: Findings) -> list[dict[str, str]]:
    """Return what is wrong, suspicious, good to know and well: the level, the findings that it is about, and a sentence."""
    said = render("verdicts.txt", {**findings, "imbalance": IMBALANCE, "repeats": REPEATS}).split("\n")
    found = [dict(zip(("level", "about", "text"), line.split(" ", 2), strict=True)) for line in said if line]
    return sorted(found, key=lambda verdict: list(LEVELS).index(verdict["level"]))


def lines(findings: Findings) -> list[str]:
    """Return the findings as some sixty lines: the verdicts, tables of labels and lengths, and what to look at first."""
    splits, labels = findings["splits"], findings["labels"]
    measures = [
        name for name in ("examples", "words", "tokens", "characters", "spans", "documents") if any(one[name] for one in splits.values())
    ]
    tables = {
        ("split", *measures): [[name, *(split[measure] for measure in measures)] for name, split in splits.items()],
        (f"label (of {len(labels)})" if len(labels) > LABELS else "label", *splits, "share", "", "such as"): [
            [row["label"], *row["counts"].values(), f"{row['share']:.1%}", row["warning"], ", ".join(row["samples"])[:TEXT]]
            for row in labels[:LABELS]
        ],
        ("length", "median", "90 %", "99 %", "highest"): [[row["of"], *row["quantiles"]] for row in findings["lengths"]],
        ("window", "longer texts", "beyond it", "windows made"): [
            [f"{row['size']} {row['unit']}", row["longer"], row["beyond"], row["windows"]] for row in findings["windows"]
        ],
        ("to look at", "where", "label", "text"): list(_worth_a_look(findings)),
    }
    found = [f"{LEVELS[verdict['level']]} {verdict['text']}" for verdict in findings["verdicts"]]
    return found + [line for head, rows in tables.items() if rows for line in ("", *table(head, rows).split("\n"))]


def _worth_a_look(findings: Findings) -> Iterator[list[str]]:
    """Yield what it is, where, label and text of the first suspects of each kind."""
    for title, found in findings.get("doubts", {"kinds": {}})["kinds"].items():
        for suspect in found["listed"][:DOUBTED]:
            (place,) = suspect["places"]
            yield [f"{title}?", place["where"], place["label"][:WHAT], f"{suspect['what']} | {place['text']}"[:TEXT]]
    for name, title in SUSPECTS.items():
        for suspect in findings[name]["listed"][: SHOWN if title else None]:
            what = f"{suspect['what']} " if name.endswith("labels") else ""
            for place in suspect["places"][: 1 if suspect["what"] else SHOWN]:
                label = what if name == "missing_labels" else what + place["label"] if title else ""
                yield [title or suspect["what"][:WHAT], place["where"], label[:WHAT], place["text"][:TEXT]]
            if not suspect["places"]:
                yield [title, ", ".join(suspect["counts"]), "", suspect["what"][:TEXT]]
