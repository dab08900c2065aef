"""Does a change still help? The answer on planted laws: right sign, and intervals that hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from glassformer.errors import DataError
from glassformer.scaling.ladders.effect_vs_compute import PairedRung, compare_over_compute

MIDDLE = 1e12
BASE = (0.6, 1.3, 0.18)
PLANTED = {  # E, a, α of the variant, and what it does to the loss at 10 times the compute
    "worth a constant factor": ((0.6, 1.25, 0.18), "helps"),
    "a steeper law": ((0.6, 1.34, 0.2), "helps"),
    "a flatter law": ((0.6, 1.3, 0.17), "harms"),
    "a lower floor": ((0.55, 1.3, 0.18), "helps"),
    "the same": (BASE, "inconclusive"),
}


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    monkeypatch.setattr("glassformer.scaling.ladders.effect_vs_compute.DRAWS", 400)


def loss(law, compute):
    floor, a, alpha = law
    return floor + a * (compute / MIDDLE) ** -alpha


def rungs(variant, seed: int, *, count=7, seeds=2, noise=0.003, largest=2e12) -> list[PairedRung]:
    """Runs whose errors are in part shared by a pair, as those of one seed are."""
    draw = np.random.default_rng(seed)
    made = []
    for compute in np.geomspace(1e11, largest, count):
        base, other = loss(BASE, compute), loss(variant, compute)
        shared, own = draw.normal(0, noise, seeds), draw.normal(0, noise / 2, (2, seeds))
        pairs = {s: (base * (1 + shared[s] + own[0, s]), other * (1 + shared[s] + own[1, s])) for s in range(seeds)}
        made.append(PairedRung(f"{compute:.2g}", float(compute), float(compute), pairs))
    return made


@pytest.mark.parametrize("reps", [12, pytest.param(60, marks=pytest.mark.slow(reason="60 comparisons of 7 rungs"))])
@pytest.mark.parametrize("name", PLANTED)
def test_intervals_hold_the_planted_difference_and_no_verdict_is_wrong(name, reps):
    variant, _ = PLANTED[name]
    inside, wrong = np.zeros(2), 0
    for seed in range(reps):
        for i, at in enumerate(compare_over_compute("v", rungs(variant, seed)).at):
            truth = loss(variant, at.compute) - loss(BASE, at.compute)
            inside[i] += at.low <= truth <= at.high
            sign = {"helps": -1, "harms": 1, "inconclusive": 0}[at.verdict]
            wrong += sign * np.sign(truth) < 0 or (truth == 0 and sign != 0)
    enough = 0.95 - 3 * np.sqrt(0.95 * 0.05 / reps)  # three standard errors less than 95 %
    assert (inside >= enough * reps).all(), inside / reps
    assert wrong <= (0.1 * 2 * reps if name == "the same" else 0)


@pytest.mark.parametrize("name", PLANTED)
def test_the_verdict_at_ten_times_is_the_planted_one(name):
    variant, expected = PLANTED[name]
    found = compare_over_compute(name, rungs(variant, 0, noise=0.0005)).at[0]
    assert found.verdict == expected
    assert found.times == pytest.approx(10)


@pytest.mark.parametrize("factor", [0.5, 1.5, 10.0])
def test_a_constant_factor_of_compute_is_found_as_its_multiplier(factor):
    variant = (BASE[0], BASE[1] * factor ** -BASE[2], BASE[2])
    for at in compare_over_compute("v", rungs(variant, 0, noise=1e-6)).at:
        assert at.compute_multiplier == pytest.approx(factor, rel=0.01)
        assert at.multiplier_low <= at.compute_multiplier <= at.multiplier_high


def test_a_loss_that_the_base_never_reaches_is_worth_endless_compute():
    found = compare_over_compute("v", rungs((0.05, 1.3, 0.18), 0, noise=1e-6))
    assert found.at[-1].compute_multiplier == np.inf
    assert "multiplier of ∞ (∞ to ∞)" in found.sentences()[1]


def test_a_variant_that_costs_more_is_also_compared_at_equal_compute():
    """Twice the compute, worth 1.5 times: it helps at the same steps and harms at the same compute."""
    variant = (BASE[0], BASE[1] * 1.5 ** -BASE[2], BASE[2])
    dear = [
        PairedRung(rung.name, rung.compute, 2 * rung.compute, rung.losses) for rung in rungs(variant, 0, noise=1e-4)
    ]
    found = compare_over_compute("dear", dear)
    assert found.cost == pytest.approx(2)
    assert {at.verdict for at in found.at} == {"helps"}
    assert {at.verdict for at in found.equal_compute} == {"harms"}
    assert "2.00 times the base's FLOPs; at equal compute: harms at 10×, harms at 100×" in found.sentences()[-1]


def test_diverged_runs_are_in_no_pair_and_are_reported():
    made = rungs(PLANTED["a steeper law"][0], 0)
    base = made[0].losses[0][0]
    made[0] = PairedRung("one", made[0].compute, made[0].compute, {0: (base, None), 1: made[0].losses[1]})
    found = compare_over_compute("v", made)
    assert found.n_pairs == 13
    assert found.sentences()[-1] == "1 of its runs diverged and is excluded."


def test_three_rungs_are_rejected():
    with pytest.raises(DataError, match="4 different ones are needed"):
        compare_over_compute("v", rungs(BASE, 0)[:3])
