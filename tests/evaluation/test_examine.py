from dataclasses import replace

import numpy as np
import pytest

from tunny.data.example import Example, Origin, Span
from tunny.evaluation import examine
from tunny.evaluation.examine import Examination, outcomes
from tunny.evaluation.score import slices
from tunny.metrics.sums import Table
from tunny.tasks.base import Answer

NAMES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
TEXT = "Ada met Bo in Rome and Oslo"


def answered(text, gold, predicted, sure=0.5, **more):
    """An example with gold spans, and an answer with spans of (start, end, label, score)."""
    listed = [dict(zip(("start", "end", "label", "score"), span, strict=True)) for span in predicted]
    example = Example("7", text, spans=tuple(Span(*span) for span in gold), **more)
    words = len(text.split())
    return example, Answer({"id": "7", "text": text, "spans": listed}, np.zeros(words, np.int64), np.full(words, sure, np.float32))


def test_every_outcome_has_its_kind():
    gold = [(0, 3, "PER"), (8, 10, "PER"), (14, 18, "LOC"), (23, 27, "LOC")]
    predicted = [(0, 3, "PER", 0.9), (8, 10, "LOC", 0.8), (14, 22, "LOC", 0.7), (4, 7, "PER", 0.6)]
    found = list(outcomes(*answered(TEXT, gold, predicted), NAMES))
    kinds = {one.kind: one.score for one in found}
    assert kinds == {"": 0.9, "wrong label": 0.8, "wrong boundary": 0.7, "spurious": 0.6, "missed": 0.5}


def test_a_wrong_label_at_a_wrong_place_is_both():
    [one] = outcomes(*answered(TEXT, [(0, 3, "PER")], [(0, 7, "LOC", 0.9)]), NAMES)
    assert one.kind == "wrong label and boundary"


def test_errors_are_listed_the_surest_first_and_no_more_than_are_kept(monkeypatch):
    monkeypatch.setattr(examine, "LISTED", 3)
    seen = Examination(NAMES, ["a.conll"])
    for number in range(10):
        seen.look(*answered(TEXT, [], [(0, 3, "PER", number / 10)], origin=Origin(0, number), place=f"task {number}" * (number < 9)))
    assert [error["score"] for error in seen.listed()] == [0.9, 0.8, 0.7]
    assert [error["where"] for error in seen.listed()] == ["a.conll:9", "a.conll:task 8", "a.conll:task 7"]
    assert seen.errors == {"spurious": 10}


@pytest.mark.parametrize("text", ["🐟 " * 80 + "Ada met Bo" + " مرحبا" * 60, "Ada met Bo", "x" * 500 + " Ada met Bo " + "y" * 500])
def test_excerpts_hold_their_spans(text):
    start = text.index("Ada")
    seen = Examination(NAMES, [])
    seen.look(*answered(text, [(start, start + 3, "PER")], [(start, start + 7, "PER", 0.9)]))
    [error] = seen.listed()
    assert error["text"][error["gold"]["start"] : error["gold"]["end"]] == "Ada"
    assert error["text"][error["predicted"]["start"] : error["predicted"]["end"]] == "Ada met"
    assert len(error["text"]) <= 2 * examine.AROUND + 7


def sliced(examples, **how):
    seen, table = Examination(NAMES, how.pop("files", []), how.pop("forms", None)), Table()
    for example, answer in examples:
        table.add(seen.look(example, answer), example.document)
    return {names: {what: float(value) for what, value in row.items()} for names, row in slices(table.sums()).items()}


def test_slices_are_made_of_texts_entities_files_and_columns():
    right = answered(TEXT, [(0, 3, "PER")], [(0, 3, "PER", 0.9)], origin=Origin(0, 1), meta={"language": "en"})
    missed = answered(f"{TEXT} {TEXT}", [(14, 18, "LOC")], [], origin=Origin(1, 1), meta={"language": "de"})
    found = sliced([right, missed], files=["a", "b"], forms={"ada"})
    assert found["language", "en"]["score"] == 1.0
    assert found["language", "de"]["score"] == 0.0
    assert found["source file", "a"]["examples"] == 1
    assert found["surface form", "seen in training"]["gold"] == 1
    assert found["surface form", "not seen in training"] == {"gold": 1, "predicted": 0, "right": 0, "score": 0.0}
    assert found["text length", "1 to 10 words"]["score"] == 1.0
    assert found["text length", "11 to 20 words"]["gold"] == 1


def test_entities_of_long_texts_are_told_apart_by_a_cut_nearby():
    example, answer = answered(TEXT, [(0, 3, "PER"), (14, 18, "LOC")], [(0, 3, "PER", 0.9)])
    near = np.array([True, False, False, False, False, False, False])
    found = sliced([(example, replace(answer, near_cut=near)), (example, answer)])
    assert found["context of a long text", "cut nearby"] == {"gold": 1, "predicted": 1, "right": 1, "score": 1.0}
    assert found["context of a long text", "whole"] == {"gold": 1, "predicted": 0, "right": 0, "score": 0.0}


def test_slices_of_label_studio_are_made_of_its_data_and_annotators():
    meta = {"task": 7, "text": "text", "data": {"source": "web"}, "annotator": "3", "control": "label"}
    found = sliced([answered(TEXT, [], [], meta=meta), answered(TEXT, [], [])])
    assert {name for name in found if name[0] != "text length"} == {("source", "web"), ("annotator", "3")}


def test_a_column_of_many_values_is_cut_off():
    found = sliced([answered(TEXT, [], [], meta={"number": number}) for number in range(50)])
    assert len([name for name, _ in found if name == "number"]) == examine.VALUES + 1
    assert found["number", "others"]["examples"] == 50 - examine.VALUES


def test_labels_of_sets_and_classes_and_values_have_outcomes():
    one = Example("1", "x", labels=("a",))
    [found] = outcomes(one, Answer({"text": "x", "label": "b", "score": 0.7}, np.array([1]), np.array([0.3, 0.7])), ("a", "b"))
    assert (found.gold.label, found.predicted.label, found.kind, found.score) == ("a", "b", "wrong label", 0.7)
    answer = Answer({"text": "x", "labels": [{"label": "b", "score": 0.9}]}, np.array([1]), np.array([0.2, 0.9]))
    found = {outcome.kind: outcome.score for outcome in outcomes(one, answer, ("a", "b"))}
    assert found == {"missed": pytest.approx(0.8), "spurious": 0.9}
    table = sliced([(Example("1", "x", score=2.0), Answer({"text": "x", "value": 3.5}, np.zeros(0), np.array([3.5])))])
    assert table["text length", "1 to 10 words"]["score"] == 1.5**2


def test_an_example_without_gold_has_no_outcomes():
    example, answer = answered(TEXT, [], [(0, 3, "PER", 0.9)])
    assert list(outcomes(Example("7", TEXT), answer, NAMES)) == []
    assert len(list(outcomes(example, answer, NAMES))) == 1
