import pytest

from tunny.engine.settings import EngineSettings
from tunny.tasks.model import load_tokenizer
from tunny.tasks.settings import ModelSettings
from tunny.training.estimate import estimate
from tunny.training.settings import TrainSettings


@pytest.fixture(scope="module")
def loaded(tiny_bert):
    return load_tokenizer(ModelSettings(name=str(tiny_bert)))


def cost(loaded, tokens=10_000, rows=100, window=128, **train):
    return estimate(loaded, TrainSettings(**train), EngineSettings(), tokens, rows, window)


def test_the_parameters_are_those_of_the_encoder(loaded, tiny_bert):
    from transformers import AutoModel

    assert cost(loaded).parameters == sum(parameter.numel() for parameter in AutoModel.from_pretrained(tiny_bert).parameters())


def test_time_grows_with_tokens_and_epochs(loaded):
    one = cost(loaded, epochs=1).seconds
    assert one > 0
    assert cost(loaded, epochs=4).seconds == pytest.approx(4 * one, rel=0.8)  # the ceiling is measured each time
    assert cost(loaded, tokens=1_000_000, epochs=1).seconds > 10 * one


def test_memory_grows_with_the_batch_and_holds_weights_and_optimizer(loaded):
    small, large = cost(loaded, batch_size=4), cost(loaded, batch_size=64)
    assert large.memory_bytes > small.memory_bytes > 16 * small.parameters
