import pytest

from tests.data.readers.label_studio_made import TEXT, annotation, by, choice, flow, number, read, span, task
from tunny.core.errors import DataError

# -- which annotation ----------------------------------------------------------------------------------------------------


def test_an_annotation_without_spans_is_a_text_without_entities(tmp_path):
    assert read(tmp_path, task(annotation()))[0].spans == ()


def test_cancelled_annotations_are_not_used_and_counted(tmp_path):
    found = read(tmp_path, task(annotation(span(0, 4, "PER"), cancelled=True), annotation(span(13, 17, "LOC"))))
    assert found[0].spans == ((13, 17, "LOC"),)
    assert flow(found, "annotations") == (2, 1, {}, {"annotations cancelled": 1})
    assert flow(found, "regions") == (2, 1, {}, {"regions of annotations cancelled": 1})


NEW, OLD = annotation(span(0, 4, "PER"), updated="2025-03-01"), annotation(span(13, 17, "LOC"), updated="2025-02-01")
FIRST, SECOND = NEW | {"created_at": "2025-01-02", "id": 1}, OLD | {"created_at": "2025-01-01", "id": 2, "ground_truth": True}


@pytest.mark.parametrize(("rule", "spans"), [("latest", (0, 4, "PER")), ("first", (13, 17, "LOC")), ("ground_truth", (13, 17, "LOC"))])
def test_one_annotation_of_several_is_used_and_the_others_are_counted(tmp_path, rule, spans):
    found = read(tmp_path, task(FIRST, SECOND), annotators=rule)
    assert found[0].spans == (spans,)
    assert flow(found, "annotations") == (2, 1, {}, {"annotations not chosen": 1})


def test_of_annotations_of_one_time_the_last_written_is_the_latest(tmp_path):
    assert read(tmp_path, task(annotation(span(0, 4, "PER")), annotation(span(13, 17, "LOC"))))[0].spans == ((13, 17, "LOC"),)


def test_tasks_without_ground_truth_are_left_out_where_that_is_wanted(tmp_path):
    found = read(tmp_path, task(NEW, OLD), task(SECOND), annotators="ground_truth")
    assert flow(found, "tasks") == (2, 1, {}, {"no ground truth": 1})


def test_each_annotation_may_be_an_example_of_its_own(tmp_path):
    found = read(tmp_path, task(FIRST, SECOND, doc_id="d", text=TEXT), annotators="each")
    assert [(example.id, example.document, example.spans) for example in found] == [
        ("d#1", "d", ((0, 4, "PER"),)),
        ("d#2", "d", ((13, 17, "LOC"),)),
    ]
    assert flow(found, "tasks") == (1, 1, {}, {})


def test_spans_of_the_majority_are_those_that_more_than_half_marked(tmp_path):
    oslo, anna = span(13, 17, "LOC"), span(0, 4, "PER")
    found = read(tmp_path, task(*by((1, [anna, oslo]), (2, [oslo]), (3, [span(0, 4, "ORG")]))), annotators="majority")
    assert found[0].spans == ((13, 17, "LOC"),)
    assert flow(found, "regions") == (4, 2, {}, {"results outvoted": 2})


@pytest.mark.parametrize(
    ("votes", "label"),
    [(["a", "a", "b"], "a"), (["a", "b"], None), (["a", "a", "b", "c"], None), (["a"], "a"), (["a", "b", "a", "b"], None)],
)
def test_a_class_needs_more_than_half_of_the_votes(tmp_path, votes, label):
    kept = task(annotation(choice("sure")), number=1)
    found = read(tmp_path, kept, task(*by(*enumerate([[choice(vote)] for vote in votes], 1))), kind="classify", annotators="majority")
    assert [example.labels for example in found[1:]] == ([] if label is None else [(label,)])
    assert flow(found, "tasks")[3] == ({"no majority": 1} if label is None else {})


