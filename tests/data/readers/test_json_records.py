import pytest

from tests.data.reading import Reading, written


def test_multilabel_takes_lists_and_an_empty_list_is_a_label_too(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "fine", "labels": ["x", "y"]}\n{"text": "fair", "labels": []}\n'), "multilabel")
    assert [example.labels for example in found] == [("x", "y"), ()]


def test_integers_are_names_in_the_order_of_data_labels(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "fine", "label": 1}\n{"text": "fair", "label": 0}\n')
    assert [example.labels for example in Reading(path, "classify", labels={"good": 1, "bad": 0})] == [("good",), ("bad",)]


def test_integers_without_names_are_their_own_names(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "fine", "label": 1}\n'), "classify")
    assert found[0].labels == ("1",)


def test_blank_lines_are_no_records(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '\n{"text": "fine", "label": "x"}\n\n{"text": "fair", "label": "y"}\n'), "classify")
    assert [example.id for example in found] == ["a.jsonl:2", "a.jsonl:4"]


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "one\u2028two\x85three", "label": "x"}\n'), "classify")
    assert found[0].text == "one\u2028two\x85three"


@pytest.mark.parametrize("kind", ["classify", "regress"])
def test_pairs_are_found_by_their_names(tmp_path, kind):
    found = Reading(written(tmp_path, "a.jsonl", '{"premise": "a", "hypothesis": "b", "label": 2}\n'), kind)
    assert (found[0].text, found[0].text_b) == ("a", "b")


def test_a_key_that_stands_only_in_a_later_record_is_found(tmp_path):
    content = '{"text": "fine", "note": 1}\n{"text": "fair", "label": "x"}\n'
    found = Reading(written(tmp_path, "a.jsonl", content), "classify", on_error="quarantine")
    assert [example.labels for example in found] == [("x",)]


def test_one_object_with_a_list_of_spans_is_one_example(tmp_path):
    found = Reading(written(tmp_path, "a.json", '{\n"text": "Oslo", "spans": [{"start": 0, "end": 4, "label": "LOC"}]}'))
    assert [(example.text, example.spans) for example in found] == [("Oslo", ((0, 4, "LOC"),))]


def test_spans_may_have_types_instead_of_labels(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "Oslo", "entities": [{"start": 0, "end": 4, "type": "LOC"}]}\n'))
    assert found[0].spans == ((0, 4, "LOC"),)
