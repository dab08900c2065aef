"""The rules of the claims that take training, on numbers made for them: a verdict flips when the numbers do."""

from __future__ import annotations

import pytest
import torch

from glassformer.claims import (
    heads_differ,
    layernorm_optional,
    learned_vs_sinusoidal,
    no_position,
    no_token_embedding,
    norm_helps,
    q_only,
    residual_gradients,
    residual_loss,
    scale_sqrt_dk,
)
from glassformer.claims.claim import Measurement
from glassformer.claims.judging import worded
from glassformer.claims.residual_gradients import EndOfRun
from glassformer.claims.residual_study import ATTENTION_REMOVED, SKIP_REMOVED, VARIANTS
from glassformer.studies.design import BASE
from glassformer.studies.outcomes import Curve, RunOutcome


@pytest.mark.parametrize(
    ("skip", "attention", "verdict"), [(0.04, 0.8, "refuted"), (0.7, 0.8, "supported"), (0.4, 0.8, "undecided")]
)
def test_residual_loss_sets_the_skip_against_attention(losses, skip, attention, verdict):
    arms = {name: losses(1.7, 0.1) for name in VARIANTS} | {BASE: losses(1.7)}
    arms |= {SKIP_REMOVED: losses(1.7, skip), ATTENTION_REMOVED: losses(1.7, attention)}
    result = residual_loss.judge({1: arms, 4: arms}, 2.45)
    assert result.verdict == verdict
    assert "2.45" in result.sentence
    assert result.numbers[f"1 layer: {SKIP_REMOVED}"].value == pytest.approx(skip)
    assert result.numbers[f"4 layers: {ATTENTION_REMOVED}"].value == pytest.approx(attention)


def test_residual_loss_counts_diverged_runs_apart(losses):
    arms = {name: losses(1.7, 0.1) for name in VARIANTS} | {BASE: losses(1.7)}
    arms |= {SKIP_REMOVED: losses(1.7, 0.04, diverged=1), ATTENTION_REMOVED: losses(1.7, 0.8)}
    result = residual_loss.judge({1: arms})
    assert result.numbers[f"1 layer: {SKIP_REMOVED}, runs that diverged"].value == 1


@pytest.mark.parametrize(
    ("shallow", "deep", "verdict"), [(1e-2, 1e-2, "supported"), (1e-2, 1e-9, "depends"), (1e-9, 0.0, "refuted")]
)
def test_residual_gradients_depend_on_depth(shallow, deep, verdict):
    def arms(smallest):
        runs = [EndOfRun(smallest * factor, 1.0, 10.0) for factor in (0.9, 1.0, 1.1)]
        return {BASE: [EndOfRun(0.1, 1.0, f) for f in (1.0, 1.1, 1.2)], SKIP_REMOVED: runs, ATTENTION_REMOVED: runs}

    assert residual_gradients.judge({1: arms(shallow), 16: arms(deep)}).verdict == verdict


@pytest.mark.parametrize(
    ("one", "four", "verdict"), [(0.3, 0.4, "supported"), (0.02, 0.5, "depends"), (-0.05, 0.01, "refuted")]
)
def test_norm_helps_flips_with_what_the_norm_saves(losses, one, four, verdict):
    depths = {
        depth: {BASE: losses(1.7), norm_helps.PRE: losses(1.7), norm_helps.WITHOUT: losses(1.7, saved)}
        for depth, saved in ((1, one), (4, four))
    }
    assert norm_helps.judge(depths).verdict == verdict


def test_norm_helps_depends_on_where_the_norm_stands(losses):
    arms = {BASE: losses(1.7), norm_helps.PRE: losses(1.4), norm_helps.WITHOUT: losses(1.7, 0.05)}
    assert norm_helps.judge({1: arms}).verdict == "depends"


def test_norm_helps_wherever_nothing_trains_without_it(losses):
    arms = {BASE: losses(1.7), norm_helps.PRE: losses(1.6), norm_helps.WITHOUT: losses(1.7, diverged=4)}
    assert norm_helps.judge({8: arms}).verdict == "supported"


