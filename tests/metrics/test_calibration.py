import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, precision_recall_curve

from tunny.metrics.calibration import Calibration, best_threshold, cross_fitted, ece, fit, reliability, threshold_for, wanted


def too_sure(number=4000, seed=1, temperature=0.5, shift=0.7):
    """Answers whose true chance of being right is known, with scores that say too much."""
    random = np.random.default_rng(seed)
    truth = random.beta(4, 2, number)
    return expit(logit(truth) / temperature + shift), random.random(number) < truth


def test_a_fit_finds_the_temperature_and_shift_that_scores_were_spoilt_by():
    found = fit(*too_sure(60_000))
    assert found.temperature == pytest.approx(2.0, rel=0.05)
    assert found.shift == pytest.approx(-0.35, abs=0.05)


def test_a_fit_is_that_of_scikit_learn():
    scores, right = too_sure(2000)
    model = LogisticRegression(C=1e9).fit(logit(scores)[:, None], right)
    found = fit(scores, right)
    assert 1 / found.temperature == pytest.approx(model.coef_[0, 0], rel=0.01)  # but for Platt's targets
    assert found.shift == pytest.approx(model.intercept_[0], abs=0.01)


def test_calibration_lowers_the_error_cross_fitted_too():
    scores, right = too_sure()
    half = np.random.default_rng(2).random(len(scores)) < 0.5
    assert ece(scores, right) > 0.08
    assert ece(fit(scores, right).apply(scores), right) < 0.03
    assert ece(cross_fitted(scores, right, half), right) < 0.03


def test_cross_fitting_uses_the_other_half_alone():
    scores, right = too_sure(400)
    half = np.arange(400) < 200
    changed = right.copy()
    changed[half] = ~changed[half]
    assert cross_fitted(scores, right, half)[half] == pytest.approx(cross_fitted(scores, changed, half)[half])
    assert not np.allclose(cross_fitted(scores, right, half)[~half], cross_fitted(scores, changed, half)[~half])


@given(st.floats(0.001, 0.999), st.floats(0.5, 9), st.floats(-3, 3))
def test_calibration_can_be_undone_and_keeps_the_order(score, temperature, shift):
    calibration = Calibration(temperature, shift)
    assert calibration.undo(calibration.apply(score)) == pytest.approx(score, abs=1e-4)
    assert calibration.apply(0.4) < calibration.apply(0.6)


@pytest.mark.parametrize("right", [[True] * 80, [False] * 80, [True, False] * 5])
def test_too_few_answers_or_one_kind_alone_give_no_calibration(right):
    scores = np.linspace(0.2, 0.9, len(right))
    assert fit(scores, np.array(right)) == Calibration()
    assert Calibration().one(0.123) == 0.123


def test_the_calibration_error_by_hand():
    scores, right = np.array([0.9, 0.9, 0.9, 0.9, 0.2]), np.array([True, True, True, False, False])
    assert ece(scores, right) == pytest.approx((4 * 0.15 + 1 * 0.2) / 5)
    assert [row["number"] for row in reliability(scores, right)] == [1, 4]
    assert reliability(np.array([1.0]), np.array([True]))[0]["high"] == 1.0
    assert ece(np.zeros(0), np.zeros(0, bool)) == 0.0


SCORED = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40)


@given(SCORED, st.sampled_from([0.5, 0.8, 1.0]))
def test_a_threshold_gives_the_precision_for_as_many_as_can_have_it(answers, precision):
    scores, right = np.array([score / 8 for score, _ in answers]), np.array([truth for _, truth in answers])
    reached = [
        (np.mean(scores >= threshold), threshold) for threshold in set(scores.tolist()) if np.mean(right[scores >= threshold]) >= precision
    ]
    assert threshold_for(scores, right, precision) == (None if not reached else (max(reached)[1], pytest.approx(max(reached)[0])))
    if right.any():
        assert len(precision_recall_curve(right, scores)[2]) == len(set(scores.tolist()))


@given(SCORED)
def test_the_best_threshold_gives_the_highest_f1(answers):
    scores, gold = np.array([score / 8 for score, _ in answers]), np.array([truth for _, truth in answers])
    found = best_threshold(scores, gold)
    if not gold.any():
        assert found == 0.5
        return
    every = [f1_score(gold, scores >= threshold, zero_division=0) for threshold in set(scores.tolist())]
    assert f1_score(gold, scores >= found, zero_division=0) == pytest.approx(max(every))


def test_precisions_that_no_threshold_gives_are_none():
    found = wanted(np.array([0.9, 0.8]), np.array([False, True]), [0.5, 0.9])
    assert found == [{"precision": 0.5, "threshold": 0.8, "coverage": 1.0}, {"precision": 0.9, "threshold": None, "coverage": None}]
