import ast
import json
import re
from collections import Counter
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import tunny
from tests.pages import EVIL
from tests.tiny import save_model
from tests.trained import KINDS, config, ner_sentences, train_once, trained
from tunny.data.labels import LabelSet
from tunny.data.settings import EncodeSettings
from tunny.metrics.calibration import Calibration, Tuned
from tunny.ship.card import LONGEST, About, code, model_card

MARKDOWN = MarkdownIt("commonmark").enable("table")


def card_of(kind):
    return (trained(kind).model / "README.md").read_text("utf-8")


def parts(card):
    start, head, body = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(head), body


def tables(card):
    """Return the rows of every table, without its head and rule, by its first title."""
    found = {}
    for block in re.split(r"\n\s*\n", card):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines() if line.startswith("|")]
        if rows:
            found[rows[0][0]] = rows[2:]
    return found


def about(**changes):
    return replace(About("x", "owner/model", True, EncodeSettings(), {"train": 1200}, {"train": ["train.csv"]}), **changes)


def evaluation(**per_label):
    scores = {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 7, "interval": (0.25, 0.75)}
    return {"metrics": {"f1": 0.123456, "loss": None}, "intervals": {"f1": [0.1, 0.2]}, "per_label": dict.fromkeys(per_label, scores)}


def scalars(card, kind="code_inline"):
    """Return the contents of all tokens of a kind that a Markdown parser finds."""
    return [child.content for token in MARKDOWN.parse(card) for child in (token, *(token.children or ())) if child.type == kind]


# -- what the Hub reads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_of_a_card_is_yaml_with_the_pipeline_of_the_task(kind):
    head, _ = parts(card_of(kind))
    assert head["library_name"] == "transformers"
    assert head["pipeline_tag"] == ("token-classification" if kind in ("ner", "pos") else "text-classification")
    assert head["tags"] == ["tunny", "classify" if kind == "pair" else kind]
    assert "base_model" not in head  # it was a local folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_hub_reads_the_scores_of_metrics_json_and_would_write_them_so(kind):
    data = ModelCard(card_of(kind)).data
    metrics = trained(kind).metrics()["metrics"]
    assert {one.metric_name: one.metric_value for one in data.eval_results} == {
        name: round(value, 4) for name, value in metrics.items() if value is not None
    }
    assert {(one.dataset_name, one.dataset_split) for one in data.eval_results} == {(trained(kind).validation.name, "validation")}
    again = ModelCardData(model_name=data.model_name, eval_results=data.eval_results).to_dict()
    assert again["model-index"] == parts(card_of(kind))[0]["model-index"]


def test_test_data_stands_in_the_index_before_validation_data():
    scored = {"validation": evaluation(), "test": {**evaluation(), "metrics": {"f1": 0.75}}}
    head, _ = parts(model_card(LabelSet("classify", ("a", "b")), about(evaluations=scored, files={"test": ["t.csv"]})))
    (result,) = head["model-index"][0]["results"]
    assert result["dataset"] == {"name": "t.csv", "type": "unknown", "split": "test"}
    assert result["metrics"] == [{"type": "f1", "value": 0.75, "name": "f1"}]


def test_data_of_the_hub_is_named_as_the_hub_does():
    files = {"train": ["hub:owner/set"], "test": ["hub:owner/set:en@main#dev"]}
    head, _ = parts(model_card(LabelSet("classify", ("a", "b")), about(evaluations={"test": evaluation()}, files=files)))
    assert head["datasets"] == ["owner/set"]
    assert head["model-index"][0]["results"][0]["dataset"] == {
        "name": "owner/set", "type": "owner/set", "config": "en", "revision": "main", "split": "dev",
    }  # fmt: skip


def test_without_scores_there_is_no_index():
    head, body = parts(model_card(LabelSet("classify", ("a", "b")), about()))
    assert "model-index" not in head
    assert "## Scores" not in body


@pytest.mark.parametrize(("language", "named"), [("de", "de"), (None, None), ("German", None)])
def test_a_language_is_named_in_the_head_where_it_is_a_code(language, named):
    head, body = parts(model_card(LabelSet("classify", ("a", "b")), about(language=language)))
    assert head.get("language") == named
    assert (f"of the language {language}" if language else "whose language is not recorded") in body


def test_a_base_model_of_the_hub_is_named_in_the_head():
    head, _ = parts(model_card(LabelSet("classify", ("a", "b")), about()))
    assert head["base_model"] == "owner/model"


