import json
import shutil
import subprocess
import sys

import pytest

import tunny
from tests.trained import KINDS, trained
from tunny.core.errors import RunError
from tunny.evaluation.compare import compare_all, find_evaluation, lines
from tunny.file_commands import compare


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_compared_with_itself_differs_by_nothing(kind):
    run = trained(kind)
    findings = compare_all([find_evaluation(str(run.folder))] * 2)
    [other] = findings["others"]
    assert all(one["value"] == 0.0 for one in other["differences"].values())
    assert (other["fixed"], other["broken"], other["settings"]) == (0, 0, [])
    saved = run.metrics()["metrics"]
    assert set(other["differences"]) == set(saved) - {"loss", "spearman", "pearson_and_spearman", "roc_auc", "average_precision"}
    assert lines(findings)


def perfect(prediction, gold):
    """The prediction with what is gold as its answer."""
    if "spans" in prediction:
        return {**prediction, "spans": [dict(zip(("start", "end", "label"), span, strict=True)) for span in gold["spans"]]}
    if "tags" in prediction:
        return {**prediction, "tags": [label for _, _, label in gold["spans"]]}
    if "labels" in prediction:
        return {**prediction, "labels": [{"label": label} for label in gold["labels"]]}
    return {**prediction, "label": gold["labels"][0]}


@pytest.mark.parametrize("kind", ["ner", "pos", "classify", "multilabel"])
def test_examples_that_became_wrong_are_counted_and_shown(tmp_path, kind):
    folder = trained(kind).folder / "validation"
    answers, golds = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()] for name in ("predictions", "gold")
    )
    right = [perfect(*pair) for pair in zip(answers, golds, strict=True)]
    wrong = [{**row, **{name: type(row[name])() for name in ("spans", "labels", "label") if name in row}} for row in right]
    wrong = [{**row, "tags": ["?"] * len(row["tags"])} if "tags" in row else row for row in wrong]
    for name, rows in (("right", right), ("wrong", wrong[:5] + right[5:])):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    [other] = compare_all([find_evaluation(str(tmp_path / name)) for name in ("right", "wrong")])["others"]
    changed = sum(pair[0] != pair[1] for pair in zip(right[:5], wrong[:5], strict=True))
    assert (other["fixed"], other["broken"]) == (0, changed)
    assert changed > 0
    assert {row["text"] for row in other["listed"]["broken"]} <= {row["text"] for row in right[:5]}
    assert min(one["value"] for one in other["differences"].values()) < 0


def test_two_trainings_are_compared_with_their_settings_on_a_page(tmp_path, capsys):
    first, second = trained("ner", epochs=1), trained("ner", epochs=4)
    compare([str(first.folder), str(second.folder)], None, str(tmp_path / "page.html"))
    said = capsys.readouterr().err
    assert "setting train.epochs: 1 -> 4" in said
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "train.epochs" in page
    assert "Became right" in page


def test_what_is_counted_is_said_and_paths_are_those_of_the_current_folder(monkeypatch):
    first, second = trained("ner", epochs=1), trained("ner", epochs=4)
    monkeypatch.chdir(first.folder.parent)
    said = lines(compare_all([find_evaluation("run"), find_evaluation(str(second.folder))]))
    assert said[0] == "ner on validation.conll: 15 examples; differences from run"
    assert f"setting data.train: train.conll -> {second.folder.parent}/train.conll" in said
    assert sum(line.endswith("(right is one with all its labels and no others)") for line in said) == 1


def test_what_cannot_be_compared_is_refused(tmp_path):
    ner, classify = trained("ner"), trained("classify")
    found = find_evaluation(str(ner.folder))
    with pytest.raises(RunError, match="different tasks"):
        compare_all([found, find_evaluation(str(classify.folder))])
    with pytest.raises(RunError, match="two or more"):
        compare_all([found])
    with pytest.raises(RunError, match=r"no metrics\.json"):
        find_evaluation(str(tmp_path))
    with pytest.raises(RunError, match=r"no metrics\.json"):
        find_evaluation(str(ner.folder), "elsewhere")
    shutil.copytree(ner.folder / "validation", tmp_path / "old")
    (tmp_path / "old" / "gold.jsonl").unlink()
    with pytest.raises(RunError, match="Evaluate again"):
        find_evaluation(str(tmp_path / "old"))


def test_evaluations_of_other_data_are_refused(tmp_path):
    run = trained("ner")
    other = tmp_path / "other.conll"
    other.write_text("Rome\tB-LOC\nis\tO\n\nAda\tB-PER\nlaughed\tO\n", "utf-8")
    tunny.evaluate(run.model, other, tmp_path / "out")
    with pytest.raises(RunError, match="other data"):
        compare_all([find_evaluation(str(run.folder)), find_evaluation(str(tmp_path / "out"))])


def test_comparing_needs_no_torch():
    code = "import sys, tunny.evaluation.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
