"""OpenVINO as one more way to run the file of fp32; `pip install 'tunny[openvino]'`, which make install leaves out."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

import tunny
from tests.tiny import FAMILIES
from tests.trained import trained
from tunny import model_commands
from tunny.config import FileSettings
from tunny.core.errors import ModelError
from tunny.engine.onnx import OnnxModel
from tunny.engine.settings import EngineSettings
from tunny.ship.export import TOLERANCE, difference, of_every_length

there = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not there, reason="openvino is not installed; pip install 'tunny[openvino]'")
LONG = "Marie Curie worked in Paris and in Bergen the auction was sold " * 20  # of several windows
TEXTS = ["", "wind", "Marie Curie worked in Paris", "Nobody and Nobody left Göteborg on Monday 👩‍👩‍👧‍👦", LONG]


def exported(folder: Path, family: str = "bert", kind: str = "ner", epochs: int = 2) -> Path:
    shutil.copytree(trained(kind, family=family, epochs=epochs).model, folder)
    model_commands.export(str(folder), "onnx", [], [], 0.5, FileSettings())
    return folder


def load(folder, variant):
    return tunny.load(folder, engine=EngineSettings(variant=variant))


@pytest.mark.skipif(there, reason="openvino is installed")
def test_without_the_package_it_is_said_what_to_install(tmp_path):
    folder = exported(tmp_path / "model")
    with pytest.raises(ModelError, match=r"model\.onnx: needs OpenVINO: pip install 'tunny\[openvino\]', or set another engine\.variant"):
        load(folder, "openvino")


def test_on_a_gpu_it_is_refused():
    with pytest.raises(ModelError, match=r"OpenVINO answers on CPUs\. Set engine\.device: cpu, or another engine\.variant"):
        OnnxModel(Path("model.onnx"), "cuda", 5, by_openvino=True)


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_its_logits_are_torchs_in_every_family_at_every_length(family, tmp_path):
    folder = exported(tmp_path / "model", family)
    torch, other = load(folder, "torch"), load(folder, "openvino")
    assert difference(torch, other, of_every_length([tunny.Example("0", LONG)], 64)) <= TOLERANCE


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ner", "classify", "regress"])
def test_it_answers_as_torch_does(kind, tmp_path):
    folder = exported(tmp_path / "model", kind=kind)
    ours, theirs = (load(folder, variant).predict(TEXTS) for variant in ("openvino", "torch"))
    assert [plain(one) for one in ours] == [pytest.approx(plain(one), abs=1e-4) for one in theirs]


def plain(answer: dict) -> dict:
    """Return an answer without lists: its numbers and names by place."""
    spans = {f"{name} {at}": value for at, span in enumerate(answer.get("spans", [])) for name, value in span.items()}
    return {name: value for name, value in {**answer, **spans}.items() if name != "spans"}


@needs_openvino
@pytest.mark.slow
def test_bench_measures_it_and_it_can_be_chosen(tmp_path, capsys):
    folder = exported(tmp_path / "model")
    model_commands.bench(str(folder), [], 0.5, FileSettings())
    said = capsys.readouterr().err
    assert "| openvino " in said
    assert "among torch, fp32, openvino;" in said
    saved = json.loads((folder / "tunny.json").read_text("utf-8"))
    (folder / "tunny.json").write_text(json.dumps({**saved, "chosen": {"cpu": "openvino"}}), "utf-8")
    tunny.load(folder)
    assert "model: onnx/model.onnx by OpenVINO (the fastest, by tunny bench)" in capsys.readouterr().err


@needs_openvino
@pytest.mark.slow
def test_a_damaged_file_is_refused(tmp_path):
    folder = exported(tmp_path / "model")
    file = folder / "onnx" / "model.onnx"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.onnx: is damaged, or was changed after its export"):
        load(folder, "openvino")
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be loaded: .*Export the model again"):
        OnnxModel(file, "cpu", 5, by_openvino=True)


@needs_openvino
@pytest.mark.slow
def test_a_file_for_other_labels_is_refused(tmp_path):
    folder = exported(tmp_path / "model")
    with pytest.raises(ModelError, match=r"expected a model from input_ids to logits of 4 labels, found one from .* \{'logits': 5\}"):
        OnnxModel(folder / "onnx" / "model.onnx", "cpu", 4, by_openvino=True)
