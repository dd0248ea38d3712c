"""Exports of real servers: their counts by hand, the formats of one project against each other, and input that is broken anywhere."""

import json
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.readers.label_studio_made import TEXT, annotation, choice, flow, number, span, table, task, texts
from tests.data.reading import Reading, written
from tunny.core.errors import DataError

SERVER = "server-exports/export"
LESSER = ["JSON_MIN.json", "CSV.csv", "TSV.tsv", "JSON_MIN_alltasks.json", "CSV_alltasks.csv", "TSV_alltasks.tsv"]


@pytest.fixture
def exports(shared_data):
    return shared_data / "label-studio"


def content(reading):
    """Return what the examples of a file say, by the annotation they are of."""
    return {example.id: (example.text, example.document, example.spans, example.labels, example.score) for example in reading}


# -- counts by hand ------------------------------------------------------------------------------------------------------


def test_a_real_export_is_accounted_for(exports):
    found = Reading(exports / "server-exports" / "export_JSON_alltasks.json")  # by hand, from the file
    assert flow(found, "tasks") == (13, 9, {}, {"unlabelled": 4})  # never annotated, predicted only, draft only, without a text
    assert flow(found, "annotations") == (11, 9, {}, {"annotations cancelled": 1, "annotations not chosen": 1})
    left = {"relations": 1, "other kinds of results": 3, "regions of annotations cancelled": 1, "regions of annotations not chosen": 3}
    assert flow(found, "regions") == (28, 20, {}, left)
    overlapping = {"spans overlapping": 4}  # Acme Corp in Corp..Line; two in the nested text; the second label of "students"
    assert flow(found, "spans") == (21, 16, {"spans trimmed": 1}, overlapping)
    assert (found.audit.counts["drafts not used"], found.audit.counts["predictions not used"]) == (1, 2)


def test_an_export_of_a_norwegian_project_is_read_whole(exports):
    found = Reading(exports / "nerine" / "label_studio_export.json")
    counts = {}
    for label in (label for example in found for _, _, label in example.spans):
        counts[label] = counts.get(label, 0) + 1
    assert counts == {"PER": 72, "LOC": 15, "ITEM": 13, "COMM": 6, "ORG": 5, "VEH": 2, "FIN": 2}
    # the anonymous address in its fifth text is 3 characters longer than the real one was, so the 17 spans from it on are 3 short
    assert flow(found, "regions") == (115, 98, {"spans moved to their text": 17}, {})
    assert found.audit.events["spans moved to their text"][0]["detail"] == "660-674 is now 663-677: 'John Cavendish'"


def test_metaextractors_files_are_examples_of_their_documents_and_a_short_span_is_mended(exports):
    found = Reading(exports / "metaextractor")
    labels = ["REGION", "AGE", "TAXA", "SITE", "LOCATION", "EMAIL", "ALTITUDE"]
    assert [(example.document, [span.label for span in example.spans]) for example in found] == [(name, labels) for name in "123"]
    assert [texts(example)[-1] for example in found] == [("altitude", "ALTITUDE")] * 3  # 36-43 there, which is "altitud"
    assert flow(found, "regions") == (21, 18, {"spans moved to their text": 3}, {})


@pytest.mark.parametrize(
    ("kind", "control", "said"),
    [
        ("classify", "sentiment", ["pos", "neg", "neg"]),
        ("multilabel", "topics", [("sport", "news, world"), ("tech",), ()]),
        ("regress", "stars", [4.0]),
        ("regress", "num", [3.5]),
    ],
)
@pytest.mark.parametrize("name", ["seqcls_JSON.json", "seqcls_JSON_MIN.json", "seqcls_CSV.csv"])
def test_choices_and_numbers_of_a_real_export(exports, name, kind, control, said):
    found = Reading(exports / "server-exports" / name, kind, control=control)
    value = {
        "classify": lambda example: example.labels[0],
        "multilabel": lambda example: example.labels,
        "regress": lambda example: example.score,
    }
    assert [value[kind](example) for example in found] == said
    if name != "seqcls_JSON_MIN.json" and kind != "regress":
        assert found[2].meta["data"].get("sentiment") == "in-data"  # a key of data with the name of a control


EXPORTS = ["export_JSON", "snapshot_JSON", "ui_export_JSON", "ui_multiline_export_JSON", "reimported_JSON"]


@pytest.mark.parametrize("name", EXPORTS)
def test_every_span_of_a_real_export_reads_as_it_was_drawn(exports, name):
    path = exports / "server-exports" / f"{name}.json"
    drawn = set()
    for exported in json.loads(path.read_text("utf-8")):
        for region in (region for made in exported["annotations"] for region in made["result"] if region["type"] == "labels"):
            drawn.add("".join(region["value"]["text"].replace("\\n", "\n").split()))
    found = Reading(path)
    read_back = {"".join(example.text[start:end].split()) for example in found for start, end, _ in example.spans}
    assert read_back
    assert read_back <= drawn
    assert not found.audit.flow("regions").repaired


