"""Model folders: our own, broken ones, and those of plain transformers."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers

import tunny
from tests.trained import trained
from tunny.core.errors import ModelError
from tunny.tasks.settings import SequenceTaskSettings, TokenTaskSettings


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(trained("ner").model, tmp_path / "copied")


def rewrite(folder, **changes):
    path = folder / "tunny.json"
    saved = {**json.loads(path.read_text("utf-8")), **changes}
    path.write_text(json.dumps({name: value for name, value in saved.items() if value != "gone"}), "utf-8")


def test_a_model_folder_holds_the_files_of_the_contract():
    names = {path.name for path in trained("ner").model.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md", "tunny.json"}


def test_a_folder_that_was_moved_still_answers(copied):
    texts = ["Marie Curie worked in Paris"]
    assert tunny.load(copied).predict(texts) == tunny.load(trained("ner").model).predict(texts)


def test_a_newer_format_version_is_refused_in_words(copied):
    rewrite(copied, format_version=99)
    with pytest.raises(ModelError, match=r"has format version 99; this Tunny reads up to 1\. Update Tunny"):
        tunny.load(copied)


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": "gone"},
        {"format_version": "1"},
        {"task": "gone"},
        {"labels": "gone"},
        {"precision": "gone"},
        {"task": {"kind": "nerr"}},
        {"encode": {"max_tokens": "many"}},
        {"labels": None},
    ],
)
def test_a_damaged_manifest_is_an_error_in_words(copied, changes):
    rewrite(copied, **changes)
    with pytest.raises(ModelError, match=r"tunny\.json: cannot be read"):
        tunny.load(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_manifest_that_is_no_object_is_an_error_in_words(copied, text):
    (copied / "tunny.json").write_text(text)
    with pytest.raises(ModelError, match=r"tunny\.json: cannot be read"):
        tunny.load(copied)


def test_without_its_manifest_the_folder_is_a_plain_one_with_the_same_answers(copied):
    (copied / "tunny.json").unlink()
    texts = ["Marie Curie worked in Paris", "the wind"]
    [ours, plain] = [tunny.load(folder, engine=fp32()).predict(texts) for folder in (trained("ner").model, copied)]
    assert ours == plain


def fp32():
    from tunny.engine.settings import EngineSettings

    return EngineSettings(precision="fp32")


def plain_folder(tiny_bert, folder, task, **config):
    torch.manual_seed(5)
    model = getattr(transformers, f"AutoModelFor{task}Classification").from_pretrained(tiny_bert, **config)
    torch.nn.init.normal_(model.classifier.weight, std=1.0)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return folder, model.eval()


def names(*labels):
    return {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}, "num_labels": len(labels)}


SCHEMES = {
    "BIOES": ("S-PER", "O", "E-PER", "I-PER", "B-PER", "S-LOC"),
    "IO": ("I-PER", "I-LOC", "O"),
    "shuffled": ("I-LOC", "B-PER", "O", "I-PER", "B-LOC"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_plain_tagger_of_any_scheme_predicts_and_is_scored_against_its_own_answers(tiny_bert, tmp_path, scheme):
    folder, _ = plain_folder(tiny_bert, tmp_path / "plain", "Token", **names(*SCHEMES[scheme]))
    (tmp_path / "texts.txt").write_text("Marie Curie was born in Warsaw\nThe Morning Star landed in Lerwick\n", "utf-8")
    tunny.predict(folder, tmp_path / "texts.txt", tmp_path / "gold.conll")
    assert "\tB-" in (tmp_path / "gold.conll").read_text("utf-8")
    found = tunny.evaluate(folder, tmp_path / "gold.conll", tmp_path / "out")
    assert (found["f1"], found["token_f1"], found["token_accuracy"]) == (1.0, 1.0, 1.0)


def test_a_plain_tagger_of_shuffled_labels_gives_the_labels_of_transformers(tiny_bert, tmp_path):
    folder, model = plain_folder(tiny_bert, tmp_path / "plain", "Token", **names("NOUN", "VERB", "X"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer("wind sold by the auction", return_tensors="pt")
    firsts = [encoded.word_ids().index(word) for word in range(5)]
    with torch.no_grad():
        tags = model(**encoded).logits[0].argmax(-1)
    [found] = tunny.load(folder, engine=fp32()).predict(["wind sold by the auction"])
    assert found["tags"] == [model.config.id2label[int(tags[at])] for at in firsts]


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("classify", names("sea", "land", "trade")),
        ("multilabel", {**names("sea", "land", "trade"), "problem_type": "multi_label_classification"}),
        ("regress", {"num_labels": 1}),
    ],
)
def test_a_plain_classifier_gives_the_numbers_of_transformers(tiny_bert, tmp_path, kind, config):
    folder, model = plain_folder(tiny_bert, tmp_path / "plain", "Sequence", **config)
    text = "Herring and cod were sold at the auction"
    with torch.no_grad():
        logits = model(**transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")).logits[0]
    [found] = tunny.load(folder, engine=fp32()).predict([text])
    if kind == "classify":
        assert found["label"] == model.config.id2label[int(logits.argmax())]
        assert found["score"] == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)
    elif kind == "multilabel":
        given = {item["label"]: item["score"] for item in found["labels"]}
        expected = {model.config.id2label[at]: float(value) for at, value in enumerate(logits.sigmoid()) if value >= 0.5}
        assert given == pytest.approx(expected, abs=1e-5)
    else:
        assert found["value"] == pytest.approx(float(logits[0]), abs=1e-5)


def test_a_plain_classifier_is_scored(tiny_bert, tmp_path):
    folder, _ = plain_folder(tiny_bert, tmp_path / "plain", "Sequence", **names("sea", "land"))
    (tmp_path / "data.csv").write_text("text,label\nherring and cod,sea\nthe lighthouse,land\n", "utf-8")
    found = tunny.evaluate(folder, tmp_path / "data.csv", tmp_path / "out")
    answers = [json.loads(line)["label"] for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert found["accuracy"] == np.mean([answer == gold for answer, gold in zip(answers, ("sea", "land"), strict=True)])


def test_a_folder_with_only_a_pytorch_bin_answers_the_same(tiny_bert, tmp_path):
    folder, model = plain_folder(tiny_bert, tmp_path / "plain", "Sequence", **names("sea", "land"))
    before = tunny.load(folder).predict(["herring"])
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert tunny.load(folder).predict(["herring"]) == before


def test_an_encoder_without_a_head_is_refused_in_words(tiny_bert):
    with pytest.raises(ModelError, match="expected a model for token or sequence classification, found BertModel"):
        tunny.load(tiny_bert)


def test_windows_of_a_plain_model_fit_its_positions(tiny_bert, tmp_path):
    folder, _ = plain_folder(tiny_bert, tmp_path / "plain", "Token", **names("O", "B-PER", "I-PER"))
    predictor = tunny.load(folder)
    assert predictor.facts.encode.max_tokens == 130  # the positions of the tiny BERT
    [found] = predictor.predict(["herring and cod " * 300])
    assert found["text"]


def test_a_plain_model_serves_the_kind_that_is_asked_for_and_no_other_family(tiny_bert, tmp_path):
    folder, _ = plain_folder(tiny_bert, tmp_path / "plain", "Sequence", **names("sea", "land", "trade"))
    many = tunny.load(folder, task=SequenceTaskSettings(kind="multilabel")).predict(["wind"])
    assert set(many[0]) == {"id", "text", "labels"}
    with pytest.raises(ModelError, match="is a model for classify; it cannot serve --task ner"):
        tunny.load(folder, task=TokenTaskSettings(kind="ner"))


def test_our_own_model_says_itself_what_it_learnt():
    with pytest.raises(ModelError, match="is a ner model; it cannot serve --task pos"):
        tunny.load(trained("ner").model, task=TokenTaskSettings(kind="pos"))
