"""What the findings of a check mean, in words: verdicts, the most serious first, and lines for a terminal."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

LEVELS = {"problem": "!!", "warning": "! ", "note": "- ", "fine": "ok"}
IMBALANCE = 20  # times the rarest label that the commonest has before it is said
MANY = 0.01  # share of rows that repeat others from which it is a warning
LABELS, SHOWN = 12, 2  # labels in the terminal's table; suspects of each kind, and places of each
WHAT, TEXT = 24, 60  # characters of them in a table
SUSPECTS = {
    "shared_documents": "document in several splits", "conflicts": "same text, other labels", "copies": "same text",
    "near_copies": "nearly the same text", "odd_labels": "unusual label", "missing_labels": "label missing?", "encoding": "",
}  # fmt: skip

Findings = dict[str, Any]


def verdicts(findings: Findings) -> list[dict[str, str]]:
    """Return what is wrong, suspicious, good to know and well: the level, a sentence, and the findings that it is about."""
    found = [*_of_texts(findings), *_of_labels(findings), *_of_reading(findings)]
    ordered = sorted(found, key=lambda verdict: list(LEVELS).index(verdict[0]))
    return [{"level": level, "text": text, "about": about} for level, text, about in ordered]


def _of_texts(findings: Findings) -> Iterator[tuple[str, str, str]]:
    rows = sum(split["examples"] for split in findings["splits"].values())
    documents, conflicts, copies, near = (findings[name] for name in ("shared_documents", "conflicts", "copies", "near_copies"))
    if documents["number"]:
        yield (
            "problem",
            _many(documents["number"], "document stands in several splits", "documents stand in several splits"),
            "shared_documents",
        )
    elif len(findings["splits"]) > 1 and all(split["documents"] > 1 for split in findings["splits"].values()):
        yield "fine", "no document stands in several splits", "shared_documents"
    for shared in findings["shared_texts"]:
        of, home, exact, alike = shared["of"], shared["in"], shared["exact"], shared["near"]
        if exact:
            yield "problem", f"{_many(exact, 'text', 'texts')} of {of} ({exact / shared['rows']:.1%}) also in {home}", "copies"
        if alike:
            yield "warning", f"{_many(alike, 'text', 'texts')} of {of} nearly the same in {home}", "near_copies"
        if not exact + alike:
            yield "fine", f"no text of {of} is in {home}, nor nearly the same", "copies"
    if conflicts["number"]:
        yield "problem", _many(conflicts["number"], "text stands with different labels", "texts stand with different labels"), "conflicts"
    elif copies["number"]:
        yield "fine", "the same text has the same labels everywhere", "conflicts"
    again = copies["rows"] - copies["number"]
    if again:
        text = f"{_many(again, 'row repeats', 'rows repeat')} the text of another ({again / rows:.1%})"
        yield "warning" if again > MANY * rows else "note", text, "copies"
    if near["number"]:
        text = f"{near['rows']:,} rows in {_many(near['number'], 'group', 'groups')} of nearly the same texts ({near['rows'] / rows:.1%})"
        yield "warning" if near["rows"] > MANY * rows else "note", text, "near_copies"
    if not copies["number"] + near["number"]:
        yield "fine", "no text stands twice, nor nearly the same", "copies"


def _of_labels(findings: Findings) -> Iterator[tuple[str, str, str]]:
    labels, odd, missing = (findings[name] for name in ("labels", "odd_labels", "missing_labels"))
    for warning, level in (("not in training", "problem"), ("rare in training", "warning"), ("only in training", "note")):
        names = [row["label"] for row in labels if row["warning"] == warning]
        if names:
            more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
            yield level, f"{_many(len(names), 'label is', 'labels are')} {warning}: {', '.join(names[:3])}{more}", "labels"
    for first, other in pairwise(sorted((row["label"] for row in labels), key=lambda name: (name.casefold(), name))):
        if first.casefold() == other.casefold():
            yield "warning", f"labels {first!r} and {other!r} differ in capitals only", "labels"
    if len(labels) == 1 and findings["kind"] in ("classify", "pos"):
        yield "warning", f"there is only one label, {labels[0]['label']}", "labels"
    elif labels and labels[0]["share"] > IMBALANCE * labels[-1]["share"]:
        times = f"{labels[0]['share'] / labels[-1]['share']:,.0f}"
        yield "note", f"{labels[0]['label']} is {times} times as frequent as {labels[-1]['label']}", "labels"
    if odd["number"]:
        text = _many(odd["number"], "surface form has nearly", "surface forms have nearly")
        yield "warning", f"{text} always one label and sometimes another: {_counted(odd['listed'][0])}", "odd_labels"
    if missing["number"]:
        text = f"{_many(missing['rows'], 'label', 'labels')} of {_many(missing['number'], 'surface form', 'surface forms')} may be missing"
        yield "warning", f"{text}: {_counted(missing['listed'][0])}", "missing_labels"
    for shared in findings["shared_forms"]:
        share = f"{shared['known_mentions'] / shared['mentions']:.0%}"
        yield "note", f"{share} of the spans of {shared['of']} have a surface form that is labelled in training too", "odd_labels"
    if findings["uncounted_forms"]:
        yield "note", f"{findings['uncounted_forms']:,} spans have surface forms beyond those that are compared", "odd_labels"


def _of_reading(findings: Findings) -> Iterator[tuple[str, str, str]]:
    for trouble in findings["encoding"]["listed"]:
        level = "note" if trouble["what"].startswith(("invisible", "letters")) else "warning"
        yield level, f"{_many(sum(trouble['counts'].values()), 'text', 'texts')} with {trouble['what']}", "encoding"
    if not findings["encoding"]["number"]:
        yield "fine", "no sign of a wrong encoding", "encoding"
    for key, what, level in (("dropped", "left out", "warning"), ("repaired", "repaired", "note")):
        for name, audit in findings["audits"].items():
            counts = [f"{number:,} {kind} ({unit})" for unit, flow in audit["flows"].items() for kind, number in flow[key].items()]
            if counts:
                yield level, f"{what} on reading {name}: {', '.join(counts)}", "audits"
    if not any(flow["dropped"] for audit in findings["audits"].values() for flow in audit["flows"].values()):
        yield "fine", "everything in the files was read", "audits"
    for row in findings["windows"]:
        if row["chosen"] and row["longer"]:
            text = f"{_many(row['longer'], 'text is', 'texts are')} longer than {row['size']} tokens: read in windows, nothing is cut"
            yield "note", text, "windows"


def _many(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def _counted(suspect: Findings) -> str:
    return f"{suspect['what']} ({', '.join(f'{number:,} {name}' for name, number in suspect['counts'].items())})"


def lines(findings: Findings) -> list[str]:
    """Return the findings as some sixty lines: the verdicts, tables of labels and lengths, and what to look at first."""
    splits, labels = findings["splits"], findings["labels"][:LABELS]
    measures = [
        name for name in ("examples", "words", "tokens", "characters", "spans", "documents") if any(one[name] for one in splits.values())
    ]
    found = [f"{LEVELS[verdict['level']]} {verdict['text']}" for verdict in findings["verdicts"]]
    found += _table(["split", *measures], [[name, *(split[measure] for measure in measures)] for name, split in splits.items()])
    rows = [
        [row["label"], *row["counts"].values(), f"{row['share']:.1%}", row["warning"], ", ".join(row["samples"])[:TEXT]] for row in labels
    ]
    found += _table(["label", *splits, "share", "", "such as"], rows)
    found += [f"   and {len(findings['labels']) - LABELS} labels more"] if len(findings["labels"]) > LABELS else []
    found += _table(["length", "median", "90 %", "99 %", "highest"], [[row["of"], *row["quantiles"]] for row in findings["lengths"]])
    rows = [[f"{row['size']} {row['unit']}", row["longer"], row["beyond"], row["windows"]] for row in findings["windows"]]
    found += _table(["window", "longer texts", "beyond it", "windows made"], rows)
    return found + _table(["to look at", "where", "label", "text"], list(_worth_a_look(findings)))


def _worth_a_look(findings: Findings) -> Iterator[list[str]]:
    """Yield what it is, where, label and text of the first suspects of each kind."""
    for name, title in SUSPECTS.items():
        for suspect in findings[name]["listed"][: SHOWN if title else None]:
            what = f"{suspect['what']} " if name.endswith("labels") else ""
            for place in suspect["places"][: 1 if suspect["what"] else SHOWN]:
                label = what if name == "missing_labels" else what + place["label"] if title else ""
                yield [title or suspect["what"][:WHAT], place["where"], label[:WHAT], place["text"][:TEXT]]
            if not suspect["places"]:
                yield [title, ", ".join(suspect["counts"]), "", suspect["what"][:TEXT]]


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return an empty line and a table, numbers to the right; nothing where there are no rows."""
    if not rows:
        return []
    cells = [[cell if isinstance(cell, str) else f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = [not isinstance(cell, str) or cell.endswith("%") for cell in rows[0]]
    padded = [
        [cell.rjust(width) if by else cell.ljust(width) for cell, width, by in zip(row, widths, right, strict=True)]
        for row in [head, *cells]
    ]
    return ["", *("   " + "  ".join(row).rstrip() for row in padded)]