NO_TEXTS = {
    "test_export_csv/csv_test2.json": "task 4: expected one text in data, found uri, title, uri_1, _row_id, title_1. Set data.text",
    "test_export_csv/csv_test2_result.csv": "task 4: expected one text in data, found _row_id, alternative_titles",
    "test_export_doclang/data.json": "task 1: expected a text as text in data, found None; there are: image",
    "test_export_json_min/data.json": "task 87: expected a text as text in data, found None; there are: image",
    "test_export_json_min/data_repeater.json": "task 86: expected a text as text in data, found None; there are: images",
    "test_export_json_min/label_config_repeater.json": "1: expected a task of Label Studio with an object data; there are: labels_{{idx}}",
    "test_export_json_min/label_config.xml": "1: expected a JSON, CSV or TSV export of Label Studio, found '<View>",
}


@pytest.mark.parametrize("name", NO_TEXTS)
def test_projects_of_images_and_files_of_other_kinds_are_named(exports, name):
    path = exports / "sdk-converter" / name
    with pytest.raises(DataError) as raised:
        Reading(path, format="label-studio")
    assert str(raised.value).startswith(f"{path.name}:{NO_TEXTS[name]}")


def test_an_import_file_holds_no_labels_but_texts_to_predict(exports):
    path = exports / "nerine" / "label_studio_predictions.json"
    with pytest.raises(DataError, match=r"no example left; predictions not used: 5 .*unlabelled: 5"):
        Reading(path)
    assert [len(example.text) > 500 for example in Reading(path, labels_needed=False)] == [True] * 5


# -- the formats of one project ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LESSER)
@pytest.mark.parametrize(("kind", "control"), [("ner", None), ("ner", "label"), ("classify", "topic"), ("multilabel", "topic")])
def test_all_formats_of_a_project_give_the_same_for_every_annotation(exports, name, kind, control):
    chosen = {"annotators": "each", "control": control}
    whole = Reading(exports / "server-exports" / "export_JSON_alltasks.json", kind, **chosen)
    found = Reading(exports / f"{SERVER}_{name}", kind, **chosen)
    assert content(found) == content(whole)
    assert len(found) == {"ner": 10, "classify": 3, "multilabel": 10}[kind]
    assert found.audit.notes[-1].partition(": ")[2] == whole.audit.notes[-1].partition(": ")[2]  # the agreement


@pytest.mark.parametrize("name", LESSER)
def test_what_the_lesser_formats_cannot_say_is_counted_in_the_json(exports, name):
    whole = Reading(exports / "server-exports" / "export_JSON_alltasks.json", annotators="each").audit
    found = Reading(exports / f"{SERVER}_{name}", annotators="each").audit
    missing = {unit: whole.flow(unit).taken - found.flow(unit).taken for unit in ("tasks", "annotations")}
    assert missing == {"tasks": 0 if "alltasks" in name else 4, "annotations": whole.counts["annotations cancelled"]}
    named = ("annotations cancelled", "relations", "drafts not used", "predictions not used")
    assert [(whole.counts[kind], found.counts[kind]) for kind in named] == [(1, 0), (1, 0), (1, 0), (2, 0)]
    said = "rows of JSON-MIN and tables hold no cancelled annotations, drafts, predictions, relations or ground truth"
    assert sum(said in note for note in found.notes) == 1


def test_the_conll_export_loses_what_words_in_columns_cannot_hold(exports):
    whole = Reading(exports / "server-exports" / "export_JSON.json", annotators="each")
    found = Reading(exports / f"{SERVER}_CONLL2003.conll", on_error="quarantine")
    says = [{("".join(text.split()), label) for text, label in texts(example)} for example in found]
    assert "found 6: 'two -X- _ B-date of birth'" in found.audit.rejected[0][2]  # a label with spaces: the sentence cannot be read
    held = {example.id: {("".join(text.split()), label) for text, label in texts(example)} for example in whole}
    del held["ws#5"]
    order = [*islice(held, 7), "two_annotators#10", "two_annotators#9"]  # the newest annotation first
    differences = {name: (held[name] - said, said - held[name]) for name, said in zip(order, says, strict=True) if held[name] != said}
    assert differences == {
        "crlf#3": ({("CorpLine", "ORG")}, {("AcmeCorp", "ORG"), ("Line", "ORG")}),  # of overlapping spans parts of both
        "nested#4": ({("students", "ORG")}, {("students", "PER")}),  # of two labels the first
    }


