"""Making the exported forms of a model, each one ONNX file that appears only when it was found good enough.

`fp32` must compute what torch computes. `fp16` and `int8` must keep the score on labelled data; int8 tries again with the products
that suffer most left in fp32. Weights are rounded to int8 by output channel, what is multiplied with them as it comes.
"""

import contextlib
import copy
import logging
import warnings
from ast import literal_eval
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from tunny.core.console import choice, say
from tunny.core.errors import ModelError
from tunny.core.files import digest_file, new_file
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.inputs import Inputs, pad
from tunny.engine.compute import Compute, TorchModel
from tunny.engine.onnx import OnnxModel
from tunny.engine.precision import Precision, cpu_flags
from tunny.evaluation.predict import encode_chunks, forward
from tunny.ship.folder import VARIANTS
from tunny.ship.predictor import Predictor

TOLERANCE = 1e-4  # of logits, between torch and ONNX in fp32
KEPT = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # share of the products that stay in fp32, tried in turn
LARGEST = 2**31 - 2**20  # bytes of one ONNX file: its format counts them in 31 bits


@dataclass(frozen=True)
class Exporter:
    """What every variant of a model is made of and measured by."""

    reference: Predictor  # the model in torch
    folder: Path
    texts: Sequence[Example]  # of every length
    score: Callable[[Predictor], float] | None  # on labelled data
    before: float | None  # score of the reference
    max_drop: float  # points of 100

    def write(self, name: str) -> tuple[Predictor, dict[str, Any]]:
        """Write the first form of a variant that is good enough and return it with its facts; raise ModelError where none is."""
        fault = ""
        with new_file(self.folder / VARIANTS[name]) as path:
            for note in self._forms(name, path):
                num_labels = len(self.reference.task.labels.names)
                predictor = replace(self.reference, model=OnnxModel(path, self.reference.model.device, num_labels))
                gap = difference(self.reference, predictor, self.texts)
                score = self.score(predictor) if self.score and np.isfinite(gap) else None
                drop = 0.0 if score is None or self.before is None else 100 * (self.before - score)
                fault = f"{name}{note}: " + self._told(name, gap, score, drop)
                say(fault)
                if np.isfinite(gap) and (gap <= TOLERANCE if name == "fp32" else drop <= self.max_drop):
                    return predictor, {"sha256": digest_file(path), "score": score, "drop": drop, "difference": gap, "note": note}
            raise ModelError(f"{fault}. {VARIANTS[name]} is not written.")

    def _told(self, name: str, gap: float, score: float | None, drop: float) -> str:
        if name == "fp32" or score is None:
            return f"its logits differ from torch's by {gap:.2g} at most; allowed are {TOLERANCE if name == 'fp32' else 'finite numbers'}"
        return f"score {score:.4f}, in torch {self.before:.4f}: loses {drop:.2f} points, allowed are {self.max_drop:g} (--max-drop)"

    def _forms(self, name: str, path: Path) -> Iterator[str]:
        """Write a variant; of int8 one form after the other, with more and more of the sensitive products in fp32."""
        if name != "int8":
            module = cast(TorchModel, self.reference.model).module
            graph = to_onnx(module, self._inputs(), torch.float16 if name == "fp16" else torch.float32)
            path.write_bytes(graph.SerializeToString())
            yield ""
            return
        onnx, quantization = packages()
        whole = bool({"avx512_vnni", "avx_vnni"} & cpu_flags())
        reason = f"the processor has {'' if whole else 'no '}VNNI; without it sums of 8 overflow"
        choice("int8 weights", "8 bits" if whole else "7 bits", reason)
        graph = onnx.load(self.folder / VARIANTS["fp32"])
        order = sensitive(graph, self._inputs())
        for share in (0.0, *KEPT):
            kept = order[: round(share * len(order)) or bool(share)]
            rounded = [name for name in order if name not in kept]
            with _quiet():
                quantization.quantize_dynamic(graph, path, per_channel=True, reduce_range=not whole, nodes_to_quantize=rounded)
            yield f" ({len(kept)} of {len(order)} products in fp32: {', '.join(kept[:4])}{' ...' if len(kept) > 4 else ''})" if kept else ""

    def _inputs(self) -> Inputs:
        """Return two windows of different lengths, for tracing and for seeing what int8 does."""
        windows = next(encode_chunks(self.texts[-2:], self.reference.encoder, self.reference.task, Audit()))[1]
        return pad([windows[at] for at in (0, len(windows) - 1)], self.reference.task.padding)[0]


