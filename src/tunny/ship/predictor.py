"""A trained model ready for texts: `tunny.load(folder).predict(texts)`. Takes any folder or id with a fitting head."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tunny.core.console import choice
from tunny.core.errors import ModelError
from tunny.core.files import digest_file
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.data.settings import DataSettings
from tunny.engine.backend import choose_backend
from tunny.engine.compute import Compute, choose_compute
from tunny.engine.onnx import OnnxModel
from tunny.engine.precision import Precision, choose_precision
from tunny.engine.settings import EngineSettings
from tunny.evaluation.predict import encode_chunks, predict
from tunny.ship.folder import MANIFEST, VARIANTS, ModelFacts, read_facts
from tunny.tasks.base import Answer, Task
from tunny.tasks.model import load_finished, load_tokenizer, make_task
from tunny.tasks.settings import ModelSettings, TaskSettings

Text = str | tuple[str, str]  # a text, or the two texts of a pair


class Predictor:
    """Model, tokenizer and decoding in one; it holds the weights in memory."""

    def __init__(self, model: nn.Module, task: Task, encoder: Encoder, facts: ModelFacts, compute: Compute):
        self.model = model
        self.task = task
        self.encoder = encoder
        self.facts = facts
        self.compute = compute

    def predict(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """Return one dictionary a text, in order, in the form of a line of predictions.jsonl.

        >>> tunny.load("runs/demo/model").predict(["Marie Curie was born in Warsaw."])  # doctest: +SKIP
        [{'id': '0', 'text': 'Marie Curie was born in Warsaw.', 'spans': [{'start': 0, 'end': 11, ...}]}]
        """
        if isinstance(texts, str):
            raise TypeError("predict takes a list of texts; for one text write [text]")
        examples = [
            Example(str(at), text) if isinstance(text, str) else Example(str(at), text[0], text_b=text[1]) for at, text in enumerate(texts)
        ]
        return [answer.prediction for _, answer in self.answers(examples)]

    def answers(self, examples: Iterable[Example], audit: Audit | None = None) -> Iterator[tuple[Example, Answer]]:
        """Yield every example with its answer, in order and in constant memory."""
        chunks = encode_chunks(examples, self.encoder, self.task, audit or Audit())
        return predict(self.model, self.task, chunks, self.compute)

    def reading(self, given: DataSettings) -> DataSettings:
        """Return how data is read for this model: as in its training, overruled by what is given now."""
        return self.facts.data.model_copy(update=given.model_dump(exclude_unset=True))

    def exported(self, file: Path) -> "Predictor":
        """Return the same with an exported model in place of this one."""
        model, compute = _load_onnx(file, self.facts, self.compute.device)
        return Predictor(model, self.task, self.encoder, self.facts, compute)


def load(
    folder: str | Path, *, engine: EngineSettings | None = None, task: TaskSettings | None = None, revision: str | None = None
) -> Predictor:
    """Load a model folder, or a model of the Hub by OWNER/NAME[@REVISION]; raise ModelError where it cannot be used.

    The precision is that of the training unless `engine` names one; `task` says what a model of plain transformers learnt. An exported
    variant answers where `engine` names it, or where it was chosen on a device of this kind.
    """
    engine = engine or EngineSettings()
    loaded = load_tokenizer(ModelSettings(name=str(folder), revision=revision))
    facts = read_facts(loaded.source, loaded, task)
    device = choose_backend(engine).device
    file = _exported(loaded.source, facts, engine, device)
    model, compute = _load_onnx(file, facts, device) if file else _load_torch(loaded.source, facts, engine, device)
    saved = Path(loaded.source, MANIFEST).is_file()
    choice("windows", f"{facts.encode.max_tokens} tokens, {facts.encode.stride} shared", "as in training" if saved else "default")
    task_of_model = make_task(facts.task, facts.labels, loaded.padding)
    task_of_model.tuned = facts.tuned
    return Predictor(model, task_of_model, Encoder(loaded.tokenizer.backend_tokenizer, facts.encode), facts, compute)


def _load_torch(folder: str, facts: ModelFacts, engine: EngineSettings, device: torch.device) -> tuple[nn.Module, Compute]:
    wanted, reason = (facts.precision, "as in training") if engine.precision == "auto" else (engine.precision, "engine.precision")
    if wanted == "fp16" and engine.precision == "auto" and device.type == "cpu":
        wanted, reason = "fp32", "training used fp16, which is for GPUs"
    precision = choose_precision(wanted, device, reason)
    model = load_finished(folder, facts.task.kind, device)
    return model, choose_compute(model, device, precision)


def _load_onnx(file: Path, facts: ModelFacts, device: torch.device) -> tuple[nn.Module, Compute]:
    return OnnxModel(file, device, len(facts.labels.names)), Compute(device, Precision("fp32", device.type))


def _exported(folder: str, facts: ModelFacts, engine: EngineSettings, device: torch.device) -> Path | None:
    """Return the file that is to answer, None where torch is; raise ModelError where it is missing, or not as it was exported.

    It is what the settings name, else what was chosen on such a device, unless they name a precision, which is torch's.
    """
    chosen = facts.chosen.get(device.type, "torch") if engine.precision == "auto" else "torch"
    variant, reason = (chosen, "the fastest, by tunny bench") if engine.variant == "auto" else (engine.variant, "engine.variant")
    if variant == "torch":
        return None
    file = Path(folder, VARIANTS.get(variant, ""))
    if not file.is_file():
        there = ", ".join(name for name, path in VARIANTS.items() if Path(folder, path).is_file()) or "none"
        raise ModelError(f"{folder}: has no variant {variant} (engine.variant); exported are: {there}. See tunny export --help.")
    if variant in facts.variants and digest_file(file) != facts.variants[variant].get("sha256"):
        raise ModelError(f"{file}: is damaged, or was changed after its export. Export the model again, or set engine.variant: torch.")
    choice("model", file.relative_to(folder), reason)
    return file
