"""Validations between epoch ends: the best model, patience, resumption; scores of labels in the log; what a person sees of it."""

import json
import re
import sys

import pytest
import yaml

from tests.terminal import on_a_terminal
from tests.training.runs import PowerCut, cut_at, facts, go, log, manifest, model_bytes, settings, write_ner
from tunny.core.errors import ConfigError


def validated(folder):
    return [line["step"] for line in log(folder) if "validation/f1" in line]


@pytest.mark.parametrize(("every", "steps"), [(None, [10, 20]), (4, [4, 8, 10, 12, 16, 20]), (5, [5, 10, 15, 20]), (50, [10, 20])])
def test_validations_are_made_every_so_many_steps_and_at_epoch_ends(tmp_path, tiny_bert, every, steps):
    folder = go(settings(tmp_path, tiny_bert, train__evaluate_every_steps=every, train__log_every_steps=100))
    assert validated(folder) == steps == [line["step"] for line in log(folder)]


def test_validating_more_often_learns_the_same(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert)
    seldom = go({**values, "output_dir": str(tmp_path / "seldom")})
    often = go({**values, "train": {**values["train"], "evaluate_every_steps": 3}})
    assert [line["train/loss"] for line in log(often)] == [line["train/loss"] for line in log(seldom)]
    assert log(often)[-1]["validation/loss"] == log(seldom)[-1]["validation/loss"]


def test_the_best_model_may_come_from_the_middle_of_an_epoch(tmp_path, tiny_bert):
    values = settings(
        tmp_path, tiny_bert, "classify", train__learning_rate=0.3, train__schedule="constant", train__warmup_ratio=0,
        train__metric_for_best="loss", train__evaluate_every_steps=1, checkpoint__keep_last=1,
    )  # fmt: skip
    folder = go(values)  # each step makes it worse
    found = {line["step"]: line["validation/loss"] for line in log(folder) if "validation/loss" in line}
    best = min(found, key=found.get)
    assert best % 10
    assert (manifest(folder)["best_step"], manifest(folder)["best"]) == (best, found[best])
    assert json.loads((folder / "validation" / "metrics.json").read_text())["metrics"]["loss"] == found[best]


@pytest.mark.parametrize("aside", [False, True], ids=["as on a CPU", "as on a GPU"])
def test_patience_counts_validations_and_stops_between_epoch_ends(tmp_path, tiny_bert, capsys, monkeypatch, aside):
    monkeypatch.setattr("tunny.training.loop.runs_aside", lambda device: aside)
    values = settings(
        tmp_path, tiny_bert, train__learning_rate=1e-9, train__early_stopping_patience=2, train__evaluate_every_steps=2, train__epochs=4
    )
    folder = go(values)  # nothing is learnt: the first validation stays the best
    assert validated(folder) == [2, 4, 6]
    assert (manifest(folder)["steps"], manifest(folder)["best_step"]) == (6, 2)
    assert "in 2 validations" in capsys.readouterr().err


OFTEN = {"train__epochs": 5, "train__evaluate_every_steps": 3, "train__early_stopping_patience": 6, "train__log_every_steps": 4}


@pytest.fixture(scope="module")
def whole_run(tiny_bert, tmp_path_factory):
    return go(settings(tmp_path_factory.mktemp("whole"), tiny_bert, **OFTEN, train__learning_rate=5e-3))


@pytest.mark.parametrize(("cuts", "resumed_from"), [((8,), [6]), ((5, 12, 3), [3, 12, 12]), ((2, 35), [33])])
def test_a_run_interrupted_between_validations_ends_byte_identical(tmp_path, tiny_bert, whole_run, cuts, resumed_from):
    values = settings(tmp_path, tiny_bert, **OFTEN, train__learning_rate=5e-3)
    for number, forward in enumerate(cuts):
        with cut_at(forward), pytest.raises(PowerCut):
            go(values, resume=number > 0)
    resumed = go(values, resume=True)
    assert manifest(resumed)["resumed_from"] == resumed_from
    assert model_bytes(resumed) == model_bytes(whole_run)
    assert facts(log(resumed)) == facts(log(whole_run))
    assert manifest(resumed)["best_step"] == manifest(whole_run)["best_step"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"train__early_stopping_patience": 2}, "early_stopping_patience"),
        ({"train__metric_for_best": "f1"}, "metric_for_best"),
        ({"train__evaluate_every_steps": 3, "data__split": {"test": 0.1}}, "evaluate_every_steps"),
    ],
)
def test_what_needs_validation_data_is_refused_without_before_anything_is_written(tmp_path, tiny_bert, change, name):
    with pytest.raises(ConfigError, match=f"train.{name}: needs validation data, and there is none. Set data.validation") as caught:
        go(settings(tmp_path, tiny_bert, data__validation=None, **change))
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_share_of_the_training_data_is_validation_data(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, data__validation=None, data__split={"validation": 0.2}, train__evaluate_every_steps=1)
    assert validated(go({**values, "train": {**values["train"], "max_steps": 2}})) == [1, 2]


