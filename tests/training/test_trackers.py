import json

import pytest

from tests.training.runs import PowerCut, cut_at, go, log, settings
from tunny.training.trackers.base import LogFile

tensorboard = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KEYS = {
    "step", "epoch", "time", "train/loss", "train/learning_rate", "train/grad_norm", "throughput/examples_per_second",
    "throughput/tokens_per_second", "throughput/padding", "throughput/mfu",
}  # fmt: skip


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    names = [name for name in read.Tags()["scalars"] if not name.startswith("final/")]
    return {name: [(event.step, event.value) for event in read.Scalars(name)] for name in names}


def expected_scalars(folder):
    found = {}
    for line in log(folder):
        for name, value in line.items():
            if value is not None and name not in ("step", "epoch", "per_label"):
                found.setdefault(name, []).append((line["step"], pytest.approx(value, rel=1e-6)))
    return found


@tensorboard
def test_tensorboard_holds_what_the_log_holds(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, track={"tensorboard": {}}))
    assert scalars(folder) == expected_scalars(folder)


@tensorboard
@pytest.mark.parametrize("cut", [3, 9], ids=["before the first checkpoint", "after one"])
def test_tensorboard_of_a_resumed_run_holds_each_step_once(tmp_path, tiny_bert, cut):
    values = settings(tmp_path, tiny_bert, track={"tensorboard": {}}, checkpoint__every_steps=5)
    with cut_at(cut), pytest.raises(PowerCut):
        go(values)
    folder = go(values, resume=True)
    assert scalars(folder) == expected_scalars(folder)
    assert [step for step, _ in scalars(folder)["train/loss"]] == list(range(1, 21))


@tensorboard
def test_tensorboard_of_an_overwritten_run_holds_the_new_run_alone(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, track={"tensorboard": {}})
    go(values)
    folder = go({**values, "seed": 7, "train": {**values["train"], "max_steps": 6}}, overwrite=True)
    assert scalars(folder) == expected_scalars(folder)


def test_log_lines_have_the_keys_of_the_contract(tmp_path, tiny_bert):
    lines = log(go(settings(tmp_path, tiny_bert, train__log_every_steps=4)))
    assert [line["step"] for line in lines] == [4, 8, 10, 12, 16, 20]
    assert lines[0].keys() == KEYS
    names = ("f1", "precision", "recall", "token_f1", "token_accuracy", "loss")
    assert lines[2].keys() == KEYS | {f"validation/{name}" for name in names} | {"per_label"}
    assert [line["epoch"] for line in lines] == [0.4, 0.8, 1.0, 1.2, 1.6, 2.0]


def test_logged_loss_is_the_mean_over_the_targets_since_the_last_line(tmp_path, steady_bert):
    values = settings(tmp_path, steady_bert, "classify", train__epochs=1)
    each = [line["train/loss"] for line in log(go(values))]
    values = {**values, "output_dir": str(tmp_path / "five"), "train": {**values["train"], "log_every_steps": 5}}
    assert [line["train/loss"] for line in log(go(values))] == pytest.approx([sum(each[:5]) / 5, sum(each[5:]) / 5])


def test_a_resumed_log_keeps_the_lines_up_to_its_step(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    LogFile(path).start(2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_scores_of_labels_stand_beside_the_values_and_outlive_a_resumption(tmp_path):
    file = LogFile(tmp_path / "log.jsonl")
    file.start(0)
    file.log({"validation/f1": 0.5}, 3, {"validation": {"Übung": {"f1": 0.5, "support": 4}}})
    file.log({"train/loss": 0.1}, 4)
    file.start(3)
    line = {"step": 3, "validation/f1": 0.5, "per_label": {"validation": {"Übung": {"f1": 0.5, "support": 4}}}}
    assert [json.loads(text) for text in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()] == [line]


def test_a_value_that_is_not_finite_stands_as_null(tmp_path):
    file = LogFile(tmp_path / "log.jsonl")
    file.start(0)
    file.log({"loss": float("nan"), "f1": None, "rate": 0.5}, 3)
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 3, "loss": None, "f1": None, "rate": 0.5}
