import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.labels import label_set
from tunny.data.readers import glue
from tunny.data.readers.glue import TASKS, glue_files
from tunny.data.settings import GLUE, DataSettings
from tunny.data.source import Source

# Two rows of each task in its official shape: header (CoLA has none), rows, and what they mean.
FILES = {
    "CoLA": ('gj04\t1\t\tThe "boat" sails.\ngj04\t0\t*\tBoat the sails.\n', [('The "boat" sails.', None, "1"), ("Boat the sails.", None, "0")]),
    "SST-2": ("sentence\tlabel\na fine trip \t1\ndull\t0\n", [("a fine trip ", None, "1"), ("dull", None, "0")]),
    "MRPC": (
        '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\t"Yes," he said.\tHe said "yes.\n0\t9\t10\tOne.\tTwo.\n',
        [('"Yes," he said.', 'He said "yes.', "1"), ("One.", "Two.", "0")],
    ),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tnews\tf\t2015\t1\tnone\tnone\tA boat.\tA ship.\t4.250\n1\tnews\tf\t2015\t2\tnone\tnone\tA boat.\tA cat.\t0.000\n",
        [("A boat.", "A ship.", 4.25), ("A boat.", "A cat.", 0.0)],
    ),
    "QQP": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n5\t1\t2\tWhy?\tHow come?\t1\n6\t3\t4\tWho?\tWhere?\t0\n",
        [("Why?", "How come?", "1"), ("Who?", "Where?", "0")],
    ),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\t"
        "label1\tgold_label\n0\t1\t1n\tfiction\t( a )\t( b )\t(X a)\t(X b)\tIt rains.\tIt is wet.\tneutral\tentailment\n"
        "1\t2\t2n\tfiction\t( a )\t( b )\t(X a)\t(X b)\tIt rains.\tIt is dry.\tneutral\tcontradiction\n",
        [("It rains.", "It is wet.", "entailment"), ("It rains.", "It is dry.", "contradiction")],
    ),
    "QNLI": (
        "index\tquestion\tsentence\tlabel\n0\tWho sailed?\tAnna sailed.\tentailment\n1\tWho?\tIt rains.\tnot_entailment\n",
        [("Who sailed?", "Anna sailed.", "entailment"), ("Who?", "It rains.", "not_entailment")],
    ),
    "RTE": (
        "index\tsentence1\tsentence2\tlabel\n0\tIt rains.\tIt is wet.\tentailment\n1\tIt rains.\tCats.\tnot_entailment\n",
        [("It rains.", "It is wet.", "entailment"), ("It rains.", "Cats.", "not_entailment")],
    ),
    "WNLI": (
        "index\tsentence1\tsentence2\tlabel\n0\tIt sank.\tThe boat sank.\t1\n1\tIt sank.\tThe sea sank.\t0\n",
        [("It sank.", "The boat sank.", "1"), ("It sank.", "The sea sank.", "0")],
    ),
}  # fmt: skip
TESTS = {  # test files hold an index and the texts
    "CoLA": ("index\tsentence\n0\tBoats sail.\n", ("Boats sail.", None)),
    "SST-2": ("index\tsentence\n0\ta trip\n", ("a trip", None)),
    "MRPC": ("index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tOne.\tTwo.\n", ("One.", "Two.")),
    "QQP": ("id\tquestion1\tquestion2\n0\tWhy?\tHow?\n", ("Why?", "How?")),
    "QNLI": ("index\tquestion\tsentence\n0\tWho?\tAnna.\n", ("Who?", "Anna.")),
    "RTE": ("index\tsentence1\tsentence2\n0\tOne.\tTwo.\n", ("One.", "Two.")),
}
COUNTS = {"CoLA": (8_551, 1_043), "RTE": (2_490, 277), "SST-2": (67_349, 872), "STS-B": (5_749, 1_500)}


def kind_of(task):
    return "regress" if task == "STS-B" else "classify"


def reading(folder, task, content, **settings):
    return Reading(written(folder, "dev.tsv", content), settings.pop("kind", kind_of(task)), format=f"glue:{task}", **settings)


def test_every_task_of_the_settings_is_read_and_tested():
    assert set(GLUE) == set(TASKS) == set(FILES)


@pytest.mark.parametrize("task", FILES)
def test_texts_and_labels_are_those_of_the_official_columns(task, tmp_path):
    content, expected = FILES[task]
    found = reading(tmp_path, task, content)
    assert [(example.text, example.text_b, example.labels[0] if example.labels else example.score) for example in found] == expected


@pytest.mark.parametrize("task", TESTS)
def test_test_files_without_labels_are_read_for_prediction(task, tmp_path):
    content, expected = TESTS[task]
    found = reading(tmp_path, task, content, labels_needed=False)
    assert [(example.text, example.text_b, example.labels) for example in found] == [(*expected, None)]


@pytest.mark.parametrize("task", TESTS)
def test_test_files_are_refused_where_labels_are_needed(task, tmp_path):
    with pytest.raises(DataError, match=rf"dev\.tsv:1: expected {task}'s columns .* Test files hold no labels"):
        reading(tmp_path, task, TESTS[task][0])


@pytest.mark.parametrize("task", COUNTS)
@pytest.mark.parametrize("file", ["train", "dev"])
def test_the_official_files_have_the_official_counts(task, file, shared_data):
    found = Reading(shared_data / "glue" / task / f"{file}.tsv", kind_of(task), format=f"glue:{task}")
    assert len(found) == COUNTS[task][file == "dev"]
    assert found.audit.losses == 0


