import pytest

from tests.data.reading import Reading, written


def texts(found):
    return [example.text for example in found]


@pytest.mark.parametrize("blank", ["", "\t", " ", "\r"])
def test_a_line_of_white_space_ends_a_sentence(tmp_path, blank):
    found = Reading(written(tmp_path, "a.conll", f"Anna\tB-PER\n{blank}\nOslo\tB-LOC\n"))
    assert texts(found) == ["Anna", "Oslo"]


def test_the_last_sentence_needs_no_end(tmp_path):
    assert texts(Reading(written(tmp_path, "a.conll", "Anna\tB-PER\n\nOslo\tB-LOC"))) == ["Anna", "Oslo"]


def test_docstart_lines_part_documents_and_sentences(tmp_path):
    content = "-DOCSTART- -X- O\n\nAnna NNP B-PER\n\nberg NN O\n-DOCSTART- -X- O\nOslo NNP B-LOC\n"
    found = Reading(written(tmp_path, "a.conll", content))
    assert [(example.text, example.document) for example in found] == [("Anna", "a.conll#1"), ("berg", "a.conll#1"), ("Oslo", "a.conll#2")]


def test_the_first_column_is_the_word_and_the_last_the_tag(tmp_path):
    found = Reading(written(tmp_path, "a.conll", "Anna NNP B-NP B-PER\n"))
    assert (found[0].text, found[0].spans[0].label) == ("Anna", "PER")


def test_other_columns_are_taken_where_the_settings_say_so(tmp_path):
    found = Reading(written(tmp_path, "a.conll", "1 Anna B-NP B-PER\n"), "chunk", tokens=1, tags=2)
    assert (found[0].text, found[0].spans[0].label) == ("Anna", "NP")


def test_comments_before_a_sentence_are_no_words(tmp_path):
    found = Reading(written(tmp_path, "a.conll", "# id = 1\nAnna\tB-PER\n\n# a long comment here\n#\tO\n"))
    assert texts(found) == ["Anna", "#"]


def test_a_no_break_space_parts_no_columns(tmp_path):
    found = Reading(written(tmp_path, "a.conll", "New\xa0York B-LOC\nnow  O \n"))
    assert [found[0].text[start:end] for start, end in found[0].words] == ["New\xa0York", "now"]


def test_a_zero_width_space_is_a_word(tmp_path):
    found = Reading(written(tmp_path, "a.conll", "Anna\tB-PER\n\u200b\tO\n"))
    assert found[0].words == ((0, 4), (5, 6))


def test_broken_tags_start_a_span_and_are_counted(tmp_path):
    found = Reading(written(tmp_path, "a.conll", "Anna\tB-PER\nBerg\tI-LOC\n"))
    assert [span.label for span in found[0].spans] == ["PER", "LOC"]
    assert found.audit.counts["tags repaired"] == 1


def test_parts_of_speech_are_a_span_a_word(tmp_path):
    found = Reading(written(tmp_path, "a.conll", "Anna\tPROPN\ncame\tVERB\n"), "pos")
    assert found[0].spans == ((0, 4, "PROPN"), (5, 9, "VERB"))


def test_words_alone_are_enough_for_prediction(tmp_path):
    found = Reading(written(tmp_path, "a.conll", "Anna\ncame\n\nOslo\n"), labels_needed=False)
    assert texts(found) == ["Anna came", "Oslo"]
