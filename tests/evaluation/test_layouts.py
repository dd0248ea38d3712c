"""The MetaExtractor's files: its own numbers where it is right, and none of its faults."""

import json
from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from nervaluate import Evaluator
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score

import tunny
from tests.metrics.test_spans import documents
from tests.pages import EVIL
from tests.trained import trained
from tunny.core.errors import ConfigError, RunError
from tunny.data.example import Example, Span
from tunny.data.labels import LabelSet
from tunny.data.tags import tags_to_spans
from tunny.evaluation.layouts import check_layout, metaextractor, metaextractor_files
from tunny.metrics.spans import SCHEMES, labels_of, scheme_scores
from tunny.metrics.sums import Table
from tunny.tasks.scoring import TokenScorer

REPORTS = ("classification_results.json", "confusion_matrix.svg", "entity_classification_report.svg", "token_classification_report.svg")


def counted(gold, predicted):
    """Return the content of metrics.json that the layout reads, and the sums, of IOB2 tags; word 3 stands at characters 9 and 10."""
    scorer, table = TokenScorer(LabelSet("ner", ())), Table()
    for tags, answers in zip(gold, predicted, strict=True):
        words = tuple((3 * at, 3 * at + 2) for at in range(len(tags)))
        truth, guess = (
            tuple(Span(words[first][0], words[last][1], label) for first, last, label in tags_to_spans(side, "IOB2")[0])
            for side in (tags, answers)
        )
        example = Example("", "ab " * len(tags), spans=truth, words=words)
        spans = [{"start": start, "end": end, "label": label} for start, end, label in guess]
        table.add(scorer.count(example, {"text": example.text, "spans": spans}))
    sums = table.sums()

    def numbers(label=""):
        return {name: {what: float(value) for what, value in scheme_scores(sums, name, label).items()} for name in SCHEMES}

    metrics = {name: float(value) for name, value in scorer.metrics(sums).items()}
    per_label = {label: {"schemes": numbers(label)} for label in labels_of(sums)}
    return {"model": "runs/mine/model", "metrics": metrics, "schemes": numbers(), "per_label": per_label}, sums


def results(gold, predicted):
    return metaextractor(*counted(gold, predicted))


# -- values ------------------------------------------------------------------------------------------------------------


def test_one_wrong_token_scores_as_in_the_metaextractors_own_test():
    found = results([["B-TAXA", "I-TAXA", "O", "B-AGE"]], [["O", "B-TAXA", "O", "B-AGE"]])
    token, entity = (
        {name: round(found[level][name], 2) for name in ("f1", "accuracy", "recall", "precision")} for level in ("token", "entity")
    )
    assert token == {"f1": 0.8, "accuracy": 0.75, "recall": 0.67, "precision": 1.0}
    assert entity == {"f1": 0.5, "accuracy": 0.5, "recall": 0.5, "precision": 0.5}
    assert found["num_tokens"] == 4
    assert found["entity_counts"] == {"TAXA": 2, "O": 1, "AGE": 1}


@pytest.mark.filterwarnings("ignore")  # seqeval warns of labels that never occur
@settings(deadline=None)
@given(documents())
def test_both_levels_are_those_of_seqeval_on_tags(texts):
    gold, predicted = texts
    found = results(gold, predicted)

    def whole(side):
        return [[tag.replace("I-", "B-") for tag in tags] for tags in side]

    for level, truth, guess in (("token", whole(gold), whole(predicted)), ("entity", gold, predicted)):
        expected = {
            "accuracy": accuracy_score(truth, guess), "f1": f1_score(truth, guess), "recall": recall_score(truth, guess),
            "precision": precision_score(truth, guess),
        }  # fmt: skip
        assert {name: found[level][name] for name in expected} == pytest.approx(expected)
        if any(tag != "O" for side in (*truth, *guess) for tag in side):  # seqeval has no report of nothing
            report = classification_report(truth, guess, output_dict=True, zero_division=0)
            assert found[level]["classification_report"].keys() == report.keys()
            for name, row in report.items():
                assert found[level]["classification_report"][name] == pytest.approx(row)


@settings(deadline=None)
@given(documents())
def test_the_schemes_are_those_of_nervaluate_overall_and_by_tag(texts):
    def theirs(side):
        return [[{"start": a, "end": b, "label": label} for a, b, label in tags_to_spans(tags, "IOB2")[0]] for tags in side]

    found = results(*texts)
    expected = Evaluator(*map(theirs, texts), tags=["LOC", "PER"], loader="dict").evaluate()
    rows = [(found["overall_results"], expected["overall"])]
    rows += [(row, expected["entities"][label]) for label, row in found["overall_results_by_tag"].items()]
    for row, other in rows:
        assert list(row) == ["strict", "exact", "partial", "ent_type"]
        for scheme, scores in row.items():
            assert scores == pytest.approx({name: getattr(other[scheme], name) for name in scores})


@given(documents())
def test_words_are_counted_by_their_gold_label(texts):
    found = results(*texts)
    assert found["entity_counts"] == Counter(tag.removeprefix("B-").removeprefix("I-") for tags in texts[0] for tag in tags)
    assert found["num_tokens"] == sum(map(len, texts[0]))


# -- faults that are not here ------------------------------------------------------------------------------------------


def test_a_spurious_entity_counts_at_its_own_tag_alone():
    found = results([["B-PER", "O", "O"]], [["B-PER", "O", "B-LOC"]])["overall_results_by_tag"]
    assert {label: row["strict"]["spurious"] for label, row in found.items()} == {"LOC": 1, "PER": 0}


