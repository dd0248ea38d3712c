"""An exported model, run by ONNX Runtime in place of torch: what is before and behind it is the same code."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunny.core.errors import ModelError
from tunny.data.inputs import Inputs
from tunny.engine.device import gpu_number

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class OnnxModel:
    """An ONNX file in memory; raises ModelError where it is no whole model for so many labels."""

    def __init__(self, file: Path, device: str, num_labels: int):
        self.device = device
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(f"{file}: needs ONNX Runtime: pip install 'tunny[export]', or set engine.variant: torch") from error
        providers: list[Any] = ["CPUExecutionProvider"]
        options = onnxruntime.SessionOptions()
        threads = os.environ.get("OMP_NUM_THREADS", "")
        options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0  # 0: one for each core
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # between batches others compute
        options.log_severity_level = 4
        if device != "cpu":
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise ModelError(f"{file}: this ONNX Runtime has no CUDA. Install onnxruntime-gpu, or set engine.device: cpu.")
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu_number(device), "use_tf32": "0"}))
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

    def __call__(self, inputs: Inputs, lengths: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits, (B, T, K) or (B, K), of padded rows."""
        (logits,) = self._session.run(["logits"], {name: inputs[name] for name in self._taken})
        return np.asarray(logits, dtype=np.float32)
