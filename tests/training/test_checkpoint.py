import json
import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tunny.core.errors import RunError
from tunny.engine.backend import SingleProcess
from tunny.training.checkpoint import Checkpoints, broken, needed_bytes
from tunny.training.progress import Progress, Window

BACKEND = SingleProcess(torch.device("cpu"))


def layer_and_optimizer(seed=0):
    torch.manual_seed(seed)
    layer = nn.Linear(4, 2)
    return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)


def take_step(layer, optimizer):
    optimizer.zero_grad()
    layer(torch.arange(4.0)).sum().backward()
    optimizer.step()


@pytest.fixture
def saver(tmp_path):
    """Save checkpoints of a layer by step, with the best step so far."""
    layer, optimizer = layer_and_optimizer()
    take_step(layer, optimizer)
    checkpoints = Checkpoints(tmp_path / "checkpoints", 2, "digest of the config")

    def save(step, best_step=None):
        with torch.no_grad():
            layer.weight.fill_(float(step))
        checkpoints.save(Progress(step=step, best_step=best_step), "fp32", BACKEND, layer, optimizer)
        return checkpoints

    return save


def test_weights_and_optimizer_come_back_bit_for_bit(tmp_path):
    layer, optimizer = layer_and_optimizer()
    take_step(layer, optimizer)
    Checkpoints(tmp_path / "c", 2, "x").save(Progress(step=1), "fp32", BACKEND, layer, optimizer)
    other, other_optimizer = layer_and_optimizer(seed=1)
    found = Checkpoints(tmp_path / "c", 2, "x").newest()
    found.load_model(other)
    found.load_optimizer(BACKEND, other, other_optimizer)
    for _ in range(3):
        take_step(layer, optimizer)
        take_step(other, other_optimizer)
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(layer.bias, other.bias)


def test_progress_comes_back_as_it_was(tmp_path):
    layer, optimizer = layer_and_optimizer()
    progress = Progress(7, 1, 3, 0.5, 4, 1, 2, 1024.0, 12.5, Window(1.25, 10.0, 4, 99, 0.5), True)
    Checkpoints(tmp_path / "c", 2, "x").save(
        Progress(step=4, best_step=4, best=0.5), "bf16", BACKEND, layer, optimizer
    )  # fmt: skip
    Checkpoints(tmp_path / "c", 2, "x").save(progress, "bf16", BACKEND, layer, optimizer)
    found = Checkpoints(tmp_path / "c", 2, "x").newest()
    assert (found.progress, found.precision) == (progress, "bf16")


def test_the_newest_ones_are_kept(saver):
    for step in (1, 2, 3, 10):
        checkpoints = saver(step)
    assert checkpoints.steps() == [3, 10]


def test_the_best_weights_are_handed_on_when_their_checkpoint_goes(saver):
    saver(1, best_step=1)
    for step in (2, 3, 4):
        checkpoints = saver(step, best_step=1)
    assert checkpoints.steps() == [3, 4]
    assert checkpoints.best_weights()["weight"].unique().tolist() == [1.0]


def test_a_new_best_takes_the_place_of_the_old_one(saver):
    saver(1, best_step=1)
    checkpoints = saver(2, best_step=2)
    assert checkpoints.best_weights()["weight"].unique().tolist() == [2.0]


def test_without_a_best_the_last_weights_count(saver):
    saver(1)
    assert saver(2).best_weights()["weight"].unique().tolist() == [2.0]


def test_best_weights_cost_no_second_copy_on_disk(saver):
    folder = saver(1, best_step=1).folder / "step-1"
    assert os.path.samefile(folder / "model.safetensors", folder / "best.safetensors")


def test_best_weights_are_copied_where_the_file_system_has_no_links(saver, monkeypatch):
    def refuse(source, target):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder = saver(1, best_step=1).folder / "step-1"
    assert load_file(folder / "best.safetensors")["weight"].unique().tolist() == [1.0]
    assert not os.path.samefile(folder / "model.safetensors", folder / "best.safetensors")


def test_no_checkpoint_is_none_and_not_an_error(tmp_path):
    assert Checkpoints(tmp_path / "none", 2, "x").newest() is None


def test_a_file_that_is_cut_short_is_named(saver):
    folder = saver(1).folder / "step-1"
    assert broken(folder) is None
    with (folder / "optimizer.safetensors").open("r+b") as file:
        file.truncate(10)
    assert broken(folder) == "optimizer.safetensors is damaged (its digest differs)"


def test_a_list_of_digests_that_is_no_json_is_named(saver):
    folder = saver(1).folder / "step-1"
    (folder / "digests.json").write_text("{")
    assert broken(folder) == "digests.json cannot be read"


def test_broken_checkpoints_after_the_one_resumed_from_are_removed(saver):
    saver(1)
    checkpoints = saver(2)
    (checkpoints.folder / "step-2" / "model.safetensors").unlink()
    assert checkpoints.newest().progress.step == 1
    assert checkpoints.steps() == [1]


def test_what_a_killed_process_left_is_removed(saver):
    checkpoints = saver(1)
    (checkpoints.folder / ".tunny-tmp-1").mkdir()
    (checkpoints.folder / ".tunny-tmp-1" / "model.safetensors").write_bytes(b"half")
    checkpoints.newest()
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-1"]


def test_another_config_is_refused_and_nothing_is_removed(saver):
    saver(1)
    folder = saver(2).folder
    (folder / "step-2" / "model.safetensors").unlink()
    with pytest.raises(RunError, match="belongs to another config"):
        Checkpoints(folder, 2, "other").newest()
    assert Checkpoints(folder, 2, "other").steps() == [1, 2]


def test_nothing_in_a_checkpoint_needs_unpickling(saver):
    folder = saver(1, best_step=1).folder / "step-1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors", "digests.json", "model.safetensors", "optimizer.safetensors", "progress.json",
    ]  # fmt: skip
    assert json.loads((folder / "progress.json").read_text())["format_version"] == 2


def test_disk_need_is_at_least_what_the_checkpoints_take(saver, tmp_path):
    layer, _ = layer_and_optimizer()
    saver(1, best_step=1)
    folder = saver(2, best_step=1).folder
    taken = {path.stat().st_ino: path.stat().st_size for path in folder.rglob("*.safetensors")}
    headers = 1000 * len(taken)
    assert needed_bytes(layer, 2) >= sum(taken.values()) - headers
