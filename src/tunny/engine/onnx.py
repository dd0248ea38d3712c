"""An exported model, run by ONNX Runtime and called like the model that it came from: batches, decoding and scores stay the same code."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunny.core.errors import ModelError

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class Output(NamedTuple):
    """What a forward pass gives, by transformers' name."""

    logits: Tensor  # (B, T, K) or (B, K), on the CPU


class OnnxModel(nn.Module):
    """An ONNX file in memory; raises ModelError where it is no whole model for so many labels."""

    def __init__(self, file: Path, device: torch.device, num_labels: int):
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(f"{file}: needs ONNX Runtime: pip install 'tunny[export]', or set engine.variant: torch") from error
        providers: list[Any] = ["CPUExecutionProvider"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # between batches others compute
        options.log_severity_level = 4
        if device.type == "cuda":
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise ModelError(f"{file}: this ONNX Runtime has no CUDA. Install onnxruntime-gpu, or set engine.device: cpu.")
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": "0"}))
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers)
        except Exception as error:  # its errors have no class of their own
            raise ModelError(f"{file}: cannot be loaded: {str(error).strip()[:200]} Export the model again.") from error
        self._taken = [one.name for one in self._session.get_inputs()]
        found = {one.name: one.shape[-1] for one in self._session.get_outputs()}
        if found.get("logits") != num_labels or not set(self._taken) <= INPUTS:
            told = f"from {', '.join(self._taken)} to {found}"
            raise ModelError(
                f"{file}: expected a model from input_ids to logits of {num_labels} labels, found one {told}. Export it again."
            )
        self.eval()

    def forward(self, **inputs: Tensor) -> Output:
        """Return the logits of a batch."""
        (logits,) = self._session.run(["logits"], {name: inputs[name].cpu().numpy() for name in self._taken})
        return Output(torch.from_numpy(logits))
