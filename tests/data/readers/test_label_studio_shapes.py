"""The shapes that Label Studio writes tasks in, the text that a task has."""

import json

import pytest

from tests.data.readers.label_studio_made import TEXT, annotation, choice, flow, number, read, span, table, task, texts
from tests.data.reading import Reading, written
from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.read import FORMATS, sources
from tunny.data.settings import DataSettings

LABELLED = [span(0, 4, "PER", text="Anna"), span(13, 17, "LOC", text="Oslo")]
MEANT = [("Anna", "PER"), ("Oslo", "LOC")]


def row(number, text=TEXT, *, made=1, by=1, updated="2025-01-01", **answers):
    """Return a row of JSON-MIN: data, then the id, then the answers, then what tells of the annotation."""
    told = {"annotator": by, "annotation_id": made, "created_at": updated, "updated_at": updated, "lead_time": 1.5}
    return {"text": text, "id": number, **answers, **told}


def spans(*results):
    return [result["value"] for result in results]


def rows_of(path, **settings):
    (source,) = sources([str(path)], DataSettings(format="label-studio", **settings), "ner", Audit(), None, True)
    return [(row.line, row.raw) for row in FORMATS["label-studio"].rows(source)]


HELD = task(annotation(*LABELLED))
SHAPES = {
    "a list of tasks": ("a.json", json.dumps([HELD])),
    "a task a line": ("a.jsonl", json.dumps(HELD) + "\n\n" + json.dumps(task(number=8)) + "\n"),
    "one task": ("a.json", json.dumps(HELD, indent=1)),
    "old completions": ("a.json", json.dumps([{"id": 7, "data": {"text": TEXT}, "completions": [{"id": 1, "result": LABELLED}]}])),
    "an annotation with its task": ("a.txt", json.dumps({"id": 3, "task": {"id": 7, "data": {"text": TEXT}}, "result": LABELLED})),
    "an annotation with data": ("a.txt", json.dumps({"data": {"text": TEXT}, "result": LABELLED})),
    "results without a type": ("a.txt", json.dumps({"data": {"text": TEXT}, "result": [{"value": one} for one in spans(*LABELLED)]})),
    "a list of annotations": ("a.json", json.dumps([{"data": {"text": TEXT}, "result": LABELLED}])),
    "a snapshot": ("a.json", json.dumps([task(annotation(*LABELLED, completed_by={"id": 1, "email": "a@b.c"}))])),
    "rows": ("a.json", json.dumps([row(7, label=spans(*LABELLED))])),
    "a table": ("a.csv", table([row(7, label=spans(*LABELLED))])),
    "a table parted by tabs": ("a.csv", table([row(7, label=spans(*LABELLED))], "\t")),
    "a byte order mark": ("a.json", "\ufeff" + json.dumps([HELD])),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_gives_the_same_example(tmp_path, shape):
    found = Reading(written(tmp_path, *shape))
    assert [(example.text, texts(example)) for example in found] == [(TEXT, MEANT)]


BAD_SHAPES = {
    "no export": ('[{"text": "x"}]', "task 1: expected a task of Label Studio with an object data; there are: text"),
    "a text": ("hello", "1: expected a JSON, CSV or TSV export of Label Studio, found 'hello'"),
    "nothing": ("", "1: expected a JSON, CSV or TSV export of Label Studio, found nothing"),
    "a list of numbers": ("[5]", "task 1: expected a task of Label Studio as an object, found 5"),
    "half an object": ('{"data": {"text": "x"}', "1: not valid JSON: Expecting ',' delimiter"),
    "half a list": ('[{"data": {"text": "x"}}', "1: expected , or ] after an element of the list, found 'the end of the file'"),
    "annotations as a number": (
        '[{"id": 5, "data": {"text": "x"}, "annotations": 5}]',
        "task 5: expected annotations as a list of objects",
    ),
    "a result as an object": (
        '[{"data": {"text": "x"}, "annotations": [{"result": {"a": 1}}]}]',
        "task 1: expected annotations as a list of objects",
    ),
    "a row too short": ("annotation_id,annotator,text\n1,1,fine\n2\n", "3: expected 3 columns as in the first row, found 1"),
    "deep nesting": ('[{"data": ' + "[" * 100_000, "1: not readable JSON: it is nested too deeply"),
}


@pytest.mark.parametrize("bad", BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_what_is_no_task_is_named(tmp_path, bad):
    with pytest.raises(DataError) as raised:
        Reading(written(tmp_path, "a.json", bad[0]), format="label-studio")
    assert str(raised.value).startswith(f"a.json:{bad[1]}")


def test_files_in_a_folder_that_are_no_annotations_are_left_out_and_named(tmp_path):
    written(tmp_path, "1.txt", SHAPES["an annotation with its task"][1])
    written(tmp_path, "2.txt", SHAPES["an annotation with its task"][1])
    written(tmp_path, "notes.txt", "remember the milk")
    written(tmp_path, "empty.txt", "")
    found = Reading(tmp_path, format="label-studio", on_error="quarantine")
    assert (len(found), flow(found, "tasks")) == (2, (4, 2, {}, {"quarantined": 2}))
    assert [place["where"] for place in found.audit.events["quarantined"]] == ["empty.txt:1", "notes.txt:1"]


def test_rows_of_one_task_are_its_annotations_the_newest_first(tmp_path):
    held = [row(7, made=2, by=2, updated="2025-02-01", label=spans(LABELLED[0])), row(7, label=spans(LABELLED[1])), row(8, made="")]
    found = Reading(written(tmp_path, "a.json", json.dumps(held)), annotators="each")
    assert [(example.id, texts(example), example.origin.line) for example in found] == [("7#1", [MEANT[1]], 1), ("7#2", [MEANT[0]], 1)]
    assert flow(found, "tasks") == (2, 1, {}, {"unlabelled": 1})


def test_a_row_with_an_annotation_and_no_answer_is_labelled_with_nothing(tmp_path):
    found = Reading(written(tmp_path, "a.csv", table([row(7, label=spans(LABELLED[0])), row(8, made=2)])))
    assert [texts(example) for example in found] == [[MEANT[0]], []]


def test_what_rows_cannot_hold_is_said(tmp_path):
    path = written(tmp_path, "a.json", json.dumps([row(7, label=[])]))
    said = "rows of JSON-MIN and tables hold no cancelled annotations, drafts, predictions, relations or ground truth"
    assert any(note.startswith(f"a.json: {said}") for note in Reading(path).audit.notes)
    with pytest.raises(DataError, match=r"no example left; .*no ground truth: 1"):
        Reading(path, annotators="ground_truth")


@pytest.mark.parametrize("write", [lambda rows: ("a.json", json.dumps(rows)), lambda rows: ("a.csv", table(rows))])
def test_choices_of_rows_are_strings_or_lists(tmp_path, write):
    held = [row(7, topic={"choices": ["news", "chat"]}), row(8, topic="news"), row(9)]
    found = Reading(written(tmp_path, *write(held)), "multilabel")
    assert [example.labels for example in found] == [("news", "chat"), ("news",), ()]


def test_a_string_of_a_table_may_be_data_so_the_control_must_be_named(tmp_path):
    path = written(tmp_path, "a.csv", table([{"source": "web"} | row(7, topic="news")]))
    with pytest.raises(DataError, match="several controls for classify: source, topic"):
        Reading(path, "classify")
    found = Reading(path, "classify", control="topic")
    assert (found[0].labels, found[0].meta["data"]) == (("news",), {"source": "web"})


def test_the_order_of_json_min_tells_data_from_answers(tmp_path):
    found = Reading(written(tmp_path, "a.json", json.dumps([{"source": "web"} | row(7, topic="news")])), "classify")
    assert (found[0].labels, found[0].meta["data"]) == (("news",), {"source": "web"})


def test_a_column_of_data_with_the_name_of_a_control_is_found_again(tmp_path):
    found = Reading(written(tmp_path, "a.csv", table([{"_data_text": TEXT} | row(7, "news")])), "classify")
    assert (found[0].text, found[0].labels) == (TEXT, ("news",))


def test_numbers_of_rows_are_scores(tmp_path):
    assert Reading(written(tmp_path, "a.csv", table([row(7, stars=[{"rating": 4}])])), "regress")[0].score == 4


def test_raw_tasks_are_found_by_the_place_of_their_examples(tmp_path):
    held = [task(annotation(), number=1), 5, task(annotation(), number=2)]
    path = written(tmp_path, "a.json", json.dumps(held))
    found = Reading(path, format="label-studio", on_error="quarantine")
    assert rows_of(path) == [(place, json.dumps(one)) for place, one in enumerate(held, 1)]
    assert ([example.origin.line for example in found], found.audit.rejected[0][:2]) == ([1, 3], (0, 2))


def test_raw_rows_of_a_table_stand_together_after_the_head(tmp_path):
    held = [row(7, "two\r\nlines", made=2, label=[]), row(7, "two\r\nlines", label=[]), row(8, made=3, label=[])]
    path = written(tmp_path, "a.csv", table(held))
    lines = table(held).splitlines(keepends=True)
    assert rows_of(path) == [(0, lines[0]), (2, "".join(lines[1:5])), (6, lines[5])]
    assert [example.origin.line for example in Reading(path)] == [2, 6]


# -- the text of a task and its names --------------------------------------------------------------------------------------


def test_the_text_may_stand_under_another_key(tmp_path):
    assert read(tmp_path, task(annotation(), headline="Oslo", text="no"), text="headline")[0].text == "Oslo"


def test_the_only_string_is_the_text(tmp_path):
    held = task(annotation(), body="Oslo", doc_id="d", image="https://a.b/c.png", audio="/data/upload/1.wav", size=3)
    assert read(tmp_path, held)[0].text == "Oslo"


BAD_TEXTS = {
    "several": ({"title": "a", "body": "b"}, "expected one text in data, found title, body. Set data.text"),
    "an image": ({"image": "https://a.b/c.png"}, "expected a text as text in data, found None; there are: image. Set data.text"),
    "a list": ({"text": [1]}, "expected a text as text in data, found [1]; there are: text"),
}


@pytest.mark.parametrize("bad", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_a_task_without_one_text_is_refused(tmp_path, bad):
    with pytest.raises(DataError) as raised:
        read(tmp_path, task(annotation(), **bad[0]))
    assert str(raised.value).startswith(f"export.json:task 7: {bad[1]}")


@pytest.mark.parametrize(("data", "name"), [({"doc_id": "a", "id": 3}, "a"), ({"gdd_id": 5}, "5"), ({"id": 3}, "3"), ({"doc_id": ""}, "7")])
def test_the_document_names_the_example(tmp_path, data, name):
    found = read(tmp_path, task(annotation(), text=TEXT, **data))
    assert (found[0].id, found[0].document) == (name, name)


def test_other_keys_may_name_the_example_and_its_document(tmp_path):
    found = read(tmp_path, task(annotation(), text=TEXT, chapter=2, line="x"), id="line", group_by="chapter")
    assert (found[0].id, found[0].document) == ("x", "2")


def test_a_task_without_the_named_key_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"task 7: expected a text as chapter in data, found None; there are: text\. Set data\.group_by"):
        read(tmp_path, task(annotation()), group_by="chapter")


def test_tasks_in_other_languages_are_left_out(tmp_path):
    held = [task(annotation(), text=TEXT, lang="en"), task(annotation(span(0, 4, "PER")), text=TEXT, language="no"), task(annotation())]
    found = read(tmp_path, *held, language="en")
    assert flow(found, "tasks") == (3, 1, {}, {"other languages": 2})
    assert flow(found, "regions") == (1, 0, {}, {"regions of annotations of tasks left out": 1})


def test_pairs_of_texts_are_read(tmp_path):
    found = read(tmp_path, task(annotation(number("rating", 1)), text="a", other="b"), kind="regress", text_b="other")
    assert found[0].text_b == "b"


def test_task_ids_that_stand_twice_are_counted_and_kept(tmp_path):
    found = read(tmp_path, task(annotation()), task(annotation()))
    assert (len(found), found.audit.counts["task ids twice"]) == (2, 1)


def test_labels_that_are_not_wanted_take_their_annotations_with_them(tmp_path):
    held = [task(annotation(choice("news"))), task(annotation(choice("chat")), number=8)]
    found = read(tmp_path, *held, kind="classify", keep_labels=["news"])
    assert flow(found, "annotations") == (2, 1, {}, {"annotations of tasks left out": 1})


def test_faults_of_the_example_name_the_task(tmp_path):
    with pytest.raises(DataError, match=r"export\.json:task 7: label 'PRE' is not in data\.labels; did you mean 'PER'"):
        read(tmp_path, task(annotation(span(0, 4, "PRE"))), labels=["PER"])


def test_a_limit_leaves_the_account_whole(tmp_path):
    held = task(annotation(span(0, 4, "PER")), annotation(span(13, 17, "LOC")), annotation())
    assert len(read(tmp_path, held, held, annotators="each", max_examples=2)) == 2  # settled by reading itself
