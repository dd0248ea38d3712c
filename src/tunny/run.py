"""Preparing and training, each a short story: the composition root, which knows every room."""

import platform
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunny.config import Config, all_files, changed_settings, require_validation, saved_yaml, split_settings
from tunny.core import hub
from tunny.core.console import choice, copy_to, mark, say, warn
from tunny.core.errors import ConfigError, HubError, did_you_mean
from tunny.core.files import digest_bytes, dump_json, locked, read_json, require_free_space, write_json, write_text
from tunny.core.settings import Resolved, flat, yaml_layer
from tunny.core.signals import StopRequest, watch_signals
from tunny.core.version import __version__, versions
from tunny.data.encode import Encoder, check_window
from tunny.data.labels import given_names
from tunny.data.prepare import Dataset, encode_splits, read_splits, require_labels
from tunny.data.settings import LEARNT, DataSettings
from tunny.data.survey import surface_forms
from tunny.engine.backend import SingleProcess, choose_backend
from tunny.engine.ceiling import Ceiling
from tunny.engine.compute import Compute, TorchModel, choose_compute
from tunny.engine.group import agreed, in_turn, launch_id, together
from tunny.engine.precision import Precision, choose_precision
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
from tunny.tasks.model import Loaded, load_tokenizer, make_task
from tunny.tasks.sampling import label_counts, row_weights
from tunny.tasks.student import finished_weights, load_finished_weights
from tunny.tasks.weights import load_model
from tunny.training.callbacks import Callback, Callbacks, make_callbacks
from tunny.training.checkpoint import Checkpoint, Checkpoints, needed_bytes
from tunny.training.folder import CONFIG, MANIFEST, clear, disk_errors, logged, may_write, used_bytes
from tunny.training.loop import Job, Metrics, fit
from tunny.training.progress import Progress
from tunny.training.settings import TrackSettings
from tunny.training.step import Work
from tunny.training.trackers.base import Evaluated, PerLabel
from tunny.training.trackers.together import catch_up, make_trackers

FREE_TO_CHANGE = {"name", "output_dir", "track", "checkpoint", "evaluate", "train.log_every_steps"}  # do not decide the weights


@dataclass(frozen=True)
class Prepared:
    """Data, tokenizer and labels of a config, ready for training."""

    dataset: Dataset
    loaded: Loaded
    encoder: Encoder
    teacher: Teacher | None = None  # of a distillation


# -- prepare -----------------------------------------------------------------------------------------------------------


def prepare(resolved: Resolved[Config]) -> Prepared:
    """Read, audit and encode all data of a config (`tunny prepare`)."""
    config = resolved.settings
    _require_data(config)
    loaded = load_tokenizer(config.model)
    teacher = load_teacher(config.distill, config.engine, config.task, loaded) if config.distill else None
    check_window(config.encode.max_tokens, loaded.padding.positions)
    encoder = Encoder(loaded.tokenizer.backend_tokenizer, config.encode)
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
    return Prepared(dataset, loaded, encoder, teacher)


def _require_data(config: Config) -> None:
    if config.data.train is None:
        raise ConfigError("settings: 'data.train' is required; give --data.train FILE or set it in the config")


# -- train -------------------------------------------------------------------------------------------------------------