@pytest.mark.parametrize("order", [["entailment", "neutral", "contradiction"], ["contradiction", "entailment", "neutral"]])
def test_the_order_of_label_names_changes_no_label(order, tmp_path):
    found = reading(tmp_path, "MNLI", FILES["MNLI"][0], labels=order)
    assert [example.labels for example in found] == [("entailment",), ("contradiction",)]
    assert label_set("classify", order, {})[0].names == tuple(order)


def test_names_may_be_given_for_numbers(tmp_path):
    found = reading(tmp_path, "CoLA", FILES["CoLA"][0], labels=["unacceptable", "acceptable"])
    assert [example.labels for example in found] == [("acceptable",), ("unacceptable",)]


BROKEN = {  # rows that people meet; each is the third line
    "a short row, as QQP has": ("QQP", "7\t5\t6\tWhat is\n", "expected 6 columns, is_duplicate one of 0, 1; found 4: "),
    "a row with a tab too many": ("RTE", "7\tOne.\tTwo.\t\tentailment\n", "expected 4 columns, label one of entailment, not_entailment; found 5"),
    "a label of no kind": ("RTE", "7\tOne.\tTwo.\tperhaps\n", "expected 4 columns, label one of entailment, not_entailment; found 4: "),
    "no label": ("SST-2", "a trip\t\n", "expected 2 columns, label one of 0, 1; found 2"),
    "a score that is none": ("STS-B", "\t".join("0123456") + "\tOne.\tTwo.\thigh\n", "expected a number as the score, found 'high'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_row_stops_with_its_place(name, tmp_path):
    task, row, message = BROKEN[name]
    head, first, *_ = FILES[task][0].splitlines(keepends=True)
    with pytest.raises(DataError) as caught:
        reading(tmp_path, task, head + first + row)
    assert str(caught.value).startswith(f"dev.tsv:3: {message}")


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_row_is_left_out_and_counted(name, tmp_path):
    task, row, _ = BROKEN[name]
    head, first, last = FILES[task][0].splitlines(keepends=True)
    found = reading(tmp_path, task, head + first + row + last, on_error="quarantine")
    assert (len(found), found.audit.counts["quarantined"], found.audit.rejected[0][1]) == (2, 1, 3)


@pytest.mark.parametrize(("task", "kind"), [("STS-B", "classify"), ("RTE", "regress"), ("RTE", "ner"), ("CoLA", "multilabel")])
def test_the_kind_of_task_must_fit(task, kind, tmp_path):
    with pytest.raises(DataError, match=rf"{task} is a task of kind {kind_of(task)}, found {kind}\. Set task: {kind_of(task)}"):
        reading(tmp_path, task, FILES[task][0], kind=kind)


def test_a_file_of_another_task_is_refused_by_its_columns(tmp_path):
    with pytest.raises(
        DataError, match=r"dev\.tsv:1: expected QNLI's columns question, sentence, label, found index, sentence1, sentence2, label"
    ):
        reading(tmp_path, "QNLI", FILES["RTE"][0])


@pytest.mark.parametrize("task", FILES)
def test_the_rows_are_those_of_the_file(task, tmp_path):
    path = written(tmp_path, "dev.tsv", FILES[task][0])
    found = list(glue.rows(Source(path, DataSettings(format=f"glue:{task}"), kind_of(task), None, Audit())))
    assert "".join(row.raw for row in found) == FILES[task][0].removeprefix("\ufeff")
    assert [row.line for row in found] == ([1, 2] if task == "CoLA" else [0, 2, 3])


def test_the_lines_of_rows_are_the_places_of_examples(tmp_path):
    assert [example.origin.line for example in reading(tmp_path, "CoLA", FILES["CoLA"][0])] == [1, 2]


def folder_of(path, *names):
    path.mkdir(parents=True, exist_ok=True)
    for name in names:
        (path / name).touch()
    return path


@pytest.mark.parametrize(("split", "file"), [("train", "train.tsv"), ("validation", "dev.tsv"), ("test", "test.tsv")])
def test_each_split_has_its_official_file(split, file, tmp_path):
    folder = folder_of(tmp_path, "train.tsv", "dev.tsv", "test.tsv")
    assert glue_files(folder, "RTE", split) == {"": folder / file}


@pytest.mark.parametrize(("split", "stem"), [("validation", "dev"), ("test", "test")])
def test_matched_and_mismatched_data_stay_apart(split, stem, tmp_path):
    folder = folder_of(tmp_path, f"{stem}_matched.tsv", f"{stem}_mismatched.tsv")
    assert glue_files(folder, "MNLI", split) == {part: folder / f"{stem}_{part}.tsv" for part in ("matched", "mismatched")}


def test_the_folder_of_all_tasks_will_do(tmp_path):
    folder = folder_of(tmp_path / "RTE", "dev.tsv")
    assert glue_files(tmp_path, "RTE", "validation") == {"": folder / "dev.tsv"}


def test_a_missing_file_is_named_with_what_is_there(tmp_path):
    folder = folder_of(tmp_path, "train.tsv", "dev_matched.tsv")
    with pytest.raises(
        DataError, match=r"dev_mismatched\.tsv: no such file; MNLI's validation data .* In the folder: dev_matched\.tsv, train\.tsv"
    ):
        glue_files(folder, "MNLI", "validation")


def test_an_unknown_task_is_a_wrong_setting():
    with pytest.raises(ValueError, match="did you mean 'glue:RTE'"):
        DataSettings(format="glue:RTF")
