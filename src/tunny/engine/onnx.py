"""An exported model, run by ONNX Runtime or OpenVINO in place of torch: what is before and behind it is the same code."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunny.core.errors import ModelError
from tunny.data.inputs import Inputs
from tunny.engine.device import gpu_number, num_threads

INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
Opened = tuple[Callable[[Inputs], Any], list[str], dict[str, Any]]  # what runs it, what it takes, and the last sizes of what it gives


class OnnxModel:
    """An ONNX file in memory; raises ModelError where it is no whole model for so many labels."""

    def __init__(self, file: Path, device: str, num_labels: int, by_openvino: bool = False):
        self.device = device
        self._run, self._taken, found = (_in_openvino if by_openvino else _in_onnxruntime)(file, device)
        if found.get("logits") != num_labels or not set(self._taken) <= INPUTS:
            told = f"from {', '.join(self._taken)} to {found}"
            raise ModelError(
                f"{file}: expected a model from input_ids to logits of {num_labels} labels, found one {told}. Export it again."
            )

    def __call__(self, inputs: Inputs, lengths: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits, (B, T, K) or (B, K), of padded rows."""
        return np.asarray(self._run({name: inputs[name] for name in self._taken}), dtype=np.float32)


def _in_onnxruntime(file: Path, device: str) -> Opened:
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
    with _whole(file):
        session = onnxruntime.InferenceSession(file, options, providers)
    outputs = {one.name: one.shape[-1] for one in session.get_outputs()}
    return lambda inputs: session.run(["logits"], inputs)[0], [one.name for one in session.get_inputs()], outputs


def _in_openvino(file: Path, device: str) -> Opened:
    """Open the file of fp32, to be run in fp32 also where the processor multiplies bf16 fast."""
    if device != "cpu":
        raise ModelError(f"{file}: OpenVINO answers on CPUs. Set engine.device: cpu, or another engine.variant.")
    try:
        import openvino
    except ImportError as error:
        raise ModelError(f"{file}: needs OpenVINO: pip install 'tunny[openvino]', or set another engine.variant") from error
    with _whole(file):
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": num_threads()}
        model = openvino.Core().compile_model(file, "CPU", options)
    sizes = {one.any_name: one.partial_shape[-1] for one in model.outputs}
    outputs = {name: size.get_length() for name, size in sizes.items() if size.is_static}
    return lambda inputs: model(inputs)["logits"], [one.any_name for one in model.inputs], outputs


@contextmanager
def _whole(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # ONNX Runtime's errors have no class of their own
        said = " ".join(str(error).strip().splitlines()[-1:])[:200]
        raise ModelError(f"{file}: cannot be loaded: {said} Export the model again.") from error
