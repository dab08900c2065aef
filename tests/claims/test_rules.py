"""The rules of the claims that take training, on numbers made for them: a verdict flips when the numbers do."""

from __future__ import annotations

import pytest

from glassformer.claims import (
    layernorm_optional,
    norm_helps,
    norm_study,
    residual_gradients,
    residual_loss,
    scale_sqrt_dk,
)
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
