"""Tasks of users' own: trained, scored, resumed, launched, and refused with a reason."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tunny
from tests.own_tasks import LINES, write_points
from tunny.cli import main
from tunny.core.errors import ConfigError, DataError, ModelError, RunError, TaskFailed, UserError
from tunny.engine.settings import EngineSettings
from tunny.evaluation.compare import find_evaluation

POINTS = 203  # does not divide by batches, nor by ranks


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The user's folder, with a module and its data."""
    (tmp_path / "lines.py").write_text(LINES, "utf-8")
    write_points(tmp_path / "train.jsonl", POINTS)
    write_points(tmp_path / "dev.jsonl", 43, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("lines", None)
    yield tmp_path
    sys.modules.pop("lines", None)


def config(out="run", task=None, **sections):
    """Return settings of a short training."""
    given = {
        "task": {"kind": "lines:Corners", **(task or {})}, "output_dir": out,
        "data": {"train": "train.jsonl", "validation": "dev.jsonl"}, "train": {"epochs": 3, "learning_rate": 0.02, "log_every_steps": 1},
    }  # fmt: skip
    return {**given, **{name: {**given.get(name, {}), **values} for name, values in sections.items()}}


def log(folder, name="train/loss"):
    lines = (json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines())
    return [line[name] for line in lines if name in line]


def answers(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_task_learns_and_leaves_a_run_with_predictions_in_order(here):
    folder = tunny.train(config())
    assert json.loads((folder / "manifest.json").read_text())["finished"]
    scores = json.loads((folder / "validation/metrics.json").read_text())["metrics"]
    assert scores["accuracy"] == max(log(folder, "validation/accuracy")) > 0.8
    assert [row["id"] for row in answers(folder / "validation/predictions.jsonl")] == [f"dev-{number}" for number in range(43)]


def test_the_class_itself_names_the_task_from_python(here):
    from lines import Corners

    folder = tunny.train(config() | {"task": Corners})
    assert "lines:Corners" in (folder / "config.yaml").read_text()
    assert tunny.predict(folder / "model", "dev.jsonl", "found.jsonl", task=Corners) == 43


def test_its_settings_are_checked_and_described(here, capsys):
    with pytest.raises(ConfigError, match=r"unknown setting 'task.widht'; did you mean 'task.width'\?"):
        tunny.train(config(task={"widht": 3}))
    with pytest.raises(ConfigError, match=r"task\.width: expected integer, found 'wide'"):
        tunny.train(config(task={"width": "wide"}))
    with pytest.raises(SystemExit, match="0"):
        main(["config", "--task", "lines:Corners", "--markdown"])
    assert "| `task.width` | integer | `16` |" in capsys.readouterr().out


def test_a_saved_config_makes_the_same_run_again(here):
    first = tunny.train(config(task={"width": 8}))
    again = tunny.train(first / "config.yaml", overwrite=True)
    assert log(first) == log(again)


def test_several_validation_sets_and_a_test_set_are_scored(here):
    write_points(here / "far.jsonl", 11, 3)
    folder = tunny.train(config(data={"validation": {"near": "dev.jsonl", "far": "far.jsonl"}, "test": "far.jsonl"}))
    assert log(folder, "near/accuracy")
    assert log(folder, "far/accuracy")
    assert len(answers(folder / "validation/far/predictions.jsonl")) == len(answers(folder / "test/predictions.jsonl")) == 11


def test_rows_without_labels_are_answered_by_those_who_name_the_task(here, capsys):
    folder = tunny.train(config())
    write_points(here / "new.jsonl", 7, 4, labelled=False)
    with pytest.raises(ModelError, match=r"whose code would run, and no task is named\. Give --task lines:Corners"):
        tunny.predict(folder / "model", "new.jsonl", "found.jsonl")
    assert tunny.predict(folder / "model", "new.jsonl", "found.jsonl", task="lines:Corners") == 7
    assert tunny.evaluate(folder / "model", "dev.jsonl", "scores", task="lines:Corners")["accuracy"] == max(
        log(folder, "validation/accuracy")
    )
    with pytest.raises(ModelError, match="is a model of the task lines:Corners; only evaluate and predict take it"):
        tunny.load(folder / "model")


def test_predictions_come_on_standard_output_where_no_file_is_named(here, capfdbinary):
    folder = tunny.train(config(train={"epochs": 1}))
    with pytest.raises(SystemExit, match="0"):
        main(["predict", str(folder / "model"), "dev.jsonl", "--task", "lines:Corners"])
    said = capfdbinary.readouterr()
    found = [json.loads(line)["id"] for line in said.out.splitlines()]
    assert re.findall(rb"^precision: .*", said.err, re.MULTILINE)[-1].endswith(b"(as in training)")
    assert found == [f"dev-{number}" for number in range(43)]
    assert not (here / "-").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("evaluate {} dev.jsonl --out scores --layout predictions", "--layout: is for Tunny's own tasks"),
        ("evaluate {} dev.jsonl --out scores --data.max_examples 5", "data.max_examples: for Tunny's own tasks"),
        ("evaluate {} none.jsonl --out scores", "no rows in none.jsonl"),
        ("predict {} dev.jsonl --out found.csv", "--to csv: predictions of a task of your own are written as jsonl"),
    ],
)
def test_what_would_be_ignored_is_refused(here, capsys, command, message):
    folder = tunny.train(config(train={"epochs": 1}))
    (here / "none.jsonl").write_text("")
    with pytest.raises(SystemExit, match="2"):
        main([*command.format(folder / "model").split(), "--task", "lines:Corners"])
    assert message in capsys.readouterr().err
    assert not {"scores", "found.csv"} & {path.name for path in here.iterdir()}


