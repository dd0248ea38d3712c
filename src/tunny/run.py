"""One training from its settings to its run folder, whatever is trained: the order of things. `texts.py` has what is particular to
labelled texts, `own.py` to a task of one's own.
"""

import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch

from tunny import own, texts
from tunny.config import Config, require_data, require_validation, saved_yaml
from tunny.core import hub
from tunny.core.console import copy_to, mark, say
from tunny.core.errors import ConfigError, HubError, RunError
from tunny.core.files import digest_bytes, dump_json, locked, read_json, write_json, write_text
from tunny.core.settings import Resolved, flat, read_yaml
from tunny.core.signals import StopRequest, watch_signals
from tunny.core.version import __version__, versions
from tunny.engine.backend import SingleProcess
from tunny.engine.choose import choose_backend
from tunny.engine.group import agreed, in_turn, launch_id, together
from tunny.engine.precision import Precision, choose_precision
from tunny.tasks.settings import is_own
from tunny.training.callbacks import Callback, Callbacks, make_callbacks
from tunny.training.checkpoint import Checkpoint, Checkpoints
from tunny.training.folder import CONFIG, MANIFEST, clear, disk_errors, may_write
from tunny.training.loop import Job, fit
from tunny.training.settings import TrackSettings
from tunny.training.trackers.base import Evaluated
from tunny.training.trackers.together import Trackers, catch_up, make_trackers

FREE_TO_CHANGE = {  # do not decide the weights
    "name", "output_dir", "track", "checkpoint", "evaluate", "train.log_every_steps",
    "engine.strategy", "engine.precision", "engine.variant", "engine.gradient_checkpointing",
}  # fmt: skip


class Material(Protocol):
    """What is trained, prepared; all that is particular to it."""

    def data(self) -> dict[str, str]:
        """Return a digest of each part of the data that is learnt from or chooses the best model."""

    def deciding(self) -> tuple[str, ...]:
        """Return digests of what else decides the weights, beside settings."""

    def manifest(self) -> dict[str, Any]:
        """Return what the run's manifest says of it."""

    def records(self) -> dict[str, Any]:
        """Return files for the run folder and what they hold."""

    def job(
        self, folder: Path, backend: SingleProcess, precision: Precision, checkpoints: Checkpoints, trackers: Trackers, stop: StopRequest
    ) -> Job:  # fmt: skip
        """Load the model and put everything that training needs together."""

    def finish(self, folder: Path, job: Job, best_step: int | None) -> dict[str, Evaluated]:
        """Score the best model, write its folder, say what came of it, and return the evaluations; for one process."""


def prepare(resolved: Resolved[Config]) -> Material:
    """Read, audit and encode all data of a config (`tunny prepare`)."""
    require_data(resolved.settings)
    return own.prepare(resolved) if is_own(resolved.settings.task.kind) else texts.prepare(resolved)


def train(
    resolved: Resolved[Config], *, resume: bool = False, overwrite: bool = False, before: Callable[[], None] = lambda: None,
    callbacks: Sequence[Callback] = (),
) -> Path:  # fmt: skip
    """Prepare what is missing, train once, evaluate, and leave a run folder; return it.

    Whatever can be found wrong before the first step is found before anything is written or cleared; then `before` is called.
    """
    config = resolved.settings
    assert config.train.seeds is None  # see seeds.py
    require_data(config)
    require_validation(config)
    callbacks = [*make_callbacks(config.train.callbacks), *callbacks]
    folder = Path(config.output_dir)
    began = mark()
    backend = choose_backend(config.engine)
    push_to = config.checkpoint.push
    if backend.sharded and push_to is not None:
        raise ConfigError("checkpoint.push: not with engine.strategy fsdp. Leave it out, and push the finished model: tunny push")
    with together(), watch_signals() as stop, locked(folder) if backend.rank == 0 else nullcontext():
        if agreed(lambda: restarted(folder)):
            resume, overwrite = True, False
        if not agreed(lambda: may_write(folder, resume, overwrite)):
            if names := changed(folder, resolved):
                raise RunError(
                    f"{folder}: this run is finished, with other settings ({names}). Choose another output_dir, or start again with --overwrite."
                )
            if backend.rank == 0:
                catch_up(config.track, folder, config.name)
            return folder
        material = in_turn(lambda: prepare(resolved))
        checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint.keep_last, _config_digest(resolved, material))
        checkpoint = agreed(lambda: checkpoints.newest(changed(folder, resolved)) if resume else None)
        precision = _precision(config, backend, checkpoint)
        trackers = make_trackers(TrackSettings() if backend.rank else config.track, folder, config.name)
        job = replace(material.job(folder, backend, precision, checkpoints, trackers, stop), callbacks=Callbacks(callbacks))
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
                _begin(folder, resolved, material, checkpoint, resume)
                with trackers.started(resolved.written, checkpoint.progress.step if checkpoint else 0):
                    progress = fit(job, checkpoint)
                    found = material.finish(folder, job, progress.best_step)
                    best = {"best_step": progress.best_step, "best_metric": job.best_metric or None, "best": progress.best}
                    manifest = {**read_json(folder / MANIFEST), "finished": True, "steps": progress.step, **best}
                    write_json(folder / MANIFEST, manifest)
                    trackers.evaluated(found, progress.step)
        if push_to is not None:
            try:
                say(f"pushed: {hub.upload(folder / 'model', push_to, 'The best of a finished run')}")
            except HubError as error:
                again = f"tunny push {folder / 'model'} {push_to} --update"
                raise HubError(f"{error}\nThe run is finished and its model whole; push it with: {again}") from error
    return folder


