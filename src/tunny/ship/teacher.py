"""A teacher: a finished model whose answers another one learns, and which it is set beside in the end.

Its answers to the training texts are computed once and kept in the cache as encoded data are, under a digest of its weights, its
windows and precision, and the texts; so the next student finds them there. Layers are never kept: they are a thousand times larger.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from tunny.core.console import say
from tunny.core.errors import ConfigError, ModelError
from tunny.core.files import digest_bytes, dump_json, new_folder, read_json, write_json
from tunny.data.audit import Audit
from tunny.data.encode import Encoder, check_window
from tunny.data.labels import LabelSet
from tunny.data.pieces import bounds_of
from tunny.data.prepare import Dataset, Split, cache_folder, make_room
from tunny.data.settings import UNLABELLED
from tunny.data.store import LOGITS, LogitStore, WindowStore, write_batches
from tunny.engine.settings import EngineSettings
from tunny.evaluation.folder import About, evaluate_to
from tunny.evaluation.predict import encode_chunks, forward
from tunny.ship.predictor import Predictor, load
from tunny.tasks.base import Task
from tunny.tasks.distill import Distillation, Layers
from tunny.tasks.model import Loaded
from tunny.tasks.settings import DistillSettings, TaskSettings
from tunny.tasks.student import add_projection, check_student, teaching_layers

VERSION = "1"  # of the answers in the cache
TIMED = 256  # examples by which teacher and student are timed
ROUNDS = 3


@dataclass(frozen=True)
class Teacher:
    """A finished model, frozen and in inference mode."""

    predictor: Predictor
    settings: DistillSettings
    digest: str  # of its weights

    def answers(self, split: Split, labels: LabelSet) -> Path:
        """Return the file of the logits of a split's examples, in the order of `labels`; it is in the cache, or comes there."""
        own, encoder = self.predictor, self.predictor.encoder
        deciding = [encoder.settings.model_dump(mode="json"), own.compute.precision.name, labels.kind, labels.names]
        key = digest_bytes(VERSION, self.digest, encoder.digest, split.digest, dump_json(deciding))
        folder = cache_folder() / "taught" / key
        if folder.is_dir():
            saved = read_json(folder / "answers.json")["seconds"]
            say(f"{split.name}: the teacher's answers found in the cache, which saves {saved:.1f} seconds")
        else:
            make_room(folder.parent)
            started = time.monotonic()
            with new_folder(folder) as temporary:
                write_batches(temporary / "logits.arrow", LOGITS, self._logits(split, labels))
                seconds = time.monotonic() - started
                write_json(temporary / "answers.json", {"seconds": round(seconds, 3)})
            say(f"{split.name}: the teacher answered in {seconds:.1f} seconds; the next student finds its answers in the cache")
        return folder / "logits.arrow"

    def _logits(self, split: Split, labels: LabelSet) -> Iterator[pa.RecordBatch]:
        own = self.predictor
        order = [0] if labels.kind == "regress" else [own.task.labels.ids[name] for name in labels.names]
        own.model.eval()
        for examples, windows, first_row in encode_chunks(split.examples, own.encoder, own.task, Audit()):
            given = own.task.merged(examples, windows, first_row, forward(own.model, own.task, windows, own.compute))
            flat = [rows[:, order].ravel() for rows in given]
            bounds = pa.array(bounds_of([len(rows) for rows in flat]), pa.int32())
            yield pa.RecordBatch.from_arrays([pa.ListArray.from_arrays(bounds, np.concatenate(flat))], schema=LOGITS)

    def lesson(self, task: Task, student: Any, dataset: Dataset) -> tuple[Distillation, WindowStore]:
        """Return what a student learns, and from which rows: those of the training data, and of texts without labels."""
        splits = [dataset.splits[name] for name in ("train", UNLABELLED) if name in dataset.splits]
        taught = LogitStore(len(dataset.labels.names), *(self.answers(split, dataset.labels) for split in splits))
        own: Any = self.predictor.model
        layers = None
        if self.settings.losses.compare_layers:
            chosen = self.settings.student_layers if self.settings.student is None else None
            of_student = teaching_layers(student.config.num_hidden_layers, own.config.num_hidden_layers, chosen)
            layers = Layers(own, self.predictor.task, of_student)
            if self.settings.losses.hidden_states and own.config.hidden_size != student.config.hidden_size:
                add_projection(student, own.config.hidden_size)
            if self.settings.losses.attentions and self.predictor.compute.device.type != "cpu":  # other kinds keep no probabilities
                for model in (own, student):
                    model.set_attn_implementation("eager")
        windows = WindowStore(*(split.windows_file for split in splits))
        return Distillation(task, self.settings, taught, len(splits[0].examples), layers), windows

    def beside(self, student: Predictor, split: Split, folder: Path) -> dict[str, Any]:
        """Score the teacher on a split, in a folder of its own; return what a report sets beside the student's scores."""
        own, files = self.predictor, [Path(file).name for file in split.files]
        about = About(f"teacher: {split.name}", self.settings.teacher, ", ".join(split.files), split.audit, files)
        chunks = encode_chunks(split.examples, own.encoder, own.task, Audit())
        evaluate_to(folder, own.model, own.task, chunks, own.compute, about)
        found = read_json(folder / "metrics.json")
        speeds = examples_per_second([own, student], list(islice(split.examples, TIMED)))
        sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (own.model, student.model)]
        return {
            "teacher": {"model": self.settings.teacher, "metrics": found["metrics"], "intervals": found["intervals"]},
            "parameters": dict(zip(("teacher", "student"), sizes, strict=True)),
            "examples_per_second": dict(zip(("teacher", "student"), speeds, strict=True)),
        }