def test_an_own_optimizer_and_rate_take_the_place_of_ours(here):
    folder = tunny.train(config(task={"sgd": True}))
    assert set(log(folder, "train/learning_rate")) == {0.125}
    assert all("exp_avg" not in name for name in tensors(folder))


def tensors(folder):
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.partition("-")[2]))
    return load_file(newest / "optimizer.safetensors")


@pytest.mark.parametrize("task", [{}, {"stream": True}, {"counting": True}, {"draws": True}], ids=str)
def test_a_resumed_run_is_the_same_as_one_that_went_through(here, task):
    whole = tunny.train(config("whole", task, checkpoint={"every_steps": 4, "keep_last": 100}))
    folder = tunny.train(config("cut", task, checkpoint={"every_steps": 4, "keep_last": 100}))
    for step in (path for path in (folder / "checkpoints").iterdir() if int(path.name.partition("-")[2]) > 20):
        for file in step.iterdir():
            file.unlink()
        step.rmdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "finished": False}))
    tunny.train(config("cut", task, checkpoint={"every_steps": 4, "keep_last": 100}), resume=True)
    assert json.loads((folder / "manifest.json").read_text())["resumed_from"] == [20]
    assert (folder / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


def test_micro_batches_learn_the_same_as_one_batch_where_nothing_is_drawn(here):
    (here / "lines.py").write_text(LINES.replace("nn.Dropout(0.1)", "nn.Identity()"), "utf-8")
    sys.modules.pop("lines", None)
    one, many = tunny.train(config("one")), tunny.train(config("many", engine={"micro_batch_limit": 3}))
    assert log(many) == pytest.approx(log(one), abs=1e-5)


def test_outputs_reach_callbacks_in_the_order_of_the_rows_once_each_an_epoch(here):
    tunny.train(config(train={"callbacks": ["lines:Seen"], "epochs": 1}, engine={"micro_batch_limit": 3}))
    seen = answers(here / "seen-0.jsonl")
    assert [len(step) for step in seen].count(16) == POINTS // 16
    assert sorted(name for step in seen for name in step) == sorted(f"train-{number}" for number in range(POINTS))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("mean", "expected the sum of the losses, found a mean: the same 2 rows twice have the loss of once"),
        ("many", r"expected the sum of the losses as a tensor of one number, found a tensor of shape \(2,\)"),
        ("number", "expected the sum of the losses as a tensor of one number, found 1"),
        ("apart", "its loss does not depend on what learns"),
        ("train_step", r"Corners.train_step raised KeyError: 'colour' \(.*lines.py:\d+\)"),
        ("outputs", "Corners.train_step: expected one output a row, found 1 for 2 rows"),
        ("predict", "Corners.predict_step: expected one output a row, found 1 for 2 rows"),
        ("read", r"Corners.rows raised ValueError: cannot read this"),
        ("rows", "Corners.rows: expected a sequence of rows or a tunny.Stream, found <generator"),
        ("elsewhere", "Corners.train_step: its loss does not depend on what learns in the model"),
        ("json", "Corners.predict_step: expected what JSON holds, found {"),
        ("nan", "Corners.train_step: the loss of the first 2 rows is nan"),
        ("model", "Corners.model: expected a torch.nn.Module, found None"),
        ("batch", "Corners.batch: expected the rows as tensors, found None"),
        ("optimizer", "Corners.optimizer: expected a torch.optim.Optimizer or None, found 3"),
        ("rate", r"Corners.rate raised ValueError: could not convert string to float: 'fast' \(.*lines.py:\d+\)"),
        ("no_number", "Corners.predict_step: expected what JSON holds, found nan"),
        ("score_none", "Corners.score: expected scores by name, found None"),
        ("score_name", "Corners.score raised NameError: name 'found' is not defined"),
    ],
)
def test_what_a_task_does_wrong_is_named_before_anything_is_written(here, wrong, message):
    with pytest.raises(TaskFailed, match=message):
        tunny.train(config(task={"wrong": wrong}))
    assert not (here / "run/config.yaml").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("closure", "step 1: the optimizer LBFGS raised TypeError: .*missing 1 required positional argument: 'closure'"),
        ("set", "the optimizer Counting keeps kept, a set, and a checkpoint holds tensors, numbers and texts"),
        ("sometimes", "Corners.train_step: gave outputs for some batches and not for others"),
    ],
)
def test_what_shows_in_a_step_is_named_and_the_folder_can_be_used_again(here, wrong, message, capsys):
    with pytest.raises(UserError, match=message):
        tunny.train(config(task={"wrong": wrong}))
    tunny.train(config())
    assert "run: holds a run that ended before its first checkpoint; training starts from the beginning" in capsys.readouterr().err
    assert len(log(here / "run")) == 39


