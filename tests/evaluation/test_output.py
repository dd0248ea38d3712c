import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from tunny.core.errors import ConfigError, RunError
from tunny.evaluation.output import ROWS, output_format, write_predictions

NER = {
    "id": "a:1",
    "text": "Marie Curie, Paris",
    "spans": [{"start": 0, "end": 11, "label": "PER", "score": 0.9}, {"start": 13, "end": 18, "label": "LOC", "score": 0.8}],
}
WORDS = ((0, 5), (6, 11), (11, 12), (13, 18))
POS = {"id": "a:2", "text": "Cod swims", "words": [[0, 3], [4, 9]], "tags": ["NOUN", "VERB"]}
CLASS = {"id": "0", "text": 'a "quoted"\ntext, with comma', "label": "sea", "score": 0.5}


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("to", "out", "form"),
    [
        (None, "x.csv", "csv"),
        (None, "x.parquet", "parquet"),
        (None, "x.conll", "conll"),
        (None, "-", "jsonl"),
        (None, "x.out", "jsonl"),
        ("csv", "x.jsonl", "csv"),
    ],
)
def test_the_format_is_the_one_asked_for_or_that_of_the_ending(to, out, form):
    assert output_format(to, out) == form


def test_an_unknown_format_is_refused_with_a_guess():
    with pytest.raises(ConfigError, match="found 'conl'; did you mean 'conll'"):
        output_format("conl", "x")


def test_jsonl_is_one_object_a_line_in_order(tmp_path):
    out = tmp_path / "p.jsonl"
    assert write_predictions(str(out), "jsonl", [(NER, WORDS), (CLASS, ())]) == 2
    assert [json.loads(line) for line in out.read_text("utf-8").splitlines()] == [NER, CLASS]


def test_csv_has_a_header_and_every_cell_comes_back(tmp_path):
    out = tmp_path / "p.csv"
    write_predictions(str(out), "csv", [(CLASS, ()), (CLASS, ())])
    rows = list(csv.DictReader(io.StringIO(out.read_text("utf-8"))))
    assert rows == [{"id": "0", "text": CLASS["text"], "label": "sea", "score": "0.5"}] * 2


def test_lists_stand_in_csv_cells_as_json(tmp_path):
    out = tmp_path / "p.csv"
    write_predictions(str(out), "csv", [(NER, WORDS)])
    [row] = csv.DictReader(io.StringIO(out.read_text("utf-8")))
    assert json.loads(row["spans"]) == NER["spans"]


def test_conll_is_a_word_and_a_tag_a_line_and_a_blank_line_after_each_text(tmp_path):
    out = tmp_path / "p.conll"
    write_predictions(str(out), "conll", [(NER, WORDS), (POS, ((0, 3), (4, 9)))])
    assert out.read_text("utf-8") == "Marie\tB-PER\nCurie\tI-PER\n,\tO\nParis\tB-LOC\n\nCod\tNOUN\nswims\tVERB\n\n"


def test_conll_of_words_with_white_space_or_without_letters_keeps_its_columns(tmp_path):
    out = tmp_path / "p.conll"
    prediction = {"id": "0", "text": "1\u00a0000 ", "spans": [{"start": 0, "end": 5, "label": "N", "score": 1.0}]}
    write_predictions(str(out), "conll", [(prediction, ((0, 5), (6, 6)))])
    assert out.read_text("utf-8") == "1 000\tB-N\n_\tO\n\n"


def test_conll_of_an_empty_word_beside_a_span_gives_the_span_to_its_own_word(tmp_path):
    out = tmp_path / "p.conll"
    prediction = {"id": "0", "text": "Cod", "spans": [{"start": 0, "end": 3, "label": "N", "score": 1.0}]}
    write_predictions(str(out), "conll", [(prediction, ((0, 0), (0, 3), (3, 3)))])
    assert out.read_text("utf-8") == "_\tO\nCod\tB-N\n_\tO\n\n"


def test_conll_of_classes_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError, match="is for ner, pos and chunk models"):
        write_predictions(str(tmp_path / "new" / "p.conll"), "conll", [(CLASS, ())])
    assert listing(tmp_path) == []


@pytest.mark.parametrize("size", [0, 1, ROWS, ROWS + 1, 2 * ROWS])
def test_parquet_holds_every_row_whatever_their_number(tmp_path, size):
    out = tmp_path / "new" / "p.parquet"
    assert write_predictions(str(out), "parquet", (({**CLASS, "id": str(at)}, ()) for at in range(size))) == size
    assert [row["id"] for row in pq.read_table(out).to_pylist()] == [str(at) for at in range(size)]


def test_parquet_cannot_go_to_standard_output():
    with pytest.raises(ConfigError, match="needs a file"):
        write_predictions("-", "parquet", [])


def test_standard_output_gets_nothing_but_the_predictions(capsys):
    write_predictions("-", "jsonl", [(CLASS, ())])
    assert json.loads(capsys.readouterr().out) == CLASS


@pytest.mark.parametrize("form", ["jsonl", "csv", "conll", "parquet"])
def test_a_failure_while_predicting_leaves_nothing_and_keeps_what_was_there(tmp_path, form):
    def predictions():
        yield NER, WORDS
        raise RunError("no more")

    (tmp_path / "old").write_text("old")
    for out in ("old", "new/folder/p"):
        with pytest.raises(RunError, match="no more"):
            write_predictions(str(tmp_path / out), form, predictions())
    assert listing(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_an_output_that_cannot_be_written_is_an_error_in_words(tmp_path, form):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for out in ("file/p", "folder"):
        with pytest.raises(RunError, match="cannot be written"):
            write_predictions(str(tmp_path / out), form, [(NER, WORDS)])
    assert listing(tmp_path) == ["file", "folder"]
