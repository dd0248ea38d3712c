"""Training on labelled texts, by Tunny's own tasks: what is read and encoded, learnt, scored and saved. `run.py` has the order of things."""

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunny.config import Config, all_files, changed_settings, saved_yaml, split_settings
from tunny.core import hub
from tunny.core.console import choice, say, warn
from tunny.core.errors import ConfigError, HubError, did_you_mean
from tunny.core.files import dump_json, read_json, require_free_space
from tunny.core.settings import Resolved
from tunny.core.signals import StopRequest
from tunny.core.version import versions
from tunny.data.encode import Encoder
from tunny.data.labels import given_names
from tunny.data.plan import Budget, Shuffled
from tunny.data.prepare import Dataset, encode_splits, read_splits, require_labels
from tunny.data.settings import LEARNT, DataSettings
from tunny.data.survey import surface_forms
from tunny.engine.backend import SingleProcess
from tunny.engine.ceiling import Ceiling
from tunny.engine.compute import Compute, TorchModel, choose_compute
from tunny.engine.group import in_turn
from tunny.engine.precision import Precision
from tunny.engine.vocabulary import train_seen_only
from tunny.evaluation.folder import About, evaluate_to, say_scores, tune
from tunny.evaluation.predict import encoded_chunks
from tunny.evaluation.report import beside_teacher
from tunny.evaluation.score import Scores, score
from tunny.metrics.sums import Table
from tunny.ship.folder import ModelFacts, remembered
from tunny.ship.predictor import Predictor
from tunny.ship.save import gather, save_model
from tunny.ship.teacher import Teacher, check_teacher, load_teacher
from tunny.tasks.base import Task
from tunny.tasks.layers import depth_of
from tunny.tasks.lessons import Lesson, OwnLesson
from tunny.tasks.model import Loaded, encoder_of, load_tokenizer, make_task
from tunny.tasks.sampling import label_counts, row_weights
from tunny.tasks.student import finished_weights, load_finished_weights
from tunny.tasks.weights import load_model
from tunny.training.checkpoint import Checkpoints, needed_bytes
from tunny.training.folder import CONFIG, logged, used_bytes
from tunny.training.loop import Job, Metrics
from tunny.training.optimizer import make_optimizer, rate_factor
from tunny.training.progress import Progress
from tunny.training.step import Work
from tunny.training.trackers.base import Evaluated, PerLabel
from tunny.training.trackers.together import Trackers