def train(
    resolved: Resolved[Config], *, resume: bool = False, overwrite: bool = False, before: Callable[[], None] = lambda: None,
    callbacks: Sequence[Callback] = (),
) -> Path:  # fmt: skip
    """Prepare what is missing, train once, evaluate, and leave a run folder; return it.

    Whatever can be found wrong before the first step is found before anything is written or cleared; then `before` is called.
    """
    assert resolved.settings.train.seeds is None  # see seeds.py
    _require_data(resolved.settings)
    require_validation(resolved.settings)
    callbacks = [*make_callbacks(resolved.settings.train.callbacks), *callbacks]
    folder = Path(resolved.settings.output_dir)
    began = mark()
    backend = choose_backend(resolved.settings.engine)
    if backend.sharded and resolved.settings.checkpoint.push is not None:
        raise ConfigError("checkpoint.push: not with engine.strategy fsdp. Leave it out, and push the finished model: tunny push")
    with together(), watch_signals() as stop, locked(folder) if backend.rank == 0 else nullcontext():
        if agreed(lambda: _restarted(folder)):
            resume, overwrite = True, False
        if not agreed(lambda: may_write(folder, resume, overwrite)):
            if backend.rank == 0:
                catch_up(resolved.settings.track, folder, resolved.settings.name)
            return folder
        prepared = in_turn(lambda: prepare(resolved))
        checkpoints = Checkpoints(folder / "checkpoints", resolved.settings.checkpoint.keep_last, _config_digest(resolved, prepared))
        checkpoint = agreed(lambda: checkpoints.newest(changed(folder, resolved)) if resume else None)
        precision = _precision(resolved.settings, backend, checkpoint)
        job = replace(make_job(folder, resolved, prepared, backend, precision, checkpoints, stop), callbacks=Callbacks(callbacks))
        push_to = resolved.settings.checkpoint.push
        if backend.rank:
            fit(job, checkpoint)
            return folder
        if push_to is not None:
            hub.create(push_to, update=resume or overwrite)
        with disk_errors(folder):
            before()
            if overwrite:
                clear(folder)
            with copy_to(folder / "run.log", began):
                _begin(folder, resolved, prepared, checkpoint, resume)
                with job.trackers.started(resolved.written, checkpoint.progress.step if checkpoint else 0):
                    progress = fit(job, checkpoint)
                    if backend.sharded:  # the rest is for one process, which needs the model as a whole
                        model, compute = _model(resolved, prepared, backend.device, precision)
                        job = replace(job, model=model, work=replace(job.work, compute=compute))
                    found = _finish(folder, resolved, prepared, job, progress.best_step)
                    best = {"best_step": progress.best_step, "best_metric": job.best_metric or None, "best": progress.best}
                    manifest = {**read_json(folder / MANIFEST), "finished": True, "steps": progress.step, **best}
                    write_json(folder / MANIFEST, manifest)
                    job.trackers.evaluated(found, progress.step)
        if push_to is not None:
            try:
                say(f"pushed: {hub.upload(folder / 'model', push_to, 'The best of a finished run')}")
            except HubError as error:
                again = f"tunny push {folder / 'model'} {push_to} --update"
                raise HubError(f"{error}\nThe run is finished and its model whole; push it with: {again}") from error
    return folder


def _restarted(folder: Path) -> bool:
    """Say whether the launcher of this process had begun the run in a folder before: one of its processes died, and all start again."""
    with suppress(OSError, ValueError, AttributeError):  # no manifest, or a damaged one, of which more is said elsewhere
        return launch_id() is not None and read_json(folder / MANIFEST).get("launch") == launch_id()
    return False


def _precision(config: Config, backend: SingleProcess, checkpoint: Checkpoint | None) -> Precision:
    """Return the precision of a run; one that is resumed goes on as it began."""
    if checkpoint is not None:
        return choose_precision(checkpoint.precision, backend.device, "as the run began")
    return choose_precision(config.engine.precision, backend.device)


def _config_digest(resolved: Resolved[Config], prepared: Prepared) -> str:
    """Return the digest of everything that decides the weights: settings, data, tokenizer."""
    deciding = {key: value for key, value in resolved.written.items() if key not in FREE_TO_CHANGE}
    deciding["train"] = {key: value for key, value in deciding["train"].items() if key != "log_every_steps"}
    deciding["engine"] = {key: value for key, value in deciding["engine"].items() if key in ("micro_batch_limit", "device")}
    deciding["data"] = {name: split.digest for name, split in prepared.dataset.splits.items() if name != "test"}
    teacher = prepared.teacher.digest if prepared.teacher else ""
    return digest_bytes(dump_json(deciding), dump_json(prepared.dataset.labels.names), prepared.encoder.digest, teacher)


def changed(folder: Path, resolved: Resolved[Config], free: Collection[str] = FREE_TO_CHANGE) -> str:
    """Return which settings differ from those that a run was started with."""
    if not (folder / CONFIG).exists():
        return ""
    before, now = dict(flat(yaml_layer(folder / CONFIG).values)), dict(flat(resolved.written))
    deciding = [name for name in {**before, **now} if name not in free and name.partition(".")[0] not in free]
    names = [name for name in deciding if before.get(name) != now.get(name)]
    return "; ".join(f"{name} is {now.get(name)!r} and was {before.get(name)!r}" for name in names)


