"""A trained model ready for texts: `tunny.load(folder).predict(texts)`. Takes any folder or id with a fitting head."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tunny.core.console import choice
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.engine.backend import choose_backend
from tunny.engine.compute import Compute, choose_compute
from tunny.engine.precision import choose_precision
from tunny.engine.settings import EngineSettings
from tunny.evaluation.predict import encode_chunks, predict
from tunny.ship.folder import ModelFacts, read_facts
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


def load(
    folder: str | Path, *, engine: EngineSettings | None = None, task: TaskSettings | None = None, revision: str | None = None
) -> Predictor:
    """Load a model folder, or a model of the Hub by OWNER/NAME[@REVISION]; raise ModelError where it cannot be used.

    The precision is that of the training unless `engine` names one; `task` says what a model of plain transformers learnt.
    """
    engine = engine or EngineSettings()
    loaded = load_tokenizer(ModelSettings(name=str(folder), revision=revision))
    facts = read_facts(loaded.source, loaded, task)
    backend = choose_backend(engine)
    wanted, reason = (facts.precision, "as in training") if engine.precision == "auto" else (engine.precision, "engine.precision")
    if wanted == "fp16" and engine.precision == "auto" and backend.device.type == "cpu":
        wanted, reason = "fp32", "training used fp16, which is for GPUs"
    precision = choose_precision(wanted, backend.device, reason)
    model = load_finished(loaded.source, facts.task.kind, backend.device)
    choice(
        "windows",
        f"{facts.encode.max_tokens} tokens, {facts.encode.stride} shared",
        "as in training" if Path(loaded.source, "tunny.json").is_file() else "default",
    )
    task_of_model = make_task(facts.task, facts.labels, loaded.padding)
    task_of_model.tuned = facts.tuned
    encoder = Encoder(loaded.tokenizer.backend_tokenizer, facts.encode)
    return Predictor(model, task_of_model, encoder, facts, choose_compute(model, backend.device, precision))
