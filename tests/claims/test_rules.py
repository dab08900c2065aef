"""The rules of the claims that take training, on numbers made for them: a verdict flips when the numbers do."""

from __future__ import annotations

import pytest

from glassformer.claims import (
    layernorm_optional,
    norm_helps,
    residual_gradients,
    residual_loss,
    scale_sqrt_dk,
)
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
