"""What Tunny trains is a plain model: every family of encoders gives the same answers in transformers."""

import json

import pytest
import torch
import transformers

import tunny
from tests.tiny import FAMILIES
from tests.trained import trained
from tunny.core.files import digest_file
from tunny.data.audit import Audit
from tunny.data.inputs import Padding
from tunny.data.words import find_words
from tunny.evaluation.predict import encode_chunks, forward
from tunny.tasks.model import load_tokenizer
from tunny.tasks.settings import ModelSettings

TEXTS = ("Marie Curie worked in Paris", "The Morning Star landed nine boxes of turbot in Lerwick on Monday.", "wind")
PAIRS = (("herring and cod sold on Monday", "it was herring"), ("the old lighthouse left", "it was the wind"))


def plain(run, task):
    auto = getattr(transformers, f"AutoModelFor{task}Classification")
    return auto.from_pretrained(run.model).eval(), transformers.AutoTokenizer.from_pretrained(run.model)


def plain_logits(model, encoded):
    # the shared test tokenizer gives segments to models that have none
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    if "token_type_ids" in encoded and getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = encoded["token_type_ids"]
    with torch.no_grad():
        return model(**inputs).logits[0]


def our_logits(predictor, examples):
    for _, windows, _ in encode_chunks(examples, predictor.encoder, predictor.task, Audit()):
        yield from map(torch.from_numpy, forward(predictor.model, predictor.task, windows))


def first_tokens(text, offsets):
    """For each word the first token whose characters, white space left out, begin in it."""
    begins = [start + len(text[start:end]) - len(text[start:end].lstrip()) if text[start:end].strip() else -1 for start, end in offsets]
    return [next(at for at, begin in enumerate(begins) if start <= begin < end) for start, end in find_words(text)]


def is_valid(tags):
    return all(not tag.startswith("I-") or before[2:] == tag[2:] for before, tag in zip(["O", *tags], tags, strict=False))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tagger_gives_the_logits_and_labels_of_plain_transformers(family):
    run = trained("ner", family=family)
    predictor = tunny.load(run.model)
    model, tokenizer = plain(run, "Token")
    examples = [tunny.Example(str(at), text) for at, text in enumerate(TEXTS)]
    compared = 0
    for text, ours, (_, answer) in zip(TEXTS, our_logits(predictor, examples), predictor.answers(examples), strict=True):
        encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        theirs = plain_logits(model, encoded)
        assert torch.allclose(ours, theirs, atol=1e-5)
        tags = [model.config.id2label[int(theirs[at].argmax())] for at in first_tokens(text, encoded["offset_mapping"][0].tolist())]
        if is_valid(tags):
            compared += 1
            assert [predictor.task.labels.names[tag] for tag in answer.labels] == tags
    assert compared


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_of_pairs_gives_the_logits_of_plain_transformers(family):
    run = trained("pair", family=family)
    predictor = tunny.load(run.model)
    model, tokenizer = plain(run, "Sequence")
    examples = [tunny.Example(str(at), a, text_b=b) for at, (a, b) in enumerate(PAIRS)]
    for (a, b), ours, answer in zip(PAIRS, our_logits(predictor, examples), predictor.predict(PAIRS), strict=True):
        theirs = plain_logits(model, tokenizer(a, b, return_tensors="pt"))
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert answer["label"] == model.config.id2label[int(theirs.argmax())]
        assert answer["score"] == pytest.approx(float(theirs.softmax(-1).max()), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_saved_tokenizer_neither_cuts_nor_pads_and_the_config_names_the_tags(family):
    model = trained("ner", family=family).model
    tokenizer = json.loads((model / "tokenizer.json").read_text("utf-8"))
    assert (tokenizer["truncation"], tokenizer["padding"]) == (None, None)
    saved = json.loads((model / "config.json").read_text("utf-8"))
    assert saved["id2label"] == {"0": "O", "1": "B-LOC", "2": "I-LOC", "3": "B-PER", "4": "I-PER"}
    assert saved["architectures"][0].endswith("ForTokenClassification")


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("classify", "single_label_classification"), ("multilabel", "multi_label_classification"), ("regress", "regression"), ("ner", None)],
)
def test_the_config_says_the_kind_of_problem(kind, problem):
    saved = json.loads((trained(kind).model / "config.json").read_text("utf-8"))
    assert saved.get("problem_type") == problem


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizer_of_every_family_is_read_without_transformers_and_is_the_same(family):
    folder = trained("ner", family=family).model
    known = json.loads((folder / "tunny.json").read_text("utf-8"))["tokenizer"]
    assert known["sha256"] == digest_file(folder / "tokenizer.json")
    loaded = load_tokenizer(ModelSettings(name=str(folder)))
    assert tunny.load(folder).encoder.tokenizer.to_str() == loaded.tokenizer.backend_tokenizer.to_str()
    assert Padding(known["pad_id"], known["token_types"], known["positions"]) == loaded.padding