def _begin(folder: Path, resolved: Resolved[Config], prepared: Prepared, checkpoint: Checkpoint | None, resume: bool) -> None:
    """Write config, manifest and audit; on resuming, note from which step."""
    former = read_json(folder / MANIFEST) if resume and (folder / MANIFEST).exists() else {}
    resumed = list(former.get("resumed_from", []))
    if checkpoint is not None:
        say(f"resuming from step {checkpoint.progress.step} ({checkpoint.folder})")
        resumed.append(checkpoint.progress.step)
    elif resume:
        say("no checkpoint yet: training starts from the beginning")
    splits = prepared.dataset.splits
    manifest = {
        "tunny": __version__, "versions": versions(), "machine": machine(), "model": prepared.loaded.source,
        "data": {name: split.files for name, split in splits.items()},
        "encoded": {name: str(split.windows_folder) for name, split in splits.items()},
        "labels": _label_map(resolved.settings.data, prepared.dataset),
        "resumed_from": resumed, "finished": False, "launch": launch_id(),
    }  # fmt: skip
    write_json(folder / MANIFEST, manifest)
    write_text(folder / CONFIG, saved_yaml(resolved))
    audits = {name: split.audit.to_json() for name, split in splits.items()}
    if prepared.dataset.read is not None:
        audits["files that were split"] = prepared.dataset.read.to_json()
    write_json(folder / "audit.json", {"splits": audits, "all": prepared.dataset.audit.to_json()})
    if prepared.dataset.dealt is not None:
        write_json(folder / "split.json", prepared.dataset.dealt)


def _label_map(data: DataSettings, dataset: Dataset) -> dict[str, dict[str, int | None]]:
    """Return the id of each label in the data, where it was given one, and in the model."""
    given = given_names(data) or {}
    return {name: {"data": given.get(name), "model": number} for name, number in dataset.labels.ids.items()}


def make_job(
    folder: Path, resolved: Resolved[Config], prepared: Prepared, backend: SingleProcess, precision: Precision,
    checkpoints: Checkpoints, stop: StopRequest,
) -> Job:  # fmt: skip
    """Load the model and put everything that training needs together."""
    config, dataset = resolved.settings, prepared.dataset
    rows = dataset.splits["train"].windows
    counts = label_counts(rows) if config.task.class_weights == "balanced" or config.task.sample_by_label else None
    task = make_task(config.task, dataset.labels, prepared.loaded.padding)
    lesson: Lesson = (labelled := OwnLesson(task, counts))
    model, compute = _model(resolved, prepared, backend.device, precision)
    if prepared.teacher:
        teacher = prepared.teacher
        lesson, rows = in_turn(lambda: teacher.lesson(labelled, model, dataset))
    scored = [split for name, split in dataset.splits.items() if name.startswith("validation")]
    names = {split.name: split.name.removeprefix("validation/") for split in scored}  # validation/f1, or NAME/f1
    metric = f"{names[scored[0].name]}/{config.train.metric_for_best or task.metric}" if scored else ""
    if scored:
        _check_metric(task, config.train.metric_for_best)

    def validate(current: nn.Module) -> tuple[Metrics, PerLabel]:
        scores = {
            names[split.name]: score(TorchModel(current, compute), task, encoded_chunks(split), spread=backend.map) for split in scored
        }
        values = {f"{name}/{metric}": value for name, one in scores.items() for metric, value in one.metrics.items()}
        return values, {name: found for name, one in scores.items() if (found := one.per_label)}

    def publish(progress: Progress) -> None:
        with tempfile.TemporaryDirectory() as place:
            own = _predictor(config, prepared, TorchModel(model, compute), task)
            _save_model(Path(place) / "model", resolved, prepared, own, finished_weights(checkpoints.best_weights()), {})
            try:
                hub.upload(Path(place) / "model", str(config.checkpoint.push), f"Step {progress.step}: {metric} {progress.best}")
            except HubError as error:
                warn(f"checkpoint.push: {error}. Training goes on.")

    require_free_space(folder, needed_bytes(model, config.checkpoint.keep_last) - used_bytes(folder), "training")
    train_seen_only(model, rows.token_ids(), prepared.loaded.padding.pad_id)  # files hold the whole vocabulary, so after their size
    return Job(
        Work(lesson, rows, config.seed, config.train, backend, compute), model,
        row_weights(rows, counts, config.task.sample_by_label) if counts and config.task.sample_by_label else None,
        config.checkpoint, config.engine.micro_batch_limit,
        validate if scored else None, metric, checkpoints, make_trackers(TrackSettings() if backend.rank else config.track, folder, config.name), stop,
        6.0 * sum(p.numel() for name, p in model.named_parameters() if depth_of(name) != 0),
        Ceiling(backend.device, precision), publish if config.checkpoint.push else None,
    )  # fmt: skip


