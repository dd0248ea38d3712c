"""The model card: what the model does, how well, on what it learnt, and how to use it."""

from typing import Any

from tunny.core.settings import dump_yaml
from tunny.data.labels import LabelSet, types_of
from tunny.data.settings import TOKEN_KINDS
from tunny.evaluation.report import ORDER, number, table

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
    names = sorted(types_of(labels.names)) if kind in ("ner", "chunk") else list(labels.names)
    lines = ["---", dump_yaml(head).rstrip(), "---", "", f"# {about['name']}", ""]
    lines += [f"{_TITLES[kind]}, fine-tuned from `{about['base_model']}` with Tunny {about['version']}.", ""]
    lines += ["## Labels", "", ", ".join(f"`{name}`" for name in names), "", "## Data", ""]
    lines += table(["split", "examples"], [[split, f"{count:,}"] for split, count in about["examples"].items()])
    for split, metrics in about["metrics"].items():
        rows = [[name, number(metrics[name])] for name in ORDER if name in metrics]
        lines += ["", f"## Scores on {split}", "", *table(["metric", "value"], rows)]
        if split.startswith("validation"):
            lines += ["", "This data chose the best epoch, so expect a little less on new text."]
    lines += ["", "## Use", "", "```python", "import tunny", "", 'model = tunny.load("path/to/this/folder")']
    lines += ['print(model.predict(["A text to label."]))', "```", ""]
    lines += ["The folder also loads with `AutoModel...from_pretrained` of transformers.", "", "## Settings", ""]
    lines += ["```yaml", dump_yaml(about["settings"]).rstrip(), "```"]
    return "\n".join(lines) + "\n"
