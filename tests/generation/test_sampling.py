from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import ConfigError, GlassformerError
from glassformer.generation.sampling import (
    Sampler,
    SamplingConfig,
    draw,
    filtered,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    repetition_penalised,
)

INFINITY = float("inf")
logit_rows = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=40).map(lambda row: torch.tensor([row]))


def kept(logits):
    return [index for index, value in enumerate(logits[0].tolist()) if value > -INFINITY]


def plain_softmax(row):
    largest = max(row)
    powers = [math.exp(value - largest) for value in row]
    return [power / sum(powers) for power in powers]


@given(logit_rows, st.integers(1, 50))
def test_top_k_keeps_the_k_largest_and_their_equals(logits, k):
    row = logits[0].tolist()
    smallest = sorted(row, reverse=True)[min(k, len(row)) - 1]
    assert kept(keep_top_k(logits, k)) == [index for index, value in enumerate(row) if value >= smallest]


@given(logit_rows, st.floats(0.01, 0.99))
def test_top_p_keeps_the_shortest_list_that_holds_p(logits, p):
    logits = logits.double()
    probabilities = plain_softmax(logits[0].tolist())
    left = kept(keep_top_p(logits, p))
    held = sum(probabilities[index] for index in left)
    dropped = [probabilities[index] for index in range(len(probabilities)) if index not in left]
    assert held >= p - 1e-9
    assert held - min(probabilities[index] for index in left) < p + 1e-9  # one fewer would not be enough
    assert max(dropped, default=0.0) <= min(probabilities[index] for index in left) + 1e-12


@given(logit_rows, st.floats(0.001, 1.0))
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(logits, min_p):
    probabilities = plain_softmax(logits.double()[0].tolist())
    left = kept(keep_min_p(logits.double(), min_p))
    for index, probability in enumerate(probabilities):
        if abs(probability - min_p * max(probabilities)) > 1e-12:
            assert (index in left) == (probability > min_p * max(probabilities))
    assert probabilities.index(max(probabilities)) in left


def test_the_edges_of_the_filters_are_what_they_say():
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.0]])
    assert kept(keep_top_k(logits, 1)) == [1, 3]
    assert kept(keep_top_k(logits, 4)) == kept(keep_top_k(logits, 99)) == [0, 1, 2, 3]
    assert kept(keep_top_p(logits, 1e-6)) == [1]
    assert kept(keep_min_p(logits, 1.0)) == [1, 3]


def test_the_repetition_penalty_lowers_exactly_what_was_seen():
    logits = torch.tensor([[2.0, -2.0, 0.0, 5.0]])
    seen = torch.tensor([[True, True, True, False]])
    assert repetition_penalised(logits, seen, 2.0).tolist() == [[1.0, -4.0, 0.0, 5.0]]


def test_filters_apply_in_the_documented_order():
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0, 0.0]])
    sampling = SamplingConfig(temperature=2.0, top_k=4, top_p=0.9, min_p=0.5, repetition_penalty=2.0)
    seen = torch.tensor([[True, False, False, False, False]])
    by_hand = keep_min_p(keep_top_p(keep_top_k(torch.tensor([[2.0, 3.0, 2.0, 1.0, 0.0]]).double() / 2, 4), 0.9), 0.5)
    torch.testing.assert_close(filtered(logits, sampling, seen).softmax(-1), by_hand.softmax(-1))


@given(logit_rows, st.floats(0, 1, exclude_max=True))
def test_a_draw_is_the_inverse_of_the_cumulative_distribution(logits, uniform):
    probabilities = plain_softmax(logits.double()[0].tolist())
    token = int(draw(logits, torch.tensor([uniform]))[0])
    assert sum(probabilities[:token]) <= uniform + 1e-9
    assert sum(probabilities[: token + 1]) >= uniform - 1e-9
    assert probabilities[token] > 0


def test_a_token_that_is_ruled_out_is_never_drawn():
    logits = torch.tensor([[-INFINITY, 0.0, -INFINITY, 0.0, -INFINITY]])
    edges = torch.tensor([0.0, 0.25, 0.5, 0.75, 1 - 2**-53], dtype=torch.float64)
    assert {int(draw(logits, edge[None])[0]) for edge in edges} == {1, 3}


def test_draws_have_the_softmax_frequencies():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    n = 20_000
    sampler = Sampler(SamplingConfig(seed=3), [[0]], 3, [0], torch.device("cpu"))
    counts = torch.zeros(3)
    for _ in range(n):
        counts[sampler(logits)[0]] += 1
    expected = logits.softmax(-1)[0]
    spread = (expected * (1 - expected) / n).sqrt()
    assert ((counts / n - expected).abs() < 5 * spread).all()


def test_a_rows_draws_depend_on_its_number_and_not_on_its_neighbours():
    logits, prompts = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)), [[0], [1], [2]]
    sampling, cpu = SamplingConfig(seed=7), torch.device("cpu")
    together = Sampler(sampling, prompts, 50, [0, 1, 2], cpu)
    alone = Sampler(sampling, prompts[1:2], 50, [1], cpu)
    for _ in range(20):
        assert together(logits)[1] == alone(logits[1:2])[0]


def test_rows_that_stay_keep_their_draws_and_what_they_have_seen():
    logits, prompts = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)), [[0], [1], [2]]
    sampling, cpu = SamplingConfig(seed=7, repetition_penalty=1.5), torch.device("cpu")
    whole, fewer = (Sampler(sampling, prompts, 50, [0, 1, 2], cpu) for _ in range(2))
    whole(logits), fewer(logits)
    fewer.keep([2, 0])
    for _ in range(10):
        expected = whole(logits)
        assert fewer(logits[[2, 0]]) == [expected[2], expected[0]]


def test_equal_prompts_in_one_batch_get_different_draws():
    logits = torch.zeros(2, 1000)
    sampler = Sampler(SamplingConfig(), [[0], [0]], 1000, [0, 1], torch.device("cpu"))
    assert len(set(sampler(logits))) == 2


@settings(max_examples=30)
@given(logit_rows, st.floats(1e-6, 1e-3))
def test_a_temperature_near_zero_is_greedy_and_does_not_overflow(logits, temperature):
    largest = logits[0].max()
    if (logits[0] > largest - 0.1).sum() == 1:
        sampler = Sampler(SamplingConfig(temperature=temperature), [[0]], logits.shape[1], [0], torch.device("cpu"))
        assert sampler(logits) == [int(logits.argmax())]


def test_greedy_refuses_filters_all_at_once():
    with pytest.raises(ConfigError) as error:
        SamplingConfig.build({"temperature": 0.0, "top_k": 5, "top_p": 0.5, "min_p": 0.1})
    assert len(error.value.complaints) == 3


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 1.5}, {"min_p": 0.0}, {"max_new_tokens": 0}, {"seed": -1}]
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SamplingConfig.build(wrong)


def test_logits_that_are_not_finite_stop_the_generation():
    sampler = Sampler(SamplingConfig(), [[0]], 2, [0], torch.device("cpu"))
    with pytest.raises(GlassformerError, match="not finite"):
        sampler(torch.tensor([[0.0, float("nan")]]))
