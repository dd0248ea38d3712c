"""Checkpoints: one folder each, whole or not at all, with a digest of every file and all that a resumed run needs.

    checkpoints/step-120/   model.safetensors  optimizer.safetensors  best.safetensors  progress.json  digests.json

`best.safetensors` is a hard link to the best model's weights so far (a copy where the file system has no links), so each
checkpoint stands alone and old ones can go at any time. A broken one is named and the one before it is used.

Where ranks hold parts of the model (FSDP), model/, optimizer/ and best/ are folders in which each has written its part, as
torch.distributed.checkpoint does in safetensors. Any number of ranks reads them, each what it holds.
"""

import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from tunny.core.console import warn
from tunny.core.errors import RunError, TrainingFailed
from tunny.core.files import digest_file, dump_json, link, new_folder, no_space, read_json, remove_unfinished
from tunny.engine.backend import SingleProcess
from tunny.training.progress import Progress

FORMAT_VERSION = 2
MODEL, OPTIMIZER, BEST, PROGRESS, DIGESTS = "model", "optimizer", "best", "progress.json", "digests.json"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint, checked."""

    folder: Path
    progress: Progress
    config: str  # digest of the settings that decide the result
    precision: str
    numbers: dict[str, Any]  # of the optimizer

    def load_model(self, model: nn.Module) -> None:
        """Put the weights back into a model that is not wrapped yet."""
        try:
            model.load_state_dict(_read(_stored(self.folder, MODEL)))
        except RuntimeError as error:
            why = str(error).splitlines()[-1].strip()
            raise RunError(
                f"{self.folder}: its weights do not fit the model: {why}. Set its code back, or start with --overwrite."
            ) from error

    def load_optimizer(self, backend: SingleProcess, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Put the optimizer's state back, of a rank its part."""
        parameters = dict(backend.bare(model).named_parameters())
        groups = _groups(optimizer)
        for joint, value in {**_read(_stored(self.folder, OPTIMIZER), parameters), **self.numbers}.items():
            name, _, key = joint.rpartition("|")
            if name in groups:
                groups[name][key] = tuple(value) if isinstance(value, list) else value
                continue
            parameter = parameters[name]
            kept = not isinstance(value, Tensor) or (key == "step" and parameter.device.type == "cpu")
            optimizer.state[parameter][key] = value if kept else backend.part(value, parameter)


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path, keep_last: int, config: str):
        self.folder = folder
        self.keep_last = keep_last
        self.config = config

    def save(self, progress: Progress, precision: str, backend: SingleProcess, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint of `progress.step`, then remove those that are too old; rank 0 writes, of parts each rank its own."""
        bare = backend.bare(model)
        numbers, moments = optimizer_state(bare, optimizer)
        tensors = {MODEL: bare.state_dict(), OPTIMIZER: moments}
        if backend.rank:
            if backend.sharded:
                _write_parts(backend.gather("")[0], tensors)
            return
        self.folder.mkdir(exist_ok=True)
        target = self.folder / f"step-{progress.step}"
        former = self.steps()
        with new_folder(target, replace=True) as temporary:
            if backend.sharded:
                _write_parts(backend.gather(str(temporary))[0], tensors)
            else:
                for name, state in tensors.items():
                    here = {name: tensor.to("cpu").contiguous() for name, tensor in state.items()}
                    save_file(_apart(here), temporary / f"{name}.safetensors")
            if progress.best_step is not None:
                best = _stored(temporary, MODEL) if progress.best_step == progress.step else self._best_of(former, progress.best_step)
                link(best, (temporary / BEST).with_suffix(best.suffix))
            written = {
                "format_version": FORMAT_VERSION,
                "config": self.config,
                "precision": precision,
                "optimizer": numbers,
                **progress.to_json(),
            }
            (temporary / PROGRESS).write_text(dump_json(written), "utf-8")
            digests = {path.relative_to(temporary).as_posix(): digest_file(path) for path in sorted(temporary.rglob("*")) if path.is_file()}
            (temporary / DIGESTS).write_text(dump_json(digests), "utf-8")
        for step in self.steps()[: -self.keep_last]:
            shutil.rmtree(self.folder / f"step-{step}")

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints there are, whole or not, oldest first."""
        if not self.folder.is_dir():
            return []
        found = [re.fullmatch(r"step-(\d+)", path.name) for path in self.folder.iterdir() if path.is_dir()]
        return sorted(int(match[1]) for match in found if match)

    def newest(self, changed: str = "") -> Checkpoint | None:
        """Return the newest whole checkpoint; None where there is none at all.

        Broken ones after it are named and removed. Raises RunError where there are some and none is whole, or the newest whole
        one belongs to another config; `changed` says in which settings that differs.
        """
        steps = self.steps()
        if self.folder.is_dir():
            remove_unfinished(self.folder)
        for step in reversed(steps):
            folder = self.folder / f"step-{step}"
            problem = broken(folder)
            if problem is None:
                found = self._read(folder, changed)
                for later in steps[steps.index(step) + 1 :]:  # broken: nothing may be linked from them
                    shutil.rmtree(self.folder / f"step-{later}")
                return found
            warn(f"{folder}: {problem}; trying the checkpoint before it")
        if steps:
            raise RunError(f"{self.folder}: no whole checkpoint is left to resume from. Start again with --overwrite.")
        return None

    def best_weights(self) -> dict[str, Tensor]:
        """Return the best model's weights from the newest checkpoint, or its last weights where nothing chose a best."""
        folder = self.folder / f"step-{self.steps()[-1]}"
        best = _stored(folder, BEST)
        return _read(best if best.exists() else _stored(folder, MODEL))

    def _read(self, folder: Path, changed: str) -> Checkpoint:
        saved: dict[str, Any] = read_json(folder / PROGRESS)
        version = saved.pop("format_version")
        if version > FORMAT_VERSION:
            raise RunError(f"{folder}: has format version {version}; this Tunny reads up to {FORMAT_VERSION}. Update Tunny.")
        config, precision, numbers = saved.pop("config"), saved.pop("precision"), saved.pop("optimizer", {})
        if config != self.config:
            raise RunError(
                f"{folder}: belongs to another config than this one ({changed or 'the data or the tokenizer changed'}). "
                "Set that back, choose another output_dir, or start again with --overwrite."
            )
        return Checkpoint(folder, Progress.from_json(saved), config, precision, numbers)

    def _best_of(self, former: list[int], best_step: int) -> Path:
        for step in reversed(former):
            best = _stored(self.folder / f"step-{step}", BEST)
            if best.exists() and read_json(best.parent / PROGRESS)["best_step"] == best_step:
                return best
        raise RunError(f"{self.folder}: the best model (step {best_step}) is gone; was a checkpoint removed while training?")


def broken(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint, or None where every file has its digest."""
    if not (folder / DIGESTS).is_file():
        return f"{DIGESTS} is missing"
    try:
        digests: dict[str, str] = read_json(folder / DIGESTS)
    except ValueError:
        return f"{DIGESTS} cannot be read"
    for name, digest in digests.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if digest_file(folder / name) != digest:
            return f"{name} is damaged (its digest differs)"
    return None


def needed_bytes(model: nn.Module, keep_last: int) -> int:
    """Return the disk space that training needs at most: checkpoints kept and one being written, best and final model."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return (keep_last + 1) * 3 * weights + 2 * weights


def _stored(folder: Path, name: str) -> Path:
    """Return where tensors of a checkpoint are: in a file, or in a folder of parts."""
    whole = folder / f"{name}.safetensors"
    return whole if whole.is_file() else folder / name


def _write_parts(folder: str, tensors: dict[str, dict[str, Tensor]]) -> None:
    """Write what this rank holds, with the others."""
    for name, state in tensors.items():
        try:
            save(_apart(state), storage_writer=HuggingFaceStorageWriter(f"{folder}/{name}", save_distributed=True))
        except CheckpointException as error:  # no Exception to Python
            failure = next(iter(error.failures.values()))[0]
            raise no_space(failure, Path(folder).parent) if isinstance(failure, OSError) else failure from error


def _read(path: Path, parameters: Mapping[str, Tensor] = {}) -> dict[str, Tensor]:
    """Return the tensors of a file, or of parts; of an optimizer's those that this rank holds of its parameters."""
    if path.is_file():
        return load_file(path)  # type: ignore[no-any-return]
    reader, state = HuggingFaceStorageReader(str(path)), {}
    for name, found in reader.read_metadata().state_dict_metadata.items():
        assert isinstance(found, TensorStorageMetadata)
        like = parameters.get(name.rpartition("|")[0]) if found.size else None
        state[name] = torch.empty(found.size, dtype=found.properties.dtype) if like is None else torch.empty_like(like.detach())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        load(state, storage_reader=reader, no_dist=True)
    return state


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors that are each in memory of their own, as safetensors wants them: a model may give one two names."""
    places = {name: (part.to_local() if isinstance(part, DTensor) else part).untyped_storage().data_ptr() for name, part in state.items()}
    owners = {place: name for name, place in places.items()}
    return {name: tensor if owners[places[name]] == name else tensor.clone() for name, tensor in state.items()}


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what an optimizer keeps, as JSON holds it and as tensors, by `parameter name|its name` or `group number|its name`.

    Raises TrainingFailed for what is neither.
    """
    kept = {name: optimizer.state.get(parameter, {}) for name, parameter in model.named_parameters()}
    numbers, tensors = {}, {}
    for owner, values in {**kept, **_groups(optimizer)}.items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{owner}|{key}"] = value.detach()
            elif all(isinstance(one, (int, float, str, type(None))) for one in (value if isinstance(value, (list, tuple)) else [value])):
                numbers[f"{owner}|{key}"] = value
            elif key != "params":
                raise TrainingFailed(
                    f"the optimizer {type(optimizer).__name__} keeps {key}, a {type(value).__name__}, and a checkpoint holds tensors, numbers "
                    "and texts. Choose another one."
                )
    return numbers, tensors


def _groups(optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """Return the optimizer's groups under the names that they have in a checkpoint."""
    return {f"group {number}": group for number, group in enumerate(optimizer.param_groups)}
