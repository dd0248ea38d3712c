import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn

from tests.tasks.scored import classes, label_sets, values
from tunny.metrics.classes import ranking

NAMES = ("a", "b", "c")


def pairs(names):
    return st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), min_size=1, max_size=40)


@given(pairs(NAMES))
@settings(deadline=None)
def test_class_metrics_are_those_of_scikit_learn(answers):
    gold, predicted = zip(*answers, strict=True)
    found = classes(NAMES, answers).metrics()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of one class only
        expected = {
            "accuracy": sklearn.accuracy_score(gold, predicted),
            "macro_f1": sklearn.f1_score(gold, predicted, average="macro", zero_division=0),
            "weighted_f1": sklearn.f1_score(gold, predicted, average="weighted", zero_division=0),
            "matthews": sklearn.matthews_corrcoef(gold, predicted),
        }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@given(pairs(NAMES))
@settings(deadline=None)
def test_scores_of_each_class_are_those_of_scikit_learn(answers):
    gold, predicted = zip(*answers, strict=True)
    expected = sklearn.precision_recall_fscore_support(gold, predicted, labels=NAMES, zero_division=0)
    found = classes(NAMES, answers).per_label()
    for number, name in enumerate(NAMES):
        row = found[name]
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(tuple(part[number] for part in expected))


@given(pairs(("no", "yes")))
@settings(deadline=None)
def test_two_classes_have_the_binary_scores_of_the_second(answers):
    gold, predicted = zip(*answers, strict=True)
    found = classes(("no", "yes"), answers).metrics()
    for name, function in (("precision", sklearn.precision_score), ("recall", sklearn.recall_score), ("f1", sklearn.f1_score)):
        assert found[name] == pytest.approx(function(gold, predicted, pos_label="yes", zero_division=0))
    assert found["accuracy_and_f1"] == pytest.approx((found["accuracy"] + found["f1"]) / 2)


def test_three_classes_have_no_binary_scores():
    assert "f1" not in classes(NAMES, [("a", "a")]).metrics()


def test_a_gold_class_the_model_does_not_know_is_never_right():
    answers = [("a", "a"), ("new", "b"), ("new", "a")]
    found = classes(("a", "b"), answers)
    gold, predicted = zip(*answers, strict=True)
    assert found.metrics()["accuracy"] == pytest.approx(1 / 3)
    assert found.metrics()["macro_f1"] == pytest.approx(sklearn.f1_score(gold, predicted, average="macro", zero_division=0))
    assert found.per_label()["new"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2}


def test_two_classes_keep_their_binary_scores_beside_an_unknown_one():
    found = classes(("no", "yes"), [("yes", "yes"), ("maybe", "yes")]).metrics()
    assert (found["precision"], found["recall"]) == (0.5, 1.0)


SETS = st.lists(st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES))), min_size=1, max_size=30)


def hot(sets, names=NAMES):
    return np.array([[name in given for name in names] for given in sets], dtype=int)


@given(SETS)
@settings(deadline=None)
def test_multilabel_metrics_are_those_of_scikit_learn(answers):
    scores = label_sets(NAMES, answers)
    gold, predicted = (hot(side) for side in zip(*answers, strict=True))
    average = {"precision": sklearn.precision_score, "recall": sklearn.recall_score, "f1": sklearn.f1_score}
    expected = {name: function(gold, predicted, average="micro", zero_division=0) for name, function in average.items()}
    for kind in ("macro", "weighted"):
        expected[f"{kind}_f1"] = sklearn.f1_score(gold, predicted, average=kind, zero_division=0)
    expected["accuracy"] = sklearn.accuracy_score(gold, predicted)
    expected["samples_f1"] = sklearn.f1_score(gold, predicted, average="samples", zero_division=1)
    found = scores.metrics()
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@given(SETS)
@settings(deadline=None)
def test_scores_of_each_label_are_those_of_scikit_learn(answers):
    scores = label_sets(NAMES, answers)
    gold, predicted = (hot(side) for side in zip(*answers, strict=True))
    expected = sklearn.precision_recall_fscore_support(gold, predicted, zero_division=0)
    for number, row in enumerate(scores.per_label().values()):
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(tuple(part[number] for part in expected))


def test_a_gold_label_the_model_does_not_know_is_missed_and_the_set_is_wrong():
    scores = label_sets(("a", "b"), [(["new"], []), (["a"], ["a"])])
    gold, predicted = hot([["new"], ["a"]], ("a", "b", "new")), hot([[], ["a"]], ("a", "b", "new"))
    found = scores.metrics()
    assert found["accuracy"] == 0.5
    assert found["recall"] == 0.5
    assert found["macro_f1"] == pytest.approx(sklearn.f1_score(gold, predicted, average="macro", zero_division=0))
    assert scores.per_label()["new"]["support"] == 1


NUMBERS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=30)


@given(NUMBERS)
@example([(1, 2), (1, 3), (2, 2), (5, 5)])
@settings(deadline=None)
def test_correlations_are_those_of_scipy_ties_included(numbers):
    gold, predicted = ([number / 7 for number in side] for side in zip(*numbers, strict=True))
    found = values(gold, predicted).metrics()
    if len(set(gold)) == 1 or len(set(predicted)) == 1:
        assert found["pearson"] is None
        assert found["spearman"] is None
        return
    assert found["pearson"] == pytest.approx(stats.pearsonr(gold, predicted).statistic, abs=1e-9)
    assert found["spearman"] == pytest.approx(stats.spearmanr(gold, predicted).statistic, abs=1e-9)
    assert found["pearson_and_spearman"] == pytest.approx((found["pearson"] + found["spearman"]) / 2)
    assert found["mse"] == pytest.approx(sklearn.mean_squared_error(gold, predicted))


@pytest.mark.parametrize("constant", [0.0, 0.1, 3.3])
def test_a_side_that_does_not_vary_has_no_correlation(constant):
    found = values([1.0, 2.0, 3.0], [constant] * 3).metrics()
    assert found["pearson"] is None
    assert found["spearman"] is None


def test_one_pair_has_no_correlation_and_none_has_no_error():
    assert values([1.0], [2.0]).metrics() == {"pearson": None, "spearman": None, "pearson_and_spearman": None, "mse": 1.0}
    assert values([], []).metrics() == {"pearson": None, "spearman": None, "pearson_and_spearman": None, "mse": None}


def test_values_far_from_zero_lose_no_digits():
    gold, predicted = [1e7 + number for number in (1.0, 2.0, 4.0)], [1e7 + number for number in (1.5, 1.0, 4.0)]
    assert values(gold, predicted).metrics()["pearson"] == pytest.approx(stats.pearsonr(gold, predicted).statistic)


def test_nothing_counted_gives_zeros():
    assert set(classes(NAMES, []).metrics().values()) == {0.0, None}
    assert set(label_sets(NAMES, []).metrics().values()) == {0.0, None}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40))
@settings(deadline=None)
def test_ranking_is_that_of_scikit_learn_ties_included(answers):
    gold, scores = np.array([truth for truth, _ in answers]), np.array([score / 7 for _, score in answers], np.float32)
    area, precision = ranking(gold, scores)
    assert area == (pytest.approx(sklearn.roc_auc_score(gold, scores)) if 0 < gold.sum() < len(gold) else None)
    assert precision == (pytest.approx(sklearn.average_precision_score(gold, scores)) if gold.any() else None)
