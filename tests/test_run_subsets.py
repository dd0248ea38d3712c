"""A part of a larger tag set, one language, and data that is split on the way, in a config and nothing else."""

import json

import pytest

import tunny
from tests.data.reading import Reading, written

ROWS = [
    {"tokens": ["Anna", "has", "measles"], "ner_tags": [1, 0, 13], "lang": "en"},
    {"tokens": ["Oslo", "flu", "season"], "ner_tags": [5, 13, 14], "lang": "en"},
    {"tokens": ["Berlin", "schläft"], "ner_tags": [5, 0], "lang": "de"},
    {"tokens": ["an", "oak"], "ner_tags": [0, 25], "lang": "en"},
]
LABELS = {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 5, "I-LOC": 6, "B-DIS": 13, "I-DIS": 14, "B-PLANT": 25, "I-PLANT": 26}


@pytest.fixture
def multinerd(tmp_path):
    lines = [
        json.dumps(row | {"tokens": [*row["tokens"], str(number)], "ner_tags": [*row["ner_tags"], 0]})
        for number in range(8)
        for row in ROWS
    ]
    return written(tmp_path, "train.jsonl", "\n".join(lines) + "\n")


def trained_on(file, folder, model, **data):
    return tunny.train(
        {
            "task": "ner", "output_dir": str(folder / "run"), "model": {"name": str(model)}, "data": {"train": str(file), "labels": LABELS, **data},
            "train": {"max_steps": 2}, "encode": {"max_tokens": 64, "stride": 8},
        }
    )  # fmt: skip


def test_ids_are_counted_anew_in_their_order_and_the_map_is_saved(multinerd, tmp_path, tiny_bert):
    folder = trained_on(multinerd, tmp_path, tiny_bert, keep_labels=["PER", "DIS"], language="en")
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["labels"] == {
        "O": {"data": 0, "model": 0}, "B-PER": {"data": 1, "model": 1}, "I-PER": {"data": 2, "model": 2},
        "B-DIS": {"data": 13, "model": 3}, "I-DIS": {"data": 14, "model": 4},
    }  # fmt: skip
    flows = json.loads((folder / "audit.json").read_text("utf-8"))["splits"]["train"]["flows"]
    assert flows["examples"] == {"in": 32, "kept": 24, "repaired": {}, "dropped": {"other languages": 8}}
    assert flows["spans"]["dropped"] == {"labels not kept": 16}


def test_no_language_keeps_every_row(multinerd):
    assert len(Reading(multinerd, labels=LABELS)) == 32


def test_one_file_and_one_command_give_an_evaluated_model(multinerd, tmp_path, tiny_bert):
    folder = trained_on(multinerd, tmp_path, tiny_bert, split={"validation": 0.25, "test": 0.25})
    parts = json.loads((folder / "split.json").read_text("utf-8"))["splits"]
    assert [part["documents"] for part in parts.values()] == [16, 8, 8]
    assert json.loads((folder / "test" / "metrics.json").read_text("utf-8"))["examples"] == parts["test"]["examples"]
    assert (folder / "validation" / "metrics.json").exists()


def test_a_label_to_keep_that_nothing_has_is_reported(multinerd, tmp_path, tiny_bert):
    folder = trained_on(multinerd, tmp_path, tiny_bert, keep_labels=["PER", "PERS"])
    (event,) = json.loads((folder / "audit.json").read_text("utf-8"))["all"]["events"]["labels to keep that the data does not have"]
    assert event == {"where": "data.keep_labels", "detail": "'PERS'"}
