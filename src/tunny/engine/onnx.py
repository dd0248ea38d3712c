"""An exported model, run by ONNX Runtime or OpenVINO in place of torch: what is before and behind it is the same code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunny.core.errors import ModelError
from tunny.data.inputs import Inputs
from tunny.engine.device import gpu_number, num_threads

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class OnnxModel:
    """An ONNX file in memory, run by ONNX Runtime; raises ModelError where it is no whole model for so many labels."""

    def __init__(self, file: Path, device: str, num_labels: int):
        self.device = device
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(f"{file}: needs ONNX Runtime: pip install 'tunny[export]', or set engine.variant: torch") from error
        providers: list[Any] = ["CPUExecutionProvider"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # between batches others compute
        options.log_severity_level = 4
        if device != "cpu":
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise ModelError(f"{file}: this ONNX Runtime has no CUDA. Install onnxruntime-gpu, or set engine.device: cpu.")
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu_number(device), "use_tf32": "0"}))
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers)
        except Exception as error:  # its errors have no class of their own
            raise _damaged(file, error) from error
        self._taken = [one.name for one in self._session.get_inputs()]
        _require_ours(file, self._taken, {one.name: one.shape[-1] for one in self._session.get_outputs()}, num_labels)

    def __call__(self, inputs: Inputs, lengths: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits, (B, T, K) or (B, K), of padded rows."""
        (logits,) = self._session.run(["logits"], {name: inputs[name] for name in self._taken})
        return np.asarray(logits, dtype=np.float32)


class OpenVinoModel:
    """The file of fp32 in memory, run by OpenVINO on a CPU, in fp32 also where the processor multiplies bf16 fast."""

    def __init__(self, file: Path, device: str, num_labels: int):
        self.device = device
        if device != "cpu":
            raise ModelError(f"{file}: OpenVINO answers on CPUs. Set engine.device: cpu, or another engine.variant.")
        try:
            import openvino
        except ImportError as error:
            raise ModelError(f"{file}: needs OpenVINO: pip install 'tunny[openvino]', or set another engine.variant") from error
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": num_threads()}
        try:
            self._model = openvino.Core().compile_model(file, "CPU", options)
        except RuntimeError as error:
            raise _damaged(file, error) from error
        self._taken = [one.any_name for one in self._model.inputs]
        outputs = {one.any_name: one.partial_shape[-1] for one in self._model.outputs}
        _require_ours(file, self._taken, {name: size.get_length() for name, size in outputs.items() if size.is_static}, num_labels)

    def __call__(self, inputs: Inputs, lengths: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits, (B, T, K) or (B, K), of padded rows."""
        return np.asarray(self._model({name: inputs[name] for name in self._taken})["logits"], dtype=np.float32)


def _damaged(file: Path, error: Exception) -> ModelError:
    said = " ".join(str(error).strip().splitlines()[-1:])[:200]
    return ModelError(f"{file}: cannot be loaded: {said} Export the model again.")


def _require_ours(file: Path, taken: Sequence[str], found: Mapping[str, Any], num_labels: int) -> None:
    if found.get("logits") != num_labels or not set(taken) <= INPUTS:
        told = f"from {', '.join(taken)} to {found}"
        raise ModelError(f"{file}: expected a model from input_ids to logits of {num_labels} labels, found one {told}. Export it again.")
