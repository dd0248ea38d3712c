"""What `tunny.json` adds to a plain Hugging Face folder, and the tokenizer beside it: enough to answer without transformers."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from tokenizers import Tokenizer

from tunny.core.errors import ModelError
from tunny.core.files import digest_file, read_json, write_json
from tunny.data.inputs import Padding
from tunny.data.labels import LabelSet, given_names
from tunny.data.settings import DataSettings, EncodeSettings
from tunny.metrics.calibration import Calibration, Tuned
from tunny.tasks.model import load_tokenizer, task_of_config
from tunny.tasks.settings import FACTS, ModelSettings, TaskSettings, is_own

FORMAT_VERSION = 1
VARIANTS = {  # exported forms and their files
    "fp32": "onnx/model.onnx", "fp16": "onnx/model_fp16.onnx", "int8": "onnx/model_int8.onnx", "openvino": "onnx/model.onnx",
}  # fmt: skip


@dataclass(frozen=True)
class ModelFacts:
    """What `tunny.json` holds: everything beyond the Hugging Face files that using the model again needs."""

    task: TaskSettings
    labels: LabelSet
    encode: EncodeSettings
    data: DataSettings
    precision: str
    padding: Padding
    tuned: Tuned = field(default_factory=Tuned)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of each exported form its digest and its score
    chosen: Mapping[str, str] = field(default_factory=dict)  # kind of device -> the fastest variant on one


def remembered(data: DataSettings) -> DataSettings:
    """Return what using the model again needs to know of the data: what columns and labels mean, not how a file is written."""
    columns = ("text", "text_b", "label", "tokens", "tags", "id", "header", "label_separator", "overlaps", "on_error")
    kept = ("keep_labels", "control", "annotators")
    return DataSettings(**{name: getattr(data, name) for name in (*columns, *kept)}, labels=given_names(data))


def own_kind(folder: str | Path) -> str | None:
    """Return the class that a model folder of a user's task names; None for all others."""
    path = Path(folder).expanduser() / FACTS
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):  # none, or damaged, of which more is said elsewhere
        kind = read_json(path)["task"]["kind"]
        return str(kind) if is_own(kind) else None
    return None


def refuse_own(folder: str | Path) -> None:
    """Raise ModelError for a model folder of a user's task."""
    if kind := own_kind(folder):
        raise ModelError(f"{folder}: is a model of the task {kind}; only evaluate and predict take it, with --task {kind}")


def write_facts(folder: Path, facts: ModelFacts, tokenizer: Tokenizer) -> None:
    """Write tunny.json; where tokenizer.json holds this very tokenizer, with its digest, by which transformers is not needed to read it."""
    file = folder / "tokenizer.json"
    same = file.is_file() and _tokenizer_of(file).to_str() == tokenizer.to_str()
    content = {
        "format_version": FORMAT_VERSION,
        "task": facts.task.model_dump(mode="json"),
        "labels": list(facts.labels.names),
        "label_scheme": "IOB2" if facts.labels.kind in ("ner", "chunk") else None,
        "encode": facts.encode.model_dump(mode="json"),
        "data": facts.data.model_dump(mode="json", exclude_defaults=True),
        "precision": facts.precision,
        "tuned": asdict(facts.tuned),
        "variants": dict(facts.variants),
        "chosen": dict(facts.chosen),
        "tokenizer": {"sha256": digest_file(file), **asdict(facts.padding)} if same else {},
    }
    write_json(folder / FACTS, content)


def read_facts(folder: str, wanted: TaskSettings | None = None) -> tuple[ModelFacts, Tokenizer]:
    """Read tunny.json and the tokenizer, or find out what a folder of plain transformers tells, for which the kind may be `wanted`."""
    path = Path(folder, FACTS)
    refuse_own(folder)
    if not path.is_file():
        loaded = load_tokenizer(ModelSettings(name=folder))
        task, labels = task_of_config(loaded.config, folder)
        if wanted is not None:
            if type(wanted) is not type(task):
                raise ModelError(f"{folder}: is a model for {task.kind}; it cannot serve --task {wanted.kind}")
            task, labels = wanted, LabelSet(wanted.kind, labels.names)
        limit = min(loaded.padding.positions or EncodeSettings().max_tokens, EncodeSettings().max_tokens)
        encode = EncodeSettings(max_tokens=limit, stride=min(64, limit // 4))
        return ModelFacts(task, labels, encode, DataSettings(), "auto", loaded.padding), loaded.tokenizer.backend_tokenizer
    try:
        saved = read_json(path)
        version = saved["format_version"]
        if version > FORMAT_VERSION:
            raise ModelError(f"{path}: has format version {version}; this Tunny reads up to {FORMAT_VERSION}. Update Tunny.")
        task = TypeAdapter(TaskSettings).validate_python(saved["task"])
        if wanted is not None and wanted.kind != task.kind:
            raise ModelError(f"{folder}: is a {task.kind} model; it cannot serve --task {wanted.kind}")
        encode, data = EncodeSettings(**saved["encode"]), DataSettings(**saved["data"])
        labels, tuned = LabelSet(task.kind, tuple(saved["labels"])), saved.get("tuned", {})
        tuned = Tuned(**{**tuned, "calibration": Calibration(**tuned.get("calibration", {}))})
        variants, chosen = dict(saved.get("variants", {})), dict(saved.get("chosen", {}))
        tokenizer, padding = _tokenizer(folder, saved.get("tokenizer", {}))
        return ModelFacts(task, labels, encode, data, saved["precision"], padding, tuned, variants, chosen), tokenizer
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read: {error!r}") from error


def _tokenizer(folder: str, known: Mapping[str, Any]) -> tuple[Tokenizer, Padding]:
    """Return the tokenizer, by transformers where tunny.json knows none, or tokenizer.json was changed since."""
    file = Path(folder, "tokenizer.json")
    if file.is_file() and known.get("sha256") == digest_file(file):
        return _tokenizer_of(file), Padding(known["pad_id"], known["token_types"], known["positions"])
    loaded = load_tokenizer(ModelSettings(name=folder))
    return loaded.tokenizer.backend_tokenizer, loaded.padding


def _tokenizer_of(file: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