# -- what people read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_of_a_card_are_those_of_metrics_json(kind):
    content = trained(kind).metrics()
    shown = {name: re.split(" [(]| to |[)]", value)[:-1] or [value] for name, value in tables(card_of(kind))["metric"]}
    intervals = content["intervals"]
    assert shown == {
        name: ["-"] if value is None else [f"{number:.4f}" for number in (value, *(intervals.get(name) or ()))]
        for name, value in content["metrics"].items()
    }


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "regress"])
def test_the_scores_by_label_are_those_of_metrics_json(kind):
    found = {name: rest for name, _, *rest in tables(card_of(kind))["label"]}
    for label, row in trained(kind).metrics()["per_label"].items():
        interval = " to ".join(f"{end:.4f}" for end in row["interval"] or ())
        assert found[f"`{label}`"] == [str(row["support"]), *(f"{row[name]:.4f}" for name in ("precision", "recall", "f1")), interval]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_card_says_of_its_use_is_what_happens(kind, monkeypatch, tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", card_of(kind), re.DOTALL)
    call = next(line for line in snippet.splitlines() if line.startswith("model.predict"))
    names: dict = {}
    monkeypatch.chdir(trained(kind).folder)
    exec(snippet.replace("path/to/this/folder", "model").replace(call, f"said = {call}"), names)
    assert names["said"] == ast.literal_eval("".join(line[2:] + "\n" for line in snippet.splitlines() if line.startswith("# ")))


def test_the_text_that_is_used_is_of_the_evaluation_data_and_has_labels():
    (call,) = re.findall(r"model.predict\(\[(.*)\]\)", card_of("ner"))
    texts = [" ".join(word for word, _ in sentence) for sentence in ner_sentences()[45:] if any(tag != "O" for _, tag in sentence)]
    assert ast.literal_eval(call) in texts


def test_the_examples_of_an_entity_type_are_its_most_frequent_forms_in_training():
    text = (trained("ner").folder.parent / "train.conll").read_text("utf-8")
    forms = Counter(re.findall(r"(?m)^(\S+)\tB-LOC$", text))
    shown = re.search(r"- `LOC`: (.*)", card_of("ner"))[1]
    counts = [forms[form] for form in re.findall("`(.*?)`", shown)]
    assert counts == sorted(forms.values(), reverse=True)[:3]


def test_the_examples_of_a_class_are_beginnings_of_its_first_texts_in_training():
    rows = [line.rsplit(",", 1) for line in (trained("classify").folder.parent / "train.csv").read_text("utf-8").splitlines()[1:]]
    first = list(dict.fromkeys(text for text, label in rows if label == "trade"))[:3]
    assert f"- `trade`: {', '.join(f'`{text}`' for text in first)}\n" in card_of("classify")


def test_the_data_is_told_by_split_with_what_became_of_it():
    assert tables(card_of("ner"))["split"] == [["train", "`train.conll`", "52"], ["validation", "`validation.conll`", "15"]]
    assert "Repaired: 2 words (made up)." in model_card(LabelSet("ner", ("O",)), about(happened=["Repaired: 2 words (made up)."]))
    assert "Nothing was repaired or left out" in model_card(LabelSet("ner", ("O",)), about())


def test_only_settings_that_differ_from_the_defaults_are_shown():
    block = yaml.safe_load(card_of("classify").split("```yaml\n")[1].split("```")[0])
    assert block == {
        "task": {"kind": "classify"}, "data": {"text": "body", "label": "topic"}, "encode": {"max_tokens": 64, "stride": 16},
        "train": {"epochs": 2, "batch_size": 8, "learning_rate": 0.003}, "engine": {"precision": "fp32"},
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_is_short_and_names_no_folder_of_the_machine(kind):
    card = card_of(kind)
    assert len(card.splitlines()) < 120
    assert str(trained(kind).folder.parent) not in card
    assert "\n\n\n" not in card


def test_entity_types_stand_for_their_tags():
    card = model_card(LabelSet("ner", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")), about())
    assert "- `LOC`\n- `PER`\n" in card


def test_limits_say_what_chose_the_model_and_whether_scores_are_calibrated():
    labels = LabelSet("classify", ("a", "b"))
    bare = model_card(labels, about(counts={"a": 10, "b": 9}))
    assert "the last state of the training is the model" in bare
    assert "are not calibrated" in bare
    assert "Fewer than ten times in the training data: `b` (9).\n" in bare
    whole = model_card(labels, about(evaluations={"validation": evaluation()}, tuned=Tuned(Calibration(1.25, -0.5), {"a": 0.3}, 0.75, 0.9)))
    assert "Validation data chose the best epoch" in whole
    assert "temperature 1.25, shift -0.5." in whole
    assert "from probabilities tuned on validation data" in whole
    assert "Answers with a score below 0.75 are marked as unsure, as a precision of 0.9 was wanted of the others" in whole


def test_labels_that_only_the_evaluation_has_have_their_scores_too():
    card = model_card(LabelSet("classify", ("a", "b")), about(evaluations={"test": evaluation(new=1)}))
    assert [row[0] for row in tables(card)["label"]] == ["`a`", "`b`", "`new`"]
    assert tables(card)["label"][0] == ["`a`", "0", "0", "-", "-", "-", ""]


def test_of_very_many_labels_fifty_are_listed():
    card = model_card(LabelSet("classify", tuple(f"l{at}" for at in range(70))), about(evaluations={"test": evaluation()}))
    assert "- and 20 more, in `config.json`" in card
    assert len(tables(card)["label"]) == 50


# -- what comes from the data ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    wanted = config("pair", save_model("bert", folder / "encoder"), folder, max_steps=1)
    return train_once({**wanted, "evaluate": {"examples_in_card": False}}, folder)


def test_texts_of_private_data_are_not_shown(private):
    card = (private / "model" / "README.md").read_text("utf-8")
    assert not re.search("herring|lighthouse|Monday", card)
    assert "model.predict([('The Morning Star landed turbot in Lerwick.', 'Fish came to Lerwick.')])" in card
    assert "evaluate:\n  examples_in_card: false" in card


def test_without_evaluation_data_a_fixed_text_is_used(tmp_path):
    wanted = config("ner", save_model("bert", tmp_path / "encoder"), tmp_path, max_steps=1)
    del wanted["data"]["validation"]
    card = (train_once(wanted, tmp_path) / "model" / "README.md").read_text("utf-8")
    assert "model.predict(['The Morning Star landed turbot in Lerwick.'])" in card


def test_long_texts_are_cut_at_60_characters(tmp_path):
    wanted = config("classify", save_model("bert", tmp_path / "encoder"), tmp_path, max_steps=1)
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("body,topic\n" + f"{'word ' * 100},sea\n{'wide ' * 100},land\n", "utf-8")
    folder = train_once(wanted, tmp_path)
    card = (folder / "model" / "README.md").read_text("utf-8")
    assert f"- `sea`: `{('word ' * 12).strip()} …`\n" in card
    (call,) = re.findall(r"model.predict\(\['(.*)'\]\)", card)
    assert len(call) <= LONGEST
    assert call == ("word " * 12).strip()
    assert json.loads((folder / "validation" / "predictions.jsonl").read_text("utf-8").splitlines()[0])["text"] != call
    assert tunny.load(folder / "model").predict([call])


def test_nothing_from_the_data_is_taken_for_markdown():
    names = (EVIL, "a|b", "`x`", "[l](http://x.y)", "*b*\n# head", "$x$ @you www.x.y")
    files = {"train": [EVIL]}
    shown = dict.fromkeys(names, (EVIL, "| a | b |", "```\ncode"))
    scored = {"test": evaluation(**dict.fromkeys(names, 1))}
    card = model_card(LabelSet("classify", names), about(name="a_b <b> #1", files=files, shown=shown, evaluations=scored))
    _, body = parts(card)
    assert not [token for token in MARKDOWN.parse(body) for child in (token, *(token.children or ())) if "html" in child.type]
    assert scalars(body, "link_open") == []
    assert next(token.content for token in MARKDOWN.parse(body) if token.type == "inline") == r"a\_b \<b\> \#1"
    inside = scalars(body)
    assert [inside.count(" ".join(name.split())[:LONGEST]) for name in names[1:]] == [3] * 5  # listed, scored, named as rare
    assert inside.count("| a | b |") == len(names)


@given(st.text(min_size=1))
def test_any_text_stands_as_one_piece_of_code(text):
    made = code(text)
    (found,) = scalars(f"before {made} after") or [""]
    assert made.count("\n") == 0
    assert found.strip() == re.search(r"(?s)`+ ?(.*?) ?`+\Z", made)[1].strip() or not found.strip()
