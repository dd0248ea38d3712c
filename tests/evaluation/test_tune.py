"""What is tuned on validation data: kept in the model folder, used wherever the model answers, reported cross-fitted."""

import json

import numpy as np
import pytest

import tunny
from tests.tiny import save_model
from tests.trained import config, train_once
from tests.trained import trained as shared
from tunny.data.example import Example
from tunny.metrics.calibration import FEWEST


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def trained(folder, kind, **wanted):
    """Train on data whose validation set is large enough to tune on."""
    made = config(kind, save_model("bert", folder / "encoder"), folder, epochs=1)
    for name in ("train", "validation"):
        path = folder / made["data"][name]
        head, *rest = path.read_text("utf-8").splitlines(keepends=True)
        path.write_text(head + "".join(rest * 6) if kind != "ner" else "\n".join(["".join([head, *rest])] * 6), "utf-8")
    for name, value in wanted.items():
        made[name] = {**(made[name] if isinstance(made[name], dict) else {"kind": made[name]}), **value} if name in made else value
    return train_once(made, folder), folder / made["data"]["validation"]


@pytest.mark.parametrize("kind", ["multilabel", "classify"])
def test_what_was_tuned_is_used_by_evaluate_and_predict_and_said(tmp_path, kind):
    task = {"task": {"threshold": "tuned"}} if kind == "multilabel" else {}
    run, data = trained(tmp_path, kind, evaluate={"precision": 0.6}, **task)
    saved = json.loads((run / "model" / "tunny.json").read_text("utf-8"))["tuned"]
    assert saved["precision"] == 0.6
    answers = lines(run / "validation" / "predictions.jsonl")
    given = [one for row in answers for one in (row["labels"] if kind == "multilabel" else [row])]
    all_right = json.loads((run / "validation" / "metrics.json").read_text("utf-8"))["errors"].keys() <= {"missed"}
    assert (saved["calibration"]["temperature"] != 1.0) == (len(given) >= FEWEST and not all_right)
    assert (saved["thresholds"] is None) == (kind == "classify")
    found = tunny.evaluate(run / "model", data, tmp_path / "again")
    content = json.loads((run / "validation" / "metrics.json").read_text("utf-8"))
    assert found == content["metrics"]
    assert answers == lines(tmp_path / "again" / "predictions.jsonl")
    assert {one.get("unsure", False) for one in given} <= {True, False}
    assert all(one.get("unsure", False) == (one["score"] < saved["abstain_below"]) for one in given)
    if saved["calibration"]["temperature"] != 1.0:
        assert content["calibration"]["note"].endswith("by the fit on the other")
    assert content["unsure"]["below"] == saved["abstain_below"]
    if kind == "multilabel":
        assert set(content["label_thresholds"]) == {"sea", "sold", "left"}
        assert set(content["cross_fitted"]) == {"f1", "macro_f1"}
        assert "Thresholds of labels were tuned on this data" in (run / "validation" / "report.md").read_text("utf-8")
    texts = [row["text"] for row in answers[:5]]
    assert (
        [row["score"] for row in answers[:5]] == [row["score"] for row in tunny.load(run / "model").predict(texts)]
        if kind == "classify"
        else True
    )


def test_a_precision_that_is_never_reached_leaves_every_answer_unsure(tmp_path):
    made = config("classify", save_model("bert", tmp_path / "encoder"), tmp_path, epochs=1)
    texts = [f"herring {number}" for number in range(60)]
    rows = [f"{text},{label}\n" for text in texts for label in ("sea", "land")]  # of two copies one is always wrong
    (tmp_path / "validation.csv").write_text("body,topic\n" + "".join(rows), "utf-8")
    run = train_once({**made, "evaluate": {"precision": 0.9}}, tmp_path)
    assert all(row["unsure"] for row in lines(run / "validation" / "predictions.jsonl"))


def test_too_little_validation_data_tunes_nothing(tmp_path):
    made = config("classify", save_model("bert", tmp_path / "encoder"), tmp_path, epochs=1)
    run = train_once(made, tmp_path)
    saved = json.loads((run / "model" / "tunny.json").read_text("utf-8"))["tuned"]
    assert saved == {"calibration": {"temperature": 1.0, "shift": 0.0}, "thresholds": None, "abstain_below": None, "precision": None}
    assert "no calibration" in (run / "validation" / "report.md").read_text("utf-8")


def test_the_scores_of_tags_before_calibration_are_the_models_own(tmp_path):
    run = shared("pos")
    before = run.metrics()["calibration"]["before"]["bins"]
    predictor = tunny.load(run.model)
    examples = (
        Example("", line["text"], words=tuple(map(tuple, line["words"]))) for line in lines(run.folder / "validation" / "predictions.jsonl")
    )
    own = np.concatenate([answer.scores for _, answer in predictor.answers(examples)])
    assert run.metrics()["calibration"]["temperature"] != 1.0
    assert sum(one["number"] for one in before) == len(own)
    assert sum(one["number"] * one["confidence"] for one in before) == pytest.approx(own.sum(), rel=1e-5)
