import io
import json
import os
import time

import pytest
from PIL import Image
from safetensors.torch import load_file

from tests.training.runs import PowerCut, cut_at, go, log, settings
from tunny.training.trackers.base import LogFile
from tunny.training.trackers.system import System

tensorboard = pytest.mark.filterwarnings("ignore::DeprecationWarning")
KEYS = {
    "step", "epoch", "time", "train/loss", "train/learning_rate", "train/grad_norm", "throughput/examples_per_second",
    "throughput/tokens_per_second", "throughput/padding", "throughput/mfu",
}  # fmt: skip


def events(folder):
    """Open a run's event files with TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0, "images": 0})
    read.Reload()
    return read


def scalars(folder):
    read = events(folder)
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
    time.sleep(1 - time.time() % 1)  # TensorBoard orders files by the second of their beginning
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


@tensorboard
def test_tensorboard_has_the_scores_of_the_best_model_and_figures(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, "classify", track=["tensorboard"]))
    read, found = events(folder), json.loads((folder / "validation" / "metrics.json").read_text())["metrics"]
    final = {name: read.Scalars(name)[0] for name in read.Tags()["scalars"] if name.startswith("final/")}
    assert {name: event.value for name, event in final.items()} == pytest.approx(
        {f"final/validation/{name}": value for name, value in found.items() if value is not None}, rel=1e-6
    )
    assert {event.step for event in final.values()} == {20}
    assert read.Tags()["images"] == ["validation/labels", "validation/confusion", "validation/reliability"]
    for name in read.Tags()["images"]:
        image = Image.open(io.BytesIO(read.Images(name)[0].encoded_image_string))
        assert len(image.convert("L").getcolors()) > 10


@tensorboard
def test_a_precision_recall_curve_is_that_of_scikit_learn(tmp_path, tiny_bert):
    from sklearn.metrics import precision_score, recall_score
    from tensorboard.util import tensor_util

    folder = go(settings(tmp_path, tiny_bert, "classify", track=["tensorboard"]))
    curve = tensor_util.make_ndarray(events(folder).Tensors("validation/rough")[0].tensor_proto)  # (6, 127)
    predictions = [json.loads(line) for line in (folder / "validation" / "predictions.jsonl").read_text().splitlines()]
    gold = [json.loads(line)["labels"] == ["rough"] for line in (folder / "validation" / "gold.jsonl").read_text().splitlines()]
    for at in (20, 63, 100):
        given = [(one["score"] if one["label"] == "rough" else 1 - one["score"]) > at / 126 for one in predictions]
        expected = [score(gold, given, zero_division=0) for score in (precision_score, recall_score)]
        assert curve[-2:, at] == pytest.approx(expected, abs=1e-6)


@tensorboard
def test_hyper_parameters_stand_beside_the_scores_in_the_same_folder(tmp_path, tiny_bert):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    folder = go(settings(tmp_path, tiny_bert, track=["tensorboard"]))
    content = events(folder).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    given = HParamsPluginData.FromString(content).session_start_info.hparams
    assert given["train.learning_rate"].number_value == 1e-3
    assert given["task.kind"].string_value == "ner"
    metrics = HParamsPluginData.FromString(
        events(folder).SummaryMetadata("_hparams_/experiment").plugin_data.content
    ).experiment.metric_infos
    assert "final/validation/f1" in {one.name.tag for one in metrics}
    assert not [path for path in (folder / "tensorboard").iterdir() if path.is_dir()]


@tensorboard
def test_histograms_are_those_of_the_weights_at_epoch_ends_and_off_by_default(tmp_path, tiny_bert):
    values = settings(tmp_path, tiny_bert, track={"tensorboard": {"histograms": True}})
    folder = go(values)
    read = events(folder)
    assert [event.step for event in read.Histograms("weights/classifier.weight")] == [10, 20]
    last = read.Histograms("weights/classifier.weight")[-1].histogram_value
    state = load_file(max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2])) / "model.safetensors")
    weight = state["classifier.weight"].double().numpy()
    assert (last.num, last.min, last.max) == (weight.size, weight.min(), weight.max())
    assert sum(last.bucket) == weight.size
    assert [last.sum, last.sum_squares] == pytest.approx([weight.sum(), (weight**2).sum()])
    gradient = read.Histograms("gradients/classifier.weight")[-1].histogram_value
    assert 0 < gradient.sum_squares <= 1.0  # clipped to a norm of 1
    plain = go({**values, "track": ["tensorboard"], "output_dir": str(tmp_path / "plain")})
    assert events(plain).Tags()["histograms"] == []


def test_figures_of_the_machine_stand_in_the_log(tmp_path, tiny_bert):
    folder = go(settings(tmp_path, tiny_bert, track={"system": {"every_seconds": 0.05}}))
    lines = [line for line in log(folder) if "system/cpu_percent" in line]
    assert 0 < len(lines) <= len(log(folder))
    psutil = pytest.importorskip("psutil")
    now = psutil.Process().memory_info().rss / 2**20
    assert all(line["system/memory_mib"] == pytest.approx(now, rel=0.3) for line in lines)
    assert 0 < max(line["system/cpu_percent"] for line in lines) < 100 * (os.cpu_count() or 1) + 20


def test_the_processor_time_of_a_busy_process_is_its_own():
    sampler, busy, wall = System(0.5), time.process_time(), time.monotonic()
    sampler.start()
    while not (found := sampler.newest()):
        sum(range(1000))
    own = 100 * (time.process_time() - busy) / (time.monotonic() - wall)
    sampler.close()
    assert found["system/cpu_percent"] == pytest.approx(own, rel=0.25)
    assert sampler.newest() == {}
    assert not sampler.is_alive()
