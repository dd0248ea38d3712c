"""Labels that models doubt, as a user asks for them: a model that is given, folds, the queue to review, and what is refused."""

import json

import pytest
import yaml

from tests.data.reading import Reading, written
from tests.trained import config, trained
from tunny.cli import main

WRONG = "Nobody\tB-PER\nworked\tO\nin\tO\nWarsaw\tB-PER\n"  # a place in all other sentences


@pytest.fixture(scope="module")
def tagger():
    """A model that tells people from places."""
    return trained("ner", epochs=30)


@pytest.fixture
def doubtful(tmp_path, tagger):
    """A file with one wrong label, in its last sentence."""
    return written(tmp_path, "doubtful.conll", tagger.validation.read_text("utf-8") + "\n" + WRONG)


@pytest.fixture
def folded(tmp_path, tiny_bert):
    """A config of data with one wrong label."""
    wanted = config("ner", tiny_bert, tmp_path, epochs=30)
    path = tmp_path / "train.conll"
    path.write_text(path.read_text("utf-8") + "\n" + WRONG, "utf-8")
    return written(tmp_path, "config.yaml", yaml.safe_dump(wanted))


@pytest.fixture
def said(tmp_path, capsys, monkeypatch):
    """Check in this process, which must end with a code, and return what it printed."""
    monkeypatch.chdir(tmp_path)

    def start(code: int, *arguments: object) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["check", *map(str, arguments), "--out", "out"])
        printed = capsys.readouterr().err
        assert caught.value.code == code, printed
        return printed

    return start


@pytest.fixture
def check(said, tmp_path):
    """Check and return the doubts that were found."""

    def start(*arguments: object) -> dict:
        said(0, *arguments)
        return json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))["doubts"]

    return start


@pytest.fixture
def refused(said, tmp_path):
    """Check, be refused, and return the one line that says why."""

    def start(*arguments: object) -> str:
        [line] = [line for line in said(2, *arguments).splitlines() if line.startswith("error: ")]
        assert not (tmp_path / "out").exists()
        return line

    return start


def first(doubts):
    """Return the first of all doubts and what it is."""
    return min(((one["rank"], what, one) for what, kind in doubts["kinds"].items() for one in kind["listed"]), key=lambda found: found[0])


def test_a_model_doubts_the_label_that_is_wrong_and_says_so_everywhere(doubtful, tagger, tmp_path, tunny):
    done = tunny("check", doubtful, "--with-model", tagger.model, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rank, what, one = first(json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))["doubts"])
    assert (rank, what, one["what"]) == (1, "wrong label", "Warsaw")
    line = len(doubtful.read_text("utf-8").splitlines()) - 3
    assert one["places"][0]["where"] == f"doubtful.conll:{line}"
    assert one["places"][0]["label"].startswith("PER → LOC")
    [row] = [line for line in done.stderr.splitlines() if line.startswith("| wrong label? ") and "Warsaw" in line]
    assert "PER → LOC" in row
    page = (tmp_path / "out" / "check.html").read_text("utf-8")
    assert "Labels that a model doubts" in page
    assert "worked in <mark>Warsaw</mark>" in page


def test_folds_doubt_the_label_that_is_wrong(folded, check, tmp_path):
    doubts = check(folded, "--folds", "2")
    rank, what, one = first(doubts)
    assert (rank, what, one["what"]) == (1, "wrong label", "Warsaw")
    assert one["places"][0]["split"] == "train"
    assert doubts["by"] == "2 folds"
    assert not list((tmp_path / "run").glob("*"))


def test_every_row_is_answered_by_a_model_that_saw_no_row_of_its_document(folded, tmp_path, monkeypatch):
    from tunny import review
    from tunny.config import load_config, split_settings
    from tunny.data.find import split_files
    from tunny.data.prepare import read_splits

    monkeypatch.chdir(tmp_path)
    resolved = load_config(folded, [("train.max_steps", "1")])
    dataset = read_splits(split_files(resolved.settings.data), split_settings(resolved.settings), "ner")
    learnt = []
    answer = review._answers

    def noting(texts):
        learnt.append({example.text for example in texts.dataset.splits["train"].examples})
        return answer(texts)

    monkeypatch.setattr(review, "_answers", noting)
    examples = [example for split in dataset.splits.values() for example in split.examples]
    rows = []
    for row, example, _ in review.fold_answers(resolved, dataset, 3):
        assert example == examples[row]
        assert example.text not in learnt[-1]
        rows.append(row)
    assert sorted(rows) == list(range(len(examples)))


