"""Exported variants: the same numbers, judged before they appear, answering through the one predictor."""

import json
import os
import re
import shutil
import subprocess
import venv
from collections.abc import Collection, Iterable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from safetensors.torch import load_file, save_file

import tunny
from tests.tiny import FAMILIES, save_model
from tests.trained import Run, trained
from tunny import model_commands
from tunny.cli import main
from tunny.config import FileSettings
from tunny.core.errors import ModelError
from tunny.engine.settings import EngineSettings
from tunny.ship.export import difference
from tunny.tasks.model import locate

ROOT = Path(__file__).parent.parent.parent
LONG = "Marie Curie worked in Paris and in Bergen the auction was sold " * 20  # of several windows
TEXTS = ["", "wind", "Marie Curie worked in Paris", "Nobody and Nobody left Göteborg on Monday 👩‍👩‍👧‍👦", LONG]


def start(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def load(folder, variant):
    return tunny.load(folder, engine=EngineSettings(variant=variant))


def facts(folder):
    return json.loads((folder / "tunny.json").read_text("utf-8"))


def rewrite(folder, **changes):
    (folder / "tunny.json").write_text(json.dumps({**facts(folder), **changes}), "utf-8")


def rounded(answers):
    return [[(span["start"], span["end"], span["label"], round(span["score"], 3)) for span in answer["spans"]] for answer in answers]


def random_head(family: str, head: str, folder: Path) -> Path:
    """A tiny model of a family, as transformers saves it."""
    encoder, names = save_model(family, folder / "encoder"), dict(enumerate(("O", "B-PER", "I-PER")))
    auto = getattr(transformers, f"AutoModelFor{head}Classification")
    auto.from_pretrained(encoder, id2label=names, label2id={name: at for at, name in names.items()}).save_pretrained(folder / "model")
    transformers.AutoTokenizer.from_pretrained(encoder).save_pretrained(folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def run() -> Run:
    return trained("ner", epochs=30)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    """A tagger with all its variants, each within a point of its score."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    shutil.copytree(run.model, folder)
    model_commands.export(str(folder), "onnx", ["fp16", "int8"], [str(run.validation)], 1.0, FileSettings())
    return folder


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    return shutil.copytree(exported, tmp_path / "model")


def test_a_variant_is_one_file_with_transformers_names(exported):
    assert {path.name for path in (exported / "onnx").iterdir()} == {"README.md", "model.onnx", "model_fp16.onnx", "model_int8.onnx"}
    for name in ("model.onnx", "model_fp16.onnx", "model_int8.onnx"):
        session = onnxruntime.InferenceSession(exported / "onnx" / name)
        assert [one.name for one in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]
        assert [one.name for one in session.get_outputs()] == ["logits"]
        assert all(isinstance(size, str) for one in session.get_inputs() for size in one.shape)  # of any size


def test_fp32_gives_the_logits_of_transformers_at_every_length(exported):
    model = transformers.AutoModelForTokenClassification.from_pretrained(exported).eval()
    session = onnxruntime.InferenceSession(exported / "onnx" / "model.onnx")
    encoded = transformers.AutoTokenizer.from_pretrained(exported)(LONG, return_tensors="pt")
    for length in range(1, 129):
        inputs = {name: values[:, :length] for name, values in encoded.items()}
        with torch.no_grad():
            expected = model(**inputs).logits.numpy()
        (found,) = session.run(["logits"], {name: values.numpy() for name, values in inputs.items()})
        assert np.abs(found - expected).max() <= 1e-4


def test_what_int8_and_fp16_hold_is_of_these_types(exported):
    types = {
        name: {onnx.TensorProto.DataType.Name(one.data_type) for one in onnx.load(exported / "onnx" / name).graph.initializer if one.dims}
        for name in ("model.onnx", "model_fp16.onnx", "model_int8.onnx")
    }
    assert "INT8" in types["model_int8.onnx"]
    assert "FLOAT16" in types["model_fp16.onnx"]
    assert types["model.onnx"] <= {"FLOAT", "INT64"}


def test_no_file_tells_of_the_machine(exported):
    for path in (exported / "onnx").iterdir():
        assert str(Path(torch.__file__).parent.parent).encode() not in path.read_bytes()


def test_fp32_answers_as_torch_does_windows_and_offsets_as_ever(exported):
    assert rounded(load(exported, "fp32").predict(TEXTS)) == rounded(load(exported, "torch").predict(TEXTS))


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8"])
def test_evaluate_finds_the_score_that_the_export_recorded(exported, run, variant, tmp_path):
    assert start("evaluate", exported, run.validation, "--out", tmp_path / "out", "--engine.variant", variant) == 0
    found = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))["metrics"]["f1"]
    assert found == facts(exported)["variants"][variant]["score"]


def test_the_drop_is_counted_in_points_from_the_score_in_torch(exported, run):
    for row in facts(exported)["variants"].values():
        assert row["drop"] == pytest.approx(100 * (run.metrics()["metrics"]["f1"] - row["score"]))


def test_weights_that_int8_cannot_hold_stay_in_fp32_and_are_named(run, tmp_path, capsys):
    folder = shutil.copytree(run.model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][4] = 1e4  # of [MASK], which no text has: 8 bits up to it leave nothing of the others
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert start("export", folder, "--int8", "--data", run.validation, "--max-drop", "1") == 0
    assert re.search(
        r"^int8: score 0\..* loses \d+\.\d\d points, allowed are 1", capsys.readouterr().err, re.MULTILINE
    )  # all of it in int8
    row = facts(folder)["variants"]["int8"]
    assert row["note"] == " (1 of 16 products in fp32: bert.embeddings.word_embeddings)"
    assert row["drop"] <= 1


def test_a_variant_that_loses_too_much_is_not_written_and_the_others_stay(run, tmp_path, capsys):
    folder = shutil.copytree(run.model, tmp_path / "model")
    weights, layer = load_file(folder / "model.safetensors"), "bert.encoder.layer.1.attention"
    weights[f"{layer}.self.value.weight"] *= 1e6  # no number of fp16
    weights[f"{layer}.self.value.bias"] *= 1e6
    weights[f"{layer}.output.dense.weight"] /= 1e6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert start("export", folder, "--fp16", "--int8", "--data", run.validation, "--max-drop", "1") == 2
    assert "onnx/model_fp16.onnx is not written." in capsys.readouterr().err.splitlines()[-1]
    assert {path.name for path in (folder / "onnx").iterdir()} == {"README.md", "model.onnx", "model_int8.onnx"}
    assert set(facts(folder)["variants"]) == {"fp32", "int8"}


def test_both_scores_are_named_where_int8_is_refused(tmp_path, capsys):
    """The head is random, so of eight thousand words some are near ties; gold is what torch answers."""
    folder, texts = random_head("bert", "Token", tmp_path), tmp_path / "texts.txt"
    words = LONG.split()
    texts.write_text("".join(f"{' '.join(words[at % 100 : at % 100 + 9])} {at}\n" for at in range(800)), "utf-8")
    assert start("predict", folder, texts, "--out", tmp_path / "gold.jsonl") == 0
    assert start("export", folder, "--int8", "--data", tmp_path / "gold.jsonl", "--max-drop", "0") == 2
    refusal = r"error: int8 \(8 of 16 .*\): score 0\.\d{4}, in torch 1\.0000: loses \d+\.\d\d points, allowed are 0 \(--max-drop\)\. "
    assert re.fullmatch(refusal + r"onnx/model_int8\.onnx is not written\.", capsys.readouterr().err.splitlines()[-1])


def test_bench_chooses_and_load_and_predict_use_it(copied, capsys):
    best = model_commands.bench(str(copied), [], 1.0, FileSettings())
    assert facts(copied)["chosen"] == {"cpu": best}
    rewrite(copied, chosen={"cpu": "int8"})
    capsys.readouterr()
    assert rounded(tunny.load(copied).predict(TEXTS)) == rounded(load(copied, "int8").predict(TEXTS))
    assert "model: onnx/model_int8.onnx (the fastest, by tunny bench)" in capsys.readouterr().err
    tunny.load(copied, engine=EngineSettings(precision="fp32"))  # a precision is torch's
    assert "model: onnx" not in capsys.readouterr().err


def test_bench_leaves_out_what_loses_too_much_or_was_never_scored(copied, capsys):
    variants = facts(copied)["variants"]
    variants["int8"]["drop"] = 3.25
    del variants["fp16"]
    rewrite(copied, variants=variants)
    assert model_commands.bench(str(copied), [], 0.5, FileSettings()) in ("torch", "fp32")
    said = capsys.readouterr().err
    assert "int8: not considered, as it loses 3.25 points, allowed are 0.5 (--max-drop)" in said
    assert "fp16: not considered, as it has no score; give --data" in said


def test_a_model_exported_without_data_has_fp32_alone(tmp_path):
    folder = shutil.copytree(trained("pair").model, tmp_path / "model")
    assert start("export", folder, "--to", "onnx") == 0
    assert set(facts(folder)["variants"]) == {"fp32"}
    pair = [("herring and cod sold on Monday", "it was herring")]
    [ours], [theirs] = load(folder, "fp32").predict(pair), load(folder, "torch").predict(pair)
    assert ours["label"] == theirs["label"]
    assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "MODEL", "--int8"), "--int8: rounds the model's numbers; what that costs must be measured."),
        (("export", "MODEL", "--to", "openvino"), "--to: expected onnx, found 'openvino'"),
        (("export", "./nowhere"), "./nowhere: no such model folder"),
        (("export", "EMPTY"), "EMPTY: cannot be loaded as a model"),
        (("export", "MODEL", "--int8", "--data", "nowhere.conll"), "nowhere.conll"),
        (("bench", "MODEL"), "MODEL: has no exported variants to choose from."),
        (("predict", "MODEL", "EMPTY/in.txt", "--engine.variant", "int4"), "engine.variant: expected"),
        (("predict", "MODEL", "EMPTY/in.txt", "--engine.variant", "int8"), "MODEL: has no variant int8 (engine.variant); exported are: none."),
    ],
)  # fmt: skip
def test_bad_input_is_one_message_and_nothing_is_written(run, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run.model, "MODEL")
    Path("EMPTY").mkdir()
    Path("EMPTY/in.txt").write_text("wind\n", "utf-8")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert start(*arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_damaged_file_is_refused(copied):
    path = copied / "onnx" / "model.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match=r"model\.onnx: is damaged, or was changed after its export"):
        load(copied, "fp32")
    rewrite(copied, variants={})  # without a digest ONNX Runtime has to see it
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be loaded: .*Export the model again"):
        load(copied, "fp32")


def test_a_file_of_another_model_is_refused(copied):
    numbers = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", 3]) for name in ("input", "logits")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["input"], ["logits"])], "other", numbers[:1], numbers[1:])
    onnx.save(
        onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)]), copied / "onnx" / "model.onnx"
    )
    rewrite(copied, variants={})
    with pytest.raises(ModelError, match=r"expected a model from input_ids to logits of 5 labels, found one from input to \{'logits': 3\}"):
        load(copied, "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, "camembert"])
@pytest.mark.parametrize("head", ["Token", "Sequence"])
def test_every_family_exports_with_both_heads(family, head, tmp_path):
    folder = random_head(family, head, tmp_path)
    assert start("export", folder) == 0
    assert facts(folder)["variants"]["fp32"]["difference"] <= 1e-4
    answers = [load(folder, variant).predict([*TEXTS[:4], LONG]) for variant in ("fp32", "torch")]
    assert [len(one) for one in answers] == [5, 5]
    if head == "Sequence":
        assert [one["score"] for one in answers[0]] == pytest.approx([one["score"] for one in answers[1]], abs=1e-4)


@pytest.mark.slow
def test_fp32_gives_torchs_logits_on_real_texts(shared_data, tmp_path):
    names = dict(enumerate(("O", "B-person", "I-person")))
    encoder = locate("embedded")
    model = transformers.AutoModelForTokenClassification.from_pretrained(encoder, id2label=names, num_labels=3)
    model.save_pretrained(tmp_path / "model")
    transformers.AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path / "model")
    data = shared_data / "wnut17" / "emerging.dev.conll"
    assert start("export", tmp_path / "model", "--data", data) == 0

    examples = [tunny.Example(str(at), text) for at, text in enumerate(shared_texts(data))]
    assert len(examples) > 1000
    assert difference(load(tmp_path / "model", "torch"), load(tmp_path / "model", "fp32"), examples) <= 1e-4


def shared_texts(path):
    blocks = re.split(r"\n\s*\n", path.read_text("utf-8"))
    return [" ".join(line.split("\t")[0] for line in block.splitlines()) for block in blocks if block.strip()]


def environment(folder: Path, packages: Collection[str]) -> Path:
    """Make an environment that holds these packages alone, and return its Python."""
    venv.create(folder, with_pip=False)
    [place] = folder.glob("lib/python*/site-packages")
    for name in packages:
        for top in {file.parts[0] for file in distribution(name).files} - {"..", "__pycache__"}:
            if not (place / top).exists():
                (place / top).symlink_to(distribution(name).locate_file(top))
    return folder / "bin" / "python"


def with_requirements(names: Iterable[str]) -> set[str]:
    """Return packages with everything that they require here."""
    found, waiting = set(), list(names)
    while waiting:
        if (name := canonicalize_name(waiting.pop())) not in found:
            found.add(name)
            needed = [Requirement(line) for line in distribution(name).requires or ()]
            waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.slow
def test_the_folder_runs_without_torch_and_transformers(exported, tmp_path):
    """In an environment that holds onnxruntime, tokenizers and numpy alone."""
    python = environment(tmp_path / "env", {"onnxruntime", "tokenizers", "numpy"})
    script = re.search(r"```python\n(.*?)```", (exported / "onnx" / "README.md").read_text("utf-8"), re.DOTALL)[1]
    script += """
import importlib.util
assert importlib.util.find_spec("torch") is None and importlib.util.find_spec("transformers") is None
print(json.dumps([answer("Marie Curie worked in Paris"), logits("Marie Curie worked in Paris")[1].tolist()]))
"""
    done = subprocess.run([python, "-c", script], cwd=exported, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, logits = json.loads(done.stdout)
    model = transformers.AutoModelForTokenClassification.from_pretrained(exported).eval()
    with torch.no_grad():
        expected = model(**transformers.AutoTokenizer.from_pretrained(exported)("Marie Curie worked in Paris", return_tensors="pt")).logits[
            0
        ]
    assert np.abs(np.array(logits) - expected.numpy()).max() <= 1e-4
    assert ["Marie", "B-PER"] in answer


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_tunny_predicts_and_evaluates_as_docs_say_without_torch_and_transformers(exported, run, tmp_path, variant):
    """In an environment of the packages that docs/export.md names for a small container, and what they require."""
    [line] = re.findall(r"^pip install (onnxruntime .*)$", (ROOT / "docs" / "export.md").read_text("utf-8"), re.MULTILINE)
    packages = with_requirements(line.split())
    assert not packages & {"torch", "transformers"}
    python = environment(tmp_path / "env", packages)
    [place] = (tmp_path / "env").glob("lib/python*/site-packages")
    (place / "tunny").symlink_to(Path(tunny.__file__).parent)  # as pip install --no-deps tunny

    def go(*arguments):
        environ = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "TUNNY_CACHE": str(tmp_path / "cache")}
        done = subprocess.run([python, *map(str, arguments)], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    script = f"import json, tunny\nfrom tunny.engine.settings import EngineSettings\nmodel = tunny.load({str(exported)!r}, engine=EngineSettings(variant={variant!r}))\nprint(json.dumps(model.predict({TEXTS!r})))"
    assert json.loads(go("-c", script)) == (here := load(exported, variant).predict(TEXTS))
    if variant == "fp32":
        assert rounded(here) == rounded(load(exported, "torch").predict(TEXTS))
    chosen = ("--engine.variant", variant)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS[1:]), "utf-8")
    go("-m", "tunny", "predict", exported, "texts.txt", "--out", "answers.jsonl", *chosen)
    answers = [json.loads(answer) for answer in (tmp_path / "answers.jsonl").read_text("utf-8").splitlines()]
    assert rounded(answers) == rounded(load(exported, variant).predict(TEXTS[1:]))  # int8 rounds by batch
    go("-m", "tunny", "evaluate", exported, run.validation, "--out", "scores", *chosen)
    assert (
        json.loads((tmp_path / "scores" / "metrics.json").read_text("utf-8"))["metrics"]["f1"]
        == facts(exported)["variants"][variant]["score"]
    )
