"""A real Label Studio: annotated through its REST interface, exported in every form, read by Tunny, and given predictions back.

The texts, spans and choices below were set by hand; what each export must give is derived from nothing else. Exports that were
recorded from such a server are read by `make test`; the slow tests make them anew, and compare.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import transformers

from tests.data.reading import Reading
from tests.label_studio_server import ENDINGS, last_lines, running
from tests.tiny import save_model
from tunny.core.errors import DataError

RECORDED = Path(__file__).parent / "data" / "readers" / "label_studio_exports"
FORMS = ("JSON", "JSON_MIN", "CSV", "TSV")
WAYS = ("plain", "all", "snapshot")
slow = pytest.mark.slow

CONFIG = """
<View>
  <Labels name="entity" toName="text">
    <Label value="PER"/><Label value="LOC"/><Label value="ORG"/><Label value="date of birth"/>
  </Labels>
  <Relations><Relation value="works for"/></Relations>
  <Text name="text" value="$text" granularity="symbol"/>
  <Choices name="sentiment" toName="text" choice="single"><Choice value="positive"/><Choice value="negative"/></Choices>
  <Choices name="topics" toName="text" choice="multiple"><Choice value="sea"/><Choice value="trade"/><Choice value="news, world"/></Choices>
  <Rating name="stars" toName="text"/>
  <Number name="price" toName="text"/>
</View>
"""
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
CAIRO = "\u0627\u0644\u0642\u0627\u0647\u0631\u0629"
TEXTS = {
    "plain": "Ada Voss works for Blue Heron in Lerwick.",
    "emoji": f"I \u2764\ufe0f Bergen, {FAMILY} and \U0001f1f3\U0001f1f4 Oslo!",
    "breaks": "One Blue\r\nHeron, in Oslo\r\n\r\nBob\rVoss left",
    "lines": '\n"Oslo", said\tBob;\n\nC:\\new is no line break\n',
    "separators": "a\u2028b\u0085c\x0bd\x0ce Oslo",
    "spaces": "Tab\there\u00a0Oslo\u200bx on 1 May  Zoe\u0308 V",
    "rtl": f"\u05e9\u05dc\u05d5\u05dd Tel Aviv {CAIRO}",
    "nested": "University of Oslo students",
    "nothing": "Nothing of note.",
    "empty": "",
    "half": "Both looked at Oslo-based firms.",
    "cancelled": "Skipped by Ada.",
    "draft": "Draft only: Oslo.",
    "predicted": "Only predicted: Oslo.",
    "untouched": "Marie Curie worked in Paris \U0001f5fc and left Warsaw on Monday.",
}
# task -> per annotation the spans as (piece of the text, its labels); the second annotation of a task is the second annotator's
DRAWN = {
    "plain": [[("Ada Voss", ["PER"]), ("Blue Heron", ["ORG"]), ("Lerwick", ["LOC"])], [("Ada Voss", ["PER"]), ("Heron", ["ORG"])]],
    "emoji": [[("Bergen", ["LOC"]), (FAMILY, ["PER"]), ("Oslo", ["LOC"])]],
    "breaks": [[("Blue\r\nHeron", ["ORG"]), ("Oslo", ["LOC"]), ("Bob\rVoss", ["PER"])]],
    "lines": [[("Oslo", ["LOC"]), ("Bob", ["PER"])], [("Oslo", ["LOC"])]],
    "separators": [[("Oslo", ["LOC"])]],
    "spaces": [[("Oslo", ["LOC"]), (" 1 May ", ["date of birth"]), ("Zoe\u0308", ["PER"])]],
    "rtl": [[("Tel Aviv", ["LOC"]), (CAIRO, ["LOC"])]],
    "nested": [[("University of Oslo", ["ORG"]), ("Oslo", ["LOC"]), ("Oslo students", ["PER"]), ("students", ["PER", "ORG"])]],
    "nothing": [[]],
    "empty": [[]],
}
SENTIMENT = {"plain": ["positive", "negative"], "lines": ["negative", "negative"], "nested": ["positive"]}
TOPICS = {"plain": [["sea", "trade"], ["sea"]], "lines": [["news, world"], ["trade", "news, world"]], "rtl": [["trade"]]}
STARS = {"plain": [4, 5], "nested": [1]}
PRICE = {"plain": [2.5, 3], "rtl": [-0.125]}


def region(key, piece, labels, number=0):
    """A span as the web page stores it: each character of a line break is written as the two characters \\n."""
    start = TEXTS[key].index(piece)
    written = piece.replace("\r", "\\n").replace("\n", "\\n")
    value = {"start": start, "end": start + len(piece), "text": written, "labels": labels}
    return {"id": f"{key}-{number}", "from_name": "entity", "to_name": "text", "type": "labels", "origin": "manual", "value": value}


def whole(control, kind, value):
    return {"from_name": control, "to_name": "text", "type": kind, "origin": "manual", "value": {kind: value}}


def results(key, number):
    """The result of an annotation."""
    found = [region(key, piece, labels, at) for at, (piece, labels) in enumerate(DRAWN[key][number])]
    if key == "plain" and number == 0:
        found.append({"type": "relation", "from_id": "plain-0", "to_id": "plain-1", "direction": "right", "labels": ["works for"]})
    given = [("sentiment", "choices", SENTIMENT), ("topics", "choices", TOPICS), ("stars", "rating", STARS), ("price", "number", PRICE)]
    for control, kind, table in given:
        if key in table:
            value = table[key][number]
            found.append(whole(control, kind, [value] if isinstance(value, str) else value))
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("label-studio")) as client:
        yield client


@pytest.fixture(autouse=True)
def _shown_log(request):
    """What the server said is shown with a test that fails."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed and "server" in request.fixturenames:
        print(last_lines(request.getfixturevalue("server").log))


