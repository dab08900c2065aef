"""A run's noise scale, read from its records: the ratio of averages, with an interval that holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from glassformer.errors import RunError
from glassformer.scaling.noise_scale import block_bootstrap, ratio_of_means, read_noise_scale

NORM, TRACE, BATCH = 0.5, 900.0, 512


def estimates(n, seed, *, norm=NORM, trace=TRACE, components=40):
    """Unbiased, noisy pairs from n simulated steps: batches of 512 tokens in 4 parts, a gradient of 40 components."""
    draw = np.random.default_rng(seed)
    true = np.full(components, math.sqrt(norm / components))
    parts = true + draw.standard_normal((n, 4, components)) * math.sqrt(trace / components / (BATCH / 4))
    large = (parts.mean(1) ** 2).sum(-1)
    small = (parts**2).sum(-1).mean(-1)
    return (BATCH * large - BATCH / 4 * small) / (BATCH * 3 / 4), (small - large) / (4 / BATCH - 1 / BATCH)


def records(squared_norm, trace, *, every=10, loss=2.0):
    for i, (norm, noise) in enumerate(zip(squared_norm, trace, strict=True), start=1):
        step = i * every
        common = {"step": step, "tokens": BATCH, "sequences": 8, "part_tokens": BATCH / 4}
        yield {"kind": "noise_scale", **common, "squared_norm": float(norm), "trace": float(noise)}
        yield {"kind": "train", "step": step, "loss": loss}


def test_the_ratio_of_averages_is_near_the_truth_and_the_average_of_ratios_is_not():
    norm, trace = estimates(4_000, 0, norm=0.2)
    truth = TRACE / 0.2
    assert (norm < 0).mean() > 0.01, "single estimates of |G|² are negative now and then"
    assert ratio_of_means(trace, norm) == pytest.approx(truth, rel=0.05)
    assert abs((trace / norm).mean() / truth - 1) > 0.1


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for seed in range(200):
        norm, trace = estimates(80, seed)
        low, high = block_bootstrap(trace, norm, 400, np.random.default_rng(seed))
        held += low <= TRACE / NORM <= high
    assert 0.88 <= held / 200 <= 0.99


def test_a_gradient_lost_in_noise_has_no_upper_end():
    norm, trace = estimates(30, 1, norm=0.001)
    measured = read_noise_scale(list(records(norm, trace)), stages=1)
    (stage,) = measured.stages
    assert stage.interval[1] == math.inf
    assert stage.interval[0] > BATCH
    lost = read_noise_scale(list(records(-np.abs(norm), trace)))
    assert lost.stages[-1].tokens == math.inf
    assert "indistinguishable from its noise" in lost.sentence()


def test_stages_follow_the_course_of_the_training():
    early, late = estimates(60, 2, norm=4.0), estimates(60, 3, norm=0.5)
    both = np.concatenate([early, late], axis=1)
    measured = read_noise_scale(list(records(*both)), stages=2)
    first, last = measured.stages
    assert (first.first_step, first.last_step, last.first_step, last.last_step) == (10, 600, 610, 1200)
    assert first.measurements == last.measurements == 60
    assert first.interval[0] < TRACE / 4 < first.interval[1] < last.interval[0] < TRACE / 0.5 < last.interval[1]
    assert last.sequences == pytest.approx(last.tokens * 8 / BATCH)


def test_kaplan_s_formula_stands_beside_it_and_the_costs_fulfil_the_papers_relation():
    measured = read_noise_scale(list(records(*estimates(40, 4), loss=3.0)))
    stage = measured.stages[-1]
    assert stage.loss == 3.0
    assert stage.kaplan == pytest.approx(2.1e8 / 3.0 ** (1 / 0.21))
    assert (stage.times_fewest_steps - 1) * (stage.times_fewest_tokens - 1) == pytest.approx(1.0)
    assert stage.times_fewest_steps == pytest.approx(1 + stage.tokens / BATCH)
    assert f"{stage.tokens:,.0f} tokens" in measured.sentence()


def test_the_reading_is_the_same_each_time():
    rows = list(records(*estimates(40, 5)))
    assert read_noise_scale(rows) == read_noise_scale(rows)


@pytest.mark.parametrize("n", [0, 1])
def test_a_run_without_measurements_is_reported_how_to_get_them(n):
    with pytest.raises(RunError, match=r"--set training\.telemetry\.noise_scale_every=10"):
        read_noise_scale([{"kind": "train", "step": 1, "loss": 2.0}, *records(*estimates(n, 0))])


@pytest.mark.parametrize("value", ["a word", None, [], {}, True, float("nan"), float("inf"), 10**400])
def test_damaged_measurements_are_rejected_and_damaged_losses_passed_over(value):
    whole = list(records(*estimates(20, 6)))
    with pytest.raises(RunError, match="are damaged"):
        read_noise_scale([{**whole[0], "trace": value}, *whole[1:]])
    losses = [{**row, "loss": value} if row["kind"] == "train" else row for row in whole]
    assert read_noise_scale(losses).stages[-1].loss is None
