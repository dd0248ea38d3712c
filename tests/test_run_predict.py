"""Predicting from files of every kind, to files of every kind, as the commands do it."""

import csv
import io
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tunny
from tests.trained import settings, trained
from tunny import model_commands
from tunny.cli import main
from tunny.config import FileSettings
from tunny.core.errors import DataError, RunError

TEXT = "Marie Curie worked in Paris"


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write(path, content):
    path.write_text(content, "utf-8")
    return path


def tagged(tmp_path, source, **columns):
    tunny.predict(trained("ner").model, source, tmp_path / "out.jsonl", **columns)
    return lines(tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.txt", f"{TEXT}\n\nthe wind\n"),
        ("in.jsonl", json.dumps({"text": TEXT}) + "\n" + json.dumps({"text": "the wind"}) + "\n"),
        ("in.json", json.dumps([{"text": TEXT}, {"text": "the wind"}])),
        ("in.csv", f"text,other\n{TEXT},1\nthe wind,2\n"),
        ("in.tsv", f"other\ttext\n1\t{TEXT}\n2\tthe wind\n"),
        ("in.conll", "\n".join([*TEXT.split(), "", "the", "wind", ""])),
        ("in.conll", "".join(f"{word} O\n" for word in TEXT.split()) + "\nthe O\nwind O\n"),
    ],
)
def test_texts_are_read_from_every_format_in_order(tmp_path, name, content):
    found = tagged(tmp_path, write(tmp_path / name, content))
    assert [line["text"] for line in found] == [TEXT, "the wind"]
    assert all("spans" in line for line in found)


def test_texts_are_read_from_parquet(tmp_path):
    pq.write_table(pa.table({"text": [TEXT, "the wind"]}), tmp_path / "in.parquet")
    assert [line["text"] for line in tagged(tmp_path, tmp_path / "in.parquet")] == [TEXT, "the wind"]


def test_the_columns_of_the_training_are_remembered(tmp_path):
    for kind in ("classify", "pair"):
        names = settings(kind)
        row = ["x", "herring", "it was cod"][: 1 + len(names) - 1]
        head = ["noise", names["text"], names.get("text_b")][: len(row)]
        source = tmp_path / f"{kind}.csv"
        with source.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, row])
        tunny.predict(trained(kind).model, source, tmp_path / "out.jsonl")
        [found] = lines(tmp_path / "out.jsonl")
        assert (found["text"], found.get("text_b")) == ("herring", "it was cod" if kind == "pair" else None)


def test_columns_given_now_overrule_those_of_the_training(tmp_path):
    source = write(tmp_path / "in.csv", "body,headline\nherring,cod\n")
    tunny.predict(trained("classify").model, source, tmp_path / "out.jsonl", text="headline")
    assert lines(tmp_path / "out.jsonl")[0]["text"] == "cod"