def of_every_length(texts: Sequence[Example], limit: int) -> list[Example]:
    """Return the words of texts as examples of 0, 1, 2, 3, 5, 8 ... words, up to more than `limit`; pairs where there are pairs."""
    words = [word for example in texts for word in f"{example.text} {example.text_b or ''}".split()] or ["a"]
    words, sizes = words * (1 + 3 * limit // len(words)), [0, 1, 2]
    while sizes[-1] <= limit:
        sizes.append(sizes[-1] + sizes[-2])
    second = [" ".join(words[size : size + 1 + size // 2]) if any(one.text_b for one in texts) else None for size in sizes]
    return [Example(str(size), " ".join(words[:size]), text_b=text_b) for size, text_b in zip(sizes, second, strict=True)]


def difference(reference: Predictor, other: Predictor, texts: Sequence[Example]) -> float:
    """Return the largest difference of a model's logits from torch's in fp32; infinite where one gives numbers that are not finite."""
    model, largest = cast(TorchModel, reference.model), 0.0
    in_fp32 = TorchModel(model.module, Compute(model.compute.device, Precision("fp32", model.compute.device.type)))
    for _, windows, _ in encode_chunks(texts, reference.encoder, reference.task, Audit()):
        found = [forward(one, reference.task, windows) for one in (in_fp32, other.model)]
        gaps = [float(np.abs(a - b).max()) for a, b in zip(*found, strict=True)]
        largest = max([largest, *gaps]) if np.isfinite(gaps).all() else np.inf
    return largest


def to_onnx(model: Any, inputs: Inputs, dtype: torch.dtype = torch.float32) -> Any:
    """Return a model as an ONNX graph of any number of rows and tokens, its nodes named by the layers that they came from."""
    size = sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize
    if size > LARGEST:
        raise ModelError(f"the model's weights take {size / 2**30:.1f} GiB in {dtype}; one ONNX file holds at most 2 GiB")
    given = {name: torch.from_numpy(values) for name, values in inputs.items()}
    any_size = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in given}
    plain = plain_copy(model).to(dtype)
    with _quiet():
        program = torch.onnx.export(plain, kwargs=given, dynamo=True, dynamic_shapes=any_size, output_names=["logits"], verbose=False)
    assert program is not None
    graph, used = program.model_proto, set[str]()
    for at, node in enumerate(graph.graph.node):
        layer = next((literal_eval(one.value)[-2] for one in node.metadata_props if one.key == "pkg.torch.onnx.name_scopes"), "")
        node.name = layer if layer and layer not in used else f"{layer}/{node.op_type}_{at}"
        used.add(node.name)
        del node.metadata_props[:]  # places of this machine's Python files among them
    del graph.metadata_props[:]
    return graph


def plain_copy(model: Any) -> nn.Module:
    """Return a model as transformers makes it, on the CPU, without what makes it faster in torch."""
    try:
        plain = type(model)._from_config(copy.deepcopy(model.config), attn_implementation="sdpa")
    except ValueError:  # the family has no such attention
        plain = type(model)._from_config(copy.deepcopy(model.config), attn_implementation="eager")
    plain.load_state_dict(model.state_dict())
    return plain.eval()  # type: ignore[no-any-return]


def sensitive(graph: Any, inputs: Inputs) -> list[str]:
    """Return the names of all products by weights and look-ups in them, first those whose own result int8 changes most, on a real batch."""
    onnx, _ = packages()
    import onnxruntime

    weights = {one.name: one for one in graph.graph.initializer if len(one.dims) == 2}
    products = [node for node in graph.graph.node if node.op_type in ("MatMul", "Gather")]
    pairs = [(node, *node.input[:: 1 if node.op_type == "MatMul" else -1]) for node in products]
    found = [(node, taken, onnx.numpy_helper.to_array(weights[name])) for node, taken, name in pairs if name in weights]
    values: dict[str, Any] = dict(inputs)
    watched, names = onnx.ModelProto(), sorted({taken for _, taken, _ in found}.difference(values))
    watched.CopyFrom(graph)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    values |= dict(zip(names, session.run(names, values), strict=True))
    errors = {}
    for node, taken, weight in found:
        if node.op_type == "MatMul":
            exact, rounded = values[taken] @ weight, _rounded(values[taken]) @ _rounded(weight, axis=0)
        else:
            exact, rounded = weight[values[taken]], _rounded(weight)[values[taken]]
        errors[node.name] = float(np.linalg.norm(rounded - exact) / (np.linalg.norm(exact) + 1e-12))
    return sorted(errors, key=lambda name: -errors[name])


def _rounded(values: Any, axis: int | None = None) -> Any:
    step = (values.max(axis, keepdims=True) - values.min(axis, keepdims=True)) / 255 + 1e-12
    return np.round(values / step) * step


def packages() -> tuple[Any, Any]:
    """Return onnx and onnxruntime.quantization; raise ModelError with what to install where one is not there."""
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx needs it
        from onnxruntime import quantization
    except ImportError as error:
        raise ModelError(f"exporting needs the package {error.name}: pip install 'tunny[export]'") from error
    return onnx, quantization


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's advice to its developers from the user."""
    with warnings.catch_warnings(action="ignore"):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
