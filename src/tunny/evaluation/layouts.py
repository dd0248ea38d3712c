"""Evaluation files as another tool lays them out, for whoever reads those already; the numbers are those of our own report.

The MetaExtractor's (NeotomaDB, 2023): its keys and the names of its files, plots as SVG. Spans are taken by the rules of `metrics/spans.py`, so
that a spurious one counts at its own label alone, one word is enough for an overlap, and every gold span is taken once.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tunny.core.errors import ConfigError, did_you_mean
from tunny.data.tags import split_tag
from tunny.evaluation.plots import drawn
from tunny.metrics.spans import prf, ratio
from tunny.metrics.sums import Sums

LAYOUTS = ("metaextractor",)
WRITTEN = re.compile(r"(?s).+_(classification_results\.json|(token|entity)_classification_report\.svg|confusion_matrix\.svg)")
MARKS = ("precision", "recall", "f1-score")


def check_layout(layout: str | None, kind: str) -> None:
    """Raise ConfigError for a layout that is not known, or that has no place for a kind of task."""
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"--layout: expected one of {', '.join(LAYOUTS)}, found {layout!r}{did_you_mean(layout, LAYOUTS)}")
    if layout is not None and kind not in ("ner", "chunk"):
        raise ConfigError(f"--layout {layout}: is for ner and chunk, and this is a {kind} model. Leave it out.")


def metaextractor_files(content: Mapping[str, Any], sums: Sums, data: Collection[str]) -> dict[str, str]:
    """Return the MetaExtractor's files by name; `content` is that of metrics.json, `data` the names of the data files."""
    folder = Path(content["model"]).absolute()
    parts = [folder.parent.name if folder.name == "model" else folder.name, *(Path(name).name.split(".")[0] for name in data)]
    start = re.sub(r"[^\w.-]+", "-", "_".join(parts))[:100]
    found, pairs = metaextractor(content, sums), _by_word(sums)
    names = [*sorted({name for pair in pairs for name in pair} - {"O"}), "O"]
    gold = found["entity_counts"]
    confusion = [[name, [pairs[name, other] / gold[name] for other in names] if name in gold else None] for name in names]
    files = {f"{start}_classification_results.json": json.dumps(found, indent=4, ensure_ascii=False) + "\n"}
    files[f"{start}_confusion_matrix.svg"] = drawn("shares", [f"{start}: words, gold down, predicted across", confusion, names])
    for level in ("token", "entity"):
        rows = [[name, [row[mark] for mark in MARKS]] for name, row in found[level]["classification_report"].items()]
        files[f"{start}_{level}_classification_report.svg"] = drawn("shares", [f"{start}: {level} level", rows, list(MARKS)])
    return files


def metaextractor(content: Mapping[str, Any], sums: Sums) -> dict[str, Any]:
    """Return what the MetaExtractor's JSON file holds; `entity_counts` are of words, as there, O among them."""
    pairs, schemes = _by_word(sums), {name: row["schemes"] for name, row in content["per_label"].items()}
    gold, predicted = Counter[str](), Counter[str]()
    for (truth, guess), number in pairs.items():
        gold[truth] += number
        predicted[guess] += number
    words = {name: (pairs[name, name], predicted[name], gold[name]) for name in sorted({*gold, *predicted} - {"O"})}
    spans = {name: tuple(row["strict"][what] for what in ("correct", "actual", "possible")) for name, row in schemes.items()}
    same = sum(pairs[name, name] for name in gold)
    return {
        "token": _level(float(ratio(same, gold.total())), words),
        "entity": _level(content["metrics"]["token_accuracy"], spans),
        "overall_results": _named(content["schemes"]),
        "overall_results_by_tag": {name: _named(row) for name, row in schemes.items()},
        "num_tokens": gold.total(),
        "entity_counts": dict(gold),
    }


def _named(schemes: Mapping[str, Any]) -> dict[str, Any]:
    return {"ent_type" if name == "type" else name: row for name, row in schemes.items()}


def _by_word(sums: Sums) -> Counter[tuple[str, str]]:
    """Return how many words have each gold and predicted label, prefixes removed; O is none."""
    found: Counter[tuple[str, str]] = Counter()
    for (truth, guess), number in sums.family("tag"):
        found[split_tag(truth)[1] or "O", split_tag(guess)[1] or "O"] += int(number)
    return found


def _level(accuracy: float, counts: Mapping[str, tuple[float, ...]]) -> dict[str, Any]:
    """Return the scores of a level and its report by label, in seqeval's form; counts are right, predicted and gold."""
    right, predicted, gold = np.array([*counts.values(), (0, 0, 0)], dtype=float).T
    each, micro = prf(right, predicted, gold), prf(right.sum(), predicted.sum(), gold.sum())
    rows = {name: {mark: values[at] for mark, values in each.items()} for at, name in enumerate(counts)}
    rows["micro avg"] = micro
    rows["macro avg"] = {mark: ratio(values.sum(), len(counts)) for mark, values in each.items()}
    rows["weighted avg"] = {mark: ratio((values * gold).sum(), gold.sum()) for mark, values in each.items()}
    report = {
        name: {**{mark: float(row[mark.removesuffix("-score")]) for mark in MARKS}, "support": int(number)}
        for (name, row), number in zip(rows.items(), [*gold[:-1], *[gold.sum()] * 3], strict=True)
    }
    return {"accuracy": accuracy, **{mark: float(micro[mark]) for mark in ("f1", "recall", "precision")}, "classification_report": report}
