"""Distillations as whole runs, with tiny models: files, bytes, the cache, and what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
import transformers
from safetensors.torch import load_file

import tunny as library
from tests.tiny import save_model
from tests.trained import config, trained
from tests.training.runs import PowerCut, cut_at, facts, files, log, model_bytes
from tunny.config import load_config
from tunny.core.errors import ConfigError, UserError
from tunny.data.store import LogitStore


def distilled(kind: str, folder: Path, teacher: Path | None = None, **distill: object) -> dict:
    """A config of a student of the tiny model's second layer, and no `model` section."""
    folder.mkdir(exist_ok=True)
    values = config(kind, Path("none"), folder, epochs=1)
    del values["model"]
    values["distill"] = {"teacher": str(teacher or trained(kind).model), **({"student_layers": [1]} if "student" not in distill else {})}
    values["distill"] |= distill
    return values


ALL_LOSSES = {"logits": 1.0, "labels": 0.5, "hidden_states": 1.0, "attentions": 1.0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished distillation with every loss, of a narrower student, and the files of its teacher before."""
    folder = tmp_path_factory.mktemp("distilled")
    before = files(trained("ner").model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNNY_CACHE", str(folder / "cache"))
        return library.train(distilled("ner", folder, losses=ALL_LOSSES, student_width=16)), before


def test_the_teacher_has_the_same_bytes_before_and_after(finished):
    assert files(trained("ner").model) == finished[1]


def test_a_teacher_answers_in_torch_whatever_variant_was_chosen(tmp_path):
    folder = shutil.copytree(trained("ner").model, tmp_path / "teacher")
    known = json.loads((folder / "tunny.json").read_text("utf-8"))
    (folder / "tunny.json").write_text(json.dumps({**known, "chosen": {"cpu": "int8"}}), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNNY_CACHE", str(tmp_path / "cache"))
        assert (library.train(distilled("ner", tmp_path / "run", folder)) / "model" / "model.safetensors").is_file()


def test_the_model_is_a_plain_folder_of_the_student_alone(finished):
    folder, _ = finished
    student, info = transformers.AutoModelForTokenClassification.from_pretrained(folder / "model", output_loading_info=True)
    assert (student.config.num_hidden_layers, student.config.hidden_size) == (1, 16)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert library.load(folder / "model").predict(["Marie Curie left Paris"])[0]["text"] == "Marie Curie left Paris"


def test_checkpoints_hold_the_student_and_its_projection_only(finished):
    (checkpoint,) = (finished[0] / "checkpoints").iterdir()
    held = set(load_file(checkpoint / "model.safetensors"))
    assert held == {*load_file(finished[0] / "model" / "model.safetensors"), "distill_projection.weight"}
    moments = {name.partition("|")[0] for name in load_file(checkpoint / "optimizer.safetensors")}
    assert moments <= held
    assert "distill_projection.weight" in moments


def test_the_report_sets_the_student_beside_its_teacher(finished):
    folder, _ = finished
    metrics = json.loads((folder / "validation" / "metrics.json").read_text("utf-8"))
    teacher = json.loads((folder / "teacher" / "validation" / "metrics.json").read_text("utf-8"))
    assert metrics["distilled"]["teacher"]["metrics"] == teacher["metrics"]
    assert teacher["metrics"] == trained("ner").metrics()["metrics"]
    sizes = {name: model.num_parameters() for name, model in (
        ("teacher", transformers.AutoModelForTokenClassification.from_pretrained(trained("ner").model)),
        ("student", transformers.AutoModelForTokenClassification.from_pretrained(folder / "model")),
    )}  # fmt: skip
    assert metrics["distilled"]["parameters"] == sizes
    assert all(speed > 0 for speed in metrics["distilled"]["examples_per_second"].values())
    low, high = teacher["intervals"]["token_accuracy"]
    markdown, page = ((folder / "validation" / name).read_text("utf-8") for name in ("report.md", "report.html"))
    for page_or_text in (markdown, page):
        assert "Beside its teacher" in page_or_text
        assert f"{low:.4f} to {high:.4f}" in page_or_text
        assert f"{sizes['student']:,}" in page_or_text


def test_the_saved_config_distils_again_to_the_same_bytes(finished, tmp_path):
    again = library.train(json_of(finished[0]) | {"output_dir": str(tmp_path / "again")})
    assert model_bytes(again) == model_bytes(finished[0])


def json_of(folder: Path) -> dict:
    import yaml

    return yaml.safe_load((folder / "config.yaml").read_text("utf-8"))


def test_a_run_that_was_cut_off_and_resumed_ends_with_the_same_bytes(finished, tmp_path):
    values = distilled("ner", tmp_path / "cut", losses=ALL_LOSSES, student_width=16)
    values["checkpoint"] = {"every_steps": 2}
    with pytest.raises(PowerCut), cut_at(6):
        library.train(values)
    resumed = library.train(values, resume=True)
    assert json.loads((resumed / "manifest.json").read_text())["resumed_from"] == [4]
    assert model_bytes(resumed) == model_bytes(finished[0])
    assert facts(log(resumed)) == facts(log(finished[0]))


def said(run: Path) -> str:
    return (run / "run.log").read_text("utf-8")


def test_a_second_student_finds_the_answers_in_the_cache_and_says_what_that_saves(tmp_path):
    values = distilled("ner", tmp_path / "one")
    first = library.train(values)
    assert "train: the teacher answered in" in said(first)
    second = library.train(values | {"output_dir": str(tmp_path / "two")})
    assert re.search(r"train: the teacher's answers found in the cache, which saves \d+\.\d seconds", said(second))
    assert model_bytes(second) == model_bytes(first)


def test_another_teacher_is_not_answered_for_by_the_first(tmp_path):
    library.train(distilled("ner", tmp_path / "one"))
    other = library.train(distilled("ner", tmp_path / "two", trained("ner", epochs=1).model))
    assert "train: the teacher answered in" in said(other)


@pytest.mark.parametrize("kind", ["pos", "classify", "pair", "regress", "multilabel"])
def test_every_kind_of_task_can_be_distilled_with_every_loss(kind, tmp_path):
    folder = library.train(distilled(kind, tmp_path / "run-of", losses=ALL_LOSSES, student_layers=[0]))
    assert json.loads((folder / "manifest.json").read_text())["finished"]
    assert all(line["train/loss"] is not None for line in log(folder))


def test_answers_in_the_cache_are_those_of_the_teacher_word_by_word(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNNY_CACHE", str(tmp_path / "cache"))
    library.train(distilled("pos", tmp_path / "run"))
    teacher = library.load(trained("pos").model)
    names = teacher.task.labels.names
    store = LogitStore(len(names), *(tmp_path / "cache" / "taught").glob("*/logits.arrow"))
    text = (tmp_path / "run" / "train.conll").read_text("utf-8").split("\n\n")[0]
    words = [line.split("\t")[0] for line in text.splitlines()]
    (tag,) = teacher.predict([" ".join(words)])
    assert [names[at] for at in store[0].argmax(1)] == tag["tags"]
    assert len(store) == 52


def test_a_student_with_another_tokenizer_learns_the_words_answers(tmp_path):
    student = save_model("roberta", tmp_path / "roberta")
    values = distilled("ner", tmp_path / "run", student=str(student), losses={"labels": 0.0})
    values["train"]["epochs"] = 12
    folder = library.train(values)
    losses = [line["train/loss"] for line in log(folder)]
    assert losses[-1] < 0.5 * losses[0]
    assert json.loads((folder / "model" / "config.json").read_text())["model_type"] == "roberta"


def test_texts_without_labels_are_learnt_and_their_labels_never_read(tmp_path):
    values = distilled("ner", tmp_path / "run", losses={"labels": 1.0, "logits": 1.0})
    rows = [f"Marie\tB-{label}\nlaughed\tO\n" for label in ("PER", "SHIP")]
    (tmp_path / "more.conll").write_text("\n".join(rows), "utf-8")
    (tmp_path / "more.txt").write_text("Herring was sold in Bergen\nNobody knows why\n", "utf-8")
    values["distill"]["unlabelled"] = [str(tmp_path / "more.conll"), str(tmp_path / "more.txt")]
    folder = library.train(values)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["data"]) == {"train", "validation", "unlabelled"}
    assert set(manifest["labels"]) == {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"}
    assert not (folder / "unlabelled").exists()
    (last,) = [line for line in log(folder) if "validation/f1" in line]
    assert last["step"] == 9  # 66 windows and 4, by 8
    assert json.loads((folder / "audit.json").read_text())["splits"]["unlabelled"]["counts"]["examples"] == 4


@pytest.mark.parametrize(("kind", "changes", "message"), [
    ("classify", {"teacher": "ner"}, r"distill.teacher: .* is a ner model; it cannot serve --task classify"),
    ("ner", {"teacher": "/no/such/folder"}, r"/no/such/folder: no such model folder"),
    ("ner", {"student_layers": [0, 5]}, r"distill.student_layers: expected layers of .*, which has 2 \(0 to 1\), found 5"),
    ("ner", {"student_width": 12}, r"distill.student_width: .* found 12. Set 8"),
    ("ner", {"student_layers": None}, r"the student would be the teacher"),
    ("ner", {"student_layers": [1, 0]}, r"expected layers in rising order"),
    ("ner", {"losses": {"logits": 0, "labels": 0}}, r"every weight of distill.losses is 0"),
])  # fmt: skip
def test_what_cannot_be_distilled_is_said_at_once_and_nothing_is_written(kind, changes, message, tmp_path):
    teacher = changes.pop("teacher", kind)
    values = distilled(kind, tmp_path / "data", Path(teacher) if teacher.startswith("/") else trained(teacher).model)
    values["distill"] = {**values["distill"], **changes}
    before = files(tmp_path)
    with pytest.raises(UserError, match=message):
        library.train(values)
    assert files(tmp_path) == before


def test_other_labels_than_the_teachers_are_refused(tmp_path, tunny):
    values = distilled("ner", tmp_path / "data")
    train = Path(values["data"]["train"])
    train.write_text(train.read_text("utf-8").replace("LOC", "PLACE"), "utf-8")
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(values), "utf-8")
    before = files(tmp_path)
    done = tunny("distill", path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "B-PLACE, I-PLACE only the data has" in line
    assert files(tmp_path) == before


def test_layers_of_models_with_different_tokenizers_are_not_compared(tmp_path):
    student = save_model("roberta", tmp_path / "roberta")
    with pytest.raises(ConfigError, match="the student has another tokenizer than the teacher"):
        library.train(distilled("ner", tmp_path / "run", student=str(student), losses={"hidden_states": 1.0}))


def test_a_config_of_another_model_serves_and_what_the_student_is_made_of_is_said(tmp_path, capsys):
    values = distilled("ner", tmp_path / "run")
    found = load_config(values=values | {"model": {"name": "other"}})
    assert found.settings.model.name == values["distill"]["teacher"]
    assert "(model.name, other, is for training without a teacher)" in capsys.readouterr().err


def test_the_command_wants_a_teacher(tmp_path, tunny):
    done = tunny("distill", "--task", "ner", "--data.train", "train.conll")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "'distill.teacher' is required" in done.stderr
