import pytest
import torch
from torch import nn
from transformers.models.bert.modeling_bert import eager_attention_forward

from tunny.engine.attention import plain_attention


def inputs(heads=3, key_heads=3, dtype=torch.float32):
    torch.manual_seed(0)
    query = torch.randn(4, heads, 7, 8, dtype=dtype, requires_grad=True)
    key, value = (torch.randn(4, key_heads, 7, 8, dtype=dtype, requires_grad=True) for _ in range(2))
    mask = torch.zeros(4, 1, 7, 7, dtype=dtype)
    mask[1, :, :, 4:] = torch.finfo(dtype).min
    return query, key, value, mask


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("scaling", [None, 0.11])
def test_values_and_gradients_are_those_of_eager_attention(masked, scaling):
    module, found = nn.Module().eval(), []
    for attend in (plain_attention, eager_attention_forward):
        query, key, value, mask = inputs()
        attended, probabilities = attend(module, query, key, value, mask if masked else None, scaling=scaling, dropout=0.1)
        (attended**2).sum().backward()
        found.append((attended, probabilities, query.grad, key.grad, value.grad))
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*found, strict=True))


def test_probabilities_are_dropped_at_the_rate_while_training_only():
    query, key, _, _ = inputs()
    module, each = nn.Module().train(), torch.eye(7, 8).expand(4, 3, 7, 8)  # of which what is attended are the probabilities
    dropped = torch.stack([plain_attention(module, query, key, each, None, dropout=0.25)[0][..., :7] == 0 for _ in range(60)])
    assert float(dropped.float().mean()) == pytest.approx(0.25, abs=0.01)  # 35,280 draws: 4 standard errors
    assert not (plain_attention(module.eval(), query, key, each, None, dropout=0.25)[0][..., :7] == 0).any()


def test_the_probabilities_that_are_returned_are_those_before_dropout():
    query, key, value, mask = inputs()
    found = [plain_attention(module, query, key, value, mask, dropout=0.25)[1] for module in (nn.Module().train(), nn.Module().eval())]
    assert torch.equal(*found)