def test_the_review_has_the_doubted_rows_with_gold_and_answer_the_most_suspicious_first(doubtful, tagger, check, tmp_path):
    doubts = check(doubtful, "--with-model", tagger.model, "--review", "queue.json")
    tasks = json.loads((tmp_path / "queue.json").read_text("utf-8"))
    assert len(tasks) == doubts["rows"]
    assert tasks[0]["data"]["text"] == "Nobody worked in Warsaw"
    assert tasks[0]["meta"]["doubts"][0] == "wrong label: PER → LOC"
    labels = {
        name: [region["value"]["labels"] for region in tasks[0][name][0]["result"] if region["value"]["text"] == "Warsaw"]
        for name in ("annotations", "predictions")
    }
    assert labels == {"annotations": [["PER"]], "predictions": [["LOC"]]}
    [example, *_] = Reading(tmp_path / "queue.json")
    assert example.spans[-1].label == "PER"


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("classify", "trade"),
        pytest.param("multilabel", "sea", marks=pytest.mark.slow),
        pytest.param("regress", "99", marks=pytest.mark.slow),
    ],
)
def test_labels_of_whole_texts_are_doubted_and_reviewed_too(kind, wrong, check, tmp_path, tiny_bert):
    wanted = config(kind, tiny_bert, tmp_path, epochs=30)
    with (tmp_path / "train.csv").open("a", encoding="utf-8") as file:
        file.write(f'"the old lighthouse left on Monday in Paris","{wrong}"\n')
    wanted |= {"model": {"name": "embedded"}}  # which learns so little data well
    wanted["train"] |= {"learning_rate": 5e-4, "epochs": 15}
    doubts = check(written(tmp_path, "config.yaml", yaml.safe_dump(wanted)), "--folds", "2", "--review", "queue.json")
    [what] = doubts["kinds"]
    assert what == ("far-off value" if kind == "regress" else "wrong label")
    assert doubts["rows"] == len(json.loads((tmp_path / "queue.json").read_text("utf-8")))
    listed = [one["places"][0]["text"] for one in doubts["kinds"][what]["listed"]]
    assert any("lighthouse left on Monday in Paris" in text for text in listed[:10])


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_model_of_another_task_is_refused(doubtful, tagger, refused):
    assert "is a ner model; it cannot serve --task pos" in refused(doubtful, "--task", "pos", "--with-model", tagger.model)


def test_a_label_that_the_model_does_not_know_is_refused_with_a_guess(tagger, refused, tmp_path):
    path = written(tmp_path, "other.conll", "Nobody\tB-PERS\nlaughed\tO\n")
    said = refused(path, "--with-model", tagger.model)
    assert "does not know the label 'PERS' (LOC, PER); did you mean 'PER'?" in said


def test_all_labels_that_the_model_does_not_know_are_told_at_once(tagger, said, tmp_path):
    path = written(tmp_path, "other.conll", "Nobody\tB-PERS\nlaughed\tO\nin\tO\nRome\tB-TOWN\n")
    told = [line for line in said(2, path, "--with-model", tagger.model).splitlines() if line.startswith("error: ")]
    assert told == [
        "error: data: the model does not know the label 'PERS' (LOC, PER); did you mean 'PER'?",
        "error: data: the model does not know the label 'TOWN' (LOC, PER). Try --folds.",
    ]


def test_windows_are_those_of_the_model_that_is_asked(doubtful, tagger, check, tmp_path):
    check(doubtful, "--with-model", tagger.model)
    windows = json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))["windows"]
    assert [row["size"] for row in windows if row["chosen"]] == [64]


def test_fewer_than_two_folds_are_refused(folded, refused):
    assert "--folds': Input should be greater than or equal to 2" in refused(folded, "--folds", "1")


def test_more_folds_than_documents_are_refused(refused, tmp_path, tiny_bert):
    path = written(tmp_path, "train.csv", "text,label\none,x\ntwo,y\ntwo,y\n")
    values = {"task": "classify", "data": {"train": str(path)}, "model": {"name": str(tiny_bert)}}
    said = refused(written(tmp_path, "config.yaml", yaml.safe_dump(values)), "--folds", "3")
    assert "--folds 3: expected at least as many documents, found 2" in said


def test_folds_of_files_without_a_config_are_refused(doubtful, refused):
    assert "--folds trains models: give a config, such as `tunny init` writes" in refused(doubtful, "--folds", "2")


@pytest.mark.parametrize("options", [("--folds", "2", "--with-model", "x"), ("--review", "queue.json")])
def test_a_review_needs_one_of_model_and_folds_and_never_both(options, doubtful, refused):
    assert "expected one of --with-model and --folds" in refused(doubtful, *options)


def test_a_review_of_parts_of_speech_and_one_in_place_of_the_data_are_refused(doubtful, tagger, refused):
    assert "is the source itself" in refused(doubtful, "--with-model", tagger.model, "--review", doubtful)
    run = trained("pos")
    said = refused(run.validation, "--with-model", run.model, "--review", "queue.json")
    assert "Label Studio has no place for the labels of pos" in said
