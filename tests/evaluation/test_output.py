import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import ConfigError, RunError
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.write import CHUNK
from tunny.evaluation.output import FORMATS, output_format, write_predictions

MARIE = Example("a:1", "Marie Curie, Paris")
NER = {
    "id": "a:1",
    "text": "Marie Curie, Paris",
    "spans": [{"start": 0, "end": 11, "label": "PER", "score": 0.9}, {"start": 13, "end": 18, "label": "LOC", "score": 0.8}],
}
SWIMS = Example("a:2", "Cod swims", words=((0, 3), (4, 9)))
POS = {"id": "a:2", "text": "Cod swims", "words": [[0, 3], [4, 9]], "tags": ["NOUN", "VERB"]}
QUOTED = Example("0", 'a "quoted"\ntext, with comma')
CLASS = {"id": "0", "text": QUOTED.text, "label": "sea", "score": 0.5}
HERRING = Example("7", "Herring", text_b="Cod", document="fish")
LABELS = {"id": "7", "text": "Herring", "text_b": "Cod", "labels": [{"label": "sea", "score": 0.9}, {"label": "news, world", "score": 0.6}]}
NO_LABELS = {**LABELS, "labels": []}
VALUE = {"id": "7", "text": "Herring", "text_b": "Cod", "value": -0.25}


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write(out, form, kind, *answers, **more):
    assert write_predictions(str(out), form, answers, kind, Audit(), **more) == len(answers)
    return out


def tasks(folder, kind, *answers, **more):
    return json.loads(write(folder / "tasks.json", "label-studio", kind, *answers, **more).read_text("utf-8"))


@pytest.mark.parametrize(
    ("to", "out", "form"),
    [
        (None, "x.csv", "csv"),
        (None, "x.parquet", "parquet"),
        (None, "x.conll", "conll"),
        (None, "-", "jsonl"),
        (None, "x.out", "jsonl"),
        ("csv", "x.jsonl", "csv"),
        ("label-studio", "x.json", "label-studio"),
    ],
)
def test_the_format_is_the_one_asked_for_or_that_of_the_ending(to, out, form):
    assert output_format(to, out) == form


def test_an_unknown_format_is_refused_with_a_guess():
    with pytest.raises(ConfigError, match="found 'conl'; did you mean 'conll'"):
        output_format("conl", "x")


def test_jsonl_is_one_object_a_line_in_order(tmp_path):
    out = write(tmp_path / "p.jsonl", "jsonl", "ner", (MARIE, NER), (QUOTED, CLASS))
    assert [json.loads(line) for line in out.read_text("utf-8").splitlines()] == [NER, CLASS]


def test_csv_has_a_header_and_every_cell_comes_back(tmp_path):
    out = write(tmp_path / "p.csv", "csv", "classify", (QUOTED, CLASS), (QUOTED, CLASS))
    rows = list(csv.DictReader(io.StringIO(out.read_text("utf-8"))))
    assert rows == [{"id": "0", "text": CLASS["text"], "label": "sea", "score": "0.5"}] * 2


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_lists_stand_in_cells_as_json(tmp_path, form):
    out = write(tmp_path / f"p.{form}", form, "ner", (MARIE, NER))
    [row] = csv.DictReader(io.StringIO(out.read_text("utf-8"))) if form == "csv" else pq.read_table(out).to_pylist()
    assert json.loads(row["spans"]) == NER["spans"]


def test_conll_is_a_word_and_a_tag_a_line_and_a_blank_line_after_each_text(tmp_path):
    out = write(tmp_path / "p.conll", "conll", "ner", (MARIE, NER), (Example("b", "Hm"), {"id": "b", "text": "Hm", "spans": []}))
    assert out.read_text("utf-8") == "Marie\tB-PER\nCurie\tI-PER\n,\tO\nParis\tB-LOC\n\nHm\tO\n\n"


def test_conll_of_parts_of_speech_has_a_tag_for_each_word(tmp_path):
    out = write(tmp_path / "p.conll", "conll", "pos", (SWIMS, POS))
    assert out.read_text("utf-8") == "Cod\tNOUN\nswims\tVERB\n\n"


def test_conll_of_words_with_white_space_or_without_letters_keeps_its_columns(tmp_path):
    prediction = {"id": "0", "text": "1\u00a0000 ", "spans": [{"start": 0, "end": 5, "label": "N", "score": 1.0}]}
    out = write(tmp_path / "p.conll", "conll", "ner", (Example("0", "1\u00a0000 ", words=((0, 5), (6, 6))), prediction))
    assert out.read_text("utf-8") == "1 000\tB-N\n_\tO\n\n"