def test_rows_that_change_each_others_loss_are_told(here, capsys):
    tunny.train(config(task={"wrong": "others"}, train={"epochs": 1}))
    said = (
        "warning: Corners.train_step: rows change each other's loss, so it depends on engine.micro_batch_limit and the number of processes"
    )
    assert said in capsys.readouterr().err
    tunny.train(config("plain", train={"epochs": 1}))
    assert "change each other" not in capsys.readouterr().err


def test_arguments_that_a_method_does_not_take_are_told(here):
    (here / "lines.py").write_text(
        LINES.replace("def train_step(self, model, batch)", "def train_step(self, number, batch, device)"), "utf-8"
    )
    with pytest.raises(ConfigError, match=r"train_step: is called as train_step\(model, batch\): missing a required argument: 'device'"):
        tunny.train(config())


def test_what_a_method_is_not_told_by_its_own_lines_is_told_by_its_first(here):
    text = LINES.replace(
        "        with open(path) as file:\n            yield from map(json.loads, file)",
        "        with open(path) as file:\n            return map(json.loads, file)",
    )
    text = text.replace('        if self.settings.wrong == "read":\n            raise ValueError("cannot read this")\n', "")
    text = text.replace("    def rows(self, paths):", "    def no_rows(self, paths):")
    (here / "lines.py").write_text(text, "utf-8")
    line = next(at for at, one in enumerate(text.splitlines(), start=1) if "def read" in one)
    with pytest.raises(TaskFailed, match=rf"Corners.read raised ValueError: I/O operation on closed file.* \(.*lines.py:{line}\)"):
        tunny.train(config())