def test_a_missing_text_column_is_an_error_in_words_and_leaves_nothing(tmp_path):
    source = write(tmp_path / "in.csv", "bodi,other\nherring,cod\n")
    with pytest.raises(DataError, match=r"no column 'body' \(data\.text\); there are: bodi, other; did you mean 'bodi'"):
        tunny.predict(trained("classify").model, source, tmp_path / "out" / "p.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("label", ["", "no-such-class", "3"])
def test_wrong_or_missing_labels_do_not_keep_a_text_from_being_labelled(tmp_path, label):
    source = write(tmp_path / "in.csv", f"body,topic\nherring,{label}\n")
    tunny.predict(trained("classify").model, source, tmp_path / "out.jsonl")
    assert lines(tmp_path / "out.jsonl")[0]["label"] in {"sea", "land", "trade"}


def test_tags_of_no_scheme_do_not_keep_a_text_from_being_labelled(tmp_path):
    source = write(tmp_path / "in.conll", "Marie Q-X\nCurie 7\n")
    assert tagged(tmp_path, source, format="conll")[0]["text"] == "Marie Curie"


def test_a_score_that_is_no_number_does_not_keep_a_text_from_being_valued(tmp_path):
    source = write(tmp_path / "in.csv", "body,points\nherring,many\n")
    tunny.predict(trained("regress").model, source, tmp_path / "out.jsonl")
    assert isinstance(lines(tmp_path / "out.jsonl")[0]["value"], float)


def test_offsets_are_those_of_the_file_with_byte_order_mark_and_line_ends_of_windows(tmp_path):
    source = tmp_path / "in.txt"
    source.write_bytes(f"\ufeff{TEXT}\r\n👩‍👩‍👧‍👦 {TEXT}\r\n".encode())
    first, second = tagged(tmp_path, source)
    assert (first["text"], second["text"]) == (TEXT, f"👩‍👩‍👧‍👦 {TEXT}")


@pytest.mark.parametrize("form", ["csv", "conll", "parquet", "jsonl"])
def test_predictions_come_in_the_form_of_the_ending(tmp_path, form):
    source = write(tmp_path / "in.txt", f"{TEXT}\nthe wind\n")
    out = tmp_path / f"out.{form}"
    assert tunny.predict(trained("ner").model, source, out) == 2
    if form == "csv":
        texts = [row["text"] for row in csv.DictReader(io.StringIO(out.read_text("utf-8")))]
    elif form == "parquet":
        texts = pq.read_table(out)["text"].to_pylist()
    elif form == "jsonl":
        texts = [line["text"] for line in lines(out)]
    else:
        texts = [" ".join(row.split("\t")[0] for row in block.split("\n")) for block in out.read_text("utf-8").strip().split("\n\n")]
    assert texts == [TEXT, "the wind"]


def test_what_was_predicted_as_conll_is_read_again(tmp_path):
    source = write(tmp_path / "in.txt", f"{TEXT}\nthe wind\n")
    tunny.predict(trained("ner").model, source, tmp_path / "once.conll")
    tunny.predict(trained("ner").model, tmp_path / "once.conll", tmp_path / "twice.conll")
    assert (tmp_path / "twice.conll").read_text("utf-8") == (tmp_path / "once.conll").read_text("utf-8")


def test_standard_input_and_output_take_the_place_of_files(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{TEXT}\nthe wind\n".encode())))
    model_commands.predict(str(trained("ner").model), "-", "-", None, FileSettings())
    captured = capsys.readouterr()
    assert [json.loads(line)["text"] for line in captured.out.splitlines()] == [TEXT, "the wind"]
    assert "predictions: standard output (2 jsonl records)" in captured.err


def test_an_empty_input_gives_an_empty_output(tmp_path):
    assert tagged(tmp_path, write(tmp_path / "in.txt", "")) == []


def test_an_output_that_cannot_be_written_is_exit_2_and_leaves_nothing(tmp_path, capsys):
    source = write(tmp_path / "in.txt", f"{TEXT}\n")
    with pytest.raises(SystemExit) as end:
        main(["predict", str(trained("ner").model), str(source), "--out", str(source / "p.jsonl")])
    assert end.value.code == 2
    assert "p.jsonl: cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.txt"]


def test_flags_of_the_command_name_columns_and_keep_the_others_of_the_training(tmp_path):
    source = write(tmp_path / "in.csv", "headline;second\nherring;it was cod\n")
    with pytest.raises(SystemExit) as end:
        main(
            [
                "predict",
                str(trained("pair").model),
                str(source),
                "--out",
                str(tmp_path / "p.jsonl"),
                "--data.text",
                "headline",
                "--data.delimiter",
                ";",
            ]
        )
    assert end.value.code == 0
    assert lines(tmp_path / "p.jsonl")[0]["text_b"] == "it was cod"


def test_a_missing_input_is_an_error_in_words(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        tunny.predict(trained("ner").model, tmp_path / "nothing.txt", tmp_path / "p.jsonl")


def test_an_evaluation_folder_that_cannot_be_written_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        tunny.evaluate(trained("ner").model, trained("ner").validation, tmp_path / "file" / "out")


def test_the_score_of_each_of_a_few_files_is_said(tmp_path, capsys):
    run = trained("ner", epochs=30)
    wrong = write(tmp_path / "wrong.conll", "Marie\tB-LOC\nCurie\tI-LOC\nlaughed\tO\n")
    tunny.evaluate(run.model, [str(run.validation), str(wrong)], tmp_path / "out")
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("  ") and "examples)" in line] == [
        "  validation.conll: f1 1.0000 (15 examples)", "  wrong.conll: f1 0.0000 (1 examples)",
    ]  # fmt: skip
    tunny.evaluate(run.model, run.validation, tmp_path / "out")
    assert "examples)" not in capsys.readouterr().err


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path, capsys):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.append(str(write(tmp_path / name / "test.conll", "Marie\tB-PER\nCurie\tI-PER\nlaughed\tO\n")))
    tunny.evaluate(trained("ner", epochs=30).model, files, tmp_path / "out")
    said = capsys.readouterr().err
    assert all(f"  {file}: f1 " in said for file in files)


def test_an_evaluation_never_replaces_what_it_did_not_write(tmp_path):
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine" / "notes.txt", "keep me")
    with pytest.raises(RunError, match=r"holds 'notes\.txt', which an evaluation would replace"):
        model_commands.evaluate(str(trained("ner").model), [str(tmp_path / "x.conll")], str(tmp_path / "mine"), FileSettings())
    assert (tmp_path / "mine" / "notes.txt").read_text("utf-8") == "keep me"