def test_conll_of_an_empty_word_beside_a_span_gives_the_span_to_its_own_word(tmp_path):
    prediction = {"id": "0", "text": "Cod", "spans": [{"start": 0, "end": 3, "label": "N", "score": 1.0}]}
    out = write(tmp_path / "p.conll", "conll", "ner", (Example("0", "Cod", words=((0, 0), (0, 3), (3, 3))), prediction))
    assert out.read_text("utf-8") == "_\tO\nCod\tB-N\n_\tO\n\n"


@pytest.mark.parametrize(("form", "kind"), [("conll", "classify"), ("label-studio", "pos")])
def test_a_format_that_cannot_hold_a_kind_is_refused_and_leaves_nothing(tmp_path, form, kind):
    with pytest.raises(ConfigError, match=f"--to {form}: is for .*; for {kind} use jsonl, csv"):
        write_predictions(str(tmp_path / "new" / "p"), form, [], kind, Audit())
    assert listing(tmp_path) == []


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_parquet_holds_every_row_whatever_their_number(tmp_path, size):
    out = write(tmp_path / "new" / "p.parquet", "parquet", "classify", *((QUOTED, {**CLASS, "id": str(at)}) for at in range(size)))
    rows = pq.read_table(out).to_pylist()
    assert [(row["id"], row.get("score")) for row in rows] == [(str(at), 0.5) for at in range(size)]


def test_parquet_cannot_go_to_standard_output():
    with pytest.raises(ConfigError, match="needs a file"):
        write("-", "parquet", "classify")


def test_standard_output_gets_nothing_but_the_predictions(capsys):
    write("-", "jsonl", "classify", (QUOTED, CLASS))
    assert json.loads(capsys.readouterr().out) == CLASS


@pytest.mark.parametrize("form", FORMATS)
def test_a_failure_while_predicting_leaves_nothing_and_keeps_what_was_there(tmp_path, form):
    def answers():
        yield MARIE, NER
        raise RunError("no more")

    (tmp_path / "old").write_text("old")
    for out in ("old", "new/folder/p"):
        with pytest.raises(RunError, match="no more"):
            write_predictions(str(tmp_path / out), form, answers(), "ner", Audit())
    assert listing(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"


# -- Label Studio ------------------------------------------------------------------------------------------------------


def test_predicted_spans_are_regions_with_a_score_each(tmp_path):
    region = {"from_name": "label", "to_name": "text", "type": "labels"}
    [task] = tasks(tmp_path, "ner", (MARIE, NER), model_version="harbour-1")
    assert task["data"] == {"id": "a:1", "text": "Marie Curie, Paris"}
    assert "annotations" not in task
    [prediction] = task["predictions"]
    assert prediction["model_version"] == "harbour-1"
    assert prediction["score"] == pytest.approx(0.85)
    assert prediction["result"] == [
        {"id": "r1", **region, "value": {"start": 0, "end": 11, "text": "Marie Curie", "labels": ["PER"]}, "score": 0.9},
        {"id": "r2", **region, "value": {"start": 13, "end": 18, "text": "Paris", "labels": ["LOC"]}, "score": 0.8},
    ]


@pytest.mark.parametrize(
    ("kind", "answer", "score", "regions"),
    [
        ("classify", (QUOTED, CLASS), 0.5, [("choices", {"choices": ["sea"]}, 0.5)]),
        ("multilabel", (HERRING, LABELS), 0.75, [("choices", {"choices": ["sea", "news, world"]}, 0.75)]),
        ("multilabel", (HERRING, NO_LABELS), None, []),
        ("regress", (HERRING, VALUE), None, [("number", {"number": -0.25}, None)]),
        ("ner", (MARIE, {**NER, "spans": []}), None, []),
    ],
)
def test_predicted_choices_and_numbers_are_of_the_whole_text(tmp_path, kind, answer, score, regions):
    [task] = tasks(tmp_path, kind, answer)
    assert task["predictions"][0]["score"] == (score and pytest.approx(score))
    assert [(region["type"], region["value"], region.get("score")) for region in task["predictions"][0]["result"]] == regions


def test_a_pair_and_its_document_stand_in_the_data(tmp_path):
    [task] = tasks(tmp_path, "regress", (HERRING, VALUE))
    assert task["data"] == {"id": "7", "doc_id": "fish", "text": "Herring", "text_b": "Cod"}


def test_a_task_that_was_read_keeps_its_number_and_data_and_gets_the_controls_name(tmp_path):
    source = written(tmp_path, "export.json", json.dumps([{"id": 31, "data": {"body": "Marie Curie, Paris", "ref": 5}, "annotations": []}]))
    [example] = Reading(source, labels_needed=False, text="body")
    [task] = tasks(tmp_path, "ner", (example, NER), control="entity")
    assert (task["id"], task["data"]) == (31, {"body": "Marie Curie, Paris", "ref": 5})
    assert {(region["from_name"], region["to_name"]) for region in task["predictions"][0]["result"]} == {("entity", "text")}
