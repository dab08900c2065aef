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
    norm_study,
    q_only,
    residual_gradients,
    residual_loss,
    scale_sqrt_dk,
)
from glassformer.claims.claim import Measurement
from glassformer.claims.judging import worded
from glassformer.claims.residual_gradients import VANISHED, Depth, EndOfRun
from glassformer.claims.residual_study import ATTENTION_REMOVED, SKIP_REMOVED
from glassformer.claims.tuned import TunedArms
from glassformer.studies.design import BASE
from glassformer.studies.outcomes import Curve, RunOutcome


def residual_arms(losses, skip, attention, diverged=0):
    """A depth whose arms all had one rate, with what removing the skips and removing attention cost."""
    return TunedArms(
        {
            BASE: losses(1.7),
            SKIP_REMOVED: losses(1.7, skip, diverged=diverged),
            ATTENTION_REMOVED: losses(1.7, attention),
            "feed-forward removed": losses(1.7, 0.1),
        },
        dict.fromkeys((BASE, SKIP_REMOVED, ATTENTION_REMOVED), 1e-3),
    )


@pytest.mark.parametrize(
    ("skip", "attention", "verdict"), [(0.04, 0.8, "refuted"), (0.7, 0.8, "supported"), (0.4, 0.8, "undecided")]
)
def test_residual_loss_sets_the_skip_against_attention(losses, skip, attention, verdict):
    arms = residual_arms(losses, skip, attention)
    result = residual_loss.judge({1: arms, 4: arms}, 2.45)
    assert result.verdict == verdict
    assert "2.45" in result.sentence
    assert "CAUTION" not in result.sentence
    assert result.numbers[f"1 layer: {SKIP_REMOVED}, cost at its own best rate"].value == pytest.approx(skip)
    assert result.numbers[f"4 layers: {ATTENTION_REMOVED}, cost at its own best rate"].value == pytest.approx(attention)


def test_residual_loss_judges_each_arm_at_its_own_rate_and_shows_the_baselines(losses):
    low, high = 3e-4, 1e-2
    own = residual_arms(losses, 0.04, 0.8)
    tried = {
        arm: {
            low: losses(1.9, 0.1 if arm == SKIP_REMOVED else 0.0),
            high: losses(1.9, 0.7 if arm == SKIP_REMOVED else 0.0),
        }
        for arm in own.losses
    }
    rates = {BASE: high, SKIP_REMOVED: low, ATTENTION_REMOVED: high}
    result = residual_loss.judge({1: TunedArms(own.losses, rates, {SKIP_REMOVED: losses(1.7, 0.7)}, tried)})
    assert result.verdict == "refuted"  # 0.7 at the baseline's rate would have supported it
    assert result.numbers[f"1 layer: {SKIP_REMOVED}, cost at the baseline's rate"].value == pytest.approx(0.7)
    assert "0.0003: +0.10, 0.01: +0.70" in result.condition


@pytest.mark.parametrize(
    ("deep", "lost", "told"), [(2.2, 0, "above the 1.700 of 1 layer"), (1.6, 1, "diverged at 1 seed"), (1.74, 0, "")]
)
def test_a_baseline_that_fails_is_the_first_thing_that_residual_loss_says(losses, deep, lost, told):
    shallow = residual_arms(losses, 0.04, 0.8)
    failing = TunedArms(shallow.losses | {BASE: losses(deep, diverged=lost)}, dict.fromkeys(shallow.losses, 1e-3))
    result = residual_loss.judge({1: shallow, 4: shallow, 16: failing})
    assert result.sentence.startswith("CAUTION: the baseline of 16 layers") is bool(told)
    assert told in result.sentence
    assert ("of a baseline that failed" in result.condition) is bool(told)


def test_residual_loss_is_not_tested_where_attention_has_learned_nothing(losses):
    result = residual_loss.judge({1: residual_arms(losses, 0.1, -0.05)})
    assert result.verdict == "not tested"
    assert "attention costs nothing" in result.not_tested


def test_residual_loss_counts_diverged_runs_apart(losses):
    result = residual_loss.judge({1: residual_arms(losses, 0.04, 0.8, diverged=1)})
    assert result.numbers[f"1 layer: {SKIP_REMOVED}, runs that diverged"].value == 1


@pytest.mark.parametrize(
    ("shallow", "deep", "verdict"), [(1e-2, 1e-2, "supported"), (1e-2, 1e-9, "depends"), (1e-9, 0.0, "refuted")]
)
def test_residual_gradients_depend_on_depth(shallow, deep, verdict):
    assert residual_gradients.judge({1: gradients(shallow), 16: gradients(deep)}).verdict == verdict


def gradients(smallest, by_rate=None):
    """A depth whose smallest gradient norm without the skips is this, at its own best rate of 0.0003."""
    runs = ends(smallest)
    return Depth(
        {BASE: ends(0.1), SKIP_REMOVED: runs, ATTENTION_REMOVED: runs},
        {rate: ends(norm)[:2] for rate, norm in (by_rate or {}).items()},
        {BASE: 1e-2, SKIP_REMOVED: 3e-4},
    )


def ends(smallest):
    return [EndOfRun(smallest * factor, 1.0, 10.0 * factor) for factor in (0.9, 1.0, 1.1)]