def restarted(folder: Path) -> bool:
    """Say whether the launcher of this process had begun the run in a folder before: one of its processes died, and all start again."""
    with suppress(OSError, ValueError, AttributeError):  # no manifest, or a damaged one, of which more is said elsewhere
        return launch_id() is not None and read_json(folder / MANIFEST).get("launch") == launch_id()
    return False


def _precision(config: Config, backend: SingleProcess, checkpoint: Checkpoint | None) -> Precision:
    """Return the precision of a run; one that is resumed goes on as it began."""
    if checkpoint is not None:
        return choose_precision(checkpoint.precision, backend.device, "as the run began")
    return choose_precision(config.engine.precision, backend.device)


def _config_digest(resolved: Resolved[Config], material: Material) -> str:
    """Return the digest of everything that decides the weights: settings, data, tokenizer."""
    deciding = _deciding(resolved.written, FREE_TO_CHANGE | {"data"})
    return digest_bytes(dump_json({**deciding, "data": material.data()}), *material.deciding())


def _deciding(written: Mapping[str, Any], free: Collection[str]) -> dict[str, Any]:
    """Return the settings, `train.epochs` and so on, that are not free to change, alone or with their section."""
    return {name: value for name, value in flat(written) if name not in free and name.partition(".")[0] not in free}


def changed(folder: Path, resolved: Resolved[Config], free: Collection[str] = FREE_TO_CHANGE) -> str:
    """Return which settings differ from those that a run was started with."""
    if not (folder / CONFIG).exists():
        return ""
    before, now = (_deciding(read_yaml(text), free) for text in ((folder / CONFIG).read_text("utf-8"), saved_yaml(resolved)))
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return "; ".join(f"{name} is {now.get(name)!r} and was {before.get(name)!r}" for name in names)


def _begin(folder: Path, resolved: Resolved[Config], material: Material, checkpoint: Checkpoint | None, resume: bool) -> None:
    """Write config, manifest and records of the data; on resuming, note from which step."""
    former = read_json(folder / MANIFEST) if resume and (folder / MANIFEST).exists() else {}
    resumed = list(former.get("resumed_from", []))
    if checkpoint is not None:
        say(f"resuming from step {checkpoint.progress.step} ({checkpoint.folder})")
        resumed.append(checkpoint.progress.step)
    elif resume:
        say("no checkpoint yet: training starts from the beginning")
    manifest = {"tunny": __version__, "versions": versions(), "machine": machine(), **material.manifest()}
    write_json(folder / MANIFEST, {**manifest, "resumed_from": resumed, "finished": False, "launch": launch_id()})
    write_text(folder / CONFIG, saved_yaml(resolved))
    for name, content in material.records().items():
        write_json(folder / name, content)


def machine() -> dict[str, Any]:
    """Return what kind of machine this is, without its name."""
    gpu = [torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())]
    return {"system": platform.system(), "processor": platform.machine(), "threads": torch.get_num_threads(), "gpus": gpu}
