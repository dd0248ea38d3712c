import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tunny.evaluation import forms
from tunny.evaluation.forms import FOLDS, cross_fitted

NAMES, PLACES = ("Marie", "Paul", "Anna", "Peter", "Maria"), ("Paris", "Parma", "Padua", "Palermo", "Patras")
TEXTS = [[name, "lives", "in", place] for name in NAMES for place in PLACES]
TAGS = np.array([1, 0, 0, 2] * len(TEXTS))


def test_words_are_told_by_other_texts():
    assert (cross_fitted(TEXTS, TAGS, 3).argmax(axis=1) == TAGS).all()


def test_probabilities_sum_to_one():
    assert np.exp(cross_fitted(TEXTS, TAGS, 3)).sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_the_tags_of_a_text_say_nothing_of_its_own_words():
    wrong = TAGS.copy()
    wrong[:4] = [2, 2, 2, 1]
    assert np.array_equal(cross_fitted(TEXTS, wrong, 3)[:4], cross_fitted(TEXTS, TAGS, 3)[:4])


def test_weights_are_those_of_logistic_regression():
    table = forms._table(TEXTS)
    ours = forms._weights(table, TAGS, 3)
    known = np.bincount(table.indices, minlength=table.shape[1]) > 1
    theirs = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-8, max_iter=1000).fit(table[:, known], TAGS)
    assert table @ ours - (table @ ours)[:, :1] == pytest.approx(table[:, known] @ (theirs.coef_ - theirs.coef_[:1]).T, abs=0.05)


def test_case_tells_what_a_word_is():
    texts = [["The", word.title() if at % 2 else word, "came"] for at, word in enumerate(["smith", "baker", "miller", "fisher"] * 5)]
    tags = np.array([tag for at in range(20) for tag in (0, at % 2, 0)])
    assert (cross_fitted(texts, tags, 2).argmax(axis=1) == tags).all()


def test_words_without_a_tag_teach_nothing_and_are_told():
    some = TAGS.copy()
    some[:8] = -1
    found = cross_fitted(TEXTS, some, 3)
    assert (found[:8].argmax(axis=1) == TAGS[:8]).all()


@pytest.mark.parametrize("texts", [[], [[]], [["alone"]], [[]] * FOLDS])
def test_without_other_texts_all_tags_are_equally_likely(texts):
    tags = np.zeros(sum(map(len, texts)), dtype=np.int64)
    found = cross_fitted(texts, tags, 4)
    assert found.shape == (len(tags), 4)
    assert np.exp(found) == pytest.approx(np.full(found.shape, 0.25))