# -- labels ------------------------------------------------------------------------------------------------------------


def test_the_log_has_the_scores_of_each_label_at_each_validation(whole_run):
    lines = [line for line in log(whole_run) if "per_label" in line]
    assert [line["step"] for line in lines] == validated(whole_run)
    best = next(line for line in lines if line["step"] == manifest(whole_run)["best_step"])
    evaluated = json.loads((whole_run / "validation" / "metrics.json").read_text())["per_label"]
    names = ("precision", "recall", "f1", "support")
    assert best["per_label"] == {"validation": {label: {name: row[name] for name in names} for label, row in evaluated.items()}}
    assert evaluated.keys() == {"LOC", "PER"}


def test_each_validation_set_has_its_own_labels(tmp_path, tiny_bert):
    sets = {"harbour": str(write_ner(tmp_path / "a.conll", 9, 700)), "ferry": str(write_ner(tmp_path / "b.conll", 5, 900))}
    last = log(go(settings(tmp_path, tiny_bert, data__validation=sets, train__max_steps=2)))[-1]
    assert last["per_label"].keys() == sets.keys()


def test_without_labels_there_is_no_key_for_them(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, "classify", train__max_steps=2)
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("text,label\n" + "".join(f"day {at},{at}.5\n" for at in range(8)))
        values["data"][name] = str(tmp_path / f"{name}.csv")
    last = log(go({**values, "task": "regress"}))[-1]
    assert "validation/pearson" in last
    assert "per_label" not in last


# -- what is seen ------------------------------------------------------------------------------------------------------


def test_a_line_in_a_log_has_the_deciding_metric_and_whether_it_is_the_best(tmp_path, tiny_bert, capsys):
    folder = go(settings(tmp_path, tiny_bert, train__metric_for_best="loss", train__learning_rate=3e-2, train__epochs=4))
    said = [line for line in capsys.readouterr().err.splitlines() if "validation/loss" in line]
    scores = {line["step"]: line["validation/loss"] for line in log(folder) if "validation/loss" in line}
    best = None
    for line, (step, score) in zip(said, scores.items(), strict=True):
        best = step if best is None or score < scores[best] else best
        mark = "(best so far)" if best == step else f"(best {scores[best]:.4g} at step {best})"
        assert f"validation/loss {score:.4g} {mark}" in line


def test_a_terminal_shows_a_bar_with_a_row_for_each_validation_above_it(tmp_path, tiny_bert):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(tmp_path, tiny_bert, train__learning_rate=1e-2)))
    shown, _ = on_a_terminal([sys.executable, "-m", "tunny", "train", str(config)], tmp_path)
    rows = [line.split() for line in shown.splitlines() if re.match(r" +(step|\d+) ", line)]
    assert rows[0] == ["step", "epoch", "train", "loss", "f1", "precision", "recall", "loss", "best"]
    lines = [line for line in log(tmp_path / "run") if "validation/f1" in line]
    names = ("train/loss", "validation/f1", "validation/precision", "validation/recall", "validation/loss")
    expected = [[str(line["step"]), f"{line['epoch']:.2f}", *(f"{line[name]:.4f}" for name in names)] for line in lines]
    assert [row[:7] for row in rows[1:]] == expected
    assert [row[7:] for row in rows[1:]] == [["*"], ["*"] if lines[1]["validation/f1"] > lines[0]["validation/f1"] else []]
    assert "20/20" in shown
    assert "tokens/s" not in shown
    assert "step 20/20  epoch 2.00  loss" in (tmp_path / "run" / "run.log").read_text()
