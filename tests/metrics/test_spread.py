"""Intervals and tests hold what they promise, by simulation on documents whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from tunny.metrics import spread
from tunny.metrics.classes import class_metrics, value_counts, value_metrics
from tunny.metrics.spans import prf, ratio
from tunny.metrics.spread import compare, intervals
from tunny.metrics.sums import Table

DRAWS = 400


def accuracy(sums):
    return {"accuracy": ratio(sums["right",], sums["all",])}


def f1(sums):
    return {"f1": prf(sums["right",], sums["predicted",], sums["gold",])["f1"]}


def table_of(rows, documents=None):
    table = Table()
    for number, counts in enumerate(rows):
        table.add(counts, None if documents is None else str(documents[number]))
    return table


def entities(random, documents, skill):
    """Documents with some gold entities, of which a model finds some, and guesses others; long ones are harder."""
    gold = random.poisson(random.gamma(2.0, 1.5, documents))
    right = random.binomial(gold, skill * random.beta(8, 3, documents))
    return [
        {("gold",): float(g), ("right",): float(r), ("predicted",): float(r + s)}
        for g, r, s in zip(gold, right, random.poisson(0.4, documents), strict=True)
    ]


def covers(measure, name, make, truth, repeats, random):
    inside = 0
    for _ in range(repeats):
        low, high = intervals(table_of(make(random)), measure, DRAWS, seed=int(random.integers(2**31)))[name]
        inside += low <= truth <= high
    return inside / repeats


@pytest.mark.parametrize(("documents", "skill"), [(60, 0.9), (200, 0.6)])
def test_intervals_of_f1_cover_the_truth_at_their_rate(documents, skill):
    random = np.random.default_rng(documents)
    truth = float(f1(table_of(entities(random, 200_000, skill)).sums())["f1"])
    found = covers(f1, "f1", lambda draw: entities(draw, documents, skill), truth, 300, random)
    assert stats.binomtest(round(found * 300), 300, 0.95).pvalue > 0.01, found


def test_intervals_of_a_high_accuracy_cover_the_truth_at_their_rate():
    random = np.random.default_rng(5)

    def make(draw):
        return [{("all",): 1.0, ("right",): float(right)} for right in draw.random(250) < 0.93]

    found = covers(accuracy, "accuracy", make, 0.93, 300, random)
    assert stats.binomtest(round(found * 300), 300, 0.95).pvalue > 0.01, found


def test_documents_are_drawn_and_not_examples():
    random = np.random.default_rng(6)
    right = np.repeat(random.random(40) < 0.7, 25)  # examples of one document are all right or all wrong
    rows = [{("all",): 1.0, ("right",): float(one)} for one in right]
    wide, narrow = (intervals(table_of(rows, documents), accuracy)["accuracy"] for documents in (np.repeat(np.arange(40), 25), None))
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_intervals_are_the_same_again_and_hold_the_value():
    rows = entities(np.random.default_rng(7), 100, 0.8)
    first, again = (intervals(table_of(rows), f1) for _ in range(2))
    assert first == again
    assert first["f1"][0] < float(f1(table_of(rows).sums())["f1"]) < first["f1"][1]


def test_one_document_and_nothing_but_right_answers_say_nothing_of_the_spread():
    assert intervals(table_of([{("all",): 1.0}]), accuracy) == {"accuracy": None}
    assert intervals(table_of([{("all",): 1.0, ("right",): 1.0}] * 9), accuracy) == {"accuracy": None}


def test_a_metric_that_is_not_defined_has_no_interval():
    assert intervals(table_of([value_counts(1.0, 2.0), value_counts(1.0, 3.0)]), value_metrics)["pearson"] is None


def test_many_different_documents_are_drawn_in_groups_with_about_the_same_interval(monkeypatch):
    random = np.random.default_rng(8)
    table = table_of([value_counts(x, x + e) for x, e in random.normal(size=(6000, 2))])
    alone = intervals(table, value_metrics)["pearson"]
    monkeypatch.setattr(spread, "GROUPS", 1500)
    assert intervals(table, value_metrics)["pearson"] == pytest.approx(alone, abs=0.004)


def pairs_of(random, documents, skills):
    gold = random.integers(0, 3, documents)
    found = []
    hard = random.random(documents)  # the same documents are hard for both
    for skill in skills:
        guess = np.where(0.5 * hard + 0.5 * random.random(documents) < skill, gold, random.integers(0, 3, documents))
        found.append(table_of([{("class", str(g), str(p)): 1.0} for g, p in zip(gold, guess, strict=True)]))
    return found


def classes(sums):
    return class_metrics(sums, "class", ("0", "1", "2"))


def test_the_permutation_test_calls_equal_models_different_at_its_rate():
    random = np.random.default_rng(9)
    values = [compare(*pairs_of(random, 120, (0.6, 0.6)), classes, DRAWS, seed)["macro_f1"].p_value for seed in range(300)]
    assert stats.binomtest(sum(value <= 0.05 for value in values), 300, 0.05).pvalue > 0.01
    assert 0.4 < np.mean(values) < 0.6


def test_a_better_model_is_told_from_a_worse_one():
    found = compare(*pairs_of(np.random.default_rng(10), 400, (0.5, 0.65)), classes)["accuracy"]
    assert found.value > 0
    assert found.interval[0] > 0
    assert found.p_value < 0.01


def test_a_model_compared_with_itself_differs_by_nothing():
    table, _ = pairs_of(np.random.default_rng(11), 50, (0.5, 0.5))
    assert compare(table, table, classes)["accuracy"] == (0.0, (0.0, 0.0), 1.0)
