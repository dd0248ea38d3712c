"""A teacher: a finished model whose answers another one learns, and which it is set beside in the end.

Its answers to the training texts are computed once and kept in the cache as encoded data are, under a digest of its weights, its
windows and precision, and the texts; so the next student finds them there. Layers are never kept: they are a thousand times larger.
"""

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from tunny.core.console import say
from tunny.core.errors import ConfigError, ModelError
from tunny.core.files import digest_bytes, dump_json, read_json, write_json
from tunny.data.audit import Audit
from tunny.data.encode import Encoder, check_window
from tunny.data.labels import LabelSet
from tunny.data.pieces import bounds_of
from tunny.data.prepare import Dataset, Split, cache_folder, cached
from tunny.data.settings import LEARNT
from tunny.data.store import LOGITS, LogitStore, WindowStore, write_batches
from tunny.engine.compute import TorchModel
from tunny.engine.settings import EngineSettings
from tunny.evaluation.folder import About, evaluate_to
from tunny.evaluation.predict import encode_chunks, forward
from tunny.ship.predictor import Predictor, load
from tunny.tasks.distill import Distillation, Layers
from tunny.tasks.lessons import OwnLesson
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
    model: TorchModel  # the predictor's
    settings: DistillSettings
    digest: str  # of its weights

    def answers(self, split: Split, labels: LabelSet) -> Path:
        """Return the file of the logits of a split's examples, in the order of `labels`; it is in the cache, or comes there."""
        encoder = self.predictor.encoder
        deciding = [encoder.settings.model_dump(mode="json"), self.model.compute.precision.name, labels.kind, labels.names]
        key = digest_bytes(VERSION, self.digest, encoder.digest, split.digest, dump_json(deciding))
        is_there = (cache_folder() / "taught" / key).is_dir()

        def write(folder: Path) -> None:
            started = time.monotonic()
            write_batches(folder / "logits.arrow", LOGITS, self._logits(split, labels))
            write_json(folder / "answers.json", {"seconds": round(time.monotonic() - started, 3)})

        folder = cached("taught", key, write)
        seconds = read_json(folder / "answers.json")["seconds"]
        if is_there:
            say(f"{split.name}: the teacher's answers found in the cache, which saves {seconds:.1f} seconds")
        else:
            say(f"{split.name}: the teacher answered in {seconds:.1f} seconds; the next student finds its answers in the cache")
        return folder / "logits.arrow"

    def _logits(self, split: Split, labels: LabelSet) -> Iterator[pa.RecordBatch]:
        own = self.predictor
        order = [0] if labels.kind == "regress" else [own.task.labels.ids[name] for name in labels.names]
        for examples, windows, first_row in encode_chunks(split.examples, own.encoder, own.task, Audit()):
            given = own.task.merged(examples, windows, first_row, forward(own.model, own.task, windows))
            flat = [rows[:, order].ravel() for rows in given]
            bounds = pa.array(bounds_of([len(rows) for rows in flat]), pa.int32())
            yield pa.RecordBatch.from_arrays([pa.ListArray.from_arrays(bounds, np.concatenate(flat))], schema=LOGITS)

    def lesson(self, own: OwnLesson, student: Any, dataset: Dataset) -> tuple[Distillation, WindowStore]:
        """Return what a student learns, and from which rows: those of the training data, and of texts without labels."""
        splits, losses = [dataset.splits[name] for name in LEARNT if name in dataset.splits], self.settings.losses
        taught = LogitStore(len(dataset.labels.names), *(self.answers(split, dataset.labels) for split in splits))
        module, layers = cast(Any, self.model.module), None
        if losses.compare_layers:
            chosen = self.settings.student_layers if self.settings.student is None else None
            compared = teaching_layers(student.config.num_hidden_layers, module.config.num_hidden_layers, chosen)
            layers = Layers(module, self.predictor.task.padding, compared)
            if losses.hidden_states and module.config.hidden_size != student.config.hidden_size:
                add_projection(student, module.config.hidden_size)
            for model in (module, student) if losses.attentions and self.model.device != "cpu" else ():
                model.set_attn_implementation("eager")  # the kernels of GPUs keep no probabilities
        windows = WindowStore(*(path for split in splits for path in split.windows.paths))
        return Distillation(own, self.settings, taught, len(splits[0].examples), layers), windows

    def beside(self, student: Predictor, split: Split, folder: Path) -> dict[str, Any]:
        """Score the teacher on a split, in a folder of its own; return its scores, and the size and speed of it and the student.

        Speed is from texts to answers, the best of some rounds in turn, as other work on the machine comes and goes.
        """
        own, files = self.predictor, [Path(file).name for file in split.files]
        about = About(f"teacher: {split.name}", self.settings.teacher, ", ".join(split.files), split.audit, files)
        evaluate_to(folder, own.model, own.task, encode_chunks(split.examples, own.encoder, own.task, Audit()), about)
        examples, seconds = list(islice(split.examples, TIMED)), dict.fromkeys(("teacher", "student"), math.inf)
        for name, predictor in [("teacher", own), ("student", student)] * ROUNDS:
            started = time.perf_counter()
            deque(predictor.answers(examples), maxlen=0)
            seconds[name] = min(seconds[name], time.perf_counter() - started)
        sizes = [sum(parameter.numel() for parameter in cast(TorchModel, one.model).module.parameters()) for one in (own, student)]
        scores = {name: found for name, found in read_json(folder / "metrics.json").items() if name in ("model", "metrics", "intervals")}
        speeds = {name: len(examples) / value for name, value in seconds.items()}
        return {"teacher": scores, "parameters": dict(zip(seconds, sizes, strict=True)), "examples_per_second": speeds}


def load_teacher(settings: DistillSettings, engine: EngineSettings, task: TaskSettings, student: Loaded) -> Teacher:
    """Load a teacher; raise an error where it serves another task, or cannot be made the student that is wanted."""
    check_student(student.config, settings, student.source)
    say(f"teacher: {settings.teacher}")
    try:
        predictor = load(settings.teacher, engine=engine.model_copy(update={"variant": "torch"}), task=task)
    except ModelError as error:
        raise ModelError(f"distill.teacher: {error}") from error
    model = cast(TorchModel, predictor.model)
    weights = model.module.requires_grad_(False).state_dict().items()
    digest = digest_bytes(*(part for name, one in weights for part in (name, one.cpu().numpy().tobytes())))
    return Teacher(predictor, model, settings, digest)


def check_teacher(teacher: Teacher, labels: LabelSet, encoder: Encoder) -> None:
    """Raise ConfigError where a teacher knows other labels than the data, or its layers cannot be compared."""
    own, wanted = set(teacher.predictor.task.labels.names), set(labels.names)
    if own != wanted and labels.kind != "regress":
        sides = ((own - wanted, "it"), (wanted - own, "the data"))
        only = [f"{', '.join(sorted(names))} only {whose} has" for names, whose in sides if names]
        raise ConfigError(
            f"distill.teacher: expected {teacher.settings.teacher} to know the labels of the data; {' and '.join(only)}. "
            "Choose another teacher, or set data.labels (or data.keep_labels) to what it knows."
        )
    if teacher.settings.losses.compare_layers:
        if teacher.predictor.encoder.digest != encoder.digest:
            raise ConfigError(
                "distill.losses: hidden_states and attentions compare token by token, and the student has another tokenizer than the "
                "teacher. Leave them out: logits are compared by words and texts."
            )
        check_window(encoder.settings.max_tokens, teacher.predictor.task.padding.positions)