@pytest.fixture(scope="module")
def project(server):
    """A project with everything in it that annotators leave behind."""
    first, second = server, server.second_annotator()
    number = first.create_project(CONFIG)
    data = [{"text": text, "key": key, **({"sentiment": "a column of the data"} if key == "plain" else {})} for key, text in TEXTS.items()]
    tasks = dict(zip(TEXTS, first.import_tasks(number, data), strict=True))
    for key, annotations in DRAWN.items():
        for at, annotator in zip(range(len(annotations)), (first, second), strict=False):
            annotator.annotate(tasks[key], results(key, at), ground_truth=(key, at) == ("plain", 0))
    first.annotate(tasks["half"], [], was_cancelled=True)
    second.annotate(tasks["half"], [region("half", "Oslo", ["LOC"])])
    first.annotate(tasks["cancelled"], [region("cancelled", "Ada", ["PER"])], was_cancelled=True)
    first.call("POST", f"/api/tasks/{tasks['draft']}/drafts", {"result": [region("draft", "Oslo", ["LOC"])], "lead_time": 1})
    predicted = {**region("predicted", "Oslo", ["LOC"]), "score": 0.5}
    first.call("POST", "/api/predictions/", {"task": tasks["predicted"], "model_version": "v1", "score": 0.75, "result": [predicted]})
    return number


@pytest.fixture(scope="module")
def exports(server, project, tmp_path_factory):
    """Every export of the project, before anything is sent back to it: `exports["CSV", "all"]`."""
    folder = tmp_path_factory.mktemp("exports")
    return {(form, way): server.export(project, form, folder, way) for form in ENDINGS for way in WAYS}


@pytest.fixture
def export(request):
    """One export, a recorded one or a new one."""
    form, way, is_new = request.param
    return request.getfixturevalue("exports")[form, way] if is_new else RECORDED / f"{form}_{way}.{ENDINGS[form]}"


def each_export(forms=FORMS, ways=WAYS):
    """Parametrize with recorded exports of all tasks, and with new ones of every kind."""
    recorded = [pytest.param((form, "all", False), id=f"recorded-{form}") for form in forms]
    new = [pytest.param((form, way, True), marks=slow, id=f"{form}-{way}") for form in forms for way in ways]
    return pytest.mark.parametrize("export", recorded + new, indirect=True)


# -- reading the exports ---------------------------------------------------------------------------------------------------

# what a reading must give: white space at the edges of a span trimmed, of overlapping spans the longest, empty texts left out
READ = {
    **DRAWN,
    "spaces": [[("Oslo", ["LOC"]), ("1 May", ["date of birth"]), ("Zoe\u0308", ["PER"])]],
    "nested": [[("University of Oslo", ["ORG"]), ("students", ["ORG"])]],
    "half": [[("Oslo", ["LOC"])]],
}
del READ["empty"]


def spans(key, drawn):
    starts = [(TEXTS[key].index(piece), piece, label) for piece, labels in drawn for label in labels]
    return tuple(sorted((start, start + len(piece), label) for start, piece, label in starts))


@each_export()
def test_every_export_gives_the_spans_that_were_drawn(export):
    found = Reading(export, control="entity", annotators="each")
    expected = Counter((TEXTS[key], spans(key, drawn)) for key, annotations in READ.items() for drawn in annotations)
    assert Counter((example.text, example.spans) for example in found) == expected


@pytest.mark.parametrize(("control", "kind", "table"), [("sentiment", "classify", SENTIMENT), ("topics", "multilabel", TOPICS)])
@each_export()
def test_every_export_gives_the_choices_that_were_made(export, control, kind, table):
    found = Reading(export, kind, control=control, annotators="each")
    expected = Counter(
        (TEXTS[key], (given,) if isinstance(given, str) else tuple(given)) for key, annotations in table.items() for given in annotations
    )
    assert Counter((example.text, example.labels) for example in found if example.labels) == expected


