"""The ways of a GPU, taken on a CPU: batches without padding, the next one made meanwhile, losses fetched at log points."""

import time

import pytest

from tests.training.runs import files, go, log, settings, weights
from tunny.core.errors import TrainingFailed
from tunny.training.step import ahead


def values_of(folder):
    return [
        {
            name: value
            for name, value in line.items()
            if name not in ("time", "epoch", "per_label") and "second" not in name and "mfu" not in name
        }
        for line in log(folder)
    ]


@pytest.mark.parametrize("kind", ["ner", "classify"])
def test_losses_fetched_at_log_points_give_the_same_log_and_weights(tmp_path, tiny_bert, monkeypatch, kind):
    values = settings(tmp_path, tiny_bert, kind, train__log_every_steps=3, train__evaluate_every_steps=7, checkpoint__every_steps=4)
    before = go({**values, "output_dir": str(tmp_path / "before")})
    monkeypatch.setattr("tunny.training.loop.runs_aside", lambda device: True)
    after = go({**values, "output_dir": str(tmp_path / "after")})
    assert [line["step"] for line in log(after)] == [line["step"] for line in log(before)]
    for one, other in zip(values_of(after), values_of(before), strict=True):
        assert one == pytest.approx(other, rel=1e-6)
    assert [line.get("per_label") for line in log(after)] == [line.get("per_label") for line in log(before)]
    assert files(after / "model")["model.safetensors"] == files(before / "model")["model.safetensors"]


def test_a_loss_that_is_no_number_is_named_with_its_step_when_it_is_fetched(tmp_path, tiny_bert, monkeypatch):
    monkeypatch.setattr("tunny.training.loop.runs_aside", lambda device: True)
    values = settings(
        tmp_path, tiny_bert, train__learning_rate=1e30, train__log_every_steps=5, train__warmup_ratio=0.0, train__max_grad_norm=0
    )
    with pytest.raises(TrainingFailed, match=r"step [2-5]: "):
        go(values)


@pytest.mark.parametrize("kind", ["ner", "classify"])
def test_batches_without_padding_learn_what_padded_ones_do(tmp_path, steady_bert, monkeypatch, kind):
    values = settings(tmp_path, steady_bert, kind)
    padded = go({**values, "output_dir": str(tmp_path / "padded")})
    monkeypatch.setattr("tunny.engine.compute.can_pack", lambda *_: (True, "tried on a CPU"))
    packed = go({**values, "output_dir": str(tmp_path / "packed")})
    losses = [[line["train/loss"] for line in log(folder) if "train/loss" in line] for folder in (padded, packed)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    ours, theirs = weights(packed), weights(padded)
    assert all(ours[name].sub(theirs[name]).abs().max() < 1e-4 for name in theirs)
    scores = [{name: value for name, value in log(folder)[-1].items() if name.startswith("validation/")} for folder in (padded, packed)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)


def test_the_next_item_is_made_while_the_caller_works_and_never_more_than_one():
    made = []
    for at, item in enumerate(ahead(lambda item: made.append(item) or item * 2, range(5))):
        assert item == at * 2
        time.sleep(0.05)
        assert made == list(range(min(at + 2, 5)))
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda item: 1 // item, [1, 0, 2]))
