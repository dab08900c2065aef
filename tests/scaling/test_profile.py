from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glassformer.errors import ConfigError
from glassformer.scaling.fits.bootstrap import bootstrap
from glassformer.scaling.fits.fitting import Fit, fit
from glassformer.scaling.fits.points import Points, read_points
from glassformer.scaling.fits.profile import profile
from glassformer.scaling.laws.law import ParametricLoss

TRUTH = ParametricLoss.of(E=1.8172, A=477.8, B=2143.4, alpha=0.3473, beta=0.3672, source="planted")


def planted(seed: int, runs: int = 80, noise: float = 0.01) -> Points:
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform(8, 10.5, runs), 10 ** rng.uniform(9.3, 11.8, runs)
    return Points.of(n, d, TRUTH.loss(n, d) * np.exp(noise * rng.normal(size=runs)))


@pytest.fixture(scope="module")
def found() -> Fit:
    return fit(planted(0))


def test_the_profile_is_the_objective_with_the_parameter_held(found: Fit) -> None:
    """At each value nothing else can be lower: a fit of the formula with that number in it ends at the same height."""
    drawn = profile(found, "alpha", draws=100)
    assert (np.diff(drawn.values) > 0).all()
    assert drawn.minimum == pytest.approx(found.minimum)
    for i in (1, len(drawn.values) // 2 + 2, -2):
        held = fit(found.points, f"E + A/N**{float(drawn.values[i])!r} + B/D**beta")
        assert drawn.objective[i] == pytest.approx(held.minimum, rel=1e-9)


def test_the_profile_rises_to_both_sides_of_the_estimate(found: Fit) -> None:
    drawn = profile(found, "beta", draws=100)
    middle = int(np.argmin(drawn.objective))
    assert drawn.values[middle] == drawn.estimate == found.parameters["beta"]
    assert (np.diff(drawn.objective[: middle + 1]) < 0).all()
    assert (np.diff(drawn.objective[middle:]) > 0).all()


def test_least_squares_and_normal_errors_give_the_interval_of_theory() -> None:
    """ln L = ln a − α·ln C is linear: the profile is a parabola, and its interval Student's."""
    from scipy import stats

    rng = np.random.default_rng(4)
    n = 10 ** rng.uniform(7, 10, 200)
    points = Points.of(n, 20 * n, 40 * (120 * n * n) ** -0.06 * np.exp(0.01 * rng.normal(size=200)))
    line = fit(points, "power", "squares")
    drawn = profile(line, "alpha", draws=2000)
    x = np.log(points.c)
    sum_x = ((x - x.mean()) ** 2).sum()
    np.testing.assert_allclose(drawn.objective - drawn.minimum, (drawn.values - drawn.estimate) ** 2 * sum_x, rtol=1e-6)
    half = stats.t.isf(0.025, 198) * np.sqrt((line.residuals**2).sum() / 198 / sum_x)
    low, high = drawn.interval()
    assert (low, high) == pytest.approx((drawn.estimate - half, drawn.estimate + half), abs=0.12 * half)


@pytest.mark.parametrize("quantity", ["alpha", "B", "E", "a", (1e11, 2e12)])
def test_profile_and_bootstrap_tell_much_the_same(found: Fit, quantity: str | tuple[float, float]) -> None:
    trust = bootstrap(found, draws=300)
    drawn = profile(found, quantity, trust=trust)
    low, high = trust.interval(quantity) if isinstance(quantity, str) else trust.confidence_interval(*quantity)
    shape = np.log if quantity == "B" else np.asarray  # B is compared by factors
    ours, other = shape(drawn.interval()), shape([low, high])
    assert 0.5 < np.ptp(ours) / np.ptp(other) < 1.6
    assert ours[0] < shape(drawn.estimate) < ours[1]


def test_the_loss_of_a_prediction_is_held_where_it_is_asked(found: Fit) -> None:
    drawn = profile(found, (1e11, 2e12), draws=100)
    assert drawn.estimate == pytest.approx(float(found.predict(1e11, 2e12)))
    wide, narrow = drawn.interval(0.95), drawn.interval(0.5)
    assert wide[0] < narrow[0] < drawn.estimate < narrow[1] < wide[1]
    assert wide[0] < TRUTH.loss(1e11, 2e12) < wide[1]


@pytest.mark.slow(reason="3,000 fits")
def test_profile_intervals_hold_the_truth_as_often_as_they_promise() -> None:
    """30 data sets: 25 or more hold the truth with a chance of 99 % at 95 %; half as wide, 20 would."""
    held = 0
    for seed in range(30):
        low, high = profile(fit(planted(seed + 100, runs=60), starts=2), "alpha", draws=100).interval()
        held += low <= TRUTH.alpha <= high
    assert held >= 25


def test_a_parameter_at_its_limit_has_an_open_end(glassformer_data: Path) -> None:
    """Porian's Kaplan-like runs on OpenWebText2 leave E at 0: the interval begins there."""
    points = read_points(
        glassformer_data / "scaling" / "porian2024" / "isoflop_points.csv",
        columns={"n": "params", "d": "tokens", "c": "flops", "loss": "loss"},
        where={"config": "owt2/base/long/kaplan/kaplan/train"},
    )
    low, high = profile(fit(points), "E", draws=100).interval()
    assert low == 0
    assert high > 0.1


def test_the_loss_can_be_held_in_formulas_of_other_shapes() -> None:
    """Without a floor, a factor is what it takes to pass through the loss; and with repeated data, E."""
    points = planted(2)
    line = fit(Points.of(points.n, points.d, 30 * points.c**-0.05 * points.loss / points.loss.mean()), "a/C**alpha")
    drawn = profile(line, (1e11, 2e12), draws=100)
    assert drawn.estimate == pytest.approx(float(line.predict(1e11, 2e12)))
    assert drawn.interval()[0] < drawn.estimate < drawn.interval()[1]
    few = Points.of(points.n, points.d, points.loss, unique=points.d / np.linspace(1, 9, len(points)))
    drawn = profile(fit(few, "repeated-data", starts=8), (1e11, 2e12), draws=100)
    assert drawn.objective.min() == drawn.objective[drawn.values == drawn.estimate]


def test_unknown_quantities_and_levels_are_refused(found: Fit) -> None:
    with pytest.raises(ConfigError, match="there is no 'bta' to hold. Did you mean 'beta'"):
        profile(found, "bta")
    with pytest.raises(ConfigError, match="level must lie between 0 and 1"):
        profile(found, "alpha", draws=100).interval(2)
    with pytest.raises(ConfigError, match="draws must be 100 or more"):
        profile(found, "alpha", draws=10)