@dataclass(frozen=True)
class Texts:
    """Data, tokenizer and labels of a config, ready for training."""

    resolved: Resolved[Config]
    dataset: Dataset
    loaded: Loaded
    encoder: Encoder
    teacher: Teacher | None = None  # of a distillation

    def data(self) -> dict[str, str]:
        """Return a digest of each part of the data that is learnt from or chooses the best model."""
        return {name: split.digest for name, split in self.dataset.splits.items() if name != "test"}

    def deciding(self) -> tuple[str, ...]:
        """Return digests of what else decides the weights, beside settings."""
        return dump_json(self.dataset.labels.names), self.encoder.digest, self.teacher.digest if self.teacher else ""

    def manifest(self) -> dict[str, Any]:
        """Return what the run's manifest says of these texts."""
        splits = self.dataset.splits
        return {
            "model": self.loaded.source, "data": {name: split.files for name, split in splits.items()},
            "encoded": {name: str(split.windows_folder) for name, split in splits.items()},
            "labels": _label_map(self.resolved.settings.data, self.dataset),
        }  # fmt: skip

    def records(self) -> dict[str, Any]:
        """Return the files of the run folder that say what became of the data."""
        audits = {name: split.audit.to_json() for name, split in self.dataset.splits.items()}
        if self.dataset.read is not None:
            audits["files that were split"] = self.dataset.read.to_json()
        found = {"audit.json": {"splits": audits, "all": self.dataset.audit.to_json()}}
        return found | ({"split.json": self.dataset.dealt} if self.dataset.dealt is not None else {})

    def job(
        self, folder: Path, backend: SingleProcess, precision: Precision, checkpoints: Checkpoints, trackers: Trackers, stop: StopRequest
    ) -> Job:  # fmt: skip
        """Load the model and put everything that training needs together."""
        config, dataset = self.resolved.settings, self.dataset
        rows = dataset.splits["train"].windows
        counts = label_counts(rows) if config.task.class_weights == "balanced" or config.task.sample_by_label else None
        task = make_task(config.task, dataset.labels, self.loaded.padding)
        lesson: Lesson = (labelled := OwnLesson(task, counts))
        model, compute = self._model(backend.device, precision)
        if teacher := self.teacher:
            lesson, rows = in_turn(lambda: teacher.lesson(labelled, model, dataset))
        scored = [split for name, split in dataset.splits.items() if name.startswith("validation")]
        names = {split.name: split.name.removeprefix("validation/") for split in scored}  # validation/f1, or NAME/f1
        metric = f"{names[scored[0].name]}/{config.train.metric_for_best or task.metric}" if scored else ""
        if scored:
            _check_metric(task, config.train.metric_for_best)

        def validate(current: nn.Module) -> tuple[Metrics, PerLabel]:
            model, spread = TorchModel(current, compute), backend.map
            scores = {names[split.name]: score(model, task, encoded_chunks(split), spread=spread) for split in scored}
            values = {f"{name}/{metric}": value for name, one in scores.items() for metric, value in one.metrics.items()}
            return values, {name: found for name, one in scores.items() if (found := one.per_label)}

        def publish(progress: Progress) -> None:
            with tempfile.TemporaryDirectory() as place:
                own = self._predictor(TorchModel(model, compute), task)
                self._save(Path(place) / "model", own, finished_weights(checkpoints.best_weights()), {})
                try:
                    hub.upload(Path(place) / "model", str(config.checkpoint.push), f"Step {progress.step}: {metric} {progress.best}")
                except HubError as error:
                    warn(f"checkpoint.push: {error}. Training goes on.")

        require_free_space(folder, needed_bytes(model, config.checkpoint.keep_last) - used_bytes(folder), "training")
        train_seen_only(model, rows.token_ids(), self.loaded.padding.pad_id)  # files hold the whole vocabulary, so after their size
        budget = Budget(config.train.batch_size, config.train.batch_tokens)
        drawn = row_weights(rows, counts, config.task.sample_by_label) if counts and config.task.sample_by_label else None
        steps = Shuffled(rows, rows.lengths, budget, config.seed, drawn)
        return Job(
            Work(lesson, steps, config.seed, config.train, backend, compute), model,
            config.checkpoint, config.engine.micro_batch_limit, validate if scored else None, metric, checkpoints, trackers, stop,
            6.0 * sum(p.numel() for name, p in model.named_parameters() if depth_of(name) != 0), Ceiling(backend.device, precision),
            partial(make_optimizer, settings=config.train), partial(rate_factor, settings=config.train),
            publish if config.checkpoint.push else None,
        )  # fmt: skip

    def finish(self, folder: Path, job: Job, best_step: int | None) -> dict[str, Evaluated]:
        """Load the best weights, score them on every set, write the model folder, print what came of it, and return the evaluations."""
        config, splits = self.resolved.settings, self.dataset.splits
        module, compute = job.model, job.work.compute
        if job.work.backend.sharded:  # the rest is for one process, which needs the model as a whole
            module, compute = self._model(job.work.backend.device, compute.precision)
        state = load_finished_weights(module, job.checkpoints.best_weights())
        found: dict[str, Scores] = {}
        model, task = TorchModel(module, compute), make_task(config.task, self.dataset.labels, self.loaded.padding)
        scored = {name: split for name, split in splits.items() if name not in LEARNT}
        chosen_by = next((name for name in scored if name.startswith("validation")), None)
        if chosen_by is not None:
            task.tuned = tune(
                model, task, lambda: encoded_chunks(scored[chosen_by]),
                getattr(config.task, "threshold", None) == "tuned", config.evaluate.precision,
            )  # fmt: skip
        predictor, forms = self._predictor(model, task), surface_forms(splits["train"])
        for name, split in scored.items():
            about = About(
                f"{config.name}: {name}", str(folder / "model"), ", ".join(split.files), split.audit.joined(self.dataset.audit),
                [Path(file).name for file in split.files], forms, name.startswith("validation"), self._page(folder, best_step),
                taught=self.teacher.beside(predictor, split, folder / "teacher" / name) if self.teacher else None,
            )  # fmt: skip
            found[name] = evaluate_to(folder / name, model, task, encoded_chunks(split), about)
        evaluations = {name: read_json(folder / name / "metrics.json") for name in found}
        self._save(folder / "model", predictor, state, evaluations)
        say()
        for name, scores in found.items():
            say_scores(name, scores, folder / name / "report.html")
            for line in beside_teacher(evaluations[name]):
                say(f"{name}, teacher and student: {'  '.join(filter(None, line))}")
        say(f"model: {folder / 'model'}")
        say(f"next: tunny predict {folder / 'model'} YOUR_TEXTS.txt --out predictions.jsonl")
        return {name: Evaluated(folder / name, scores.curves(task.labels.names)) for name, scores in found.items()}

    def _model(self, device: torch.device, precision: Precision) -> tuple[nn.Module, Compute]:
        """Load the model that learns, and choose how it computes."""
        config, distill = self.resolved.settings, self.resolved.settings.distill
        model = load_model(config.model, self.loaded, self.dataset.labels, device, config.seed, distill)
        compute = choose_compute(model, device, precision, padded=distill is not None and distill.losses.compare_layers)
        if config.engine.gradient_checkpointing:
            model.activation_checkpointing_enable()  # type: ignore[operator]
        return model, compute

    def _predictor(self, model: TorchModel, task: Task) -> Predictor:
        config, labels, precision = self.resolved.settings, self.dataset.labels, model.compute.precision.name
        facts = ModelFacts(config.task, labels, config.encode, remembered(config.data), precision, task.padding, task.tuned)
        return Predictor(model, task, self.encoder, facts)

    def _save(self, target: Path, own: Predictor, state: dict[str, Tensor], evaluations: dict[str, Any]) -> None:
        """Write a model folder with weights of the run; its card has the scores that there are, and an answer of the model as it is now."""
        config = self.resolved.settings
        shown, changed = config.evaluate.examples_in_card, changed_settings(self.resolved)
        card = gather(own, self.dataset, evaluations, config.name, config.model.name, changed, shown)
        save_model(target, state, own, self.loaded, card)

    def _page(self, folder: Path, best_step: int | None) -> dict[str, Any]:
        """Return what the evaluation pages of a run say of it: its curves, its settings, and how to do it again."""
        return {
            "curves": {"series": logged(folder), "best_step": best_step}, "settings": saved_yaml(self.resolved), "environment": versions(),
            "reproduce": [f"tunny train {folder / CONFIG} --output_dir another-folder"],
        }  # fmt: skip