def test_the_majority_of_numbers_is_their_median(tmp_path):
    votes = by(*enumerate([[number("rating", value)] for value in (1, 5, 4)], 1))
    assert read(tmp_path, task(*votes), kind="regress", annotators="majority")[0].score == 4


def test_an_annotator_has_one_vote(tmp_path):
    votes = [*by((1, [choice("a")]), (2, [choice("b")])), annotation(choice("b"), completed_by=2, updated="2026-01-01")]
    found = read(tmp_path, task(annotation(choice("sure")), number=1), task(*votes), kind="classify", annotators="majority")
    assert flow(found, "tasks")[3] == {"no majority": 1}


def test_tasks_without_an_annotation_are_left_out_and_counted(tmp_path):
    found = read(tmp_path, task(annotation(span(0, 4, "PER"))), task(), task(annotation(cancelled=True)))
    assert (len(found), flow(found, "tasks")) == (1, (3, 1, {}, {"unlabelled": 2}))


def test_drafts_and_predictions_are_no_labels_and_counted(tmp_path):
    held = task(annotation(span(0, 4, "PER"))) | {"drafts": [{"result": []}], "predictions": [1, {"result": [span(13, 17, "LOC")]}]}
    found = read(tmp_path, held)
    assert (found[0].spans, found.audit.counts["drafts not used"], found.audit.counts["predictions not used"]) == (((0, 4, "PER"),), 1, 2)


def test_prediction_takes_tasks_without_an_annotation_and_keeps_what_leads_back(tmp_path):
    found = read(tmp_path, task(source="web", text=TEXT), labels_needed=False)
    assert (found[0].text, found[0].spans) == (TEXT, None)
    assert found[0].meta == {"task": 7, "text": "text", "data": {"source": "web"}}


def test_an_example_says_where_its_labels_stood(tmp_path):
    found = read(tmp_path, task(annotation(span(0, 4, "PER")), text=TEXT, long="x" * 500, listed=[1]))
    assert found[0].meta == {"task": 7, "text": "text", "data": {"long": "x" * 500, "listed": [1]}, "control": "label", "object": "text"}


def test_the_agreement_on_classes_is_noted_whatever_annotation_is_used(tmp_path):
    said = ["aa", "ab", "bb", "aa", "ba"]  # kappa: observed 3/5, by chance (3*3 + 2*2)/25; alpha: 1 - 9 * 4 / 48
    held = [task(*by((1, [choice(one)]), (2, [choice(other)])), number=at) for at, (one, other) in enumerate(said)]
    note = "export.json: agreement of 2 annotators on 5 tasks: Cohen's kappa 0.17, Krippendorff's alpha 0.25"
    assert read(tmp_path, *held, kind="classify").audit.notes[-1] == note


def test_the_agreement_on_spans_is_noted(tmp_path):
    held = task(*by((1, [span(0, 4, "PER"), span(13, 17, "LOC")]), (2, [span(0, 4, "PER")])))
    assert read(tmp_path, held).audit.notes[-1] == "export.json: agreement of 2 annotators on 1 task: mean F1 of their spans 0.67"


# -- spans and their texts -----------------------------------------------------------------------------------------------


def test_a_span_with_two_labels_is_an_overlap(tmp_path):
    found = read(tmp_path, task(annotation(span(0, 4, "PER", "ORG"))))
    assert (len(found[0].spans), found.audit.counts["spans overlapping"]) == (1, 1)


@pytest.mark.parametrize("written_as", ["one\\ntwo", "one\n two", "one\r\ntwo", " one two ", "onetwo", None, ["a list"]])
def test_white_space_and_line_breaks_may_be_written_otherwise(tmp_path, written_as):
    found = read(tmp_path, task(annotation(span(0, 7, "X", text=written_as)), text="one\ntwo three"))
    assert found[0].spans == ((0, 7, "X"),)
    assert flow(found, "regions") == (1, 1, {}, {})