def test_steps_without_targets_are_told(here, capsys):
    text = LINES.replace("    def train_step", "    def num_targets(self, batch):\n        return 0\n\n    def train_step", 1)
    (here / "lines.py").write_text(text, "utf-8")
    tunny.train(config(train={"epochs": 1, "log_every_steps": 10}))
    assert capsys.readouterr().err.count("no row had a target since the last line of the log, so nothing was learnt") == 2


def test_a_gradient_that_is_sparse_is_refused(here):
    (here / "tied.py").write_text(TIED.replace("nn.Embedding(7, 4)", "nn.Embedding(7, 4, sparse=True)"), "utf-8")
    (here / "tied.py").write_text((here / "tied.py").read_text().replace("self.head.weight = self.table.weight", "pass"), "utf-8")
    (here / "numbers.txt").write_text("1\n2\n3\n")
    sys.modules.pop("tied", None)
    with pytest.raises(TaskFailed, match=r"Next\.train_step: its gradient is sparse"):
        tunny.train(of_tied("run"))


def test_a_finished_run_does_not_pass_for_one_of_other_settings(here):
    tunny.train(config())
    with pytest.raises(RunError, match=r"this run is finished, with other settings \(train.epochs is 5 and was 3\)"):
        tunny.train(config(train={"epochs": 5}), resume=True)
    assert tunny.train(config(evaluate={"max_examples": 5}), resume=True)
    assert tunny.train(config("small", train={"learning_rate": 5e-05}))
    assert tunny.train(config("small", train={"learning_rate": 5e-05}), resume=True)


def test_weights_of_changed_code_are_refused_on_resuming(here):
    folder = tunny.train(config())
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "finished": False}))
    (here / "lines.py").write_text(LINES.replace("width = self.settings.width", "width = 5"), "utf-8")
    sys.modules.pop("lines", None)
    with pytest.raises(RunError, match="its weights do not fit the model: size mismatch"):
        tunny.train(config(), resume=True)


def test_a_trained_task_is_loaded_in_python(here):
    folder = tunny.train(config(task={"width": 5}))
    tunny.predict(folder / "model", "dev.jsonl", "found.jsonl", task="lines:Corners")
    from lines import Corners  # type: ignore[import-not-found]

    task, model = Corners.load(folder / "model", wrong="none")
    assert (task.settings.width, task.settings.wrong, model.training) == (5, "none", False)
    assert task.predict_step(model, task.batch(list(task.read("dev.jsonl")))) == answers(here / "found.jsonl")


def test_a_class_under_another_name_is_taken_where_its_weights_fit(here, capsys):
    folder = tunny.train(config(train={"epochs": 1}))
    (here / "renamed.py").write_text(LINES, "utf-8")
    assert tunny.predict(folder / "model", "dev.jsonl", "found.jsonl", task="renamed:Corners") == 43
    assert "task: renamed:Corners, as you say; the model was trained with lines:Corners" in capsys.readouterr().err


@pytest.mark.slow
def test_a_class_of_the_script_that_runs_is_found_by_other_programs(here):
    train = 'if __name__ == "__main__":\n    settings = json.load(open("settings.json"))\n    settings["task"] = Corners\n    tunny.train(settings)\n'
    (here / "script.py").write_text(LINES + train, "utf-8")
    (here / "settings.json").write_text(json.dumps(config(train={"epochs": 1})))
    subprocess.run([sys.executable, "script.py"], check=True, timeout=120)
    predict = [sys.executable, "-m", "tunny", "predict", "run/model", "dev.jsonl", "--task", "script:Corners", "--out", "found.jsonl"]
    subprocess.run(predict, check=True, timeout=120)
    assert len(answers(here / "found.jsonl")) == 43


@pytest.mark.parametrize(("stream", "length"), [(False, 0), (True, -1)])
def test_a_length_below_one_is_refused(here, stream, length):
    (here / "lines.py").write_text(
        LINES.replace('row["long"] if self.settings.wrong == "length"', str(length) + ' if row["id"] == "train-40"'), "utf-8"
    )
    with pytest.raises(TaskFailed, match=rf"Corners.length: expected at least 1, found {length}"):
        tunny.train(config(task={"stream": stream}))


