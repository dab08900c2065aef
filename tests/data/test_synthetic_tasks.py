"""The answers are right, by a computation that shares nothing with the one that made them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.synthetic import SyntheticData
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import FILL, TASKS, below, distinct

lengths, vocabularies, seeds = st.integers(2, 9), st.integers(4, 70), st.integers(0, 2**64 - 1)


def written(kind: str, **settings) -> list[tuple[str, str, int]]:
    """Problems as people read them: prompt and answer, spaces between names, and how many tokens count."""
    data = SyntheticData(SyntheticConfig(kind=kind, n_validation=1, **settings))
    separator = data.task.names[data.task.separator]
    found = []
    made = data.training_problems(0, 20, seed=3)
    for tokens, answered in zip(made.tokens, made.answered, strict=True):
        names = [data.tokenizer.token_text(token) for token in tokens[tokens != FILL].tolist()]
        at = names.index(separator)
        assert not answered[: at + 1].any(), "nothing counts before the separator"
        found.append((names[:at], names[at + 1 :], answered[at + 1 :]))
    return found


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(["copy", "reverse", "sort"]), length=lengths, vocabulary=vocabularies, seed=seeds)
def test_symbols_are_given_back_as_the_task_says(kind, length, vocabulary, seed):
    in_order = SyntheticData(SyntheticConfig(kind=kind, length=length, vocab_size=vocabulary, seed=seed)).task.names
    for prompt, answer, counted in written(kind, length=length, vocab_size=vocabulary, seed=seed):
        assert len(prompt) == len(answer) == counted.sum() == length
        expected = {
            "copy": lambda prompt: prompt,
            "reverse": lambda prompt: list(reversed(prompt)),
            "sort": lambda prompt: sorted(prompt, key=in_order.index),
        }[kind](prompt)
        assert answer == expected


@settings(max_examples=25, deadline=None)
@given(length=st.integers(2, 30), seed=seeds)
def test_sums_are_right_and_written_from_the_last_digit_on(length, seed):
    for prompt, answer, counted in written("addition", length=length, seed=seed):
        a, b = "".join(prompt).split("+")
        assert len(a) == len(b) == length
        assert counted.sum() == len(answer) == length + 1
        assert int("".join(reversed(answer))) == int(a) + int(b)


@settings(max_examples=25, deadline=None)
@given(length=lengths, vocabulary=vocabularies, blanks=st.integers(1, 5), seed=seeds)
def test_what_stands_between_blanks_is_copied_in_its_order(length, vocabulary, blanks, seed):
    for prompt, answer, counted in written(
        "selective-copy", length=length, vocab_size=vocabulary, blanks=blanks, seed=seed
    ):
        assert prompt.count("_") == blanks * length
        assert answer == [name for name in prompt if name != "_"]
        assert counted.sum() == len(answer) == length


@settings(max_examples=25, deadline=None)
@given(length=lengths, vocabulary=st.integers(18, 140), seed=seeds)
def test_the_value_of_a_key_is_the_one_that_followed_it(length, vocabulary, seed):
    for prompt, answer, counted in written("associative-recall", length=length, vocab_size=vocabulary, seed=seed):
        pairs = dict(zip(prompt[::2], prompt[1::2], strict=True))
        assert len(pairs) == length, "the keys are different"
        assert not set(pairs) & set(pairs.values()), "no symbol is both key and value"
        assert len(answer) == 2 * length
        assert answer[1::2] == [pairs[key] for key in answer[::2]]
        assert counted.tolist() == [False, True] * length, "the values count, the questions do not"


@settings(max_examples=25, deadline=None)
@given(length=lengths, vocabulary=st.integers(9, 70), seed=seeds)
def test_the_answer_is_what_followed_the_trigger_where_it_stood_before(length, vocabulary, seed):
    for prompt, (trigger, *answer), counted in written("induction", length=length, vocab_size=vocabulary, seed=seed):
        assert len(prompt) == len(set(prompt)) == length, "what followed a symbol is never in doubt"
        after = prompt.index(trigger) + 1
        assert prompt[after : after + length // 2] == answer
        assert counted.tolist() == [False] + [True] * (length // 2)


def test_every_answer_and_every_place_comes_equally_often():
    data = SyntheticData(SyntheticConfig(kind="induction", length=5, vocab_size=6))
    made = data.training_problems(0, 20_000, seed=0)
    answers = np.bincount(made.tokens[:, -1], minlength=6)
    places = np.bincount((made.tokens[:, :5] == made.tokens[:, 6:7]).argmax(1), minlength=3)
    assert answers == pytest.approx(np.full(6, 20_000 / 6), rel=0.06)
    assert places == pytest.approx(np.full(3, 20_000 / 3), rel=0.06)


def test_no_value_can_be_guessed_from_those_already_asked_for():
    data = SyntheticData(SyntheticConfig(kind="associative-recall", length=4))
    made = data.training_problems(0, 20_000, seed=0).tokens
    keys, asked = made[:, 0:8:2], made[:, 9::2]
    places = (asked[:, :, None] == keys[:, None]).argmax(-1)  # [n, 4]
    for earlier, later in ((0, 1), (0, 3), (2, 3)):
        together = np.bincount(4 * places[:, earlier] + places[:, later], minlength=16)
        assert together == pytest.approx(np.full(16, 1_250), rel=0.12)


def test_min_length_spreads_the_lengths_evenly():
    data = SyntheticData(SyntheticConfig(length=9, min_length=6))
    made = data.training_problems(0, 8_000, seed=0)
    found, counts = np.unique(made.answered.sum(1), return_counts=True)
    assert found.tolist() == [6, 7, 8, 9]
    assert counts == pytest.approx(np.full(4, 2_000), rel=0.1)
    assert (made.tokens[made.answered.sum(1) == 6] == FILL).sum(1).tolist() == [6] * counts[0]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 30), k=st.integers(1, 30), seed=st.integers(0, 99))
def test_distinct_numbers_are_distinct_and_in_range(n, k, seed):
    k = min(n, k)
    draws = np.random.default_rng(seed).integers(2**64, size=(40, k), dtype=np.uint64)
    found = distinct(draws, n)
    assert found.shape == (40, k)
    assert found.min() >= 0
    assert found.max() < n
    assert all(len(set(row)) == k for row in found.tolist())


def test_shuffles_are_uniform():
    draws = np.random.default_rng(0).integers(2**64, size=(24_000, 4), dtype=np.uint64)
    _, counts = np.unique(distinct(draws, 4), axis=0, return_counts=True)
    assert len(counts) == 24
    assert counts == pytest.approx(np.full(24, 1_000), rel=0.15)


def test_draws_stay_below_their_bound():
    extremes = np.array([0, 2**64 - 1], dtype=np.uint64)
    assert below(extremes, 7).tolist() == [0, 6]
    assert below(extremes, 1).tolist() == [0, 0]


@pytest.mark.parametrize("kind", TASKS)
def test_a_row_is_as_wide_as_the_task_says_and_each_token_has_a_name(kind):
    data = SyntheticData(SyntheticConfig(kind=kind, vocab_size=16))
    made = data.training_problems(0, 50, seed=1)
    assert made.tokens.shape[1] == data.config.n_positions + 1
    assert 0 <= made.tokens.min() <= made.tokens.max() < data.vocab_size == len(set(data.task.names))