@pytest.mark.parametrize(
    ("start", "end", "written_as", "place", "why"),
    [
        (1, 5, "Anna", (0, 4), "one character late"),
        (12, 16, "Oslo", (13, 17), "one character early"),
        (15, 19, "Oslo", (13, 17), "past the end of the text"),
        (400, 404, "Oslo", (13, 17), "far away, but there is one Oslo alone"),
        (-1, 3, "Anna", (0, 4), "before the text"),
        (9, 9, "came to", (5, 12), "empty"),
        (6, 4, "came\\nto", (5, 12), "backwards, with a line break for a space"),
    ],
)
def test_a_span_that_reads_otherwise_is_moved_to_the_only_place_of_its_text(tmp_path, start, end, written_as, place, why):
    found = read(tmp_path, task(annotation(span(start, end, "X", text=written_as))))
    assert found[0].spans == ((*place, "X"),)
    assert flow(found, "regions") == (1, 0, {"spans moved to their text": 1}, {})
    detail = f"{start}-{end} is now {place[0]}-{place[1]}: {TEXT[slice(*place)]!r}"
    assert found.audit.events["spans moved to their text"] == [{"where": "export.json:task 7", "detail": detail}]


def test_of_several_places_the_only_one_near_is_taken(tmp_path):
    found = read(tmp_path, task(annotation(span(41, 44, "X", text="abc")), text="abc" + " " * 37 + "abc"))
    assert found[0].spans == ((40, 43, "X"),)


BAD_SPANS = {
    "another text": (span(0, 4, "LOC", text="Bergen"), "span 0-4 should read 'Bergen', but the text there is 'Anna'"),
    "a text that stands there twice": (span(0, 4, "LOC", text="a"), "span 0-4 should read 'a', but the text there is 'Anna'"),
    "past the end": (span(17, 99, "LOC"), "span 17-99 is empty or lies outside the text, which has 18 characters"),
    "before the text": (span(-4, -1, "LOC"), "span -4--1 is empty or lies outside the text"),
    "empty": (span(4, 4, "LOC"), "span 4-4 is empty"),
    "backwards": (span(4, 0, "LOC", text=""), "span 4-0 is empty"),
    "no place": (span(None, None, "LOC"), "expected start and end of a span as whole numbers, found None and None"),
    "a fraction": (span(0, 4.0, "LOC"), "expected start and end of a span as whole numbers, found 0 and 4.0"),
    "a truth value": (span(False, 4, "LOC"), "expected start and end of a span as whole numbers, found False and 4"),
    "no value": ({"type": "labels"}, "expected a result with a type and an object value, found {'type': 'labels'}"),
    "a number as a label": (span(0, 4, 5), r"expected labels as a list of names, found [5]"),
    "a string": ("Anna", "expected a result with a type and an object value, found 'Anna'"),
}


@pytest.mark.parametrize("bad", BAD_SPANS.values(), ids=BAD_SPANS)
def test_a_bad_span_stops_with_its_task_or_is_left_out_alone(tmp_path, bad):
    result, problem = bad
    held = task(annotation(result, span(13, 17, "LOC")))
    with pytest.raises(DataError) as raised:
        read(tmp_path, held)
    assert str(raised.value).startswith(f"export.json:task 7: {problem}")
    found = read(tmp_path, held, on_error="quarantine")
    assert found[0].spans == ((13, 17, "LOC"),)
    assert flow(found, "regions") == (2, 1, {}, {"spans that read otherwise": 1})


def test_results_that_are_no_spans_are_counted_by_their_kind(tmp_path):
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    odd = [relation, choice("news"), span(0, 4), {"type": "paragraphlabels", "value": {"start": "0", "end": "0", "paragraphlabels": ["X"]}}]
    found = read(tmp_path, task(annotation(span(0, 4, "PER"), *odd)))
    dropped = {"relations": 1, "other kinds of results": 1, "spans without a label": 1, "spans of no plain text": 1}
    assert flow(found, "regions") == (5, 1, {}, dropped)