def test_a_length_that_fails_for_a_row_of_a_stream_is_named(here):
    with pytest.raises(TaskFailed, match=r"Corners\.length raised KeyError: 'long'"):
        tunny.train(config(task={"wrong": "length", "stream": True}))


def test_the_first_rows_of_a_set_need_no_scores(here):
    assert log(tunny.train(config(task={"wrong": "empty"}, train={"epochs": 1})), "validation/accuracy") == [1.0]


def test_a_run_does_not_go_on_with_other_rows(here):
    folder = tunny.train(config(data={"max_examples": {"train": 60}}))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "finished": False}))
    with pytest.raises(RunError, match=r"data\.max_examples\.train is 40 and was 60"):
        tunny.train(config(data={"max_examples": {"train": 40}}), resume=True)


def test_a_metric_that_the_scores_lack_is_refused_at_the_start(here):
    with pytest.raises(ConfigError, match="expected one of the task's scores, other; found 'accuracy'"):
        tunny.train(config(task={"wrong": "score"}))
    assert not (here / "run/config.yaml").exists()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("lines:Corner", "task.kind: lines has no 'Corner'; did you mean 'Corners'?"),
        ("nowhere:Task", "task.kind: .*nowhere"),
        ("lines:NoTask", "task.kind: lines:NoTask is no task: expected a subclass of tunny.Task"),
        ("lines:Plain", "task.kind: lines:Plain.Settings is to be a subclass of tunny.Settings"),
        ("lines:Half", "Half with abstract methods batch, predict_step, read, score, train_step|Half without an implementation"),
    ],
)
def test_a_class_that_is_missing_or_lacks_a_method_is_refused(here, kind, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?") if "did you" in message else message):
        tunny.train(config() | {"task": kind})


def test_settings_that_mean_nothing_to_it_are_refused_all_at_once(here):
    with pytest.raises(ConfigError) as caught:
        tunny.train(config(data={"text": "body"}, encode={"max_tokens": 128}, model={"name": "other"}))
    named = re.findall(r"^(\w+\.\w+): is for Tunny's own tasks", str(caught.value), re.MULTILINE)
    assert named == ["data.text", "model.name", "encode.max_tokens"]


def test_other_commands_say_that_they_do_not_take_it(here, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["check", "train.jsonl", "--task", "lines:Corners"])
    assert "lines:Corners is a task of your own; only train, prepare, evaluate and predict take one" in capsys.readouterr().err


def test_compare_and_push_say_that_they_do_not_take_it(here, capsys):
    folder = tunny.train(config(train={"epochs": 1}))
    with pytest.raises(RunError, match=r"has no gold\.jsonl\. Those of a task of your own cannot be compared"):
        find_evaluation(str(folder))
    with pytest.raises(ModelError, match="is a model of the task lines:Corners; only evaluate and predict take it"):
        tunny.push(folder / "model", "owner/name")


def test_a_class_named_with_a_dot_is_told_of_the_colon(here):
    with pytest.raises(ConfigError, match=r"is named with a colon, package\.module:Class; found 'lines\.Corners'"):
        tunny.train(config() | {"task": "lines.Corners"})


def test_seeds_say_how_to_predict_with_it(here, capsys):
    tunny.train(config(train={"epochs": 1, "seeds": [1, 2]}))
    assert re.search(r"tunny predict run/seed-\d/model FILE --task lines:Corners --out", capsys.readouterr().err)


@pytest.mark.parametrize("stream", [False, True])
def test_a_file_without_rows_is_told_where_others_have_some(here, capsys, stream):
    (here / "none.jsonl").write_text("")
    tunny.train(config(task={"stream": stream}, data={"train": ["none.jsonl", "train.jsonl"]}, train={"epochs": 1}))
    assert re.findall(r"^warning: (.*none.jsonl: no rows)$", capsys.readouterr().err, re.MULTILINE)


def test_sets_without_rows_are_refused(here):
    (here / "dev.jsonl").write_text("")
    with pytest.raises(DataError, match=r"validation: no rows in dev\.jsonl"):
        tunny.train(config())


def test_most_examples_of_each_set_are_taken_from_its_start(here):
    folder = tunny.train(config(data={"max_examples": {"train": 20, "validation": 5}}))
    assert len(answers(folder / "validation/predictions.jsonl")) == 5
    assert json.loads((folder / "audit.json").read_text())["splits"]["train"]["counts"] == {"rows read": 20}


def test_weights_of_another_width_do_not_load(here):
    folder = tunny.train(config())
    section = json.loads((folder / "model/tunny.json").read_text())
    section["task"]["width"] = 5
    (folder / "model/tunny.json").write_text(json.dumps(section))
    with pytest.raises(ModelError, match="its weights do not fit the model of Corners"):
        tunny.predict(folder / "model", "dev.jsonl", "found.jsonl", task="lines:Corners")
    assert EngineSettings().device == "auto"


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "stream"), [("ddp", False), ("ddp", True), ("fsdp", False)])
def test_two_processes_learn_and_answer_what_one_does(here, strategy, stream):
    alone = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    write_points(here / "train.jsonl", 192)  # so that both have as many micro-batches, which draw the dropout
    for name, processes in (("one", 1), ("two", 2)):
        launch = ["launch", "-n", "2"] if processes == 2 else []
        given = f"--task lines:Corners --task.stream {str(stream).lower()} --data.train train.jsonl --data.validation dev.jsonl".split()
        given += f"--output_dir {name} --train.epochs 2 --train.log_every_steps 1 --engine.micro_batch_limit 4".split()
        given += ["--train.callbacks", "[lines:Seen]", *(["--engine.strategy", strategy] if processes == 2 else [])]
        subprocess.run([sys.executable, "-m", "tunny", *launch, "train", *given], check=True, env=alone, timeout=120)
        for rank in range(processes):
            (here / f"seen-{rank}.jsonl").rename(here / f"{name}-{rank}.jsonl")
    assert log(here / "two") == pytest.approx(log(here / "one"), abs=1e-5)
    assert log(here / "two", "validation/accuracy") == log(here / "one", "validation/accuracy")
    assert answers(here / "two-0.jsonl") == answers(here / "two-1.jsonl") == answers(here / "one-0.jsonl")
    assert answers(here / "two/validation/predictions.jsonl") == answers(here / "one/validation/predictions.jsonl")


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path, tunny):
    page = (Path(__file__).parent.parent / "docs/own-tasks.md").read_text("utf-8")
    module, config, commands = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("python", "yaml", "bash"))
    (tmp_path / "points.py").write_text(module, "utf-8")
    (tmp_path / "points.yaml").write_text(config, "utf-8")
    for name, count in (("train", 60), ("near", 11), ("far", 7), ("new", 5)):
        rows = [{"point": [number / count, 0.5], **({} if name == "new" else {"inside": number % 2})} for number in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    for line in commands.splitlines():
        done = tunny(*shlex.split(line, comments=True)[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "numbers of the hidden layer" in done.stdout
    loading = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[1]
    assert "load(" in loading
    subprocess.run([sys.executable, "-c", f"from points import Points\n{loading}"], check=True, cwd=tmp_path, timeout=60)
    assert len(answers(tmp_path / "found.jsonl")) == 5
    assert (tmp_path / "runs/two/validation/far/metrics.json").read_text() == (
        tmp_path / "runs/points/validation/far/metrics.json"
    ).read_text().replace("runs/points", "runs/two")


TIED = """
from torch import nn, tensor
import tunny

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.norm, self.head = nn.Embedding(7, 4), nn.BatchNorm1d(4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.norm(self.table(ids)))

class Next(tunny.Task):
    def model(self):
        return Tied()

    def read(self, path):
        with open(path) as file:
            yield from map(int, file)

    def batch(self, rows):
        return tensor(rows)

    def train_step(self, model, batch):
        return nn.functional.cross_entropy(model(batch), (batch + 1) % 7, reduction="sum")

    def predict_step(self, model, batch):
        return [[round(one, 5) for one in row] for row in model(batch).tolist()]

    def score(self, rows, predictions):
        return {"mean": sum(row[0] for row in predictions) / len(predictions)}
"""


@pytest.fixture
def tied(here):
    (here / "tied.py").write_text(TIED, "utf-8")
    (here / "numbers.txt").write_text("".join(f"{number * number % 7}\n" for number in range(48)))
    sys.modules.pop("tied", None)
    yield here
    sys.modules.pop("tied", None)


def of_tied(out, **train):
    section = {"epochs": 2, **train}
    return {"task": "tied:Next", "output_dir": out, "data": {"train": "numbers.txt", "validation": "numbers.txt"}, "train": section}


def test_a_tensor_of_two_names_is_saved_and_loaded(tied):
    folder = tunny.train(of_tied("run"))
    state = load_file(folder / "model/model.safetensors")
    assert torch.equal(state["table.weight"], state["head.weight"])
    assert tunny.evaluate(folder / "model", "numbers.txt", "scores", task="tied:Next")["mean"] == log(folder, "validation/mean")[-1]


def test_patience_needs_a_metric(tied):
    with pytest.raises(ConfigError, match=r"train\.early_stopping_patience: tied:Next names no metric"):
        tunny.train(of_tied("run", early_stopping_patience=2))


@pytest.mark.slow
def test_a_tensor_of_two_names_is_saved_where_each_process_holds_a_part(tied):
    (tied / "tied.py").write_text(TIED.replace("nn.BatchNorm1d(4)", "nn.LayerNorm(4)"), "utf-8")
    given = [
        "--task",
        "tied:Next",
        "--data.train",
        "numbers.txt",
        "--data.validation",
        "numbers.txt",
        "--engine.strategy",
        "fsdp",
        "--train.epochs",
        "2",
    ]
    subprocess.run([sys.executable, "-m", "tunny", "launch", "-n", "2", "train", *given, "--output_dir", "two"], check=True, timeout=120)
    state = load_file("two/model/model.safetensors")
    assert torch.equal(state["table.weight"], state["head.weight"])


@pytest.mark.slow
def test_running_means_of_all_processes_are_those_of_the_first_where_they_answer(tied):
    given = [
        "--task",
        "tied:Next",
        "--data.train",
        "numbers.txt",
        "--data.validation",
        "numbers.txt",
        "--output_dir",
        "two",
        "--engine.micro_batch_limit",
        "3",
    ]
    subprocess.run([sys.executable, "-m", "tunny", "launch", "-n", "2", "train", *given], check=True, timeout=120)
    found = tunny.evaluate("two/model", "numbers.txt", "scores", task="tied:Next")["mean"]
    assert found == pytest.approx(log(tied / "two", "validation/mean")[-1], abs=1e-6)


@pytest.mark.slow
def test_a_task_that_fails_on_one_rank_is_named_and_all_end(here):
    text = LINES.replace(
        "        logits = model(batch",
        '        assert os.environ["RANK"] == "0" or not model.training, "rank 1 has enough"\n        logits = model(batch',
        1,
    )
    (here / "lines.py").write_text(f"import os\n{text}", "utf-8")
    given = ["--task", "lines:Corners", "--data.train", "train.jsonl", "--output_dir", "two", "--engine.strategy", "fsdp"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tunny", "launch", "-n", "2", "train", *given], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "error: Corners.train_step raised AssertionError: rank 1 has enough (" in done.stderr
    assert "rank 1 of 2 ended with exit code 2; the others were ended too" in done.stderr
    assert "Corners.train_step raised RuntimeError" not in done.stderr
    assert time.monotonic() - began < 60


def test_a_deciding_score_that_is_never_defined_is_told(here, capsys):
    (here / "lines.py").write_text(LINES.replace("return {name: sum(", 'return {name: float("nan") * sum('), "utf-8")
    folder = tunny.train(config(train={"epochs": 1}))
    assert "warning: step 13: validation/accuracy is not defined, so this model cannot be the best" in capsys.readouterr().err
    assert json.loads((folder / "manifest.json").read_text())["best"] is None
