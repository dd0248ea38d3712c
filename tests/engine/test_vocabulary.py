import numpy as np
import pytest
import torch
from torch import nn

from tunny.engine.vocabulary import SeenEmbedding, follow, train_seen_only, whole_vocabulary


class Toy(nn.Module):
    """An embedding and a head, with the accessors of a transformers model."""

    def __init__(self, tokens=40, padding=0):
        super().__init__()
        self.words = nn.Embedding(tokens, 6, padding_idx=padding)
        self.head = nn.Linear(6, 3)

    def get_input_embeddings(self):
        return self.words

    def set_input_embeddings(self, new):
        self.words = new

    def forward(self, ids):
        return self.head(self.words(ids)).mean(dim=1)


def steps(model, number, decay, rate=0.05):
    """Train on tokens 1 to 9 only and return the model."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    follow(model, optimizer)
    random = np.random.default_rng(1)
    for step in range(number):
        optimizer.param_groups[0]["lr"] = rate / (step + 1)
        ids = torch.from_numpy(random.integers(0, 10, (4, 5)))
        model.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    return model.eval()


def pair():
    torch.manual_seed(3)
    dense = Toy()
    part = Toy()
    part.load_state_dict(dense.state_dict())
    train_seen_only(part, [np.arange(1, 10, dtype=np.int32)], 0)
    assert isinstance(part.words, SeenEmbedding)
    return dense, part


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_training_the_tokens_that_occur_gives_what_training_all_gives(decay):
    dense, part = (steps(model, 25, decay) for model in pair())
    assert dense.state_dict().keys() == part.state_dict().keys()
    for name, value in dense.state_dict().items():
        assert torch.allclose(value, part.state_dict()[name], atol=1e-6), name
    everything = torch.arange(40).view(4, 10)
    assert torch.allclose(dense(everything), part(everything), atol=1e-6)
    decayed = (dense.words.weight[20:] / pair()[0].words.weight[20:]).mean().detach()
    assert float(decayed) == pytest.approx(1.0 if decay == 0 else 0.94, abs=0.02)  # rows outside did change, so the test can fail


def test_the_whole_embedding_comes_back_with_the_same_answers():
    _, part = pair()
    steps(part, 5, 0.3)
    everything = torch.arange(40).view(4, 10)
    before = part(everything)
    whole_vocabulary(part)
    assert type(part.words) is nn.Embedding
    assert part.words.padding_idx == 0
    assert torch.equal(part(everything), before)


def test_a_state_that_is_saved_and_loaded_goes_on_as_if_nothing_had_been():
    _, one = pair()
    _, two = pair()
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.3) for model in (one, two)]
    for model, optimizer in zip((one, two), optimizers, strict=True):
        follow(model, optimizer)

    def go(model, optimizer):
        model.train()
        optimizer.zero_grad()
        model(torch.tensor([[1, 2, 3]])).sum().backward()
        optimizer.step()

    for _ in range(3):
        go(one, optimizers[0])
    two.load_state_dict(one.state_dict())
    for mine, theirs in zip(two.parameters(), one.parameters(), strict=True):
        optimizers[1].state[mine].update({key: value.clone() for key, value in optimizers[0].state[theirs].items()})
    go(one, optimizers[0])
    go(two, optimizers[1])
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_vocabulary_that_mostly_occurs_is_left_alone():
    model = Toy()
    train_seen_only(model, [np.arange(35, dtype=np.int32)], 0)
    assert type(model.words) is nn.Embedding


def test_frozen_embeddings_are_left_alone():
    model = Toy()
    model.words.weight.requires_grad_(False)
    train_seen_only(model, [np.arange(5, dtype=np.int32)], 0)
    assert type(model.words) is nn.Embedding
