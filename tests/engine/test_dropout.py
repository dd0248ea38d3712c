import pytest
import torch
from torch import nn

from tunny.engine.dropout import CheapDropout, use_cheap_dropout


@pytest.mark.parametrize("rate", [0.1, 0.37, 0.5])
def test_the_rate_is_right(rate):
    torch.manual_seed(1)
    dropped = (CheapDropout(rate)(torch.ones(4_000_000)) == 0).double().mean().item()
    assert dropped == pytest.approx(rate, abs=5 * (rate * (1 - rate) / 4e6) ** 0.5)  # five standard errors


def test_the_mean_is_kept():
    torch.manual_seed(2)
    assert CheapDropout(0.1)(torch.ones(4_000_000)).double().mean().item() == pytest.approx(1.0, abs=1e-3)


def test_what_is_kept_is_scaled_as_torch_scales_it():
    torch.manual_seed(3)
    values = CheapDropout(0.1)(torch.ones(1000))
    assert sorted(set(values.tolist())) == pytest.approx([0.0, 1 / 0.9], abs=1e-4)


def test_neighbours_and_columns_are_independent():
    torch.manual_seed(4)
    dropped = (CheapDropout(0.5)(torch.ones(500_000, 4)) == 0).double()
    correlation = torch.corrcoef(dropped.T) - torch.eye(4)
    assert correlation.abs().max().item() < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_passes_where_the_value_did(dtype):
    torch.manual_seed(5)
    values = torch.ones(7, 5, 3, dtype=dtype, requires_grad=True)
    out = CheapDropout(0.4)(values)
    out.sum().backward()
    assert out.dtype == dtype
    assert torch.equal(values.grad, out.detach())


def test_one_seed_draws_one_mask():
    masks = []
    for seed in (6, 6, 7):
        torch.manual_seed(seed)
        masks.append(CheapDropout(0.3)(torch.ones(1001)))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_nothing_is_dropped_outside_training_or_at_rate_0():
    values = torch.ones(9)
    assert CheapDropout(0.5).eval()(values) is values
    assert CheapDropout(0.0)(values) is values


def test_only_plain_dropout_is_replaced_and_weights_keep_their_names():
    model = nn.Sequential(
        nn.Linear(2, 2), nn.Dropout(0.2), nn.Sequential(nn.Dropout(0.3, inplace=True), nn.Dropout1d(0.1), nn.Dropout(0.4))
    )
    before = list(model.state_dict())
    assert use_cheap_dropout(model) == 2
    assert [type(part) for part in model[2]] == [nn.Dropout, nn.Dropout1d, CheapDropout]
    assert model[1].p == 0.2
    assert list(model.state_dict()) == before
