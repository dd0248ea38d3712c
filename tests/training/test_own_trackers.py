import json
import threading
import time

import pytest

from tests.training.runs import go, log, settings, weights
from tunny.config import load_config
from tunny.core.errors import ConfigError
from tunny.training.trackers.base import LogFile, Tracker
from tunny.training.trackers.together import WAITING, Trackers, make_trackers

MODULE = """
import json, time
from pathlib import Path
from pydantic import BaseModel
from tunny import Tracker

class Notes(Tracker):
    def __init__(self, file, tag="none"):
        self.file = Path(file)
        self.tag = tag

    def _note(self, *what):
        with self.file.open("a") as file:
            file.write(json.dumps([self.tag, *what]) + "\\n")

    def start(self, config, step):
        self._note("start", config["task"]["kind"], step)

    def log(self, values, step):
        self._note("log", step, values["train/loss"])

    def evaluated(self, found, step):
        self._note("evaluated", sorted(found), step, json.loads((found["validation"].folder / "metrics.json").read_text())["metrics"]["f1"])

    def close(self, error):
        self._note("close", None if error is None else type(error).__name__)

class Typed(Notes):
    class Settings(BaseModel):
        file: str
        number: int = 3

    def __init__(self, settings):
        super().__init__(settings.file, settings.number)

class Failing(Tracker):
    def log(self, values, step):
        raise OSError("the pigeon is ill")

class Stalled(Tracker):
    wait_seconds = 0.5

    def log(self, values, step):
        time.sleep(3600)

class Forgetful(Tracker):
    def close(self):
        ...

class Talkative(Tracker):
    def log(self, *all, **more):
        ...

class Stranger:
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's own in the working folder, under a name that no other test has."""
    name = f"pigeons_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


def test_an_own_tracker_gets_everything_in_order(tmp_path, tiny_bert, module):
    folder = go(settings(tmp_path, tiny_bert, track={f"{module}:Notes": {"file": "notes", "tag": "a"}}))
    notes = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
    f1 = json.loads((folder / "validation" / "metrics.json").read_text())["metrics"]["f1"]
    lines = [["a", "log", line["step"], line["train/loss"]] for line in log(folder)]
    assert notes == [["a", "start", "ner", 0], *lines, ["a", "evaluated", ["validation"], 20, f1], ["a", "close", None]]


def test_the_saved_config_of_a_run_has_the_own_tracker(tmp_path, tiny_bert, module):
    given = {f"{module}:Notes": {"file": "notes", "tag": "a"}}
    folder = go(settings(tmp_path, tiny_bert, track=given))
    again = load_config(folder / "config.yaml").settings.track
    assert again.model_extra == given


def test_options_may_be_typed(tmp_path, module):
    make_trackers(load_config(values={"task": "ner", "track": {f"{module}:Typed": {"file": "notes"}}}).settings.track, tmp_path, "x")
    with pytest.raises(ConfigError, match=rf"track.{module}:Typed: .*number"):
        make_trackers(
            load_config(values={"task": "ner", "track": {f"{module}:Typed": {"file": "f", "number": "no"}}}).settings.track, tmp_path, "x"
        )