def load_teacher(settings: DistillSettings, engine: EngineSettings, task: TaskSettings, student: Loaded) -> Teacher:
    """Load a teacher; raise an error where it serves another task, or cannot be made the student that is wanted."""
    check_student(student.config, settings, student.source)
    say(f"teacher: {settings.teacher}")
    try:
        predictor = load(settings.teacher, engine=engine, task=task)
    except ModelError as error:
        raise ModelError(f"distill.teacher: {error}") from error
    predictor.model.requires_grad_(False)
    return Teacher(predictor, settings, _digest(predictor.model))


def check_teacher(teacher: Teacher, labels: LabelSet, encoder: Encoder) -> None:
    """Raise ConfigError where a teacher knows other labels than the data, or its layers cannot be compared."""
    known, wanted = teacher.predictor.task.labels.names, labels.names
    other = [f"{', '.join(names)} only {whose}" for names, whose in (
        (sorted({*known} - {*wanted}), "the teacher"), (sorted({*wanted} - {*known}), "the data")) if names]  # fmt: skip
    if other and labels.kind != "regress":
        what = "Choose another teacher, or set data.labels (or data.keep_labels) to what it knows."
        raise ConfigError(
            f"distill.teacher: expected the labels of the data in {teacher.settings.teacher}; {' and '.join(other)} has. {what}"
        )
    if teacher.settings.losses.compare_layers:
        if teacher.predictor.encoder.digest != encoder.digest:
            raise ConfigError(
                "distill.losses: hidden_states and attentions compare token by token, and the student has another tokenizer than the "
                "teacher. Leave them out: logits are compared by words and texts."
            )
        check_window(encoder.settings.max_tokens, teacher.predictor.task.padding.positions)


def examples_per_second(predictors: Sequence[Predictor], examples: Sequence[Any]) -> list[float]:
    """Return how fast each goes from texts to answers: its best round of some, taken in turn, as other work on the machine comes and goes."""
    best = [float("inf")] * len(predictors)
    for _ in range(ROUNDS):
        for at, predictor in enumerate(predictors):
            started = time.perf_counter()
            for _answer in predictor.answers(examples):
                pass
            best[at] = min(best[at], time.perf_counter() - started)
    return [len(examples) / seconds for seconds in best]


def _digest(model: nn.Module) -> str:
    return digest_bytes(*(part for name, tensor in model.state_dict().items() for part in (name, tensor.cpu().numpy().tobytes())))
