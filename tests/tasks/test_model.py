import importlib.util
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import transformers

from tests.tiny import FAMILIES, save_model
from tunny.core.errors import ModelError
from tunny.data.labels import LabelSet
from tunny.tasks import model as loading
from tunny.tasks.layers import depth_of
from tunny.tasks.model import load_tokenizer, locate, task_of_config
from tunny.tasks.settings import ModelSettings
from tunny.tasks.weights import load_finished, load_model

CPU = torch.device("cpu")
CLASSES = LabelSet("classify", ("sea", "land", "trade"))


def copy(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def headed(folder, tmp_path, task="Sequence", **config):
    """A copy of an encoder with a random head, as plain transformers saves it."""
    auto = getattr(transformers, f"AutoModelFor{task}Classification")
    auto.from_pretrained(folder, **config).save_pretrained(tmp_path / "headed")
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "headed")
    return tmp_path / "headed"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_of_a_family_has_its_depth(family, tmp_path):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(save_model(family, tmp_path))
    depths = {name: depth_of(name) for name, _ in model.named_parameters()}
    assert {depth for depth in depths.values() if depth} == ({1} if family == "albert" else {1, 2})
    assert all(depth == 0 for name, depth in depths.items() if "word_embeddings" in name or "tok_embeddings" in name)
    assert all(depth is None for name, depth in depths.items() if name.startswith("classifier"))


def test_frozen_parts_do_not_learn_and_the_rest_does(tiny_bert):
    settings = ModelSettings(name=str(tiny_bert), freeze_embeddings=True, freeze_layers=1)
    model = load_model(settings, load_tokenizer(settings), CLASSES, CPU, 1)
    frozen = {depth_of(name) for name, parameter in model.named_parameters() if not parameter.requires_grad}
    learning = {depth_of(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert (frozen, learning) == ({0, 1}, {2, None})


def test_a_new_head_is_drawn_from_the_seed_and_said(tiny_bert, capsys):
    settings = ModelSettings(name=str(tiny_bert))
    heads = [load_model(settings, load_tokenizer(settings), CLASSES, CPU, seed).classifier.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert "head: new (3 outputs)" in capsys.readouterr().err


def test_a_fitting_head_is_kept(tiny_bert, tmp_path):
    folder = headed(tiny_bert, tmp_path, num_labels=3)
    settings = ModelSettings(name=str(folder))
    kept = load_model(settings, load_tokenizer(settings), CLASSES, CPU, 1).classifier.weight
    assert torch.equal(kept, transformers.AutoModelForSequenceClassification.from_pretrained(folder).classifier.weight)


def test_a_head_that_does_not_fit_is_refused_where_no_new_one_is_wanted(tiny_bert, tmp_path):
    settings = ModelSettings(name=str(headed(tiny_bert, tmp_path, num_labels=5)), new_head=False)
    with pytest.raises(ModelError, match=r"its head does not fit 3 labels .*Set model\.new_head: true"):
        load_model(settings, load_tokenizer(settings), CLASSES, CPU, 1)


@pytest.mark.parametrize("name", ["no-such-model-anywhere", "./no/such/folder", "/no/such", "some/unknown-model"])
def test_an_unknown_model_is_named(name):
    with pytest.raises(ModelError, match=name):
        load_tokenizer(ModelSettings(name=name))


def test_a_misspelt_embedded_is_guessed():
    with pytest.raises(ModelError, match="did you mean 'embedded'"):
        load_tokenizer(ModelSettings(name="embeded"))


def test_a_model_without_a_fast_tokenizer_is_refused(tmp_path):
    transformers.CanineConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16).save_pretrained(tmp_path)
    transformers.CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no fast tokenizer \(found CanineTokenizer\).*model\.tokenizer"):
        load_tokenizer(ModelSettings(name=str(tmp_path)))


def test_a_folder_without_a_tokenizer_is_refused(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="copy: its tokenizer has no vocabulary"):
        load_tokenizer(ModelSettings(name=str(folder)))


def test_truncation_and_padding_of_a_tokenizer_are_switched_off(tiny_bert, tmp_path):
    folder = copy(tiny_bert, tmp_path)
    saved = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    saved["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    saved["padding"] = {
        "strategy": {"Fixed": 8},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    (folder / "tokenizer.json").write_text(json.dumps(saved), "utf-8")
    raw = load_tokenizer(ModelSettings(name=str(folder))).tokenizer.backend_tokenizer
    assert len(raw.encode("cod " * 50).ids) == 52
    assert len(raw.encode("cod").ids) == 3


@pytest.mark.parametrize("damage", ["cut", "junk"])
def test_damaged_weights_are_an_error_in_words(tiny_bert, tmp_path, damage):
    folder = headed(tiny_bert, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000] if damage == "cut" else b"junk" * 100)
    with pytest.raises(ModelError, match="headed: cannot be loaded"):
        load_finished(str(folder), "classify", CPU)


def test_missing_weights_are_an_error_in_words(tiny_bert, tmp_path):
    folder = headed(tiny_bert, tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="headed: cannot be loaded"):
        load_finished(str(folder), "classify", CPU)


def test_an_encoder_without_a_head_is_no_finished_model(tiny_bert):
    with pytest.raises(ModelError, match=r"is no trained classify model; weights are missing for .*classifier"):
        load_finished(str(tiny_bert), "classify", CPU)


def test_a_good_pytorch_bin_is_loaded(tiny_bert, tmp_path):
    folder = headed(tiny_bert, tmp_path)
    expected = load_finished(str(folder), "classify", CPU).state_dict()
    torch.save(expected, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    found = load_finished(str(folder), "classify", CPU).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["zip", "bare"])
def test_a_malicious_pytorch_bin_is_refused_and_not_executed(tiny_bert, tmp_path, form):
    folder = headed(tiny_bert, tmp_path)
    (folder / "model.safetensors").unlink()
    state = {"classifier.weight": Malicious(tmp_path / "executed")}
    if form == "zip":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(state, protocol=2))
    with pytest.raises(ModelError, match=r"headed: .*holds more than tensors"):
        load_finished(str(folder), "classify", CPU)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("task", "config", "kind", "names"),
    [
        ("Token", {"id2label": {2: "O", 0: "B-X", 1: "I-X"}}, "ner", ("B-X", "I-X", "O")),
        ("Token", {"id2label": {0: "NOUN", 1: "VERB"}}, "pos", ("NOUN", "VERB")),
        ("Sequence", {"id2label": {1: "yes", 0: "no"}}, "classify", ("no", "yes")),
        ("Sequence", {"num_labels": 3, "problem_type": "multi_label_classification"}, "multilabel", ("LABEL_0", "LABEL_1", "LABEL_2")),
        ("Sequence", {"num_labels": 1}, "regress", ("LABEL_0",)),
    ],
)
def test_the_task_of_a_plain_model_is_found(task, config, kind, names):
    plain = transformers.BertConfig(architectures=[f"BertFor{task}Classification"], **config)
    settings, labels = task_of_config(plain, "plain")
    assert (settings.kind, labels.names) == (kind, names)