@pytest.mark.parametrize(("control", "table"), [("stars", STARS), ("price", PRICE)])
@each_export()
def test_every_export_gives_the_numbers_that_were_given(export, control, table):
    found = Reading(export, "regress", control=control, annotators="each")
    expected = Counter((TEXTS[key], float(given)) for key, annotations in table.items() for given in annotations)
    assert Counter((example.text, example.score) for example in found) == expected


@each_export()
def test_examples_of_one_task_are_of_one_document_in_every_export(export):
    found = Reading(export, control="entity", annotators="each")
    assert Counter(Counter(example.document for example in found).values()) == {2: 2, 1: 8}  # two tasks have two annotations


CONTROLS = [("entity", "ner"), ("sentiment", "classify"), ("topics", "multilabel"), ("stars", "regress"), ("price", "regress")]


@pytest.mark.parametrize(("control", "kind"), CONTROLS)
@each_export(["JSON_MIN", "CSV", "TSV"])
def test_every_export_gives_the_examples_of_the_json_export(export, control, kind):
    found = [Reading(path, kind, control=control, annotators="each") for path in (export, export.parent / "JSON_all.json")]
    rows, tasks = ([(each.id, each.document, each.text, each.spans, each.labels, each.score) for each in part] for part in found)
    assert sorted(rows, key=str) == sorted(tasks, key=str)


@each_export(["JSON"], ["all", "snapshot"])
def test_the_json_export_accounts_for_what_the_others_cannot_say(export):
    counts = Reading(export, control="entity", annotators="each").audit.counts
    known = {"annotations cancelled": 2, "relations": 1, "drafts not used": 1, "predictions not used": 1, "unlabelled": 4, "empty": 1}
    assert {name: counts[name] for name in known} == known


@each_export(["JSON_MIN", "CSV", "TSV"])
def test_rows_say_what_they_cannot_hold(export):
    notes = Reading(export, control="entity").audit.notes
    assert any("no cancelled annotations, drafts, predictions, relations or ground truth" in note for note in notes)


@pytest.mark.parametrize(("annotators", "number"), [("first", 0), ("latest", 1), ("ground_truth", 0)])
@each_export(["JSON"])
def test_of_two_annotators_the_one_that_is_asked_for_is_heard(export, annotators, number):
    found = Reading(export, control="entity", annotators=annotators)
    assert next(each.spans for each in found if each.text == TEXTS["plain"]) == spans("plain", DRAWN["plain"][number])


# -- CoNLL, which keeps the least --------------------------------------------------------------------------------------------


def words(found):
    """Sentences as (words of a span, label), to compare where offsets differ."""
    return tuple((" ".join(piece.split()), label) for piece, label in found)


@each_export(["CONLL2003"])
def test_the_conll_export_differs_in_known_places_only(export):
    found = Reading(export, on_error="quarantine")
    given = Counter(words((each.text[start:end], label) for start, end, label in each.spans) for each in found if each.spans)
    drawn = Counter(words((piece, labels[0]) for piece, labels in drawn) for annotations in READ.values() for drawn in annotations if drawn)
    assert drawn - given == Counter(
        [
            words([("Oslo", "LOC"), ("1 May", "date of birth"), ("Zoe\u0308", "PER")]),  # its label has a space
            words([("University of Oslo", "ORG"), ("students", "ORG")]),  # the region has two labels, the first is PER
            words([("Oslo", "LOC")]),  # in the middle of Oslo-based
        ]
    )
    assert given - drawn == Counter([words([("University of Oslo", "ORG"), ("students", "PER")]), words([("Oslo-based", "LOC")])])


@each_export(["CONLL2003"])
def test_a_label_with_a_space_in_the_conll_export_is_refused_with_its_line(export):
    line = export.read_text("utf-8").split("\n").index("1 -X- _ B-date of birth") + 1
    with pytest.raises(DataError, match=rf"conll:{line}: expected 4 columns"):
        Reading(export)


@slow
@pytest.mark.parametrize("form", ENDINGS)
def test_the_recorded_exports_are_what_the_server_gives(exports, form):
    def undated(path):
        return re.sub(rb'\d{4}-\d\d-\d\dT[\d:.]+Z|"(unique_id|created_ago)": ?"[^"]+"', b"", path.read_bytes())

    new = exports[form, "all"]
    assert undated(RECORDED / new.name) == undated(new), f"if that is right, record it anew: cp {new} {RECORDED}"


# -- back to the server ------------------------------------------------------------------------------------------------------