def test_hypertext_with_plain_offsets_is_text(tmp_path):
    value = {"start": 0, "end": 4, "hypertextlabels": ["PER"]}
    assert read(tmp_path, task(annotation({"type": "hypertextlabels", "value": value})))[0].spans == ((0, 4, "PER"),)


# -- choices and numbers ---------------------------------------------------------------------------------------------------


def test_a_single_choice_is_a_label(tmp_path):
    assert read(tmp_path, task(annotation(choice("news"))), kind="classify")[0].labels == ("news",)


def test_two_choices_are_no_class(tmp_path):
    with pytest.raises(DataError, match=r"export\.json:task 7: expected one choice, found \['news', 'chat'\]"):
        read(tmp_path, task(annotation(choice("news", "chat"))), kind="classify")


def test_multilabel_takes_any_number_of_choices(tmp_path):
    found = read(tmp_path, task(annotation(choice("news", "chat"))), task(annotation()), kind="multilabel")
    assert [example.labels for example in found] == [("news", "chat"), ()]


@pytest.mark.parametrize("typed", ["rating", "number"])
def test_ratings_and_numbers_are_scores(tmp_path, typed):
    assert read(tmp_path, task(annotation(number(typed, 3.5))), kind="regress")[0].score == 3.5


@pytest.mark.parametrize("bad", [number("rating", "many"), number("rating", None), number("rating", True), number("number", float("nan"))])
def test_what_is_no_number_is_refused_or_left_out(tmp_path, bad):
    held = [task(annotation(bad)), task(annotation(number("rating", 1)), number=8)]
    with pytest.raises(DataError, match=r"export\.json:task 7: expected a "):
        read(tmp_path, *held, kind="regress")
    found = read(tmp_path, *held, kind="regress", on_error="quarantine")
    assert (len(found), flow(found, "tasks")) == (1, (2, 1, {}, {"unlabelled": 1}))


def test_an_annotation_without_a_choice_is_unlabelled(tmp_path):
    found = read(tmp_path, task(annotation(choice("news"))), task(annotation(span(0, 4, "PER"))), kind="classify")
    assert flow(found, "annotations") == (2, 1, {}, {"annotations of tasks left out": 1})


def test_a_choice_for_a_part_of_the_text_is_no_label_of_the_text(tmp_path):
    part = choice("sharp")
    part["value"] |= {"start": 0, "end": 4}
    found = read(tmp_path, task(annotation(part, choice("news"))), kind="classify")
    assert (found[0].labels, flow(found, "regions")) == (("news",), (2, 1, {}, {"results of a part of the text": 1}))


SEVERAL = task(annotation(choice("news"), choice("sad", control="mood")))


def test_of_several_controls_one_must_be_named_whatever_is_quarantined(tmp_path):
    with pytest.raises(DataError, match=r"export\.json: several controls for classify: mood, topic\. Set data\.control to one"):
        read(tmp_path, SEVERAL, kind="classify", on_error="quarantine")


def test_the_named_control_is_taken_and_the_others_are_counted(tmp_path):
    found = read(tmp_path, SEVERAL, kind="classify", control="mood")
    assert (found[0].labels, flow(found, "regions")) == (("sad",), (2, 1, {}, {"other controls": 1}))


def test_a_control_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(
        DataError, match=r"export\.json: no control 'tropic' \(data\.control\); there are: mood, topic; did you mean 'topic'\?"
    ):
        read(tmp_path, SEVERAL, task(annotation(choice("news")), number=8), kind="multilabel", control="tropic")


def test_parts_of_speech_cannot_be_had(tmp_path):
    with pytest.raises(DataError, match="Label Studio marks spans, and pos needs a tag for every word"):
        read(tmp_path, task(annotation()), kind="pos")
