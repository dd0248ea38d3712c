"""Attention for CPUs: plain matrix products, which beat the fused kernels there at training lengths, with cheap dropout.

What transformers' own eager attention computes, in fewer passes over the scores. It is registered in transformers'
`AttentionInterface`, where most families ask for their attention; the others keep theirs.

Letters: B rows, H heads, T tokens, D numbers a head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from tunny.core.console import choice
from tunny.engine.dropout import cheap_dropout

PLAIN = "tunny_plain"
FAMILIES = {"bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "modernbert", "albert", "ernie"}


def plain_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None,
    dropout: float = 0.0, **_: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the attended values (B, T, H, D) and the probabilities before dropout (B, H, T, T).

    `query`, `key` and `value` are (B, H, T, D), the mask (B, 1, T, T) is added to the scores.
    """
    rows, heads, length, width = query.shape
    flat = [tensor.reshape(rows * heads, -1, width) for tensor in (query, key, value)]
    scale = width**-0.5 if scaling is None else scaling
    scores = torch.baddbmm(flat[0].new_empty(()), flat[0], flat[1].transpose(1, 2), beta=0, alpha=scale)
    if attention_mask is not None:
        scores.view(rows, heads, length, -1).add_(attention_mask)
    probabilities = torch.softmax(scores, dim=-1)
    kept = cheap_dropout(probabilities, dropout) if module.training else probabilities
    attended = torch.bmm(kept, flat[2]).view(rows, heads, length, width)
    return attended.transpose(1, 2).contiguous(), probabilities.view(rows, heads, length, -1)


def use_plain_attention(model: PreTrainedModel) -> None:
    """Set a model on a CPU to plain attention, or to its family's own where that is not known to be the same."""
    AttentionInterface.register(PLAIN, plain_attention)
    AttentionMaskInterface.register(PLAIN, eager_mask)
    plain = model.config.model_type in FAMILIES
    model.set_attn_implementation(PLAIN if plain else "eager")
    choice("attention", "plain matrix products", "faster than fused kernels on a CPU" if plain else f"{model.config.model_type}'s own")