@pytest.mark.parametrize("architecture", ["BertModel", "BertForMaskedLM", None])
def test_a_model_without_a_fitting_head_is_refused(architecture):
    plain = transformers.BertConfig(architectures=[architecture] if architecture else None)
    with pytest.raises(ModelError, match=f"expected a model for token or sequence classification, found {architecture or 'no'}"):
        task_of_config(plain, "plain")


def test_a_model_of_several_scores_is_refused():
    plain = transformers.BertConfig(architectures=["BertForSequenceClassification"], num_labels=3, problem_type="regression")
    with pytest.raises(ModelError, match="gives 3 scores"):
        task_of_config(plain, "plain")


needs_embedded = pytest.mark.skipif(
    importlib.util.find_spec(loading.EMBEDDED_PACKAGE) is None, reason="the embedded model is not installed"
)


@needs_embedded
def test_the_embedded_model_is_loaded_from_its_package_as_it_is():
    folder = Path(locate("embedded"))
    loaded = load_tokenizer(ModelSettings(name="embedded"))
    assert folder.is_relative_to(Path(importlib.util.find_spec(loading.EMBEDDED_PACKAGE).origin).parent)
    assert len(loaded.tokenizer.backend_tokenizer.encode("cod " * 300).ids) == 302
    assert (loaded.config.hidden_size, loaded.config.num_hidden_layers) == (384, 6)


def test_an_embedded_model_that_was_tampered_with_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "tampered_model"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.safetensors").write_bytes(b"not the weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(loading, "EMBEDDED_PACKAGE", "tampered_model")
    with pytest.raises(ModelError, match=rf"expected SHA-256 {loading.EMBEDDED_SHA256}, found [0-9a-f]{{64}}\. Reinstall it"):
        locate("embedded")


def test_without_its_package_the_embedded_model_is_asked_of_the_hub(monkeypatch, capsys):
    monkeypatch.setattr(loading, "EMBEDDED_PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match=rf"{loading.EMBEDDED_HUB_ID}: it is not whole in the cache, and the Hub cannot be reached"):
        locate("embedded")
    assert "is not installed; asking the Hub" in capsys.readouterr().err


def with_head(tiny_bert, folder, names):
    """Save a classifier whose rows are told apart by their bias."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        tiny_bert, id2label=dict(enumerate(names)), label2id={name: at for at, name in enumerate(names)}, num_labels=len(names)
    )
    with torch.no_grad():
        model.classifier.bias.copy_(torch.arange(len(names)).float() + 1)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder)
    return ModelSettings(name=str(folder))


def loaded_with(model_settings, names):
    return load_model(model_settings, load_tokenizer(model_settings), LabelSet("classify", names), torch.device("cpu"), 1)


def test_a_head_is_matched_to_the_labels_by_name(tiny_bert, tmp_path):
    settings = with_head(tiny_bert, tmp_path / "m", ("sea", "land", "trade"))
    model = loaded_with(settings, ("land", "trade", "sea"))
    assert model.classifier.bias.tolist() == [2.0, 3.0, 1.0]


def test_a_head_for_other_labels_is_made_anew_and_said(tiny_bert, tmp_path, capsys):
    settings = with_head(tiny_bert, tmp_path / "m", ("negative", "positive"))
    model = loaded_with(settings, ("entailment", "not_entailment"))
    assert model.classifier.bias.tolist() == [0.0, 0.0]
    assert "the model's own knows other labels: negative, positive" in capsys.readouterr().err


def test_a_head_for_other_labels_is_refused_where_a_new_one_is_not_wanted(tiny_bert, tmp_path):
    settings = with_head(tiny_bert, tmp_path / "m", ("negative", "positive")).model_copy(update={"new_head": False})
    with pytest.raises(ModelError, match="its head knows negative, positive, not entailment, not_entailment"):
        loaded_with(settings, ("entailment", "not_entailment"))
