"""Training once, or once for each of several seeds: one run after another, and what their scores have in common.

A run itself is `run.train`. Each stands in a folder of its own with a config that makes it again; data are read and encoded once,
as all but the first find them in the cache.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from tunny import run
from tunny.config import Config
from tunny.core.console import say
from tunny.core.errors import ConfigError, RunError
from tunny.core.files import locked, read_json, write_json, write_text
from tunny.core.page import render
from tunny.core.settings import Resolved
from tunny.data.settings import LEARNT
from tunny.engine.group import world_of
from tunny.evaluation.report import in_order, number
from tunny.tasks.settings import is_own
from tunny.training.callbacks import Callback
from tunny.training.folder import MANIFEST, SEEDS, clear, may_write_several, seed_folders
from tunny.training.loop import better


def train(resolved: Resolved[Config], *, resume: bool = False, overwrite: bool = False, callbacks: Sequence[Callback] = ()) -> Path:
    """Train as a config says and return the output folder (`tunny train`): of one run, or with `train.seeds` of one for each."""
    seeds = resolved.settings.train.seeds
    if seeds is None:
        return run.train(resolved, resume=resume, overwrite=overwrite, callbacks=callbacks)
    if world_of(os.environ).size > 1:
        advice = "Launch each seed by itself: --seed N, without train.seeds"
        raise ConfigError(f"train.seeds: trains one run after another in one process. {advice}")
    if resolved.settings.checkpoint.push is not None:
        raise ConfigError("checkpoint.push: takes one model, and train.seeds trains several. Leave it out, and push the best: tunny push")
    folder = Path(resolved.settings.output_dir)
    runs = {seed: _alone(resolved, seed) for seed in seeds}
    with locked(folder):
        may_write_several(folder, seeds, resume, overwrite)
        for seed, one in runs.items() if resume else ():
            _require_same(folder / f"seed-{seed}", one)
        for at, (seed, one) in enumerate(runs.items()):
            say(f"seed {seed}, {at + 1} of {len(seeds)}: {one.settings.output_dir}")
            run.train(one, resume=resume, overwrite=overwrite, before=partial(_clear, folder, overwrite and at == 0), callbacks=callbacks)
        found = _summary(resolved.settings.name, folder, seeds)
        write_json(folder / SEEDS, found)
        report = render("seeds.md", {**found, "number": number, "rows": _rows(found), "titles": [f"seed {seed}" for seed in seeds]})
        write_text(folder / "report.md", report)
    say(f"\n{report}\nreport: {folder / 'report.md'}")
    if found["best"] is not None:
        kind = resolved.settings.task.kind
        given = f"FILE --task {kind}" if is_own(kind) else "YOUR_TEXTS.txt"
        say(f"next: tunny predict {folder / found['best']['model']} {given} --out predictions.jsonl")
    return folder


def _alone(resolved: Resolved[Config], seed: int) -> Resolved[Config]:
    """Return the config of one of the runs, which makes it again by itself; all deal documents by the seed at the top."""
    settings, written = resolved.settings, resolved.written
    data, dealt = settings.data, written["data"]
    if data.split is not None and data.split.seed is None:
        data = data.model_copy(update={"split": data.split.model_copy(update={"seed": settings.seed})})
        dealt = {**dealt, "split": {**dealt["split"], "seed": settings.seed}}
    folder = f"seed-{seed}"
    changes = {
        "seed": seed, "output_dir": str(Path(settings.output_dir) / folder), "data": data,
        "train": settings.train.model_copy(update={"seeds": None}),
    }  # fmt: skip
    saved = {"seed": seed, "output_dir": str(Path(written["output_dir"]) / folder), "data": dealt}
    return Resolved(settings.model_copy(update=changes), {**written, **saved, "train": {**written["train"], "seeds": None}})


def _require_same(folder: Path, one: Resolved[Config]) -> None:
    """Raise RunError where a run that is there was trained, or scored, with other settings: the means would mix them."""
    changes = run.changed(folder, one, run.FREE_TO_CHANGE - {"evaluate"})
    if changes:
        what = "Set that back, choose another output_dir, or start again with --overwrite."
        raise RunError(f"{folder}: belongs to another config than this one ({changes}). {what}")


def _clear(folder: Path, overwrite: bool) -> None:
    """Remove the summary, which a new run makes stale, and on overwriting all former runs."""
    for name in (SEEDS, "report.md"):
        (folder / name).unlink(missing_ok=True)
    for former in seed_folders(folder) if overwrite else ():
        clear(folder / former)


def _summary(name: str, folder: Path, seeds: list[int]) -> dict[str, Any]:
    """Return the content of seeds.json: every metric of every evaluated set over all runs, and which run is the best."""
    manifests = {seed: read_json(folder / f"seed-{seed}" / MANIFEST) for seed in seeds}
    digests = {seed: {part: sorted(files.values()) for part, files in one["data"].items()} for seed, one in manifests.items()}
    other = [seed for seed in seeds if digests[seed] != digests[seeds[0]]]
    if other:
        raise RunError(f"{folder}: the data of seed-{other[0]} were others than those of seed-{seeds[0]}. Start again with --overwrite.")
    sets = {}
    for part in (part for part in digests[seeds[0]] if part not in LEARNT):
        scores = {seed: read_json(folder / f"seed-{seed}" / part / "metrics.json")["metrics"] for seed in seeds}
        sets[part] = {metric: _spread({str(seed): scores[seed].get(metric) for seed in seeds}) for metric in in_order(scores[seeds[0]])}
    best: dict[str, Any] | None = None
    for seed, one in manifests.items():
        metric, value = one["best_metric"], one["best"]
        if value is not None and (best is None or better(value, best["value"], metric)):
            best = {"seed": seed, "metric": metric, "value": value, "model": f"seed-{seed}/model"}
    return {"name": name, "seeds": seeds, "best": best, "metrics": sets}


def _rows(found: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return the lines of the table of each set."""
    shown = itemgetter("mean", "std", "lowest", "highest")
    return {
        part: [[name, *map(number, [*shown(row), *row["values"].values()])] for name, row in metrics.items()]
        for part, metrics in found["metrics"].items()
    }


def _spread(values: Mapping[str, float | None]) -> dict[str, Any]:
    """Return mean, sample standard deviation and range of the values that are defined, and each run's value."""
    known = [value for value in values.values() if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None, "std": statistics.stdev(known) if len(known) > 1 else None,
        "lowest": min(known, default=None), "highest": max(known, default=None), "values": dict(values),
    }  # fmt: skip
