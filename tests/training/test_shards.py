"""Checkpoints of which each rank writes its part, and reads what it holds."""

import json
import os
import shutil
from contextlib import nullcontext

import pytest
import torch
from safetensors import safe_open
from torch import nn

from tests.conftest import disk_full_at
from tests.ranks import on_ranks
from tunny.core.errors import RunError
from tunny.engine.choose import choose_backend
from tunny.engine.group import agreed
from tunny.engine.settings import EngineSettings
from tunny.training.checkpoint import Checkpoints, broken
from tunny.training.progress import Progress

pytestmark = pytest.mark.slow


class Model(nn.Module):
    """Sizes that no number of ranks divides, and a layer that never learns."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.ModuleList([nn.Linear(5, 5) for _ in range(2)])
        self.head = nn.Linear(5, 1)
        self.idle = nn.Linear(5, 7)

    def forward(self, inputs):
        for layer in self.layers:
            inputs = layer(inputs).tanh()
        return self.head(inputs)


def go_on(folder, strategy, saves_at, resumes):
    """Train a model on the same rows on every rank for three steps, from a checkpoint or anew; return its whole weights."""
    backend = choose_backend(EngineSettings(strategy=strategy, device="cpu"))
    checkpoints, bare = Checkpoints(folder, 2, "config"), Model()
    bare.idle.requires_grad_(False)
    found = agreed(lambda: checkpoints.newest()) if resumes else None
    if found:
        bare.load_state_dict({name: torch.zeros_like(value) for name, value in bare.state_dict().items()})
        found.load_model(bare)
    model = backend.wrap(bare)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    if found:
        found.load_optimizer(backend, model, optimizer)
    for step in range(found.progress.step + 1 if found else 1, 6):
        optimizer.zero_grad()
        (model(torch.arange(10.0).reshape(2, 5)).sum() / backend.world_size).backward()
        optimizer.step()
        if step in saves_at:
            checkpoints.save(Progress(step=step, best_step=saves_at[0]), "fp32", backend, model, optimizer)
    return {name: backend.whole(value).clone() for name, value in backend.bare(model).state_dict().items()}


def same(weights, others):
    return all(torch.allclose(value, others[name], rtol=1e-5, atol=1e-6) for name, value in weights.items())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What five steps of one process give."""
    return go_on(tmp_path_factory.mktemp("alone"), "auto", (), False)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The checkpoints of steps 2 and 3 that two ranks wrote, and what they went on to."""
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    return folder, on_ranks(2, go_on, folder, "fsdp", (2, 3), False)


def test_every_rank_writes_its_part(two):
    names = sorted(path.relative_to(two[0] / "step-3").as_posix() for path in (two[0] / "step-3").rglob("*") if path.is_file())
    parts = [f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2)]
    written = [f"{what}/{part}" for what in ("best", "model", "optimizer") for part in parts]
    assert names == sorted([*written, "digests.json", "progress.json"])
    with safe_open(two[0] / "step-3/model" / parts[1], "pt") as part:
        assert part.get_slice("layers.0.weight").get_shape() == [2, 5]
    digests = json.loads((two[0] / "step-3/digests.json").read_text("utf-8"))
    assert [name for name in names if name != "digests.json"] == list(digests)


@pytest.mark.parametrize(("ranks", "strategy"), [(1, "auto"), (2, "ddp"), (3, "fsdp")])
def test_any_number_of_ranks_goes_on_under_any_strategy(ranks, strategy, two, alone, tmp_path):
    folder = shutil.copytree(two[0], tmp_path / "checkpoints")
    assert all(same(weights, alone) for weights in two[1])
    for weights in on_ranks(ranks, go_on, folder, strategy, (4,), True):
        assert same(weights, alone)


def test_parts_go_on_from_a_whole_checkpoint(alone, tmp_path):
    go_on(tmp_path, "auto", (3,), False)
    for weights in on_ranks(2, go_on, tmp_path, "fsdp", (), True):
        assert same(weights, alone)


def test_the_best_weights_are_put_together(two, tmp_path):
    best = Checkpoints(two[0], 2, "config").best_weights()
    later = go_on(tmp_path, "auto", (2,), False)
    first = Checkpoints(tmp_path, 2, "config").best_weights()
    assert same(best, first)
    assert not same(best, later)


def without_space(folder):
    """Return what each rank raises where the disk takes no more from the second."""
    with disk_full_at(1000) if os.environ["RANK"] == "1" else nullcontext(), pytest.raises(RunError) as caught:
        go_on(folder, "fsdp", (2,), False)
    return str(caught.value)


def test_a_disk_that_is_full_for_one_rank_ends_all_and_leaves_nothing(tmp_path):
    said = on_ranks(2, without_space, tmp_path / "checkpoints")
    assert all(message.startswith(f"{tmp_path / 'checkpoints'}") for message in said)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_part_that_is_missing_or_damaged_is_named(two, tmp_path):
    folder = shutil.copytree(two[0] / "step-3", tmp_path / "step-3")
    assert broken(folder) is None
    part = next((folder / "optimizer").iterdir())
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    assert broken(folder) == f"optimizer/{part.name} is damaged (its digest differs)"
    part.unlink()
    assert broken(folder) == f"optimizer/{part.name} is missing"
