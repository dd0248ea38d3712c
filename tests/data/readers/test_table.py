import csv

import pytest

from tests.data.reading import Reading, written

TRICKY = ['say "hi"', '"', "a, b", "two\nlines", "two\r\nlines", " spaces ", "tab\there", "end\n", "'single'", "Zoë 👍🏽"]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_texts_written_by_the_csv_module_come_back_to_the_character(tmp_path, ends):
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator=ends).writerows([["text", "label"], *([text, "x"] for text in TRICKY)])
    assert [example.text for example in Reading(tmp_path / "a.csv", "classify")] == TRICKY


def test_well_formed_quotes_of_a_tsv_enclose_cells(tmp_path):
    found = Reading(written(tmp_path, "a.tsv", 'text\tlabel\n"say ""hi"""\tx\nfine\ty\n'), "classify")
    assert found[0].text == 'say "hi"'
    assert any("double quotes enclose cells" in note for note in found.audit.notes)


@pytest.mark.parametrize("raw", ['"Hi," he said', 'he said "hi"', '6" pipe', '"'])
def test_one_raw_quote_in_a_tsv_makes_all_plain(tmp_path, raw):
    found = Reading(written(tmp_path, "a.tsv", f'text\tlabel\n"fine"\tx\n{raw}\ty\n'), "classify")
    assert [example.text for example in found] == ['"fine"', raw]
    assert any("double quotes are plain characters (line 3" in note for note in found.audit.notes)


def test_quoting_can_be_switched_off(tmp_path):
    found = Reading(written(tmp_path, "a.csv", 'text,label\n"fine",x\n'), "classify", quoting="none")
    assert found[0].text == '"fine"'


@pytest.mark.parametrize("delimiter", [";", "\t", ","])
def test_the_delimiter_of_a_csv_is_found(tmp_path, delimiter):
    content = f"text{delimiter}label\nfine{delimiter}x\n"
    found = Reading(written(tmp_path, "a.csv", content), "classify")
    assert (found[0].text, found[0].labels) == ("fine", ("x",))


def test_a_delimiter_may_be_named(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "text|label\na, b; c|x\n"), "classify", delimiter="|")
    assert found[0].text == "a, b; c"


def test_without_a_header_the_first_row_is_data_and_columns_are_numbers(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "x,fine\ny,fair\n"), "classify", header=False, text=1, label=0)
    assert [(example.text, example.labels) for example in found] == [("fine", ("x",)), ("fair", ("y",))]


def test_several_labels_stand_in_one_cell(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "text;labels\nfine;x|y\nfair;\n"), "multilabel", label_separator="|")
    assert [example.labels for example in found] == [("x", "y"), ()]


def test_scores_are_numbers(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "text,score\nfine,2.5\nfair,-1e-3\n"), "regress")
    assert [example.score for example in found] == [2.5, -0.001]


def test_blank_lines_are_no_rows(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "text,label\n\nfine,x\n\n"), "classify")
    assert [example.id for example in found] == ["a.csv:3"]


def test_a_bracketed_word_is_no_json(tmp_path):
    found = Reading(written(tmp_path, "a.tsv", "tokens\ttags\n[ Oslo ]\tO B-LOC O\n"))
    assert found[0].text == "[ Oslo ]"
