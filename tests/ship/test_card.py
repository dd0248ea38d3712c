import json

import pytest
import yaml

from tests.trained import KINDS, trained
from tunny.data.labels import LabelSet
from tunny.ship.card import model_card


def parts(card):
    start, head, body = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(head), body


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_of_a_card_is_yaml_with_the_pipeline_of_the_task(kind):
    head, _ = parts((trained(kind).model / "README.md").read_text("utf-8"))
    assert head["library_name"] == "transformers"
    assert head["pipeline_tag"] == ("token-classification" if kind in ("ner", "pos") else "text-classification")
    assert head["tags"] == ["tunny", "classify" if kind == "pair" else kind]
    assert "base_model" not in head  # it was a local folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_of_a_card_are_those_of_metrics_json(kind):
    run = trained(kind)
    _, body = parts((run.model / "README.md").read_text("utf-8"))
    section = body.split("## Scores on validation")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")][2:]
    metrics = json.loads((run.folder / "validation" / "metrics.json").read_text("utf-8"))["metrics"]
    assert dict(rows) == {name: "-" if value is None else f"{value:.4f}" for name, value in metrics.items()}


def about(**changes):
    return {
        "name": "x",
        "version": "0",
        "base_model": "owner/model",
        "examples": {"train": 1200},
        "metrics": {},
        "settings": {"a": 1},
        **changes,
    }


def test_a_base_model_of_the_hub_is_named_in_the_head():
    head, _ = parts(model_card("classify", LabelSet("classify", ("a", "b")), about()))
    assert head["base_model"] == "owner/model"


def test_entity_types_stand_for_their_tags():
    _, body = parts(model_card("ner", LabelSet("ner", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")), about()))
    assert "`LOC`, `PER`" in body


def test_the_settings_on_a_card_are_yaml():
    _, body = parts(model_card("classify", LabelSet("classify", ("a", "b")), about(settings={"data": {"text": "a: b"}})))
    assert yaml.safe_load(body.split("```yaml\n")[1].split("```")[0]) == {"data": {"text": "a: b"}}