def test_a_method_may_take_more_than_it_is_called_with(tmp_path, module):
    make_trackers(load_config(values={"task": "ner", "track": {f"{module}:Talkative": {}}}).settings.track, tmp_path, "x")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no_such_module:Notes", {}, "track.no_such_module:Notes: no_such_module cannot be imported: ModuleNotFoundError"),
        ("{}:Nots", {}, "has no 'Nots'; did you mean 'Notes'?"),
        ("{}:Stranger", {}, "expected a subclass of tunny.Tracker, found"),
        ("{}:Notes", {"fil": "x"}, "cannot be made of {'fil': 'x'}"),
        ("{}:Forgetful", {}, ":Forgetful: close: is called as close(error): too many positional arguments"),
    ],
)
def test_an_own_tracker_that_cannot_be_made_stops_before_anything_is_written(tmp_path, tiny_bert, module, name, options, message):
    values = settings(tmp_path, tiny_bert, track={name.format(module): options})
    with pytest.raises(ConfigError) as caught:
        go(values)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_failing_tracker_is_told_once_counted_and_stops_nothing(tmp_path, tiny_bert, module, capsys):
    values = settings(tmp_path, tiny_bert)
    plain = weights(go({**values, "output_dir": str(tmp_path / "plain")}))
    folder = go({**values, "track": {f"{module}:Failing": {}}})
    said = capsys.readouterr().err
    assert said.count("log: OSError: the pigeon is ill. Training goes on") == 1
    assert f"track.{module}:Failing: 20 calls failed or were not made. log.jsonl holds all values." in said
    assert "20 calls failed" in (folder / "run.log").read_text()
    assert all((weights(folder)[name] == value).all() for name, value in plain.items())


def test_a_stalled_tracker_is_left_behind_and_counted(tmp_path, tiny_bert, module, capsys):
    began = time.monotonic()
    folder = go(settings(tmp_path, tiny_bert, track={f"{module}:Stalled": {}}))
    assert time.monotonic() - began < 60
    said = capsys.readouterr().err
    assert f"track.{module}:Stalled: did not end within 0.5 seconds and is left behind." in said
    assert "21 calls failed or were not made" in said  # the one that hangs, 19 log points, the end
    assert len(log(folder)) == 20


class Quitter(Tracker):
    """Wants the program to end, from the thread it has or within the training."""

    def __init__(self, aside):
        self.aside = aside

    def log(self, values, step):
        raise SystemExit(3)


@pytest.mark.parametrize("aside", [True, False])
def test_a_tracker_that_ends_the_program_is_a_failing_one(aside, tmp_path, capsys):
    trackers = Trackers(LogFile(tmp_path / "log.jsonl"), {"quitter": Quitter(aside)})
    with trackers.started({}, 0):
        for step in range(3):
            trackers.log({"train/loss": 1.0}, step)
    said = capsys.readouterr().err
    assert said.count("track.quitter: log: SystemExit: 3. Training goes on") == 1
    assert "track.quitter: 3 calls failed or were not made" in said


class Gate(Tracker):
    """Takes nothing until it is let through."""

    wait_seconds = 30.0

    def __init__(self):
        self.open = threading.Event()
        self.taken = []

    def log(self, values, step):
        self.open.wait()
        self.taken.append(step)


def test_what_a_slow_tracker_has_no_place_for_is_counted_and_the_rest_arrives(tmp_path, capsys):
    gate, more = Gate(), 500
    trackers = Trackers(LogFile(tmp_path / "log.jsonl"), {"gate": gate})
    with trackers.started({}, 0):
        for step in range(WAITING + more):
            trackers.log({"train/loss": 1.0}, step)
        gate.open.set()
    missed = int(capsys.readouterr().err.split("warning: track.gate: ")[1].split(" calls")[0])
    assert len(gate.taken) + missed == WAITING + more
    assert more - 2 <= missed <= more  # one is with the tracker, and its start was taken before
    assert gate.taken == sorted(gate.taken)


def test_a_tracker_learns_what_ended_a_run(tmp_path, tiny_bert, module):
    values = settings(tmp_path, tiny_bert, track={f"{module}:Notes": {"file": "notes"}}, train__learning_rate=1e30)
    with pytest.raises(Exception, match="training cannot go on"):
        go(values)
    assert json.loads((tmp_path / "notes").read_text().splitlines()[-1]) == ["none", "close", "TrainingFailed"]


def test_a_list_of_trackers_takes_own_ones_back(module):
    below = {"task": "ner", "track": {f"{module}:Notes": {"file": "x"}, "tensorboard": {}}}
    assert load_config(values=below, flags=[("track", "[]")]).settings.track.model_extra == {f"{module}:Notes": None}