def test_residual_gradients_say_how_they_depend_on_the_rate_and_judge_at_the_best(losses):
    result = residual_gradients.judge({4: gradients(20 * VANISHED, {3e-4: 1e-2, 1e-2: 1e-11})})
    assert result.verdict == "supported"
    assert "4 layers 1.0e-02 at rate 0.0003" in result.sentence
    assert "depends on the learning rate at depth 4" in result.sentence
    assert "4 layers 0.0003: 9.5e-03, 0.01: 9.5e-12" in result.condition
    same = residual_gradients.judge({4: gradients(20 * VANISHED, {3e-4: 1e-2, 1e-2: 1e-3})})
    assert "depends on the learning rate" not in same.sentence
    assert result.numbers[f"4 layers, {SKIP_REMOVED}: smallest norm at rate 0.01 (selection runs)"].interval is None
    assert result.numbers["4 layers, baseline: best learning rate"].value == 1e-2


def norm_arms(losses, post, pre, without, batch=None):
    """The arms of a norm study at one rate each."""
    of = {BASE: post, norm_study.PRE: pre, norm_study.WITHOUT: without, norm_study.BATCH: batch or post}
    return TunedArms(of, dict.fromkeys(of, 1e-3))


@pytest.mark.parametrize(
    ("one", "four", "verdict"),
    [(0.3, 0.4, "supported"), (0.02, 0.5, "depends"), (-0.05, -0.01, "refuted"), (0.1, 0.1, "depends")],
)
def test_norm_helps_flips_with_what_the_norm_saves(losses, one, four, verdict):
    depths = {
        depth: norm_arms(losses, losses(1.5), losses(1.5), losses(1.5, saved)) for depth, saved in ((1, one), (4, four))
    }
    assert norm_helps.judge(depths).verdict == verdict


@pytest.mark.parametrize("saved", [0.3, -0.1])
def test_norm_helps_is_not_tested_where_no_arm_reaches_the_losses_it_is_about(losses, saved):
    depths = {depth: norm_arms(losses, losses(1.8), losses(1.9), losses(1.8, saved)) for depth in (1, 4)}
    result = norm_helps.judge(depths)
    assert result.verdict == "not tested"
    assert "the lowest mean loss here is 1." in result.not_tested
    assert len(result.parts) == 8  # what was found is said all the same
    assert set(result.parts.values()) <= {True, False}


def test_norm_helps_counts_only_the_depths_that_reach_the_losses_it_is_about(losses):
    shallow = norm_arms(losses, losses(2.0), losses(2.0), losses(2.0, -0.1))
    deep = norm_arms(losses, losses(1.5), losses(1.5), losses(1.5, 0.3))
    result = norm_helps.judge({1: shallow, 8: deep})
    assert result.verdict == "supported"
    assert all("at 8 layers" in part for part in result.parts)
    assert result.numbers["1 layer: what post-norm saves"].value == pytest.approx(-0.1)


def test_norm_helps_depends_on_where_the_norm_stands(losses):
    arms = norm_arms(losses, losses(1.7), losses(1.4), losses(1.7, 0.05))
    assert norm_helps.judge({1: arms}).verdict == "depends"


def test_norm_helps_wherever_nothing_trains_without_it(losses):
    arms = norm_arms(losses, losses(1.5), losses(1.4), losses(1.5, diverged=4))
    assert norm_helps.judge({8: arms}).verdict == "supported"


def test_norm_helps_is_not_tested_where_everything_diverges(losses):
    gone = losses(1.5, diverged=4)
    assert norm_helps.judge({8: norm_arms(losses, gone, gone, gone)}).verdict == "not tested"


def test_norm_helps_does_not_judge_by_the_runs_that_survive_without_it(losses):
    arms = norm_arms(losses, losses(1.5), losses(1.5), losses(1.5, -0.01, diverged=1))
    assert norm_helps.judge({4: arms}).verdict == "undecided"
    assert norm_helps.judge({4: norm_arms(losses, losses(1.5), losses(1.5), losses(1.5, -0.01))}).verdict == "refuted"


def test_residual_loss_does_not_judge_by_the_runs_that_survive_without_the_skip(losses):
    assert residual_loss.judge({1: residual_arms(losses, 0.04, 0.8, diverged=1)}).verdict == "undecided"


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


def test_a_delay_of_less_than_a_tenth_of_the_steps_is_none(losses):
    arms = {BASE: runs(BASE, losses(2.0), 100), "without norm": runs("w", losses(2.0, 0.02), 100)}
    result = layernorm_optional.judge({1: arms}, 3.3)
    assert 0 < result.numbers["1 layer: delay"].value < layernorm_optional.LATER
    assert result.verdict == "depends"  # it trains, and not later


def test_a_verdict_on_the_delay_says_what_its_seeds_could_have_detected(losses):
    arms = {BASE: runs(BASE, losses(2.0), 100), "without norm": runs("w", losses(2.0, 0.3), 100)}
    result = layernorm_optional.judge({1: arms}, 3.3)
    (power,) = (number for name, number in result.numbers.items() if "detect" in name)
    assert 0 < power.value < 0.1
    assert layernorm_optional.detectable([0.1, 0.2]).value is None


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
    arms = TunedArms({BASE: losses(loss), scale_sqrt_dk.UNSCALED: losses(loss, cost)})
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
