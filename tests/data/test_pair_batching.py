from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassformer.data import pair_batching
from glassformer.data.batches import IGNORE
from glassformer.data.pair_batching import (
    BatchLimit,
    PairSchedule,
    n_positions,
    padded,
    pair_batch,
    plan_epoch,
    plan_in_order,
)

seeds = st.integers(0, 2**128 - 1)
limits = st.one_of(
    st.integers(1, 40).map(lambda size: BatchLimit(size=size)),
    st.integers(1, 200).map(lambda tokens: BatchLimit(tokens=tokens)),
)


@st.composite
def lengths(draw, most: int = 300) -> tuple[np.ndarray, np.ndarray]:
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    longest = draw(st.integers(1, 60))
    return rng.integers(1, longest + 1, n), rng.integers(1, longest + 1, n)


@given(sides=lengths(), seed=seeds, epoch=st.integers(0, 2**40), limit=limits)
def test_every_pair_comes_once_an_epoch_and_no_batch_exceeds_its_limit(sides, seed, epoch, limit):
    plan = plan_epoch(*sides, seed=seed, epoch=epoch, limit=limit)
    batches = [plan[index] for index in range(len(plan))]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sides[0])))
    for rows in batches:
        widest = max(side[rows].max() for side in sides)
        assert len(rows) >= 1
        assert len(rows) <= limit.size if limit.size else len(rows) == 1 or len(rows) * widest <= limit.tokens


@given(sides=lengths(), seed=seeds, size=st.integers(1, 40))
def test_batches_of_pairs_are_all_full_but_one(sides, seed, size):
    plan = plan_epoch(*sides, seed=seed, epoch=0, limit=BatchLimit(size=size))
    sizes = sorted(np.diff(plan.ends, prepend=0).tolist())
    assert sizes[1:] == [size] * (len(sizes) - 1)


@given(sides=lengths(), seed=seeds, limit=limits, steps=st.lists(st.integers(0, 200), min_size=1, max_size=5))
def test_what_a_step_is_given_does_not_depend_on_what_was_asked_before(sides, seed, limit, steps):
    asked = PairSchedule(*sides, seed=seed, limit=limit)
    found = [asked.locate(step) for step in steps]
    for step, (epoch, index) in zip(steps, found, strict=True):
        fresh = PairSchedule(*sides, seed=seed, limit=limit)
        assert fresh.locate(step) == (epoch, index)
        assert np.array_equal(fresh.plan(epoch)[index], asked.plan(epoch)[index])


@given(sides=lengths(60), seed=seeds, limit=limits)
def test_steps_go_through_the_epochs_one_after_another(sides, seed, limit):
    schedule = PairSchedule(*sides, seed=seed, limit=limit)
    expected = [(epoch, index) for epoch in range(4) for index in range(len(schedule.plan(epoch)))]
    assert [schedule.locate(step) for step in range(len(expected))] == expected
    assert schedule.locate(len(expected)) == (4, 0)


def test_orders_differ_between_seeds_and_epochs_and_are_fixed_for_good():
    sides = np.arange(40) % 7 + 1, np.arange(40) % 5 + 1
    plans = [
        plan_epoch(*sides, seed=seed, epoch=epoch, limit=BatchLimit(tokens=30))
        for seed, epoch in ((0, 0), (1, 0), (0, 1), (1 << 64, 0), (2**63 + 1, 0), (2**63 + 2, 0), (2**64 - 1, 0))
    ]
    assert len({tuple(plan.order.tolist()) for plan in plans}) == len(plans)
    assert plans[0][0].tolist() == [13, 34]
    assert plans[0].ends.tolist() == [2, 12, 17, 24, 30, 34, 40]


def test_walking_through_the_steps_plans_each_epoch_once(monkeypatch):
    planned = []

    def counted(*sides, **options):
        planned.append(options["epoch"])
        return plan_epoch(*sides, **options)

    monkeypatch.setattr(pair_batching, "plan_epoch", counted)
    for limit in (BatchLimit(size=3), BatchLimit(tokens=40)):
        planned.clear()
        schedule = PairSchedule(np.arange(1, 60), np.arange(1, 60)[::-1], seed=0, limit=limit)
        for step in range(3 * len(schedule.plan(0))):
            epoch, index = schedule.locate(step)
            schedule.plan(epoch)[index]
            schedule.plan(0)
        assert planned == list(range(len(planned)))


def test_lengths_are_sorted_within_pools_and_batches_shuffled():
    rng = np.random.default_rng(0)
    sides = rng.integers(3, 40, 8000), rng.integers(3, 40, 8000)
    limit = BatchLimit(size=16)
    plan = plan_epoch(*sides, seed=0, epoch=0, limit=limit)
    spread = [np.ptp(np.maximum(*(side[plan[index]] for side in sides))) for index in range(len(plan))]
    assert np.mean(spread) < 2  # of 37
    longest = [np.maximum(*(side[plan[index]] for side in sides)).max() for index in range(len(plan))]
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.2


