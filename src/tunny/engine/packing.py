"""Batches without padding: the layers see the tokens of all rows side by side, embeddings and heads see padded rows.

So positions, token types, poolers and heads are right in every family. A row attends to itself alone: on a GPU in half precision
by FlashAttention for rows of any length, elsewhere by padding queries, keys and values for that moment. Places are counted on the
CPU and copied over; a device is waited for once only, to try the kernel.

Letters: B rows, T tokens of the longest row, N tokens of all rows, H heads, D width of a head.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tunny.engine.precision import Precision

FAMILIES = ("bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie", "modernbert", "roberta", "xlm-roberta")


class Plan:
    """Where the tokens lie of rows of these lengths, padded on the right to `width` tokens."""

    def __init__(self, lengths: Sequence[int], width: int, device: torch.device):
        assert 0 < min(lengths) <= max(lengths) <= width
        starts = np.concatenate(([0], np.cumsum(lengths)))
        places = np.arange(starts[-1]) + np.repeat(np.arange(len(lengths)) * width - starts[:-1], lengths)
        counted = (torch.from_numpy(places), torch.from_numpy(starts.astype(np.int32)))
        moved = [(part.pin_memory() if device.type == "cuda" else part).to(device, non_blocking=True) for part in counted]
        self.places = moved[0]  # (N,) int64, of each token among B * T
        self.starts = moved[1]  # (B + 1,) int32, of each row among N, and the end
        self.shape = (len(lengths), width)  # B, T

    def pack(self, values: Tensor) -> Tensor:
        """Return (B, T, ...) as (N, ...)."""
        return values.flatten(0, 1).index_select(0, self.places)

    def pad(self, values: Tensor) -> Tensor:
        """Return (N, ...) as (B, T, ...), zeros at padding."""
        zeros = values.new_zeros(self.shape[0] * self.shape[1], *values.shape[1:])
        return zeros.index_copy(0, self.places, values).view(*self.shape, *values.shape[1:])


def can_pack(model: PreTrainedModel, device: torch.device, precision: Precision) -> tuple[bool, str]:
    """Say whether batches of this model should be packed on this device, and why."""
    if model.config.model_type not in FAMILIES or getattr(model.config, "is_decoder", False):
        return False, f"the attention of {model.config.model_type} is its own, or not known here; batches of like length instead"
    if device.type != "cuda":
        return False, "it is for GPUs; batches of like length instead"
    fault = kernel_fault(device, precision.dtype, model.config.hidden_size // model.config.num_attention_heads)
    return True, f"layers skip padding, attention does not: {fault}" if fault else "layers and attention skip padding"


class Packing:
    """Packs the batches of one model of FAMILIES inside `of`; outside it the model works on padded rows as ever."""

    def __init__(self, model: PreTrainedModel):
        self._lengths: Sequence[int] | None = None
        AttentionInterface.register("tunny_packed", attend)
        AttentionMaskInterface.register("tunny_packed", sdpa_mask)
        model.set_attn_implementation("tunny_packed")
        layers = next(part for part in model.base_model.modules() if isinstance(part, nn.ModuleList))
        model.base_model.register_forward_pre_hook(self._begin, with_kwargs=True)
        layers[0].register_forward_pre_hook(_enter, with_kwargs=True)
        layers[-1].register_forward_hook(_leave, with_kwargs=True)

    @contextmanager
    def of(self, lengths: Sequence[int]) -> Iterator[None]:
        """Pack the batch of the forward pass inside, whose rows have these lengths; its backward pass may come later."""
        self._lengths = lengths
        try:
            yield
        finally:
            self._lengths = None

    def _begin(self, base: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Hand the plan to the layers as an argument: checkpointing runs them again in the backward pass, with their arguments."""
        if self._lengths is None:
            return None
        mask: Tensor = kwargs["attention_mask"]  # (B, T)
        plan = Plan(self._lengths, mask.shape[1], mask.device)
        assert plan.shape == mask.shape
        # transformers asks the device whether a mask hides anything; one of four dimensions it takes as it is
        taken = {**kwargs, "packing": plan, "attention_mask": mask[:, None, None]}
        return args, {**taken, "position_ids": (plan.places % plan.shape[1])[None]} if hasattr(base, "rotary_emb") else taken


