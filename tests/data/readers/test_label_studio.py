import json

import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import DataError


def span(start, end, *labels, text=None):
    value = {"start": start, "end": end, "labels": list(labels)} | ({} if text is None else {"text": text})
    return {"type": "labels", "value": value}


def choice(*names):
    return {"type": "choices", "value": {"choices": list(names)}}


def annotation(*result, cancelled=False, updated="2025-01-01T00:00:00Z"):
    return {"was_cancelled": cancelled, "updated_at": updated, "result": list(result)}


def task(*annotations, **data):
    return {"id": 7, "data": data or {"text": "Anna came to Oslo."}, "annotations": list(annotations)}


def read(folder, *tasks, kind="ner", **settings):
    return Reading(written(folder, "export.json", json.dumps(list(tasks))), kind, **settings)


def test_an_annotation_without_spans_is_a_text_without_entities(tmp_path):
    assert read(tmp_path, task(annotation()))[0].spans == ()


def test_cancelled_annotations_are_not_used_and_counted(tmp_path):
    found = read(tmp_path, task(annotation(span(0, 4, "PER"), cancelled=True), annotation(span(13, 17, "LOC"))))
    assert found[0].spans == ((13, 17, "LOC"),)
    assert found.audit.counts["annotations cancelled"] == 1


def test_of_several_annotations_the_last_updated_is_used_and_the_others_are_counted(tmp_path):
    new, old = annotation(span(0, 4, "PER"), updated="2025-03-01"), annotation(span(13, 17, "LOC"), updated="2025-02-01")
    found = read(tmp_path, task(new, old))
    assert found[0].spans == ((0, 4, "PER"),)
    assert found.audit.counts["annotations not used"] == 1


def test_tasks_without_an_annotation_are_left_out_and_counted(tmp_path):
    found = read(tmp_path, task(annotation(span(0, 4, "PER"))), task(), task(annotation(cancelled=True)))
    assert (len(found), found.audit.counts["unlabelled"]) == (1, 2)


def test_prediction_takes_tasks_without_an_annotation(tmp_path):
    assert [example.text for example in read(tmp_path, task(), labels_needed=False)] == ["Anna came to Oslo."]


def test_a_span_with_two_labels_is_an_overlap(tmp_path):
    found = read(tmp_path, task(annotation(span(0, 4, "PER", "ORG"))))
    assert (len(found[0].spans), found.audit.counts["spans overlapping"]) == (1, 1)


def test_a_span_that_reads_otherwise_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"export\.json:task 7: span 0-4 should read 'Oslo', but the text there is 'Anna'"):
        read(tmp_path, task(annotation(span(0, 4, "LOC", text="Oslo"))))


def test_a_line_break_may_be_written_as_two_characters(tmp_path):
    found = read(tmp_path, task(annotation(span(0, 7, "X", text="one\\ntwo")), text="one\ntwo three"))
    assert found[0].spans == ((0, 7, "X"),)


def test_a_single_choice_is_a_label(tmp_path):
    assert read(tmp_path, task(annotation(choice("news"))), kind="classify")[0].labels == ("news",)


def test_two_choices_are_no_class(tmp_path):
    with pytest.raises(DataError, match=r"export\.json:task 7: expected one choice"):
        read(tmp_path, task(annotation(choice("news", "chat"))), kind="classify")


@pytest.mark.parametrize("broken", [{"type": "labels"}, {"type": "labels", "value": {"labels": ["X"]}}])
def test_a_region_without_place_is_refused(tmp_path, broken):
    with pytest.raises(DataError, match=r"expected start and end of a span as whole numbers"):
        read(tmp_path, task(annotation(broken)))


def test_the_text_may_stand_under_another_key(tmp_path):
    assert read(tmp_path, task(annotation(), headline="Oslo", text="no"), text="headline")[0].text == "Oslo"


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected Label Studio's JSON export"):
        Reading(written(tmp_path, "a.json", '[{"text": "x"}]'), format="label-studio")


# -- exports of a real server ------------------------------------------------------------------------------------------

EXPORTS = ["export_JSON", "export_JSON_alltasks", "snapshot_JSON", "ui_export_JSON", "ui_multiline_export_JSON", "reimported_JSON"]


@pytest.mark.parametrize("name", EXPORTS)
def test_every_span_of_a_real_export_reads_as_it_was_drawn(shared_data, name):
    path = shared_data / "label-studio" / "server-exports" / f"{name}.json"
    found = Reading(path)
    drawn = set()
    for exported in json.loads(path.read_text("utf-8")):
        for region in (region for made in exported["annotations"] for region in made["result"] if region["type"] == "labels"):
            drawn.add("".join(region["value"]["text"].replace("\\n", "\n").split()))
    read_back = {"".join(example.text[start:end].split()) for example in found for start, end, _ in example.spans}
    assert read_back
    assert read_back <= drawn


def test_a_real_export_is_accounted_for(shared_data):
    found = Reading(shared_data / "label-studio" / "server-exports" / "export_JSON.json")
    counts = found.audit.counts  # by hand: nine tasks; "Skipped by annotator." was cancelled once, "John lives ..." has two annotations
    assert (len(found), counts["annotations cancelled"], counts["annotations not used"]) == (9, 1, 1)
    assert counts["spans overlapping"] == 4  # Corp..Line in Acme Corp; two in the nested text; the second label of "students"
    assert counts["spans trimmed"] == 1  # " two "


def test_the_last_annotation_of_a_real_export_counts(shared_data):
    found = Reading(shared_data / "label-studio" / "server-exports" / "export_JSON.json")
    john = next(example for example in found if example.id == "two_annotators")
    assert [john.text[start:end] for start, end, _ in john.spans] == ["John", "New York"]
