"""The model card: what the model does, how well, on what it learnt, and how to use it."""

from typing import Any

from tunny.core.page import render
from tunny.core.settings import dump_yaml
from tunny.data.labels import LabelSet, types_of
from tunny.data.settings import TOKEN_KINDS
from tunny.evaluation.report import ranked

_TITLES = {
    "ner": "Named-entity tagger", "pos": "Part-of-speech tagger", "chunk": "Chunker", "classify": "Text classifier",
    "multilabel": "Multi-label text classifier", "regress": "Text regressor",
}  # fmt: skip


def model_card(kind: str, labels: LabelSet, about: dict[str, Any]) -> str:
    """Return README.md. `about` holds name, base_model, examples by split, metrics by split, settings and tunny's version."""
    pipeline = "token-classification" if kind in TOKEN_KINDS else "text-classification"
    head = {"library_name": "transformers", "pipeline_tag": pipeline, "tags": ["tunny", kind]}
    if "/" in about["base_model"] and not about["base_model"].startswith((".", "/", "~")):
        head["base_model"] = about["base_model"]
    shown = {
        "title": _TITLES[kind], "head": dump_yaml(head), "settings": dump_yaml(about["settings"]),
        "labels": sorted(types_of(labels.names)) if kind in ("ner", "chunk") else labels.names,
        "scores": {split: ranked(metrics) for split, metrics in about["metrics"].items()},
    }  # fmt: skip
    return render("card.md", {**about, **shown})
