"""Training only the embeddings of tokens that occur: the others get no gradient, so their gradient, moments and updates are left out.

Most texts use a part of a model's vocabulary, of a multilingual one a tenth. The result is that of dense AdamW to rounding: a row
without gradients has moments of zero, so weight decay alone changes it, by a factor that is kept here and applied on looking it up.
The state dict has the whole table under its own name.

Letters: V tokens of the vocabulary, K of them seen, D numbers a row.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tunny.core.console import choice

PAYS = 0.75  # share of seen tokens below which it is done


class SeenEmbedding(nn.Module):
    """Stands for an nn.Embedding while training: rows that learn, and rows that only decay."""

    rest: Tensor  # (V - K, D), as training began
    order: Tensor  # (V,): first the tokens that learn
    places: Tensor  # (V,): where the row of a token stands in weight, then rest

    def __init__(self, full: nn.Embedding, seen: NDArray[np.int64]):
        super().__init__()
        learns = torch.zeros(full.num_embeddings, dtype=torch.bool, device=full.weight.device)
        learns[torch.from_numpy(seen)] = True
        order = torch.cat([learns.nonzero().squeeze(1), (~learns).nonzero().squeeze(1)])
        places = torch.empty_like(order).index_put_((order,), torch.arange(len(order), device=order.device))
        self.weight = nn.Parameter(full.weight.detach()[order[: len(seen)]].clone())  # (K, D)
        self.register_buffer("rest", full.weight.detach()[order[len(seen) :]].clone(), persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("places", places, persistent=False)
        self.padding = None if full.padding_idx is None else int(places[full.padding_idx])
        self._learns: tuple[torch.optim.Optimizer, nn.Parameter] | None = None  # the parameter may be a rank's part of the weight

    @property
    def decayed(self) -> float:
        """What weight decay has left of the rows in `rest`."""
        return 1.0 if self._learns is None else float(self._learns[0].state[self._learns[1]].get("decayed", 1.0))

    def decay_with(self, optimizer: torch.optim.Optimizer) -> None:
        """Decay with the optimizer's steps; the factor is part of its state, so a checkpoint holds it."""
        weight = self.weight
        self._learns = (optimizer, weight)
        (group,) = [group for group in optimizer.param_groups if any(one is weight for one in group["params"])]

        def decay(*_: object) -> None:
            state = optimizer.state[weight]
            factor = 1.0 - float(group["lr"]) * float(group["weight_decay"])
            state["decayed"] = state.get("decayed", torch.ones((), dtype=torch.float64)) * factor

        optimizer.register_step_post_hook(decay)

    def forward(self, ids: Tensor) -> Tensor:
        """Look the rows of token ids up: (B, T) to (B, T, D). While training all of them must be seen ones."""
        places, seen = self.places[ids], len(self.weight)
        if self.training:
            return functional.embedding(places, self.weight, self.padding)
        kept = functional.embedding(places.clamp(max=seen - 1), self.weight)
        others = functional.embedding((places - seen).clamp(min=0), self.rest) * self.decayed
        return torch.where((places < seen).unsqueeze(-1), kept, others)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        weight: Any = self.weight.detach()
        learnt = weight.full_tensor() if hasattr(weight, "full_tensor") else weight  # of a rank that holds a part of it
        rows = torch.cat([learnt, self.rest * self.decayed])
        destination[f"{prefix}weight"] = rows[self.places]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
        """Take the rows that learn; the others are those of the model that training began with, and their factor."""
        with torch.no_grad():
            self.weight.copy_(state_dict[f"{prefix}weight"][self.order[: len(self.weight)]])


def train_seen_only(model: Any, token_ids: Iterable[NDArray[np.int32]], pad_id: int) -> None:
    """Leave the embeddings of tokens that no array holds out of training, where that pays, and say so."""
    full = model.get_input_embeddings()
    if type(full) is not nn.Embedding or not full.weight.requires_grad or full.max_norm is not None or full.scale_grad_by_freq:
        return
    occurs = np.zeros(full.num_embeddings, dtype=bool)
    for ids in token_ids:
        occurs[ids] = True
    occurs[[pad_id, *([] if full.padding_idx is None else [full.padding_idx])]] = True
    seen = np.nonzero(occurs)[0]
    if len(seen) > PAYS * full.num_embeddings:
        return
    model.set_input_embeddings(SeenEmbedding(full, seen))
    choice("vocabulary", f"{len(seen):,} of {full.num_embeddings:,} tokens learn", "the others do not occur; they only decay, as in full")


def follow(model: Any, optimizer: torch.optim.Optimizer) -> None:
    """Have the rows that do not learn decay with the steps of an optimizer."""
    for part in model.modules():
        if isinstance(part, SeenEmbedding):
            part.decay_with(optimizer)


def whole_vocabulary(model: Any) -> None:
    """Put a plain embedding with all rows back, for use after training."""
    part = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if isinstance(part, SeenEmbedding):
        padding = None if part.padding is None else int(part.order[part.padding])
        weight = part.state_dict()["weight"]
        model.set_input_embeddings(nn.Embedding(len(weight), weight.shape[1], padding_idx=padding, _weight=weight))