def run_tunny(folder, *arguments):
    command = [sys.executable, "-m", "tunny", *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, "TUNNY_CACHE": str(folder)}, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tagger that learnt nothing, but finds much: entities of all labels, at random."""
    folder = save_model("bert", tmp_path_factory.mktemp("model"))
    tags = ["O", *(f"{place}-{label}" for label in ("PER", "LOC", "date of birth") for place in "BI")]
    tagger = transformers.AutoModelForTokenClassification.from_pretrained(folder, id2label=dict(enumerate(tags)))
    torch.manual_seed(7)
    torch.nn.init.normal_(tagger.classifier.weight)
    tagger.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def predicted(exports, model, tmp_path_factory):
    """What the model says of all tasks of the project: tasks for the server, and the same as lines."""
    folder, tasks = tmp_path_factory.mktemp("predicted"), exports["JSON", "all"]
    run_tunny(folder, "predict", model, tasks, "--to", "label-studio", "--data.control", "entity", "--out", folder / "tasks.json")
    run_tunny(folder, "predict", model, tasks, "--to", "jsonl", "--out", folder / "lines.jsonl")
    lines = [json.loads(line) for line in (folder / "lines.jsonl").read_bytes().splitlines()]
    return json.loads((folder / "tasks.json").read_text("utf-8")), lines


@pytest.fixture(scope="module")
def returned(server, predicted):
    """The predictions as the server holds them: tasks of a project of their own."""
    number = server.create_project(CONFIG)
    server.import_tasks(number, predicted[0])
    return server.tasks(number)


def regions(task):
    return [region for prediction in task["predictions"] for region in prediction["result"]]


@slow
def test_predictions_stand_in_the_server_as_the_model_gave_them(predicted, returned):
    given = {line["text"]: [tuple(span.values()) for span in line["spans"]] for line in predicted[1]}
    found = {
        task["data"]["text"]: [
            (*(each["value"][name] for name in ("start", "end")), *each["value"]["labels"], each["score"]) for each in regions(task)
        ]
        for task in returned
    }
    assert sum(map(bool, given.values())) > len(TEXTS) / 2
    assert found == given


@slow
def test_predicted_regions_are_of_the_controls_of_the_project(returned):
    assert {(each["from_name"], each["to_name"], each["type"]) for task in returned for each in regions(task)} == {
        ("entity", "text", "labels")
    }


@slow
def test_predicted_regions_read_as_their_text(returned):
    for task in returned:
        for each in regions(task):
            assert each["value"]["text"] == task["data"]["text"][each["value"]["start"] : each["value"]["end"]]


@slow
def test_predictions_say_which_model_made_them(returned):
    versions = {prediction["model_version"] for task in returned for prediction in task["predictions"]}
    assert len(versions) == 1
    assert versions.isdisjoint({None, "", "undefined"})


@slow
def test_predictions_find_the_tasks_that_are_there_by_their_ids(server, project, predicted):
    answers = [{"task": task["id"], **prediction} for task in predicted[0] for prediction in task["predictions"]]
    created = server.call("POST", f"/api/projects/{project}/import/predictions", answers)["created"]
    held = {task["data"]["text"]: [each["value"] for each in regions(task)] for task in server.tasks(project)}
    assert created == len(TEXTS)
    for task in predicted[0]:
        for each in regions(task):
            assert each["value"] in held[task["data"]["text"]]


@pytest.fixture(scope="module", params=CONTROLS, ids=[control for control, _ in CONTROLS])
def converted(request, server, exports, tmp_path_factory):
    """An export converted to tasks of Label Studio, imported into a project of its own, and exported from there; its annotations."""
    (control, kind), folder = request.param, tmp_path_factory.mktemp("converted")
    flags = ["--task", kind, "--data.control", control, "--data.annotators", "each"]
    run_tunny(folder, "convert", exports["JSON", "all"], "--to", "label-studio", *flags, "--out", folder / "tasks.json")
    number = server.create_project(CONFIG)
    server.import_tasks(number, json.loads((folder / "tasks.json").read_text("utf-8")))
    export = server.export(number, "JSON", folder)
    return control, kind, export, [one for task in json.loads(export.read_text("utf-8")) for one in task["annotations"]]


@slow
def test_converted_examples_are_equal_after_import_and_export(exports, converted):
    control, kind, export, _ = converted
    found = [Reading(path, kind, control=control, annotators="each") for path in (exports["JSON", "all"], export)]
    before, after = (Counter((each.text, each.spans, each.labels, each.score) for each in part) for part in found)
    assert after == before


@slow
def test_converted_results_are_of_the_type_of_their_control(converted):
    control, _, _, annotations = converted
    wanted = {"entity": "labels", "sentiment": "choices", "topics": "choices", "stars": "rating", "price": "number"}
    found = {(each["from_name"], each["to_name"], each["type"]) for one in annotations for each in one["result"]}
    assert found == {(control, "text", wanted[control])}


@slow
def test_converted_annotations_do_not_become_ground_truth(converted):
    assert not any(one["ground_truth"] for one in converted[3])