@given(sides=lengths(), limit=limits, data=st.data())
def test_the_plan_in_order_has_the_chosen_pairs_longest_first(sides, limit, data):
    chosen = np.array(data.draw(st.lists(st.integers(0, len(sides[0]) - 1), min_size=1, unique=True)))
    plan = plan_in_order(*sides, chosen, limit=limit)
    assert sorted(plan.order.tolist()) == sorted(chosen.tolist())
    longest = np.maximum(*sides)[plan.order]
    assert (np.diff(longest) <= 0).all()
    for index in range(len(plan)):
        rows = plan[index]
        assert len(rows) == 1 or len(rows) * np.maximum(*sides)[rows].max() <= (limit.tokens or 10**9)
        assert limit.size is None or len(rows) <= limit.size


@given(sides=lengths(), seed=seeds, limit=limits)
def test_positions_are_counted_as_the_batches_have_them(sides, seed, limit):
    plan = plan_epoch(*sides, seed=seed, epoch=0, limit=limit)
    for side in sides:
        counted = sum(len(plan[index]) * int(side[plan[index]].max()) for index in range(len(plan)))
        assert n_positions(plan, side) == counted


sentences = st.lists(st.lists(st.integers(4, 99), max_size=9), min_size=1, max_size=20)


def flat(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ended = [[*row, 3] for row in rows]
    return np.array([token for row in ended for token in row], dtype=np.int32), np.cumsum([len(row) for row in ended])


@given(rows=sentences, data=st.data())
def test_padding_fills_up_on_the_right_to_the_longest(rows, data):
    chosen = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1)))
    table = padded(*flat(rows), chosen, -7)
    longest = max(len(rows[row]) + 1 for row in chosen)
    assert table.tolist() == [[*rows[row], 3, *[-7] * (longest - len(rows[row]) - 1)] for row in chosen]


def test_a_batch_is_what_an_encoder_decoder_is_trained_on():
    sources, targets = [[10, 11], [], [12]], [[20], [21, 22, 23], []]
    batch = pair_batch(
        flat(sources), flat(targets), np.array([1, 0, 2]), source_pad_id=0, target_pad_id=9, start_id=2, split="train"
    )
    assert batch.source.tolist() == [[3, 0, 0], [10, 11, 3], [12, 3, 0]]
    assert batch.source_padding.tolist() == [[False, True, True], [False, False, False], [False, False, True]]
    assert batch.inputs.tolist() == [[2, 21, 22, 23], [2, 20, 9, 9], [2, 9, 9, 9]]
    assert batch.targets.tolist() == [[21, 22, 23, 3], [20, 3, IGNORE, IGNORE], [3, IGNORE, IGNORE, IGNORE]]
    assert batch.source.dtype == batch.inputs.dtype == batch.targets.dtype == torch.int64
    assert batch.source_padding.dtype == torch.bool
    assert batch.n_tokens == 7
    assert batch.arguments == (batch.source, batch.inputs, batch.source_padding)
    assert batch.describe() == "The samples are pairs 1, 0, 2 of the training split."


@given(rows=sentences, data=st.data())
def test_rows_of_a_batch_are_its_rows_and_no_other(rows, data):
    n = len(rows)
    batch = pair_batch(flat(rows), flat(rows[::-1]), np.arange(n), source_pad_id=0, target_pad_id=0, start_id=2)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    part = batch.rows(start, stop)
    for name in ("source", "source_padding", "inputs", "targets"):
        assert torch.equal(getattr(part, name), getattr(batch, name)[start:stop])
    assert part.indices.tolist() == list(range(start, stop))
    assert batch.rows(0, start).n_tokens + part.n_tokens + batch.rows(stop, n).n_tokens == batch.n_tokens
    assert batch.n_tokens == sum(len(row) + 1 for row in rows)


def test_a_message_names_some_pairs_of_a_large_batch():
    rows = np.arange(5000, 5100)
    batch = pair_batch(
        flat([[4]] * 6000), flat([[4]] * 6000), rows, source_pad_id=0, target_pad_id=0, start_id=2, split="validation"
    )
    assert batch.describe().startswith("The samples are pairs 5,000, 5,001, ")
    assert batch.describe().endswith("5,019 … (100 in all) of the validation split.")


@pytest.mark.parametrize("limit", [{}, {"size": 1, "tokens": 1}, {"size": 0}, {"tokens": 0}])
def test_a_limit_is_of_one_kind_and_lets_something_through(limit):
    with pytest.raises(AssertionError):
        BatchLimit(**limit)
