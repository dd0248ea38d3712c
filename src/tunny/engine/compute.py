"""How the forward passes of a loaded model run: on which device, in which numbers, with or without padding."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from tunny.core.console import choice
from tunny.data.inputs import Inputs
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


@dataclass(frozen=True)
class TorchModel:
    """A model in torch as it answers: padded rows in, logits out, both of them numpy."""

    module: nn.Module
    compute: Compute

    @property
    def device(self) -> str:
        """Where it runs: cpu, cuda or cuda:N."""
        return str(self.compute.device)

    @torch.inference_mode()
    def __call__(self, inputs: Inputs, lengths: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits, (B, T, K) or (B, K), of padded rows of these lengths."""
        if self.module.training:  # going through all parts of a model takes as long as a layer does for one text
            self.module.eval()
        given = {name: torch.from_numpy(values).to(self.compute.device, non_blocking=True) for name, values in inputs.items()}
        with self.compute.of(lengths):
            logits: torch.Tensor = self.module(**given).logits
        return logits.float().cpu().numpy()


def choose_compute(model: PreTrainedModel, device: torch.device, precision: Precision, padded: bool = False) -> Compute:
    """Pack the batches of a model where that can be done and pays, and say why; not where they are to be `padded`."""
    pays, reason = (False, "layers are compared with the teacher's") if padded else can_pack(model, device, precision)
    choice("batches", "without padding" if pays else "padded, rows of like length together", reason)
    return Compute(device, precision, Packing(model) if pays else None)
