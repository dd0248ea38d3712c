import math
import warnings

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from tunny.data.agreement import Agreement, cohens_kappa, krippendorffs_alpha, mean_of_pairs, span_f1

names = st.sampled_from("abc")
gaps = st.lists(st.lists(st.none() | st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=12)  # tasks, each with 3 annotators


def units(table):
    """Return the values of each task that has two or more."""
    found = ([value for value in said if value is not None] for said in table)
    return [values for values in found if len(values) > 1]


def reference(table, level):
    """Return what the package krippendorff says; nan where there is one value alone."""
    if len({value for values in units(table) for value in values}) < 2:
        return math.nan
    by_annotator = np.array([[math.nan if value is None else value for value in said] for said in table], dtype=float).T
    return krippendorff.alpha(reliability_data=by_annotator, level_of_measurement=level)


@given(st.lists(st.tuples(names, names), min_size=1, max_size=20))
def test_cohens_kappa_is_that_of_scikit_learn(pairs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where kappa is not defined
        expected = cohen_kappa_score(*zip(*pairs, strict=True))
    assert cohens_kappa(pairs) == pytest.approx(expected, nan_ok=True)


@given(gaps)
def test_alpha_of_names_is_that_of_krippendorff(table):
    assert krippendorffs_alpha(units(table)) == pytest.approx(reference(table, "nominal"), nan_ok=True)


@given(gaps)
def test_alpha_of_numbers_is_that_of_krippendorff(table):
    assert krippendorffs_alpha(units(table), intervals=True) == pytest.approx(reference(table, "interval"), nan_ok=True)


# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability": four observers, twelve units, gaps; alpha is .743 and .849
OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def test_alpha_of_krippendorffs_own_example():
    said = [[int(value) for value in unit if value != "."] for unit in zip(*OBSERVERS, strict=True)]
    pairable = [unit for unit in said if len(unit) > 1]
    assert round(krippendorffs_alpha(pairable), 3) == 0.743
    assert round(krippendorffs_alpha(pairable, intervals=True), 3) == 0.849


def test_f1_of_spans_counts_those_of_the_same_place_and_label():
    one, other = frozenset({(0, 4, "PER"), (13, 17, "LOC"), (5, 8, "X")}), frozenset({(0, 4, "PER"), (13, 17, "ORG")})
    assert span_f1([(one, other), (frozenset(), frozenset())]) == 2 * 1 / (3 + 2)


def test_spans_that_nobody_marked_say_nothing():
    assert math.isnan(span_f1([(frozenset(), frozenset())]))


def test_pairs_of_annotators_weigh_by_the_tasks_they_share():
    said = [{"a": 1, "b": 1, "c": 0}, {"a": 1, "b": 0}, {"b": 1}]  # a and b agree on 1 of 2, the other pairs on none of 1
    assert mean_of_pairs(said, lambda pairs: sum(one == other for one, other in pairs) / len(pairs)) == (0.5 * 2 + 0 + 0) / 4


def test_only_tasks_with_several_annotators_are_kept():
    agreement = Agreement("classify")
    for said in ({"a": ["x"], "b": ["y"]}, {"a": ["x"]}, {"a": ["x"], "b": []}, {"a": ["x"], "b": ["x", "y"]}):
        agreement.add(said)
    assert agreement.tasks == [{"a": "x", "b": "y"}]


@pytest.mark.parametrize(
    ("kind", "said", "measured"),
    [
        ("classify", [("x", "x"), ("y", "y")], "Cohen's kappa 1.00, Krippendorff's alpha 1.00"),
        ("classify", [("x", "x"), ("x", "x")], "Cohen's kappa not defined, Krippendorff's alpha not defined"),
        ("regress", [(1.0, 2.0), (5.0, 5.0)], "Krippendorff's alpha 0.94"),  # 1 - (4 - 1) * 2 / 102
        ("regress", [(1e308, -1e308), (1e308, 1e308)], "Krippendorff's alpha not defined"),
        ("ner", [((0, 4, "X"), (0, 4, "X")), ((0, 4, "X"), (0, 4, "Y"))], "mean F1 of their spans 0.50"),
    ],
)
def test_agreement_is_a_sentence(kind, said, measured):
    agreement = Agreement(kind)
    for one, other in said:
        agreement.add({"a": [one], "b": [other]})
    assert agreement.note() == f"agreement of 2 annotators on 2 tasks: {measured}"
