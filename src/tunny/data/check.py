"""What `tunny check` finds: facts of labels and lengths, and all suspects, in one JSON-able mapping, and what they mean in words.

The sentences stand in `templates/verdicts.txt`, the page in `templates/check.html`. Counts are of everything, lists hold the first 50
of their kind.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunny.core.page import render, table
from tunny.data import suspects
from tunny.data.audit import Audit
from tunny.data.encode import Encoder, cuts
from tunny.data.prepare import Split
from tunny.data.rows import Ints, Rows
from tunny.data.settings import EncodeSettings
from tunny.data.similar import similar_groups
from tunny.data.survey import PLACES, Survey, excerpt, survey

RARE = 10  # examples in training below which a label is hardly learnt
WINDOWS = (64, 128, 256, 512)
BINS = 24
MEASURES = {
    "words": "words of a text", "tokens": "tokens of a text", "characters": "characters of a text",
    "span words": "words of a span", "span characters": "characters of a span", "scores": "score",
}  # fmt: skip

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


def check(
    splits: Mapping[str, Split], kind: str, encoder: Encoder | None = None, read: Audit | None = None, doubts: Findings | None = None
) -> Findings:
    """Return all findings about the splits of a task of a kind; with an encoder, lengths are counted in tokens too; `read` is
    the audit of files that were dealt out; `doubts` are those of a model, described already.

    Suspects have a `number`, how many `rows` or mentions that concerns, and `listed` the first: `what` it is, `counts` by split
    or label, and some `places`, each with `split`, `where`, `text` and `label`.
    """
    rows = Rows(splits)
    seen = {name: survey(split, int(first), encoder) for (name, split), first in zip(splits.items(), rows.bounds, strict=False)}
    group, forms = similar_groups(rows), suspects.merged(seen.values())
    parts = {name: [part for one in seen.values() for part in one.lengths[name]] for name in (*MEASURES, "second")}
    lengths = {name: np.concatenate([np.zeros(0, int), *some]) for name, some in parts.items()}
    findings: Findings = {
        "kind": kind,
        "splits": {name: _size(split, seen[name]) for name, split in splits.items()},
        "labels": _labels(splits, seen.values(), forms),
        "lengths": [distribution(what, lengths[name]) for name, what in MEASURES.items() if len(lengths[name])],
        "windows": _windows(lengths, encoder),
        "shared_texts": list(suspects.shared_texts(rows, group)),
        "shared_forms": list(suspects.shared_forms(seen)),
        "uncounted_forms": sum(part.uncounted for part in seen.values()),
        "shared_documents": suspects.shared_documents(rows, seen),
        "conflicts": suspects.copies(rows, rows.first, suspects.answers(rows)),
        "copies": suspects.copies(rows, rows.first, np.arange(len(rows))),
        "near_copies": suspects.copies(rows, group, rows.first),
        "odd_labels": suspects.odd_labels(rows, forms),
        "missing_labels": suspects.missing_labels(rows, splits, forms if kind == "ner" else {}),
        "encoding": suspects.troubles(rows, seen),
        "audits": {**{name: split.audit.to_json() for name, split in splits.items()}, **({"the files": read.to_json()} if read else {})},
        **({"doubts": doubts} if doubts else {}),
    }
    return {"verdicts": verdicts(findings), **findings}


def _size(split: Split, seen: Survey) -> Findings:
    measured = {name: int(sum(part.sum() for part in seen.lengths[name])) for name in ("words", "tokens", "characters")}
    spans = sum(map(len, seen.lengths["span words"]))
    return {"examples": len(split.examples), "spans": spans, "documents": len(seen.documents), **measured, "files": list(split.files)}


def _labels(splits: Mapping[str, Split], seen: Collection[Survey], forms: suspects.Forms) -> list[Findings]:
    usual: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for form, labels in forms.items():
        for label, (number, *_) in labels.items():
            usual[label][form] += number
    total = sum((split.label_counts for split in splits.values()), Counter[str]())
    found = []
    for label, number in sorted(total.items(), key=lambda item: (-item[1], item[0])):
        counts = {name: split.label_counts[label] for name, split in splits.items()}
        learnt = counts.get("train", number + RARE)
        alone = "only in training" if len(counts) > 1 and number == learnt else ""
        warning = "not in training" if not learnt else "rare in training" if learnt < RARE else alone
        samples = [excerpt(form) for form, _ in usual[label].most_common(PLACES)] or [text for part in seen for text in part.samples[label]]
        found.append({"label": label, "counts": counts, "share": number / total.total(), "samples": samples[:PLACES], "warning": warning})
    return found


def distribution(what: str, values: NDArray[Any]) -> Findings:
    """Return median, 90 %, 99 % and highest, which are values of the data, and a histogram, the last bin open upwards."""
    quantiles = np.quantile(values, [0.5, 0.9, 0.99, 1.0], method="inverted_cdf").tolist()
    low, high = values.min().item(), quantiles[2]
    width = max(1, -(-(high - low + 1) // BINS)) if values.dtype.kind == "i" else (high - low) / BINS or 1.0
    edges = low + width * np.arange((high - low) // width + 2)
    counts = np.histogram(np.minimum(values, edges[-1]), edges)[0]
    return {"of": what, "quantiles": quantiles, "edges": edges.tolist(), "counts": counts.tolist()}


def _windows(lengths: Mapping[str, Ints], encoder: Encoder | None) -> list[Findings]:
    """Return for each size of window what cutting there would lose, and how many windows are made instead."""
    settings = encoder.settings if encoder else EncodeSettings()
    one = lengths["tokens" if encoder else "words"]
    both = np.stack([one, lengths["second"] if encoder else np.zeros_like(one)])
    is_pair = both[1] > 0
    sizes = [settings.max_tokens - encoder.room(pair=pair) for pair in (True, False)] if encoder else [0, 0]
    special = np.where(is_pair, *sizes)
    found = []
    for size in sorted({*WINDOWS, settings.max_tokens}):
        beyond = np.maximum(both.sum(0) + special - size, 0)
        windows = cuts(both, is_pair, size - special, min(settings.stride, size // 2))[2].prod(0).sum()
        row = {"size": size, "unit": "tokens" if encoder else "words", "chosen": encoder is not None and size == settings.max_tokens}
        found.append({**row, "longer": int((beyond > 0).sum()), "beyond": int(beyond.sum()), "windows": int(windows)})
    return found


def verdicts(findings: Findings) -> list[dict[str, str]]:
    """Return what is wrong, suspicious, good to know and well: the level, the findings that it is about, and a sentence."""
    said = render("verdicts.txt", {**findings, "imbalance": IMBALANCE, "repeats": REPEATS}).split("\n")
    found = [dict(zip(("level", "about", "text"), line.split(" ", 2), strict=True)) for line in said if line]
    return sorted(found, key=lambda verdict: list(LEVELS).index(verdict["level"]))


def lines(findings: Findings) -> list[str]:
    """Return the findings as some sixty lines: the verdicts, tables of labels and lengths, and what to look at first."""
    splits, labels = findings["splits"], findings["labels"]
    sizes = ("examples", "words", "tokens", "characters", "spans", "documents")
    measures = [name for name in sizes if any(one[name] for one in splits.values())]
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
