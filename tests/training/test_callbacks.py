"""Callbacks in a real training of the embedded model, alone and in two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tunny
from tunny.core.errors import ConfigError, TrainingFailed

SAMPLE = Path(__file__).parents[2] / "src/tunny/samples/harbour.yaml"
SHORT = ("--train.epochs=1", "--train.max_steps=3", "--engine.micro_batch_limit=4", "--checkpoint.every_steps=2")
OWN = """
import json, os
import tunny

class Recorder(tunny.Callback):
    def __init__(self, name="seen"):
        self.name = name

    def write(self, moment, now, *more):
        with open(f"{self.name}-{now.rank}.jsonl", "a") as file:
            file.write(json.dumps([moment, now.step, now.epoch, now.total_steps, now.world_size, *more]) + "\\n")

    def train_start(self, now): self.write("train_start", now)
    def epoch_start(self, now): self.write("epoch_start", now)
    def backward_end(self, now, loss): self.write("backward_end", now, float(loss) > 0)
    def step_end(self, now): self.write("step_end", now)
    def validation_end(self, now, name, metrics): self.write("validation_end", now, name, sorted(metrics))
    def epoch_end(self, now): self.write("epoch_end", now)
    def save(self, now, folder): self.write("save", now, folder.name, (folder / "digests.json").exists() or now.rank > 0)
    def train_end(self, now): self.write("train_end", now)

class Ender(tunny.Callback):
    def step_end(self, now):
        return now.step == 1 and now.rank == now.world_size - 1

class Breaker(tunny.Callback):
    def step_end(self, now):
        raise ValueError("no more")

class Short(tunny.Callback):
    def save(self, now):
        ...
"""
METRICS = ["f1", "loss", "precision", "recall", "token_accuracy", "token_f1"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The user's folder, with a module of callbacks."""
    (tmp_path / "own.py").write_text(OWN, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def moments(world_size):
    """Return what a recorder must see of three steps, in order."""

    def at(moment, step, *more, epoch=0):
        return [moment, step, epoch, 3, world_size, *more]

    each = 2 if world_size == 1 else 1  # micro-batches of a rank: eight rows, four at once

    def step(number):
        return [at("backward_end", number - 1, True)] * each + [at("step_end", number)]

    return [
        at("train_start", 0), at("epoch_start", 0), *step(1), *step(2), at("save", 2, "step-2", True), *step(3),
        at("validation_end", 3, "validation", METRICS), at("epoch_end", 3), at("save", 3, "step-3", True), at("train_end", 3),
    ]  # fmt: skip


def seen(folder, rank=0, name="seen"):
    return [json.loads(line) for line in (folder / f"{name}-{rank}.jsonl").read_text("utf-8").splitlines()]


def tunny_train(folder, *settings, processes=1):
    launch = ["launch", "-n", str(processes)] if processes > 1 else []
    command = [sys.executable, "-m", "tunny", *launch, "train", str(SAMPLE), f"--output_dir={folder / 'run'}", *SHORT, *settings]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_moments_come_in_their_order_with_their_arguments(processes, own):
    done = tunny_train(own, "--train.callbacks=[own:Recorder]", processes=processes)
    assert done.returncode == 0, done.stderr
    for rank in range(processes):
        assert seen(own, rank) == moments(processes)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_callback_that_asks_ends_the_training_on_all_ranks(processes, own):
    done = tunny_train(own, "--train.callbacks=[own:Ender]", processes=processes)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((own / "run/manifest.json").read_text("utf-8"))
    assert (manifest["finished"], manifest["steps"]) == (True, 1)
    assert (own / "run/model/model.safetensors").exists()


def test_options_stand_below_the_name_and_callbacks_from_python_come_after(own):
    steps: list[int] = []

    class Here(tunny.Callback):
        def step_end(self, now: tunny.Moment) -> None:
            assert len(seen(own, name="named")) > now.step
            steps.append(now.step)

    train = {"max_steps": 2, "callbacks": [{"own:Recorder": {"name": "named"}}]}
    data = {part: str(SAMPLE.parent / f"harbour/{part}.json") for part in ("train", "validation")}
    tunny.train({"task": "ner", "data": data, "train": train, "output_dir": str(own / "run")}, callbacks=[Here()])
    assert steps == [1, 2]


def test_a_callback_that_raises_is_named_with_its_moment(own):
    done = tunny_train(own, "--train.callbacks=[own:Breaker]")
    assert done.returncode == 2
    assert "step 1: Breaker.step_end raised ValueError: no more" in done.stderr
    assert TrainingFailed.exit_code == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own:Recordr", "did you mean 'Recorder'"),
        ("none:Recorder", "none cannot be imported"),
        ("own:tunny", "is no class of callbacks"),
        ("own:Short", r"own:Short: save: is called as save\(now, folder\): too many positional arguments"),
    ],
)
def test_a_callback_that_is_none_is_refused_before_training(name, message, own):
    with pytest.raises(ConfigError, match=message):
        tunny.train({"task": "ner", "data": {"train": "x.json"}, "train": {"callbacks": [name]}, "output_dir": str(own / "run")})
    assert not (own / "run").exists()


def test_options_that_a_callback_does_not_take_are_refused(own):
    with pytest.raises(ConfigError, match=r"own:Recorder: .*unexpected keyword argument 'nam'"):
        tunny.train({"task": "ner", "data": {"train": "x.json"}, "train": {"callbacks": [{"own:Recorder": {"nam": "x"}}]}})
