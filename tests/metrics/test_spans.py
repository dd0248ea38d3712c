import warnings
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from tests.tasks.scored import spans
from tunny.data.tags import tags_to_spans
from tunny.metrics.spans import SCHEMES, pairs, prf, ratio, scheme_scores

LABELS = ("LOC", "PER", "ORG")


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
    return spans(*([tags_to_spans(tags, "IOB2")[0] for tags in side] for side in (gold, predicted)))


def inclusive(gold):
    return [[(start, end + 1, label) for start, end, label in text] for text in gold]


@given(documents())
@settings(deadline=None)
@pytest.mark.parametrize("strict", [True, False])
def test_entity_scores_are_those_of_seqeval_in_both_modes(strict, pair):
    gold, predicted = pair
    found = spans(*(inclusive([tags_to_spans(tags, "IOB2")[0] for tags in side]) for side in pair))
    overall = {name: found.metrics()[name] for name in ("precision", "recall", "f1")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval divides by zero where a type is missing
        options = {"mode": "strict", "scheme": IOB2} if strict else {}
        try:
            expected = classification_report(gold, predicted, output_dict=True, zero_division=0, **options)
        except ValueError:  # no entity anywhere
            assert overall == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
            return
    for name, row in {**found.per_label(), "micro avg": overall}.items():
        other = expected[name]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((other["precision"], other["recall"], other["f1-score"]))


def flat(draw):
    """Spans that do not overlap: what a tagger predicts."""
    edges = sorted(draw(st.sets(st.integers(0, 24), max_size=12)))
    return [(start, end, draw(st.sampled_from(LABELS))) for start, end in zip(edges[::2], edges[1::2], strict=False)]


@st.composite
def texts(draw):
    """Gold spans of texts, nested ones too, beside predictions that often nearly meet them."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        predicted = flat(draw)
        edges = draw(st.lists(st.tuples(st.integers(0, 22), st.integers(1, 4), st.sampled_from(LABELS)), max_size=3))
        gold = {(start, start + length, label) for start, length, label in edges}
        gold |= {(start, end, draw(st.sampled_from(LABELS))) for start, end, _ in predicted if draw(st.booleans())}
        found.append((sorted(gold), predicted))
    return found


@given(texts())
@settings(deadline=None, max_examples=300)
def test_the_four_schemes_are_those_of_nervaluate_overall_and_by_label(pair):
    def theirs(side):
        return [[{"start": start, "end": end - 1, "label": label} for start, end, label in text] for text in side]

    gold, predicted = zip(*pair, strict=True)
    sums = spans(gold, predicted).table.sums()
    expected = Evaluator(theirs(gold), theirs(predicted), tags=list(LABELS), loader="dict").evaluate()
    names = {"strict": "strict", "exact": "exact", "partial": "partial", "type": "ent_type"}
    used = {label for side in (*gold, *predicted) for _, _, label in side}
    for scheme in SCHEMES:
        for label in ("", *sorted(used)):
            other = expected["entities"][label][names[scheme]] if label else expected["overall"][names[scheme]]
            found = {name: float(value) for name, value in scheme_scores(sums, scheme, label).items()}
            assert found == pytest.approx({name: getattr(other, name) for name in found}), (scheme, label)


def test_a_span_is_right_only_with_its_start_end_and_label():
    found = spans([[(0, 4, "PER"), (6, 9, "LOC"), (11, 15, "PER")]], [[(0, 4, "LOC"), (6, 8, "LOC"), (11, 15, "PER")]]).metrics()
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_the_schemes_by_hand():
    # a right one, one of the wrong label, one of half its length, one missed, one of nothing
    gold = [(0, 4, "PER"), (6, 9, "LOC"), (11, 15, "PER"), (20, 22, "ORG")]
    predicted = [(0, 4, "PER"), (6, 9, "ORG"), (11, 13, "PER"), (30, 33, "PER")]
    sums = spans([gold], [predicted]).table.sums()
    found = {scheme: {name: float(value) for name, value in scheme_scores(sums, scheme).items()} for scheme in SCHEMES}
    assert [found["strict"][name] for name in ("correct", "incorrect", "missed", "spurious")] == [1, 2, 1, 1]
    assert [found["exact"][name] for name in ("correct", "incorrect", "missed", "spurious")] == [2, 1, 1, 1]
    assert [found["partial"][name] for name in ("correct", "partial", "missed", "spurious")] == [2, 1, 1, 1]
    assert [found["type"][name] for name in ("correct", "incorrect", "missed", "spurious")] == [2, 1, 1, 1]
    assert found["partial"]["precision"] == (2 + 0.5) / 4
    assert found["strict"]["possible"] == found["strict"]["actual"] == 4


def test_a_spurious_span_is_charged_to_its_own_label_alone():
    sums = spans([[(0, 2, "LOC")]], [[(0, 2, "LOC"), (5, 6, "PER")]]).table.sums()
    assert float(scheme_scores(sums, "strict", "LOC")["spurious"]) == 0
    assert float(scheme_scores(sums, "strict", "PER")["spurious"]) == 1


def test_spans_of_one_token_overlap_and_a_gold_span_is_matched_once():
    sums = spans([[(3, 4, "LOC")]], [[(3, 4, "PER")]]).table.sums()
    assert float(scheme_scores(sums, "partial")["correct"]) == 1
    sums = spans([[(0, 9, "LOC")]], [[(0, 2, "LOC"), (3, 5, "LOC")]]).table.sums()
    assert {name: float(scheme_scores(sums, "partial")[name]) for name in ("partial", "spurious", "possible")} == {
        "partial": 1, "spurious": 1, "possible": 1,
    }  # fmt: skip


def test_one_wrong_token_gives_the_numbers_that_the_metaextractor_expects():
    # gold B I O B, answered B O O B: of three entity words two are found; of two entities one
    found = spans([[(0, 2, "AGE"), (3, 4, "AGE")]], [[(0, 1, "AGE"), (3, 4, "AGE")]], "abcd").metrics()
    assert (found["token_f1"], found["token_accuracy"], found["f1"]) == pytest.approx((0.8, 0.75, 0.5))


def test_spans_of_two_texts_are_not_taken_for_each_other():
    assert spans([[(0, 4, "PER")], []], [[], [(0, 4, "PER")]]).metrics()["f1"] == 0.0


def test_a_predicted_type_without_gold_has_support_zero():
    assert spans([[]], [[(0, 1, "X")]]).per_label() == {"X": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}}


def test_nothing_predicted_and_nothing_gold_is_zero_and_no_error():
    assert spans([[]], [[]]).metrics()["f1"] == 0.0
    assert spans([[(0, 1, "X")]], [[]]).metrics()["recall"] == 0.0


def test_predictions_are_paired_with_what_they_meant():
    gold = [(0, 4, "PER"), (6, 9, "LOC"), (11, 15, "PER"), (20, 22, "ORG")]
    predicted = [(0, 4, "PER"), (6, 9, "ORG"), (11, 13, "PER"), (30, 33, "PER")]
    found = pairs(gold, predicted)
    assert found == [*zip(gold[:3], predicted[:3], strict=True), (None, predicted[3]), (gold[3], None)]


@given(texts())
def test_every_span_stands_in_exactly_one_pair(pair):
    for gold, predicted in pair:
        found = pairs(gold, predicted)
        assert Counter(one for one, _ in found if one) == Counter(set(gold))
        assert Counter(other for _, other in found if other) == Counter(set(predicted))


def test_precision_recall_and_f1_by_hand():
    assert {name: float(value) for name, value in prf(2, 4, 3).items()} == {
        "precision": 0.5,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(4 / 7),
    }


def test_an_empty_whole_has_the_ratio_zero():
    assert ratio(0, 0) == 0.0
