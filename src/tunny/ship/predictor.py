"""A trained model ready for texts: `tunny.load(folder).predict(texts)`. Takes any folder or id with a fitting head."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunny.core.console import choice
from tunny.core.errors import DataError, ModelError
from tunny.core.files import digest_file
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.data.settings import DataSettings
from tunny.engine.device import choose_device, num_gpus, use_device
from tunny.engine.onnx import OnnxModel
from tunny.engine.settings import EngineSettings
from tunny.evaluation.predict import encode_chunks, predict
from tunny.ship.folder import VARIANTS, ModelFacts, read_facts
from tunny.tasks.base import Answer, Model, Task
from tunny.tasks.model import locate, make_task
from tunny.tasks.settings import FACTS, TaskSettings

Text = str | tuple[str, str]  # a text, or the two texts of a pair


@dataclass(frozen=True)
class Predictor:
    """Model, tokenizer and decoding in one; it holds the weights in memory."""

    model: Model
    task: Task
    encoder: Encoder
    facts: ModelFacts

    def predict(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """Return one dictionary a text, in order, in the form of a line of predictions.jsonl.

        >>> tunny.load("runs/demo/model").predict(["Marie Curie was born in Warsaw."])  # doctest: +SKIP
        [{'id': '0', 'text': 'Marie Curie was born in Warsaw.', 'spans': [{'start': 0, 'end': 11, ...}]}]
        """
        if isinstance(texts, str):
            raise TypeError("predict takes a list of texts; for one text write [text]")
        pairs = ((text, None) if isinstance(text, str) else text for text in texts)
        examples = [Example(str(at), text, text_b=text_b) for at, (text, text_b) in enumerate(pairs)]
        try:
            return [answer.prediction for _, answer in self.answers(examples)]
        except UnicodeEncodeError as error:
            number = next(one.id for one in examples if error.object in (one.text, one.text_b))
            half = f"{error.object[error.start]!a}, half of a surrogate pair, which is no character"
            raise DataError(f"text {number} of those given, from 0: holds {half}. Replace it first.") from error

    def answers(self, examples: Iterable[Example], audit: Audit | None = None) -> Iterator[tuple[Example, Answer]]:
        """Yield every example with its answer, in order and in constant memory."""
        chunks = encode_chunks(examples, self.encoder, self.task, audit or Audit())
        return predict(self.model, self.task, chunks)

    def reading(self, given: DataSettings) -> DataSettings:
        """Return how data is read for this model: as in its training, overruled by what is given now."""
        return self.facts.data.model_copy(update=given.model_dump(exclude_unset=True))


def load(
    folder: str | Path, *, engine: EngineSettings | None = None, task: TaskSettings | None = None, revision: str | None = None
) -> Predictor:
    """Load a model folder, or a model of the Hub by OWNER/NAME[@REVISION]; raise ModelError where it cannot be used.

    The precision is that of the training unless `engine` names one; `task` says what a model of plain transformers learnt. An exported
    variant answers where `engine` names it, or where it was chosen on a device of this kind; it needs neither torch nor transformers.
    """
    engine = engine or EngineSettings()
    source = locate(str(folder), revision)
    facts, tokenizer = read_facts(source, task)
    model = _exported(source, facts, engine) or _in_torch(source, facts, engine)
    saved = Path(source, FACTS).is_file()
    choice("windows", f"{facts.encode.max_tokens} tokens, {facts.encode.stride} shared", "as in training" if saved else "default")
    task_of_model = make_task(facts.task, facts.labels, facts.padding)
    task_of_model.tuned = facts.tuned
    return Predictor(model, task_of_model, Encoder(tokenizer, facts.encode), facts)


def _in_torch(folder: str, facts: ModelFacts, engine: EngineSettings) -> Model:
    """Return the model in torch; all of loading that needs it."""
    try:
        from tunny.engine.choose import choose_backend
        from tunny.engine.compute import TorchModel, choose_compute
        from tunny.engine.precision import choose_precision
        from tunny.tasks.weights import load_finished
    except ImportError as error:
        raise ModelError(
            f"{folder}: needs {error.name} to answer, as no exported variant was chosen (tunny bench) or named (engine.variant); exported "
            f"are: {_there(folder)}. pip install torch transformers, or name a variant."
        ) from error
    device = choose_backend(engine).device
    precision = choose_precision(engine.precision, device, trained=facts.precision)
    module = load_finished(folder, facts.task.kind, device)
    return TorchModel(module, choose_compute(module, device, precision))


def _exported(folder: str, facts: ModelFacts, engine: EngineSettings) -> Model | None:
    """Return the exported model that is to answer, None where torch is; raise ModelError where it is missing, or not as it was exported.

    It is what the settings name, else what was chosen on such a device, unless they name a precision, which is torch's.
    """
    named, chosen = engine.variant, facts.chosen if engine.precision == "auto" else {}
    if named == "torch" or (named == "auto" and not chosen):
        return None
    device = choose_device(engine, num_gpus(), "the driver")
    variant = chosen.get(device.partition(":")[0], "torch") if named == "auto" else named
    if variant == "torch":
        return None
    file = Path(folder, VARIANTS.get(variant, ""))
    if not file.is_file():
        raise ModelError(f"{folder}: has no variant {variant} (engine.variant); exported are: {_there(folder)}. See tunny export --help.")
    by_openvino = variant == "openvino"
    known = facts.variants.get("fp32" if by_openvino else variant)
    if known is not None and digest_file(file) != known.get("sha256"):
        raise ModelError(f"{file}: is damaged, or was changed after its export. Export the model again, or set engine.variant: torch.")
    use_device(engine, device)
    reason = "the fastest, by tunny bench" if named == "auto" else "engine.variant"
    choice("model", f"{file.relative_to(folder)}{' by OpenVINO' * by_openvino}", reason)
    return OnnxModel(file, device, len(facts.labels.names), by_openvino)


def _there(folder: str) -> str:
    """Return the names of a folder's exported variants."""
    return ", ".join(name for name, path in VARIANTS.items() if Path(folder, path).is_file()) or "none"
