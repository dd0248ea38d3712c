import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunny.data.plan import Budget, plan_epoch, plan_prediction

LENGTHS = st.lists(st.integers(1, 300), max_size=400).map(lambda values: np.array(values, dtype=np.int64))


@given(LENGTHS, st.integers(1, 33), st.integers(0, 5), st.integers(0, 5))
def test_each_row_comes_exactly_once_an_epoch(lengths, batch_size, seed, epoch):
    steps = plan_epoch(lengths, Budget(batch_size), seed, epoch)
    assert sorted(row for step in steps for row in step.rows) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 33))
def test_all_steps_are_full_but_one_for_the_rows_left_over(lengths, batch_size):
    sizes = sorted((len(step.rows) for step in plan_epoch(lengths, Budget(batch_size), 42, 0)), reverse=True)
    full, rest = divmod(len(lengths), batch_size)
    assert sizes == [batch_size] * full + [rest] * bool(rest)
    assert len(sizes) == Budget(batch_size).steps(lengths)


def test_the_plan_depends_on_seed_and_epoch_alone():
    lengths = np.arange(1, 101)
    plans = {
        (seed, epoch): np.concatenate([step.rows for step in plan_epoch(lengths, Budget(8), seed, epoch)])
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert np.array_equal(plans[1, 0], np.concatenate([step.rows for step in plan_epoch(lengths, Budget(8), 1, 0)]))
    assert len({values.tobytes() for values in plans.values()}) == 4


def test_planning_leaves_its_input_alone():
    lengths = np.array([3, 1, 2])
    plan_epoch(lengths, Budget(2), 0, 0)
    plan_prediction(lengths, 10)
    assert lengths.tolist() == [3, 1, 2]


@given(LENGTHS, st.integers(1, 8), st.integers(1, 4))
def test_two_ranks_see_the_rows_of_one_rank_with_twice_the_micro_batches(lengths, half, world):
    for step in plan_epoch(lengths, Budget(half * 2 * world), 7, 0):
        alone = step.micro_batches(half)
        dealt = [part for rank in range(world) for part in step.micro_batches(half, rank, world)]
        if len(alone) % world == 0:
            assert [(n, rows.tolist()) for n, rows in alone] == [(n, rows.tolist()) for n, rows in sorted(dealt, key=lambda part: part[0])]
        assert sorted(row for _, rows in dealt for row in rows) == sorted(step.rows)


def test_full_batches_are_dealt_in_the_same_runs_to_two_ranks():
    (step,) = plan_epoch(np.arange(1, 17), Budget(16), 0, 0)
    alone = step.micro_batches(8)
    ranks = [step.micro_batches(8, rank, 2) for rank in (0, 1)]
    assert [rows.tolist() for _, rows in alone] == [ranks[0][0][1].tolist(), ranks[1][0][1].tolist()]
    assert [number for number, _ in alone] == [ranks[0][0][0], ranks[1][0][0]]


@given(LENGTHS, st.integers(1, 16), st.integers(1, 4))
def test_no_micro_batch_is_above_the_limit_and_ranks_have_equally_many(lengths, limit, world):
    for step in plan_epoch(lengths, Budget(16), 3, 1):
        parts = [step.micro_batches(limit, rank, world) for rank in range(world)]
        assert len({len(part) for part in parts}) == 1
        assert max(len(rows) for part in parts for _, rows in part) <= limit


def test_a_step_holds_rows_of_like_length_longest_first():
    lengths = np.random.default_rng(0).integers(1, 100, 640)
    for step in plan_epoch(lengths, Budget(10), 5, 0):
        values = lengths[step.rows]
        assert np.all(np.diff(values) <= 0)
        assert values[0] - values[-1] < 20


def test_rows_are_drawn_in_proportion_to_their_weights():
    lengths, weights = np.full(4000, 9), np.tile([3.0, 1.0], 2000)
    drawn = np.concatenate([step.rows for step in plan_epoch(lengths, Budget(16), 0, 0, weights)])
    assert len(drawn) == 4000
    assert np.mean(drawn % 2 == 0) == pytest.approx(0.75, abs=0.03)  # 4 standard errors


@given(LENGTHS, st.integers(1, 2000))
def test_prediction_takes_every_row_once_within_the_token_budget(lengths, budget):
    batches = plan_prediction(lengths, budget)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    assert all(len(rows) == 1 or lengths[rows].max() * len(rows) <= budget for rows in batches)


# -- steps of so many tokens -------------------------------------------------------------------------------------------


@given(LENGTHS, st.integers(1, 4000), st.integers(0, 3), st.integers(0, 3))
def test_by_tokens_each_row_comes_once_and_every_epoch_has_equally_many_steps(lengths, tokens, seed, epoch):
    budget = Budget(16, tokens)
    steps = plan_epoch(lengths, budget, seed, epoch)
    assert sorted(row for step in steps for row in step.rows) == list(range(len(lengths)))
    assert len(steps) == budget.steps(lengths) == len(plan_epoch(lengths, budget, seed + 1, epoch + 1))
    assert all(len(step.rows) for step in steps)


def test_by_tokens_steps_hold_equally_many_tokens_of_like_lengths():
    lengths = np.random.default_rng(0).integers(5, 60, 20_000)
    steps = plan_epoch(lengths, Budget(16, 2048), 1, 0)
    tokens = np.array([lengths[step.rows].sum() for step in steps])
    assert tokens.max() < 2048 + 60
    assert tokens.min() > 2048 - 130
    padded = np.array([lengths[step.rows].max() * len(step.rows) for step in steps])
    assert 1 - tokens.sum() / padded.sum() < 0.03
    orders = [np.concatenate([step.rows for step in plan_epoch(lengths, Budget(16, 2048), 1, epoch)]) for epoch in (0, 1)]
    assert not np.array_equal(*orders)


def test_by_tokens_a_row_longer_than_a_step_has_one_of_its_own():
    lengths = np.array([3, 500, 4, 2, 3])
    steps = plan_epoch(lengths, Budget(16, 8), 0, 0)
    assert sorted(row for step in steps for row in step.rows) == [0, 1, 2, 3, 4]
    assert all(len(step.rows) for step in steps)


def test_by_tokens_weighted_rows_make_as_many_steps_in_each_epoch():
    lengths, weights = np.random.default_rng(0).integers(5, 60, 2000), np.tile([3.0, 1.0], 1000)
    counts = {len(plan_epoch(lengths, Budget(16, 1024), 0, epoch, weights)) for epoch in range(4)}
    assert counts == {Budget(16, 1024).steps(lengths)}