def test_norm_helps_does_not_judge_by_the_runs_that_survive_without_it(losses):
    arms = {BASE: losses(1.7), norm_helps.PRE: losses(1.7), norm_helps.WITHOUT: losses(1.7, 0.01, diverged=1)}
    assert norm_helps.judge({4: arms}).verdict == "undecided"
    assert norm_helps.judge({4: arms | {norm_helps.WITHOUT: losses(1.7, 0.01)}}).verdict == "refuted"


def test_residual_loss_does_not_judge_by_the_runs_that_survive_without_the_skip(losses):
    arms = {name: losses(1.7, 0.1) for name in VARIANTS} | {BASE: losses(1.7)}
    arms |= {SKIP_REMOVED: losses(1.7, 0.04, diverged=1), ATTENTION_REMOVED: losses(1.7, 0.8)}
    assert residual_loss.judge({1: arms}).verdict == "undecided"


def runs(variant, losses, steps):
    """Runs whose loss falls in a straight line from 4 to its end."""
    return [
        RunOutcome(variant, seed, None, "finished", loss=loss, curve=Curve((0, steps), (4.0, loss), (0.0, 1.0)))
        if loss is not None
        else RunOutcome(variant, seed, None, "diverged")
        for seed, loss in losses.items()
    ]


@pytest.mark.parametrize(
    ("final", "diverged", "verdict"),
    [(2.3, 0, "supported"), (1.6, 0, "depends"), (3.6, 0, "depends"), (1.6, 4, "undecided")],
)
def test_layernorm_optional_flips(losses, final, diverged, verdict):
    arms = {BASE: runs(BASE, losses(2.0), 100), "without norm": runs("w", losses(final, diverged=diverged), 100)}
    assert layernorm_optional.judge({1: arms}, 3.3).verdict == verdict


def test_the_delay_is_to_the_loss_that_both_runs_reach():
    (base,), (late,) = (runs("x", {0: loss}, 100) for loss in (2.0, 3.0))
    assert layernorm_optional.delay(base, late) == pytest.approx(1.0)  # twice the steps: from 4 to 3 at half the slope
    assert layernorm_optional.delay(late, base) == pytest.approx(-1.0)
    (diverged,) = runs("x", {0: None}, 100)
    assert layernorm_optional.delay(base, diverged) is None


@pytest.mark.parametrize(
    ("cost", "entropy", "loss", "verdict"),
    [
        (0.2, -0.5, 2.0, "supported"),
        (0.2, 0.1, 2.0, "depends"),
        (0.2, -0.2, 2.0, "depends"),  # larger scores always have less entropy: that alone is not saturation
        (-0.2, 0.1, 2.0, "depends"),
        (-0.2, 0.1, 3.6, "refuted"),
    ],
)
def test_scale_sqrt_dk_flips(losses, cost, entropy, loss, verdict):
    arms = {BASE: losses(loss), scale_sqrt_dk.UNSCALED: losses(loss, cost)}
    shares = {BASE: losses(0.8), scale_sqrt_dk.UNSCALED: losses(0.8, entropy)}
    widths = {d_k: scale_sqrt_dk.Width(arms, shares, shares) for d_k in (8, 256)}
    assert scale_sqrt_dk.judge(widths, 3.3).verdict == verdict


@pytest.mark.parametrize(
    ("loss", "diverged", "verdict"),
    [(2.0, 0, "supported"), (2.6, 0, "depends"), (3.2, 0, "refuted"), (2.0, 1, "refuted")],
)
def test_q_only_flips_at_the_entropies_of_the_text(losses, loss, diverged, verdict):
    shared = losses(loss, diverged=diverged)
    assert q_only.judge(losses(1.9), shared, shared, {"unigram": 3.3, "bigram": 2.45}).verdict == verdict


@pytest.mark.parametrize(
    ("small", "large", "verdict"), [(0.3, 0.2, "supported"), (0.3, -0.02, "depends"), (-0.1, -0.1, "refuted")]
)
def test_learned_vs_sinusoidal_depends_on_the_size_of_the_tokens(losses, small, large, verdict):
    finals = (losses(2.0), losses(2.0, small), losses(1.9), losses(1.9, large))
    arms = dict(zip((BASE, *learned_vs_sinusoidal.VARIANTS), finals, strict=True))
    result = learned_vs_sinusoidal.judge(arms, arms)
    assert result.verdict == verdict
    assert result.numbers["what the size of the tokens changes of the gap"].value == pytest.approx(large - small)