def prepare(resolved: Resolved[Config]) -> Texts:
    """Read, audit and encode all data of a config."""
    config = resolved.settings
    loaded = load_tokenizer(config.model)
    teacher = load_teacher(config.distill, config.engine, config.task, loaded) if config.distill else None
    encoder = encoder_of(loaded, config.encode)
    if config.encode.prefix_space:
        loaded.tokenizer.add_prefix_space = True  # for those who load the model without Tunny
    dataset = read_splits(all_files(config), split_settings(config), config.task.kind, seed=config.seed, limit=config.evaluate.max_examples)
    require_labels(dataset)
    if config.task.kind != "regress":
        choice("labels", ", ".join(dataset.labels.names), dataset.label_reason)
    if teacher is not None:
        check_teacher(teacher, dataset.labels, encoder)
    dataset = encode_splits(dataset, encoder)
    for split in dataset.splits.values():
        for line in split.audit.told(split.name):
            say(line)
    for line in [*(dataset.read.lines("files that were split") if dataset.read else ()), *dataset.audit.lines("all splits")[1:]]:
        say(line)
    return Texts(resolved, dataset, loaded, encoder, teacher)


def _label_map(data: DataSettings, dataset: Dataset) -> dict[str, dict[str, int | None]]:
    """Return the id of each label in the data, where it was given one, and in the model."""
    given = given_names(data) or {}
    return {name: {"data": given.get(name), "model": number} for name, number in dataset.labels.ids.items()}


def _check_metric(task: Task, metric: str | None) -> None:
    scorer = task.scorer()
    known = {*scorer.metrics(Table().sums()), *scorer.ranked(), "loss"}
    if metric is not None and metric not in known:
        raise ConfigError(
            f"train.metric_for_best: expected one of {', '.join(sorted(known))}, found {metric!r}{did_you_mean(metric, known)}"
        )
