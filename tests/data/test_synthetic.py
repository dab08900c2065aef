"""Training problems without end, validation problems that are none of them, and batches of both."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.batches import IGNORE
from glassformer.data.synthetic import SyntheticData
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import FILL, TASKS
from glassformer.errors import ConfigError, DataError


def rows(problems) -> set[tuple[int, ...]]:
    return {tuple(token for token in row if token != FILL) for row in problems.tokens.tolist()}


def data(**settings) -> SyntheticData:
    return SyntheticData(SyntheticConfig(**settings))


SMALL_SPACES = [
    {"kind": "copy", "length": 3, "vocab_size": 4},
    {"kind": "sort", "length": 4, "min_length": 1, "vocab_size": 3},
    {"kind": "addition", "length": 1},
    {"kind": "selective-copy", "length": 2, "vocab_size": 2},
    {"kind": "associative-recall", "length": 2, "vocab_size": 5},
    {"kind": "induction", "length": 4, "vocab_size": 4},
]


@pytest.mark.parametrize("settings", SMALL_SPACES, ids=lambda settings: settings["kind"])
@pytest.mark.parametrize("seed", [0, 7])
def test_no_validation_problem_is_ever_trained_on_even_where_there_are_few(settings, seed):
    small = data(**settings)
    trained = rows(small.training_problems(0, 20_000, seed=seed))
    kept = rows(small.validation)
    assert kept
    assert len(kept) == len(small.validation), "they are all different"
    assert not trained & kept
    fresh = small.fresh(500, length=small.config.longest)
    assert len(rows(fresh)) == len(fresh)
    assert not trained & rows(fresh)


def test_training_and_validation_together_are_all_there_is():
    small = data(kind="addition", length=1)
    together = rows(small.training_problems(0, 20_000, seed=0)) | rows(small.validation)
    assert {(row[0], row[2]) for row in together} == {(a, b) for a in range(10) for b in range(10)}


def test_one_problem_in_eight_is_held_out():
    large = data(kind="copy", length=10)
    drawn = large._draw(0, 0, 40_000)
    assert large.is_held_out(drawn).mean() == pytest.approx(1 / 8, abs=0.008)


def test_a_problem_is_held_out_however_wide_its_row_is():
    wide, narrow = data(length=9, min_length=4), data(length=4)
    made = narrow._draw(0, 0, 500)
    padded = type(made)(
        np.pad(made.tokens, ((0, 0), (0, 10)), constant_values=FILL), np.pad(made.answered, ((0, 0), (0, 10)))
    )
    assert narrow.is_held_out(made).tolist() == wide.is_held_out(padded).tolist()


@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(list(TASKS)), start=st.integers(0, 10**9), seed=st.integers(0, 2**64 - 1))
def test_a_problem_is_a_function_of_its_number_and_the_seeds_alone(kind, start, seed):
    one, other = data(kind=kind, n_validation=1), data(kind=kind, n_validation=1)
    together = one.training_problems(start, 12, seed=seed)
    for number in (0, 5, 11):
        alone = other.training_problems(start + number, 1, seed=seed)
        assert alone.tokens.tolist() == together.tokens[number : number + 1].tolist()
        assert alone.answered.tolist() == together.answered[number : number + 1].tolist()


def test_batches_follow_one_another_in_the_endless_row_of_problems():
    copy = data()
    expected = copy.training_problems(0, 24, seed=5).tokens[:, :-1].tolist()
    found = [copy.batch(step, seed=5, batch_size=8).inputs.tolist() for step in range(3)]
    assert [*chain(*found)] == expected
    shares = [copy.batch(1, seed=5, batch_size=8, rank=rank, world_size=4) for rank in range(4)]
    assert [*chain(*(share.inputs.tolist() for share in shares))] == found[1]
    assert [index for share in shares for index in share.indices.tolist()] == list(range(8, 16))


def test_each_seed_changes_what_it_says_it_does():
    def first(training_seed, **settings):
        return data(**settings).batch(0, seed=training_seed, batch_size=8).inputs.tolist()

    assert first(0) == first(0)
    assert first(0) != first(1)
    assert first(0) != first(0, seed=1)
    assert data().validation.tokens.tolist() == data().validation.tokens.tolist()
    assert rows(data().validation) != rows(data(seed=1).validation)


@pytest.mark.parametrize("kind", TASKS)
def test_the_targets_are_the_answers_moved_on_by_one_and_nothing_else_counts(kind):
    task = data(kind=kind, length=5, min_length=2)
    problems = task.training_problems(0, 32, seed=1)
    batch = task.batch(0, seed=1, batch_size=32)
    assert batch.inputs.shape == batch.targets.shape == (32, task.config.n_positions)
    assert batch.inputs.dtype == batch.targets.dtype == torch.int64
    for row in range(32):
        length = next(n for n in range(2, 6) if task.task.width(n) == (problems.tokens[row] != FILL).sum())
        places = list(task.task.answered(length))
        counted = (batch.targets[row] != IGNORE).nonzero().flatten().tolist()
        assert counted == [place - 1 for place in places]
        assert batch.targets[row, counted].tolist() == problems.tokens[row, places].tolist()
    assert batch.n_tokens == problems.answered.sum()
    assert batch.inputs.min() >= 0, "what fills a row up is a token too"
    assert batch.rows(3, 5).inputs.tolist() == batch.inputs[3:5].tolist()
    assert "problems 0, 1, 2" in batch.describe()


def test_the_mean_number_of_answer_tokens_is_what_batches_have():
    task = data(length=9, min_length=2)
    assert task.answer_tokens == pytest.approx(5.5)
    counted = [task.batch(step, seed=0, batch_size=64).n_tokens / 64 for step in range(40)]
    assert np.mean(counted) == pytest.approx(5.5, rel=0.05)


def test_validation_batches_hold_every_problem_once_and_a_limit_takes_the_first():
    task = data(n_validation=50)
    whole = [batch.inputs for batch in task.batches(task.validation, batch_size=16)]
    assert [len(each) for each in whole] == [16, 16, 16, 2]
    assert torch.cat(whole).tolist() == task.validation.tokens[:, :-1].tolist()
    limited = list(task.batches(task.validation, batch_size=16, max_tokens=12 * 20 + 5))
    assert sum(len(each.inputs) for each in limited) == 20
    assert sum(len(each.inputs) for each in task.batches(task.validation, batch_size=16, max_tokens=1)) == 1


def test_fresh_problems_have_the_length_asked_for_and_are_always_the_same():
    task = data(kind="reverse", length=4, min_length=3)
    fresh = task.fresh(30, length=11)
    assert fresh.tokens.shape == (30, 23)
    assert fresh.tokens.tolist() == task.fresh(30, length=11).tokens.tolist()
    with pytest.raises(ConfigError, match="set vocab_size to at least 40"):
        data(kind="associative-recall").fresh(3, length=20)


def test_a_task_of_too_few_problems_is_refused():
    """Of two problems in all, most seeds hold out none; one of 40 seeds holds out both."""
    refused = []
    for seed in range(40):
        try:
            tiny = data(length=1, vocab_size=2, seed=seed)
        except DataError as error:
            refused.append(str(error))
        else:
            assert len(tiny.validation) == len(rows(tiny.training_problems(0, 100, seed=0))) == 1
    assert 20 < len(refused) < 40
    assert all("too few different problems of copy" in each and "data.vocab_size" in each for each in refused)


def test_the_fingerprint_is_that_of_the_configuration():
    assert data(length=5).fingerprint == data(length=5).fingerprint
    assert len({data(**each).fingerprint for each in ({}, {"seed": 1}, {"length": 5}, {"kind": "sort"})}) == 4
