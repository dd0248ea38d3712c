import csv

import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import DataError

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


def test_lists_as_python_writes_them(tmp_path):
    content = """tokens,tags\n"['to', ""d'Or"", 'x']","['O', 'B-LOC', 'O']"\n"""
    found = Reading(written(tmp_path, "a.csv", content))
    assert (found[0].text, found[0].spans) == ("to d'Or x", ((3, 7, "LOC"),))


def test_lists_as_numpy_writes_them_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:2: expected tokens as a JSON list, found "):
        Reading(written(tmp_path, "a.csv", """tokens,tags\n"['to' 'Oslo']","['O' 'B-LOC']"\n"""))


# -- a row a word ------------------------------------------------------------------------------------------------------

KAGGLE = 'Sentence #,Word,POS,Tag\nSentence: 1,Zoë,NNP,B-per\n,said,VBD,O\n,"""",``,O\nSentence: 2,"Oslo",NNP,B-geo\n,.,.,O\n'


def test_kaggle_numbers_a_sentence_in_its_first_row_only(tmp_path):
    found = Reading(written(tmp_path, "ner_dataset.csv", KAGGLE, "latin-1"))
    assert [(example.text, example.spans) for example in found] == [('Zoë said "', ((0, 3, "per"),)), ("Oslo .", ((0, 4, "geo"),))]
    assert [example.origin.line for example in found] == [2, 5]


def test_its_encoding_is_guessed_and_said(tmp_path):
    found = Reading(written(tmp_path, "ner_dataset.csv", KAGGLE, "latin-1"))
    assert found.audit.events["encodings guessed"][0]["detail"].startswith("cp1252 (")


def test_kaggle_parts_of_speech(tmp_path):
    found = Reading(written(tmp_path, "ner_dataset.csv", KAGGLE), "pos")
    assert [span.label for span in found[0].spans] == ["NNP", "VBD", "``"]


def test_the_tag_column_may_be_named(tmp_path):
    found = Reading(written(tmp_path, "ner_dataset.csv", KAGGLE), "pos", tags="Tag")
    assert [span.label for span in found[1].spans] == ["B-geo", "O"]


def test_a_number_in_every_row_is_as_good(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "sentence_id,word,tag\n1,to,O\n1,Oslo,B-LOC\n2,calm,O\n"))
    assert [example.text for example in found] == ["to Oslo", "calm"]


def test_words_without_tags_serve_prediction(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "Sentence #,Word\n1,to\n,Oslo\n"), labels_needed=False)
    assert [example.text for example in found] == ["to Oslo"]


def test_a_table_of_words_is_rows_for_a_classifier(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "sentence_id,word,label\n1,easy,0\n1,arduous,1\n"), "classify", text="word")
    assert [(example.text, example.labels) for example in found] == [("easy", ("0",)), ("arduous", ("1",))]


def test_a_sentence_with_a_bad_row_is_a_bad_one(tmp_path):
    path = written(tmp_path, "a.csv", KAGGLE.replace("said,VBD,O", "said,VBD"))
    with pytest.raises(DataError, match=r"a\.csv:3: expected 4 columns as in the first row, found 3"):
        Reading(path)
    found = Reading(path, on_error="quarantine")
    assert ([example.text for example in found], found.audit.rejected[0][1]) == (["Oslo ."], 2)


# -- public shapes -----------------------------------------------------------------------------------------------------


def test_pymarlin_sentences_and_slots(tmp_path):
    found = Reading(written(tmp_path, "train.tsv", 'Sentence\tSlot\n"Anna said ""hi"""\tB-PER O O\n'))
    assert (found[0].text, found[0].spans) == ('Anna said "hi"', ((0, 4, "PER"),))


def test_label_numbers_with_a_separator_become_names(tmp_path):
    content = "fine\t1,2\tid1\nfair\t0\tid2\n"
    found = Reading(written(tmp_path, "a.tsv", content), "multilabel", header=False, text=0, label=1, id=2, labels=["no", "joy", "awe"])
    assert [(example.id, example.labels) for example in found] == [("id1", ("joy", "awe")), ("id2", ("no",))]


# -- quotes ------------------------------------------------------------------------------------------------------------


def test_after_a_stray_quote_the_rows_below_it_are_read(tmp_path):
    content = 'text,label\nfine,x\n"never closed,y\nfair,x\n"two\nlines",y\nlast,x\n'
    found = Reading(written(tmp_path, "a.csv", content), "classify", on_error="quarantine")
    assert [example.text for example in found] == ["fine", "fair", "two\nlines", "last"]
    assert [line for _, line, _ in found.audit.rejected] == [3]


def test_thousands_of_stray_quotes_are_each_left_out(tmp_path):
    content = "text,label\n" + 'fine,x\n"a" b,y\n' * 3_000
    found = Reading(written(tmp_path, "a.csv", content), "classify", on_error="quarantine")
    assert (len(found), found.audit.counts["quarantined"]) == (3_000, 3_000)


def test_a_header_with_a_stray_quote_is_no_header(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv:1: ',' expected after '\"' in lines 1 to 1"):
        Reading(written(tmp_path, "a.csv", '"te"xt,label\nfine,x\n'), "classify", on_error="quarantine")
