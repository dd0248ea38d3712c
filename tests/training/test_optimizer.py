import math

import pytest
import torch
import transformers

from tunny.tasks.layers import depth_of
from tunny.training.optimizer import make_optimizer, rate_factor, set_rate
from tunny.training.settings import TrainSettings


@pytest.fixture
def tagger(tiny_bert):
    return transformers.AutoModelForTokenClassification.from_pretrained(tiny_bert, num_labels=3)


def group_of(optimizer, parameter):
    return next(group for group in optimizer.param_groups if any(parameter is one for one in group["params"]))


def test_every_matrix_decays_and_no_bias_or_norm_does(tagger):
    optimizer = make_optimizer(tagger, TrainSettings(weight_decay=0.3))
    for name, parameter in tagger.named_parameters():
        expected = 0.0 if name.endswith("bias") or "LayerNorm" in name else 0.3
        assert group_of(optimizer, parameter)["weight_decay"] == expected, name


def test_every_parameter_stands_in_one_group(tagger):
    optimizer = make_optimizer(tagger, TrainSettings(layer_decay=0.5))
    assert sorted(id(p) for group in optimizer.param_groups for p in group["params"]) == sorted(map(id, tagger.parameters()))


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("classifier.weight", 1e-3),
        ("bert.encoder.layer.1.attention.self.query.weight", 5e-4),
        ("bert.encoder.layer.0.output.dense.bias", 2.5e-4),
        ("bert.embeddings.word_embeddings.weight", 1.25e-4),
        ("bert.embeddings.LayerNorm.weight", 1.25e-4),
    ],
)
def test_layer_decay_lowers_the_rate_by_depth(tagger, name, rate):
    optimizer = make_optimizer(tagger, TrainSettings(learning_rate=1e-3, layer_decay=0.5))
    assert group_of(optimizer, tagger.get_parameter(name))["initial_lr"] == pytest.approx(rate)


def test_layer_decay_is_the_same_where_layers_are_frozen(tagger):
    for name, parameter in tagger.named_parameters():
        parameter.requires_grad_(depth_of(name) not in (0, 1))
    optimizer = make_optimizer(tagger, TrainSettings(learning_rate=1e-3, layer_decay=0.5))
    assert {group["initial_lr"] for group in optimizer.param_groups} == {1e-3, 5e-4}


def test_frozen_parameters_are_not_in_the_optimizer(tagger):
    tagger.bert.requires_grad_(False)
    optimizer = make_optimizer(tagger, TrainSettings())
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 1]


@pytest.mark.parametrize("total", [1, 7, 40])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_schedules_are_those_of_transformers(schedule, ratio, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    warmup = math.ceil(ratio * total)
    make = {
        "linear": lambda: transformers.get_linear_schedule_with_warmup(optimizer, warmup, total),
        "cosine": lambda: transformers.get_cosine_schedule_with_warmup(optimizer, warmup, total),
        "constant": lambda: transformers.get_constant_schedule_with_warmup(optimizer, warmup),
    }[schedule]
    reference = make()
    settings = TrainSettings(schedule=schedule, warmup_ratio=ratio)
    for step in range(total):
        assert rate_factor(step, total, settings) == pytest.approx(reference.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("steps", [0, 3])
def test_a_warm_up_of_steps_takes_the_place_of_its_ratio(steps):
    by_steps, by_ratio = TrainSettings(warmup_steps=steps, warmup_ratio=0.9), TrainSettings(warmup_ratio=steps / 10)
    assert [rate_factor(step, 10, by_steps) for step in range(10)] == [rate_factor(step, 10, by_ratio) for step in range(10)]


def test_setting_the_rate_scales_every_group_and_gives_the_highest(tagger):
    optimizer = make_optimizer(tagger, TrainSettings(learning_rate=1e-3, layer_decay=0.5))
    assert set_rate(optimizer, 0.25) == pytest.approx(2.5e-4)
    assert {group["lr"] / group["initial_lr"] for group in optimizer.param_groups} == {0.25}