# -- broken anywhere -------------------------------------------------------------------------------------------------------

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 30)
    | st.floats()
    | st.sampled_from(["", "Anna", "labels", "relation", "\ud800", "\0", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "text", "value", "labels", "start", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
KINDS = ["ner", "chunk", "classify", "multilabel", "regress"]
RULES = ["first", "latest", "majority", "each", "ground_truth"]


def example_tasks():
    said = [span(0, 4, "PER", text="Anna"), span(12, 16, "LOC", text="Oslo"), choice("news"), number("rating", 3), {"type": "relation"}]
    made = [
        annotation(*said, id=1, completed_by=1, created_at="2025"),
        annotation(*said[1:], id=2, completed_by={"id": 2}, ground_truth=True),
    ]
    told = {"annotation_id": 1, "annotator": 1, "created_at": "2025", "updated_at": "2025", "label": [said[0]["value"]], "topic": "news"}
    return [
        task(*made, text=TEXT, lang="en", doc_id="d") | {"drafts": [{}], "predictions": [5]},
        {"text": TEXT, "id": 8} | told,
        {"task": {"id": 9, "data": {"text": TEXT}}, "result": said, "completed_by": 3},
        {"id": 10, "data": {"text": "x"}, "completions": made},
    ]


def problem_of(path, kind, **settings):
    """Return the message of the DataError that reading ends with, if with any; anything else is a fault of the reader."""
    try:
        Reading(path, kind, format="label-studio", **settings)
    except DataError as error:
        return str(error)
    return ""


def places(value):
    """Return every place in a value: the object or list that holds it, and its key."""
    held = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [(value, key) for key, _ in held] + [place for _, inner in held for place in places(inner)]


@given(st.data(), st.sampled_from(KINDS), st.sampled_from(RULES), st.sampled_from(["latest", "first"]))
def test_whatever_stands_in_a_task_is_read_refused_or_left_out_by_name(tmp_path_factory, data, kind, rule, lesser_rule):
    held = example_tasks()
    for _ in range(data.draw(st.integers(1, 4))):
        holder, key = data.draw(st.sampled_from(places(held)))
        if isinstance(holder, dict) and data.draw(st.booleans()):
            del holder[key]
        else:
            holder[key] = data.draw(junk)
    path = written(tmp_path_factory.mktemp("fuzz"), "a.json", json.dumps(held))
    settings = {"annotators": rule, "control": data.draw(st.sampled_from(["label", "topic", "stars"]))}
    problem_of(path, kind, **settings)
    problem = problem_of(path, kind, on_error="quarantine", **settings)
    assert not problem or any(words in problem for words in ("no example left", "Set data.control", "(data.control)"))


@given(st.text(alphabet='{}[]",:0atxe\\\n\r\t \0\ud800', max_size=60))
def test_whatever_stands_in_a_file_is_read_refused_or_left_out_by_name(tmp_path_factory, content):
    for start in ("", "[", '{"data": ', '[{"id": 1, "data": {"text": "x"}, "annotations": [', "annotation_id,annotator,text\n"):
        path = written(tmp_path_factory.mktemp("fuzz"), "a.json", (start + content).encode("utf-8", "surrogatepass"))
        problem_of(path, "ner", encoding="utf-8")
        problem = problem_of(path, "ner", on_error="quarantine", encoding="utf-8")
        assert not problem or "no example left" in problem or "two columns have the same name" in problem


@given(st.lists(st.tuples(*[st.text(alphabet='[]{}",:ab01\n\r', max_size=12)] * 5), min_size=1, max_size=4), st.sampled_from(KINDS))
def test_whatever_stands_in_the_cells_of_a_table_is_read_refused_or_left_out_by_name(tmp_path_factory, cells, kind):
    names = ("annotation_id", "annotator", "id", "text", "label")
    path = written(tmp_path_factory.mktemp("fuzz"), "a.csv", table([dict(zip(names, row, strict=True)) for row in cells]))
    assert "no example left" in (problem_of(path, kind, on_error="quarantine", control="label") or "no example left")


@pytest.mark.parametrize("depth", [100, 900, 985, 990, 995, 1000, 1_000_000])
@pytest.mark.parametrize("around", ['[{"id":1,"data":{"text":"x"},"annotations":[{"result":[%s]}]}]', '[{"id":%s,"data":{"text":"x"}}]',
                                    '{"data":%s,"result":[]}', '{"tasks":[%s]}', '[{"annotation_id":%s,"annotator":%s,"id":1,"text":"x"}]'])  # fmt: skip
def test_nesting_of_any_depth_is_no_traceback(tmp_path, around, depth):
    nested = "[" * depth + "]" * depth
    path = written(tmp_path, "a.json", around.replace("%s", nested))
    with pytest.raises(DataError):
        Reading(path, format="label-studio", kind="regress")
