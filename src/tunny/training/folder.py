"""The run folder: whose it is, what may be written into it, and what the disk says."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tunny.core.console import say
from tunny.core.errors import RunError
from tunny.core.files import no_space, read_json, remove_unfinished

CONFIG, MANIFEST = "config.yaml", "manifest.json"
SEEDS = "seeds.json"  # beside the folders of several runs, seed-N
EVALUATIONS = ("validation", "test", "teacher")
OURS = (
    CONFIG, MANIFEST, "audit.json", "split.json", "run.log", "log.jsonl", "mlflow.json", "azureml.json", "tensorboard", "checkpoints", "model", *EVALUATIONS,
)  # fmt: skip


def may_write(folder: Path, resume: bool, overwrite: bool) -> bool:
    """Refuse a folder that holds a run unless told what to do with it; False where there is nothing left to do."""
    if resume and overwrite:
        raise RunError("--resume goes on with a run and --overwrite throws it away; give one of the two")
    if not (folder / MANIFEST).exists():
        theirs = [name for name in OURS if (folder / name).is_dir() or (name == CONFIG and (folder / name).exists())]
        if theirs:
            raise RunError(f"{folder}: holds {', '.join(theirs)}, but no run; a run would replace that. Choose another output_dir.")
        if several := seed_folders(folder):
            raise RunError(f"{folder}: holds the runs {', '.join(several)}. Choose another output_dir, or set train.seeds.")
        if resume:
            say(f"{folder}: holds no run yet; training starts from the beginning")
        return True
    finished = _manifest(folder)["finished"]
    if not (resume or overwrite or finished or any(folder.glob("checkpoints/step-*"))):
        say(f"{folder}: holds a run that ended before its first checkpoint; training starts from the beginning")
    elif not (resume or overwrite):
        raise RunError(
            f"{folder}: already holds a run. Go on with it with --resume, start again with --overwrite, or choose another output_dir."
        )
    if resume and finished:
        say(f"{folder}: this run is finished; nothing to do")
        return False
    return True


def may_write_several(folder: Path, seeds: Sequence[int], resume: bool, overwrite: bool) -> None:
    """Refuse a folder for the runs of several seeds as `may_write` refuses one for a single run."""
    if (folder / MANIFEST).exists():
        raise RunError(f"{folder}: holds a single run, and train.seeds makes several. Choose another output_dir.")
    former = ", ".join(seed_folders(folder))
    theirs = [name for name in (SEEDS, "report.md") if (folder / name).exists()]
    if theirs and not former:
        raise RunError(f"{folder}: holds {', '.join(theirs)}, but no run; a summary would replace that. Choose another output_dir.")
    if former and not (resume or overwrite):
        raise RunError(
            f"{folder}: already holds {former}. Go on with --resume, start again with --overwrite, or choose another output_dir."
        )
    for seed in seeds:
        may_write(folder / f"seed-{seed}", False, True)


def seed_folders(folder: Path) -> list[str]:
    """Return the names of the runs of several seeds in a folder."""
    return sorted(path.parent.name for path in folder.glob(f"seed-*/{MANIFEST}"))


def _manifest(folder: Path) -> dict[str, Any]:
    """Read a run's manifest; raise RunError where the file is damaged or somebody else's."""
    try:
        found = read_json(folder / MANIFEST)
        if {"tunny", "finished"} <= set(found):
            return dict(found)
    except (ValueError, TypeError):
        pass
    raise RunError(f"{folder}: its {MANIFEST} is damaged or not that of a run. Choose another output_dir.")


def used_bytes(folder: Path) -> int:
    """Return the disk space of the checkpoints and models that a run has already, each file once however often it is linked."""
    files = [path.stat() for name in ("checkpoints", "model") for path in (folder / name).rglob("*") if path.is_file()]
    return sum({found.st_ino: found.st_size for found in files}.values())


def clear(folder: Path) -> None:
    """Remove a former run's files, and nothing that is not ours."""
    for name in sorted(OURS, key=lambda name: name == MANIFEST):  # by which a run is known: it goes last
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    remove_unfinished(folder)


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error for the user; safetensors has an exception of its own for it."""
    try:
        yield
    except SafetensorError as error:
        raise no_space(OSError(str(error)), folder) from error
    except OSError as error:
        raise no_space(error, folder) from error


def logged(folder: Path) -> dict[str, list[list[float]]]:
    """Return what the log says of losses, metrics and the learning rate: for each name, pairs of a step and its value."""
    series: dict[str, list[list[float]]] = {}
    for line in map(json.loads, (folder / "log.jsonl").read_text("utf-8").splitlines()):
        for name, value in line.items():
            if "/" in name and not name.startswith(("throughput/", "system/")) and value is not None:
                series.setdefault(name, []).append([line["step"], value])
    return series
