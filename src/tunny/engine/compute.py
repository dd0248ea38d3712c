"""How the forward passes of a loaded model run: on which device, in which numbers, with or without padding."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from tunny.core.console import choice
from tunny.engine.packing import Packing, can_pack
from tunny.engine.precision import Precision


@dataclass(frozen=True)
class Compute:
    """Device, precision, and the packing of a model that has one."""

    device: torch.device
    precision: Precision
    packing: Packing | None = None

    @contextmanager
    def of(self, lengths: Sequence[int]) -> Iterator[None]:
        """Return the context of a forward pass over rows of these lengths."""
        with self.precision.autocast(), nullcontext() if self.packing is None else self.packing.of(lengths):
            yield


def choose_compute(model: PreTrainedModel, device: torch.device, precision: Precision, padded: bool = False) -> Compute:
    """Pack the batches of a model where that can be done and pays, and say why; not where they are to be `padded`."""
    pays, reason = (False, "layers are compared with the teacher's") if padded else can_pack(model, device, precision)
    choice("batches", "without padding" if pays else "padded, rows of like length together", reason)
    return Compute(device, precision, Packing(model) if pays else None)
