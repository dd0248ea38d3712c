"""The model folder: a plain Hugging Face folder plus `tunny.json`, self-contained, written whole or not at all."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch import Tensor, nn

from tunny.core.errors import ModelError
from tunny.core.files import new_folder, read_json, write_json, write_text
from tunny.data.labels import LabelSet, given_names
from tunny.data.settings import DataSettings, EncodeSettings
from tunny.metrics.calibration import Calibration, Tuned
from tunny.ship.card import About, model_card
from tunny.tasks.model import Loaded, task_of_config
from tunny.tasks.settings import TaskSettings

FORMAT_VERSION = 1
MANIFEST = "tunny.json"
VARIANTS = {"fp32": "onnx/model.onnx", "fp16": "onnx/model_fp16.onnx", "int8": "onnx/model_int8.onnx"}  # exported forms and their files


@dataclass(frozen=True)
class ModelFacts:
    """What `tunny.json` holds: everything beyond the Hugging Face files that using the model again needs."""

    task: TaskSettings
    labels: LabelSet
    encode: EncodeSettings
    data: DataSettings
    precision: str
    tuned: Tuned = field(default_factory=Tuned)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of each exported form its digest and its score
    chosen: Mapping[str, str] = field(default_factory=dict)  # kind of device -> the fastest variant on one

    def to_json(self) -> dict[str, Any]:
        """Return the content of tunny.json."""
        return {
            "format_version": FORMAT_VERSION,
            "task": self.task.model_dump(mode="json"),
            "labels": list(self.labels.names),
            "label_scheme": "IOB2" if self.labels.kind in ("ner", "chunk") else None,
            "encode": self.encode.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json", exclude_defaults=True),
            "precision": self.precision,
            "tuned": asdict(self.tuned),
            "variants": dict(self.variants),
            "chosen": dict(self.chosen),
        }


def remembered(data: DataSettings) -> DataSettings:
    """Return what using the model again needs to know of the data: what columns and labels mean, not how a file is written."""
    columns = ("text", "text_b", "label", "tokens", "tags", "id", "header", "label_separator", "overlaps", "on_error")
    kept = ("keep_labels", "control", "annotators")
    return DataSettings(**{name: getattr(data, name) for name in (*columns, *kept)}, labels=given_names(data))


def save_model(folder: Path, state: Mapping[str, Tensor], model: nn.Module, loaded: Loaded, facts: ModelFacts, about: About) -> None:
    """Write weights, config, tokenizer, model card and tunny.json; replace a folder that is there."""
    with new_folder(folder, replace=True) as temporary:
        config: Any = model.config
        config.architectures = [type(model).__name__]
        config.save_pretrained(temporary)
        save_file(dict(state), temporary / "model.safetensors", metadata={"format": "pt"})
        loaded.tokenizer.save_pretrained(temporary)
        write_json(temporary / MANIFEST, facts.to_json())
        write_text(temporary / "README.md", model_card(facts.labels, about))


def read_facts(folder: str, loaded: Loaded, wanted: TaskSettings | None = None) -> ModelFacts:
    """Read tunny.json, or find out what a folder of plain transformers can tell, for which the kind may be `wanted`."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        task, labels = task_of_config(loaded.config, folder)
        if wanted is not None:
            if type(wanted) is not type(task):
                raise ModelError(f"{folder}: is a model for {task.kind}; it cannot serve --task {wanted.kind}")
            task, labels = wanted, LabelSet(wanted.kind, labels.names)
        limit = loaded.padding.positions or EncodeSettings().max_tokens
        limit = min(limit, EncodeSettings().max_tokens)
        return ModelFacts(task, labels, EncodeSettings(max_tokens=limit, stride=min(64, limit // 4)), DataSettings(), "auto")
    try:
        saved = read_json(path)
        version = saved["format_version"]
        if version > FORMAT_VERSION:
            raise ModelError(f"{path}: has format version {version}; this Tunny reads up to {FORMAT_VERSION}. Update Tunny.")
        task = TypeAdapter(TaskSettings).validate_python(saved["task"])
        if wanted is not None and wanted.kind != task.kind:
            raise ModelError(f"{folder}: is a {task.kind} model; it cannot serve --task {wanted.kind}")
        encode, data = EncodeSettings(**saved["encode"]), DataSettings(**saved["data"])
        labels, tuned = LabelSet(task.kind, tuple(saved["labels"])), _tuned(saved.get("tuned", {}))
        variants, chosen = dict(saved.get("variants", {})), dict(saved.get("chosen", {}))
        return ModelFacts(task, labels, encode, data, saved["precision"], tuned, variants, chosen)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read: {error!r}") from error


def _tuned(saved: Mapping[str, Any]) -> Tuned:
    return Tuned(**{**saved, "calibration": Calibration(**saved.get("calibration", {}))})
