import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunny.core.drawing import by_metric, columns, confused, extent, ticks


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0.13, 0.87, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 2000, [0, 500, 1000, 1500, 2000]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0, 5e-5, [0, 2e-5, 4e-5, 6e-5]),
        (3, 3, [3, 4]),
        (0, 0, [0, 0.25]),
        (0, 5e-324, [0, 0.25]),
        (1e9, 1e9 + 1e-7, [1e9, 1.25e9]),
    ],
)
def test_marks_are_round_numbers(low, high, marks):
    assert ticks(low, high) == pytest.approx(marks)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_marks_reach_from_low_to_high_and_are_few(low, high):
    low, high = sorted((low, high))
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 7
    assert marks[0] < marks[1]
    near = 1e-6 * (marks[-1] - marks[0])
    assert marks[0] <= low + near
    assert high - near <= marks[-1]


def test_letters_of_east_asia_are_two_wide():
    assert (columns("sport"), columns("体育"), columns("")) == (5, 4, 0)


def test_series_of_one_metric_share_a_plot():
    curves = {"series": {"train/loss": [[1, 2.0]], "validation/f1": [[1, 0.5]], "validation/loss": [[1, 1.5]]}, "best_step": 1}
    assert by_metric(curves) == {
        "loss": [("train/loss", [(1, 2.0)]), ("validation/loss", [(1, 1.5)])],
        "f1": [("validation/f1", [(1, 0.5)])],
    }


def test_values_that_are_missing_or_not_finite_are_not_drawn():
    series = {"a/f1": [[1, None], [2, 0.5], [3, float("inf")]], "b/f1": [[1, None]]}
    assert by_metric({"series": series, "best_step": None}) == {"f1": [("a/f1", [(2, 0.5)])]}


def test_no_curves_are_no_plots():
    assert by_metric(None) == {}


def test_what_is_confused_most_often_comes_first():
    confusion = {"names": ["A", "B", ""], "counts": [[9, 1, 0], [4, 9, 2], [0, 3, 0]]}
    assert confused(confusion) == [("B", "A", 4), ("", "B", 3), ("B", "", 2), ("A", "B", 1)]


@pytest.mark.parametrize(
    ("metric", "scores", "ends"),
    [
        ("f1", [0.2, 0.9], (0, 1)),
        ("pearson", [-0.3, 0.9], (-0.3, 1)),
        ("mse", [0.01, 0.04], (0, 0.04)),
        ("mse", [2.5, None], (0, 2.5)),
        ("mse", [None], (0, 1)),
        ("f1", [None], (0, 1)),
    ],
)
def test_bars_reach_from_zero_to_one_and_farther_where_scores_are_beyond(metric, scores, ends):
    assert extent(metric, [{"score": score, "interval": None} for score in scores]) == ends


def test_whiskers_are_within_the_ends():
    assert extent("mse", [{"score": 0.5, "interval": [0.25, 0.75]}]) == (0, 0.75)