@pytest.mark.parametrize(
    ("small", "large", "told"),
    [(0.3, -0.2, "encoding's"), (0.3, 0.2, "alone"), (0.0, 0.2, "inconclusive")],
)
def test_learned_vs_sinusoidal_says_whose_the_gap_is_by_its_signs(losses, small, large, told):
    finals = (losses(2.0), losses(2.0, small), losses(1.9), losses(1.9, large))
    arms = dict(zip((BASE, *learned_vs_sinusoidal.VARIANTS), finals, strict=True))
    assert told in learned_vs_sinusoidal.judge(arms, arms).condition


def test_a_gap_needs_both_runs_of_its_seed():
    assert learned_vs_sinusoidal.gaps({0: 1.0, 1: None}, {0: 1.5, 1: 2.0, 2: 3.0}) == {0: 0.5, 1: None, 2: None}


@pytest.mark.parametrize(
    ("text", "copy", "sort", "verdict"),
    [(2.1, 0.8, 0.001, "depends"), (2.9, 0.9, 0.9, "supported"), (2.1, 0.2, 0.001, "refuted")],
)
def test_no_position_flips(losses, text, copy, sort, verdict):
    def arms(loss):
        return {BASE: losses(loss), no_position.WITHOUT: losses(loss)}

    tasks = {"copy": arms(copy), "sort": arms(sort)}
    assert no_position.judge(arms(text), tasks, 2.45).verdict == verdict


def test_no_position_tells_no_loss_of_runs_that_diverged(losses):
    gone = {BASE: losses(2.1), no_position.WITHOUT: losses(2.1, diverged=4)}
    result = no_position.judge(gone, {"copy": gone, "sort": gone}, 2.45)
    assert result.verdict == "undecided"
    assert worded(Measurement(None)) in result.sentence
    assert "0.000" not in result.sentence


def test_the_floor_of_a_bag_of_tokens_is_that_of_its_orders():
    from itertools import product
    from math import factorial, log, prod

    symbols, length = len(no_position.SYMBOLS), 3
    every = list(product(range(symbols), repeat=length))
    orders = [factorial(length) / prod(factorial(each.count(s)) for s in set(each)) for each in every]
    expected = sum(map(log, orders)) / len(every) / (length + 1)
    before = no_position.LENGTH
    try:
        no_position.LENGTH = length
        assert no_position.bag_floor() == pytest.approx(expected)
    finally:
        no_position.LENGTH = before


@pytest.mark.parametrize(
    ("loss", "diverged", "verdict"),
    [(3.35, 0, "supported"), (2.5, 0, "refuted"), (3.3, 4, "supported"), (3.25, 0, "undecided")],
)
def test_no_token_embedding_flips_at_the_unigram_loss(losses, loss, diverged, verdict):
    result = no_token_embedding.judge(losses(2.0), losses(loss, diverged=diverged), 3.3)
    assert result.verdict == verdict


def test_heads_differ_flips_against_another_seed(losses):
    assert heads_differ.judge(losses(0.2), losses(0.2, 0.1), losses(0.2), losses(0.3)).verdict == "supported"
    assert heads_differ.judge(losses(0.2), losses(0.2, -0.1), losses(0.2), losses(0.3)).verdict == "refuted"


def test_heads_are_compared_with_those_of_another_seed_and_both_with_the_same_ones():
    draw = torch.Generator().manual_seed(0)
    two = {seed: torch.randn(2, 2, 6, 6, generator=draw).softmax(-1) for seed in range(3)}
    same, other = heads_differ.measure(two, two)
    assert same == other  # as many heads of the same models are no further away
    assert list(same.values()) == [heads_differ.nearest_divergence(two[seed], two[(seed + 1) % 3]) for seed in range(3)]
    assert min(same.values()) > 0.01  # never with itself
    assert heads_differ.measure({0: two[0]}, two) == ({}, {})  # one model has no other to be compared with


def test_the_nearest_head_of_another_model_is_the_same_one_where_there_is_one():
    weights = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0)).softmax(-1)
    assert heads_differ.nearest_divergence(weights, weights.flip(1)) == pytest.approx(0.0, abs=1e-6)
    assert heads_differ.within(weights) > 0.01
    apart = heads_differ.nearest_divergence(weights[:, :1], weights[:, 1:])
    assert 0.01 < apart < 0.694