@pytest.mark.parametrize("predicted", [["B-PER", "O"], ["O", "B-PER"]])
def test_an_overlap_of_one_word_is_one(predicted):
    overall = results([["B-PER", "I-PER"]], [predicted])["overall_results"]
    assert {name: overall["partial"][name] for name in ("partial", "missed", "spurious")} == {"partial": 1, "missed": 0, "spurious": 0}
    assert overall["ent_type"]["correct"] == 1


def test_what_is_possible_is_the_gold_entities_where_one_meets_two_predictions():
    overall = results([["B-PER", "I-PER", "I-PER"]], [["B-PER", "O", "B-PER"]])["overall_results"]
    assert {row["possible"] for row in overall.values()} == {1}
    assert {row["actual"] for row in overall.values()} == {2}


def test_a_label_that_is_only_predicted_has_an_empty_row_in_the_confusion_matrix():
    files = metaextractor_files(*counted([["B-PER", "O"]], [["B-LOC", "O"]]), ["test.json"])
    titles = {element.text for element in ElementTree.fromstring(files["mine_test_confusion_matrix.svg"]).iter() if element.text}
    assert {"LOC, PER: not defined", "LOC, LOC: not defined", "PER, LOC: 1.0000", "O, O: 1.0000", "O, PER: 0.0000"} <= titles


def test_the_rows_of_the_confusion_matrix_sum_to_one():
    gold, predicted = [["B-PER", "I-PER", "O", "B-LOC"]] * 3, [["B-PER", "O", "O", "B-PER"], ["O", "B-PER", "O", "B-LOC"], ["O"] * 4]
    files = metaextractor_files(*counted(gold, predicted), ["test.json"])
    root = ElementTree.fromstring(files["mine_test_confusion_matrix.svg"])
    cells = dict(
        found.text.split(": ")
        for found in root.iter("{http://www.w3.org/2000/svg}title")
        if ", " in found.text and "words" not in found.text
    )
    assert (cells["PER, PER"], cells["PER, O"], cells["PER, LOC"]) == ("0.3333", "0.6667", "0.0000")
    assert cells["LOC, O"] == cells["LOC, PER"] == cells["LOC, LOC"] == "0.3333"


def test_there_may_be_no_entity_at_all():
    found = results([["O", "O"]], [["O", "O"]])
    assert (found["token"]["f1"], found["token"]["accuracy"], found["overall_results_by_tag"]) == (0.0, 1.0, {})
    assert len(metaextractor_files(*counted([], []), [])) == 4


# -- files -------------------------------------------------------------------------------------------------------------


def test_names_of_files_and_labels_break_nothing():
    content, sums = counted([[f"B-{EVIL}"]], [["O"]])
    files = metaextractor_files({**content, "model": f"../{EVIL}"}, sums, ["../../a b.json", "c.tar.gz"])
    assert len(files) == 4
    for name, text in files.items():
        assert "/" not in name
        assert " " not in name
        if name.endswith(".svg"):
            assert not [element for element in ElementTree.fromstring(text).iter() if element.tag.endswith("script")]


def test_the_files_stand_beside_the_usual_ones_and_are_replaced_when_it_runs_again(tmp_path):
    run = trained("ner")
    for _ in range(2):
        metrics = tunny.evaluate(run.model, run.validation, tmp_path / "out", layout="metaextractor")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "metrics.json", "predictions.jsonl", "gold.jsonl", "report.md", "report.html", "plots", *(f"run_validation_{name}" for name in REPORTS),
    }  # fmt: skip
    found = json.loads((tmp_path / "out" / "run_validation_classification_results.json").read_text("utf-8"))
    assert {name: found["entity"][name] for name in ("f1", "precision", "recall")} == {
        name: metrics[name] for name in ("f1", "precision", "recall")
    }
    assert (found["token"]["f1"], found["entity"]["accuracy"]) == (metrics["token_f1"], metrics["token_accuracy"])
    tunny.evaluate(run.model, run.validation, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_files_that_the_metaextractor_wrote_itself_are_not_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ner_test_classification_results.json").write_text("{}")
    with pytest.raises(RunError, match=r"'ner_test_classification_results\.json', which an evaluation would replace"):
        tunny.evaluate(trained("ner").model, trained("ner").validation, tmp_path / "out")


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_an_unknown_layout_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"expected one of metaextractor, found 'metaextracter'; did you mean 'metaextractor'\?"):
        check_layout("metaextracter", "ner")


@pytest.mark.parametrize("kind", ["pos", "classify", "regress"])
def test_a_layout_of_entities_is_refused_for_other_tasks_before_anything_is_written(tmp_path, kind):
    with pytest.raises(ConfigError, match=f"--layout metaextractor: is for ner and chunk, and this is a {kind} model"):
        tunny.evaluate(trained(kind).model, trained(kind).validation, tmp_path / "out", layout="metaextractor")
    assert not (tmp_path / "out").exists()


def test_the_command_takes_a_layout_and_exits_with_2_where_it_is_unknown(tunny, tmp_path):
    run = trained("ner")
    done = tunny("evaluate", run.model, run.validation, "--out", "scores", "--layout", "other")
    assert done.returncode == 2
    assert "error: --layout: expected one of metaextractor, found 'other'" in done.stderr
    assert list(tmp_path.iterdir()) == []