def _enter(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
    return ((kwargs["packing"].pack(args[0])[None], *args[1:]), kwargs) if "packing" in kwargs else None


def _leave(_: nn.Module, __: Any, kwargs: dict[str, Any], output: Tensor) -> Any:
    return kwargs["packing"].pad(output[0]) if "packing" in kwargs else None


def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any) -> Any:
    """Attend inside each row, (1, H, N, D) to (1, N, H, D); without a plan as transformers' sdpa does."""
    if "packing" not in kwargs:
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    way = padded if kernel_fault(query.device, query.dtype, query.shape[-1]) else ragged
    parts = [part[0].transpose(0, 1) for part in (query, key, value)]
    return way(parts, kwargs["packing"], kwargs["dropout"], kwargs["scaling"], kwargs.get("sliding_window"))[None], None


def padded(parts: Sequence[Tensor], plan: Plan, dropout: float, scale: float | None, window: int | None) -> Tensor:
    """Attend inside each row, (N, H, D) thrice to (N, H, D), by padding; with a window to tokens less than it apart."""
    at = torch.arange(plan.shape[1], device=plan.starts.device)
    mask = (at < plan.starts.diff()[:, None])[:, None, None]  # (B, 1, 1, T)
    if window is not None:
        mask = mask & ((at[:, None] - at).abs() < window)
    query, key, value = (plan.pad(part).transpose(1, 2) for part in parts)
    mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scale)
    return plan.pack(mixed.transpose(1, 2))


def ragged(parts: Sequence[Tensor], plan: Plan, dropout: float, scale: float | None, window: int | None) -> Tensor:
    """Do the same without padding, by the operator below `varlen_attn`, which itself has no dropout (pytorch#179382)."""
    rows, reach = (plan.starts, plan.starts, plan.shape[1], plan.shape[1]), -1 if window is None else window - 1
    forward: Callable[..., list[Tensor]] = torch.ops.aten._flash_attention_forward
    return forward(*parts, *rows, dropout, False, False, scale=scale, window_size_left=reach, window_size_right=reach)[0]


@cache
def kernel_fault(device: torch.device, dtype: torch.dtype, width: int, way: Callable[..., Tensor] = ragged) -> str:
    """Try a way, once a type: values, gradients and windows against `padded` in fp32, dropout by its rate and its mask in both passes."""

    def tried(way: Callable[..., Tensor], plan: Plan, values: Tensor, dropout: float, window: int | None) -> Tensor:
        values = values.detach().requires_grad_()
        mixed = way(values.unbind(), plan, dropout, None, window)
        return torch.cat([mixed.detach()[None], *torch.autograd.grad(mixed.float().square().sum(), values)]).float()

    cuda = [device] if device.type == "cuda" else []
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False), torch.random.fork_rng(cuda):
            plan, waves = Plan((3, 1, 40), 40, device), torch.arange(264.0 * width, device=device).sin().view(3, 44, 2, width).to(dtype)
            for window in (None, 2):
                found, exact = tried(way, plan, waves, 0.0, window), tried(padded, plan, waves.float(), 0.0, window)
                torch.testing.assert_close(found, exact, rtol=0.05, atol=0.05)
            found = tried(way, Plan([1] * 64, 1, device), waves.new_ones(3, 64, 2, width), 0.5, None)
            same = torch.allclose(found[3], 4 * found[0], rtol=0.05) and 0.6 < float(found[0].mean()) < 1.4
            return "" if same else "attention is not dropped, or not the same in the backward pass"
    except (AssertionError, AttributeError, RuntimeError, TypeError) as error:
        return str(error).partition("\n")[0]