def _model(resolved: Resolved[Config], prepared: Prepared, device: torch.device, precision: Precision) -> tuple[nn.Module, Compute]:
    """Load the model that learns, and choose how it computes."""
    config, distill = resolved.settings, resolved.settings.distill
    model = load_model(config.model, prepared.loaded, prepared.dataset.labels, device, config.seed, distill)
    compute = choose_compute(model, device, precision, padded=distill is not None and distill.losses.compare_layers)
    if config.engine.gradient_checkpointing:
        model.activation_checkpointing_enable()  # type: ignore[operator]
    return model, compute


def _check_metric(task: Task, metric: str | None) -> None:
    scorer = task.scorer()
    known = {*scorer.metrics(Table().sums()), *scorer.ranked(), "loss"}
    if metric is not None and metric not in known:
        raise ConfigError(
            f"train.metric_for_best: expected one of {', '.join(sorted(known))}, found {metric!r}{did_you_mean(metric, known)}"
        )


def _finish(folder: Path, resolved: Resolved[Config], prepared: Prepared, job: Job, best_step: int | None) -> dict[str, Evaluated]:
    """Load the best weights, score them on every set, write the model folder, print what came of it, and return the evaluations."""
    config = resolved.settings
    state = load_finished_weights(job.model, job.checkpoints.best_weights())
    found: dict[str, Scores] = {}
    splits, model = prepared.dataset.splits, TorchModel(job.model, job.work.compute)
    task = make_task(config.task, prepared.dataset.labels, prepared.loaded.padding)
    scored = {name: split for name, split in splits.items() if name not in LEARNT}
    chosen_by = next((name for name in scored if name.startswith("validation")), None)
    if chosen_by is not None:
        task.tuned = tune(
            model, task, lambda: encoded_chunks(scored[chosen_by]),
            getattr(config.task, "threshold", None) == "tuned", config.evaluate.precision,
        )  # fmt: skip
    predictor, forms = _predictor(config, prepared, model, task), surface_forms(splits["train"])
    about_runs, teacher = _pages(folder, resolved, best_step), prepared.teacher
    for name, split in scored.items():
        about = About(
            f"{config.name}: {name}", str(folder / "model"), ", ".join(split.files), split.audit.joined(prepared.dataset.audit),
            [Path(file).name for file in split.files], forms, name.startswith("validation"), about_runs,
            taught=teacher.beside(predictor, split, folder / "teacher" / name) if teacher else None,
        )  # fmt: skip
        found[name] = evaluate_to(folder / name, model, task, encoded_chunks(split), about)
    evaluations = {name: read_json(folder / name / "metrics.json") for name in found}
    _save_model(folder / "model", resolved, prepared, predictor, state, evaluations)
    say()
    for name, scores in found.items():
        say_scores(name, scores, folder / name / "report.html")
        for line in beside_teacher(evaluations[name]):
            say(f"{name}, teacher and student: {'  '.join(filter(None, line))}")
    say(f"model: {folder / 'model'}")
    say(f"next: tunny predict {folder / 'model'} YOUR_TEXTS.txt --out predictions.jsonl")
    return {name: Evaluated(folder / name, scores.curves(task.labels.names)) for name, scores in found.items()}


def _predictor(config: Config, prepared: Prepared, model: TorchModel, task: Task) -> Predictor:
    labels, precision = prepared.dataset.labels, model.compute.precision.name
    facts = ModelFacts(config.task, labels, config.encode, remembered(config.data), precision, task.padding, task.tuned)
    return Predictor(model, task, prepared.encoder, facts)


def _save_model(
    target: Path, resolved: Resolved[Config], prepared: Prepared, own: Predictor, state: dict[str, Tensor], evaluations: dict[str, Any]
) -> None:
    """Write a model folder with weights of the run; its card has the scores that there are, and an answer of the model as it is now."""
    config = resolved.settings
    shown, changed = config.evaluate.examples_in_card, changed_settings(resolved)
    card = gather(own, prepared.dataset, evaluations, config.name, config.model.name, changed, shown)
    save_model(target, state, own, prepared.loaded, card)


def _pages(folder: Path, resolved: Resolved[Config], best_step: int | None) -> dict[str, Any]:
    """Return what the evaluation pages of a run say of it: its curves, its settings, and how to do it again."""
    return {
        "curves": {"series": logged(folder), "best_step": best_step}, "settings": saved_yaml(resolved), "environment": versions(),
        "reproduce": [f"tunny train {folder / CONFIG} --output_dir another-folder"],
    }  # fmt: skip


def machine() -> dict[str, Any]:
    """Return what kind of machine this is, without its name."""
    gpu = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
    return {"system": platform.system(), "processor": platform.machine(), "threads": torch.get_num_threads(), "gpus": gpu}
