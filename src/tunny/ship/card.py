"""The model card: what the model does, how well, on what it learnt, how to use it, and what the Hub reads of that.

What comes from the data stands as code, on one line and cut, so that nothing of it is taken for Markdown.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pprint import pformat
from textwrap import indent
from typing import Any

from tunny.core.page import render
from tunny.core.settings import dump_yaml
from tunny.core.version import __version__, versions
from tunny.data.find import HUB
from tunny.data.labels import LabelSet
from tunny.data.settings import TOKEN_KINDS, EncodeSettings
from tunny.data.survey import excerpt
from tunny.evaluation.report import between, in_order, number
from tunny.metrics.calibration import Calibration, Tuned

LONGEST = 60  # characters of one text of the data on a card
LISTED = 50  # labels
FEW = 10  # examples of a label in training below which a card names it
_TITLES = {
    "ner": "Named-entity tagger", "pos": "Part-of-speech tagger", "chunk": "Chunker", "classify": "Text classifier",
    "multilabel": "Multi-label text classifier", "regress": "Text regressor",
}  # fmt: skip
_METRICS = {  # as the Hub calls them, where it has another name
    "token_f1": "f1", "macro_f1": "f1", "weighted_f1": "f1", "samples_f1": "f1", "token_accuracy": "accuracy",
    "matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr",
}  # fmt: skip
_HUB_NAME = re.compile(rf"{HUB}(?P<type>[^:@#]+)(?::(?P<config>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#(?P<split>.+))?")


@dataclass(frozen=True)
class About:
    """What a card says of a model beside its labels."""

    name: str
    base_model: str  # Hub id, or the name of a folder
    on_hub: bool
    encode: EncodeSettings
    examples: Mapping[str, int]  # of each split
    files: Mapping[str, Sequence[str]]  # of each split, names without folders
    happened: Sequence[str] = ()  # what reading repaired and left out
    counts: Mapping[str, int] = field(default_factory=dict)  # of each label in training
    shown: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of each label some examples
    evaluations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of each split that was scored, its metrics.json
    settings: Mapping[str, Any] = field(default_factory=dict)  # those that are not the defaults
    language: str | None = None
    tuned: Tuned = field(default_factory=Tuned)
    use: tuple[Any, Mapping[str, Any]] | None = None  # a text, or two of a pair, and the answer to it


def model_card(labels: LabelSet, about: About) -> str:
    """Return README.md."""
    names = [] if labels.kind == "regress" else sorted(labels.in_data) if labels.kind in ("ner", "chunk") else labels.in_data
    decisive = next((name for name in ("test", *about.evaluations) if name in about.evaluations), None)
    shown = {
        "head": dump_yaml(_head(labels.kind, about, decisive), leaves_inline=True), "title": _TITLES[labels.kind], "version": __version__, "versions": versions(),
        "about": about, "name": re.sub(r"([\\`*_\[\]<>#|~&$])", r"\\\1", " ".join(about.name.split())), "base_model": code(about.base_model),
        "labels": [[code(name), ", ".join(map(code, about.shown.get(name, ())))] for name in names[:LISTED]],
        "others": max(0, len(names) - LISTED), "decisive": decisive,
        "validated": any(name.startswith("validation") for name in about.evaluations), "calibrated": None if labels.kind in ("pos", "regress") else about.tuned.calibration != Calibration(),
        "split_rows": [[name, ", ".join(map(code, about.files.get(name, ())[:3])), count] for name, count in about.examples.items()],
        "score_rows": _scores(about.evaluations), "label_rows": _by_label(names, about, decisive),
        "few": ", ".join(f"{code(name)} ({about.counts.get(name, 0)})" for name in names[:LISTED] if about.counts.get(name, 0) < FEW),
        "settings": dump_yaml(about.settings), "use": about.use and (repr(about.use[0]), _commented(about.use[1])),
    }  # fmt: skip
    return render("card.md", shown)


def code(text: str) -> str:
    """Return a text of the data as Markdown code: on one line, cut, with what cannot be seen written out."""
    shown = excerpt(text, width=LONGEST) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _head(kind: str, about: About, decisive: str | None) -> dict[str, Any]:
    """Return what the Hub reads."""
    pipeline = "token-classification" if kind in TOKEN_KINDS else "text-classification"
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": pipeline, "tags": ["tunny", kind]}
    if about.language is not None and re.fullmatch("[a-z]{2,3}", about.language):
        head["language"] = about.language
    if about.on_hub:
        head["base_model"] = about.base_model
    hub = {found["type"] for files in about.files.values() for file in files if (found := _HUB_NAME.fullmatch(file))}
    if hub:
        head["datasets"] = sorted(hub)
    if decisive is not None:
        files = list(about.files.get(decisive, ()))
        named = _HUB_NAME.fullmatch(files[0]) if len(files) == 1 else None
        data = {"name": excerpt(", ".join(files), width=LONGEST) or decisive, "type": "unknown", "split": decisive}  # no data of the Hub
        if named is not None:
            data |= {"name": named["type"], **{part: value for part, value in named.groupdict().items() if value is not None}}
        metrics = [
            {"type": _METRICS.get(name, name), "value": round(value, 4), "name": name}
            for name, value in in_order(about.evaluations[decisive]["metrics"]).items() if value is not None
        ]  # fmt: skip
        results = [{"task": {"type": pipeline, "name": _TITLES[kind]}, "dataset": data, "metrics": metrics}]
        head |= {"model-index": [{"name": about.name, "results": results}]} if metrics else {}
    return head


def _scores(evaluations: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    def cell(one: Mapping[str, Any], name: str) -> str:
        interval = one["intervals"].get(name)
        return number(one["metrics"].get(name)) + (f" ({between(interval)})" if interval else "")

    names = in_order({name: None for one in evaluations.values() for name in one["metrics"]})
    return [[name, *(cell(one, name) for one in evaluations.values())] for name in names]


def _by_label(names: Sequence[str], about: About, decisive: str | None) -> list[list[Any]]:
    found: Mapping[str, Any] = about.evaluations[decisive]["per_label"] if decisive else {}
    rows = []
    for name in [*names, *(name for name in found if name not in names)][:LISTED]:
        row = found.get(name, {})
        scores = [number(row.get(what)) for what in ("precision", "recall", "f1")]
        rows.append([code(name), about.counts.get(name, 0), row.get("support", 0), *scores, between(row.get("interval"))])
    return rows


def _commented(answer: Mapping[str, Any]) -> str:
    return indent(pformat([dict(answer)], width=110, compact=True, sort_dicts=False), "# ")
