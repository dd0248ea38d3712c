import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from tunny.data.tags import tags_to_spans
from tunny.metrics.spans import SpanScores, prf, ratio


@st.composite
def tagged(draw):
    """A valid IOB2 sequence."""
    tags = []
    for choice in draw(st.lists(st.sampled_from(("O", "B-LOC", "B-PER", "in")), min_size=1, max_size=12)):
        before = tags[-1] if tags else "O"
        tags.append(f"I-{before[2:]}" if choice == "in" and before != "O" else "O" if choice == "in" else choice)
    return tags


@st.composite
def documents(draw):
    gold = draw(st.lists(tagged(), min_size=1, max_size=6))
    predicted = draw(st.lists(tagged(), min_size=len(gold), max_size=len(gold)))
    return gold, [(tags + ["O"] * 12)[: len(truth)] for truth, tags in zip(gold, predicted, strict=True)]


def scored(gold, predicted):
    scores = SpanScores()
    for truth, guess in zip(gold, predicted, strict=True):
        scores.add(tags_to_spans(truth, "IOB2")[0], tags_to_spans(guess, "IOB2")[0])
    return scores


@given(documents())
@settings(deadline=None)
@pytest.mark.parametrize("strict", [True, False])
def test_entity_scores_are_those_of_seqeval_in_both_modes(strict, pair):
    gold, predicted = pair
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval divides by zero where a type is missing
        options = {"mode": "strict", "scheme": IOB2} if strict else {}
        try:
            expected = classification_report(gold, predicted, output_dict=True, zero_division=0, **options)
        except ValueError:  # no entity anywhere
            assert scored(gold, predicted).overall() == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
            return
    scores = scored(gold, predicted)
    found = {**scores.per_label(), "micro avg": scores.overall()}
    for name, row in found.items():
        other = expected[name]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((other["precision"], other["recall"], other["f1-score"]))


def test_a_span_is_right_only_with_its_start_end_and_label():
    scores = SpanScores()
    scores.add([(0, 4, "PER"), (6, 9, "LOC"), (11, 15, "PER")], [(0, 4, "LOC"), (6, 8, "LOC"), (11, 15, "PER")])
    assert scores.overall() == {"precision": pytest.approx(1 / 3), "recall": pytest.approx(1 / 3), "f1": pytest.approx(1 / 3)}


def test_spans_of_two_texts_are_not_taken_for_each_other():
    scores = SpanScores()
    scores.add([(0, 4, "PER")], [])
    scores.add([], [(0, 4, "PER")])
    assert scores.overall()["f1"] == 0.0


def test_a_predicted_type_without_gold_has_support_zero():
    scores = SpanScores()
    scores.add([], [(0, 1, "X")])
    assert scores.per_label() == {"X": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}}


def test_precision_recall_and_f1_by_hand():
    assert prf(2, 4, 3) == {"precision": 0.5, "recall": pytest.approx(2 / 3), "f1": pytest.approx(4 / 7)}


def test_an_empty_whole_has_the_ratio_zero():
    assert ratio(0, 0) == 0.0
