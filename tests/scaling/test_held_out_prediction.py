from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.scaling.fits.bootstrap import bootstrap
from glassformer.scaling.fits.fitting import Fit, fit
from glassformer.scaling.fits.held_out_prediction import BackTest, back_test, cut_offs, predict
from glassformer.scaling.fits.points import Array, Points
from glassformer.scaling.laws.law import ParametricLoss

TRUTH = ParametricLoss.of(E=1.8172, A=477.8, B=2143.4, alpha=0.3473, beta=0.3672, source="planted")


def planted(seed: int, *, bend: float = 0.0, runs: int = 90, budgets: int = 9, rows: int = 1) -> Points:
    """Runs on IsoFLOP curves over 3 decades. ``bend``: by how much ln L rises above the law, per square of a decade."""
    rng = np.random.default_rng(seed)
    c = np.repeat(np.geomspace(1e18, 1e21, budgets), runs // budgets)
    best = np.array([TRUTH.optimum(each).parameters for each in c])
    n = best * 10 ** rng.uniform(-0.7, 0.7, len(c))
    labels = np.repeat(np.arange(len(c)), rows)
    d = (c / (6 * n))[labels] * np.tile(np.linspace(1 / rows, 1, rows), len(c))
    n = n[labels]
    return Points.of(n, d, bent(n, d, bend) * np.exp(0.005 * rng.normal(size=len(n))), run=labels)


def bent(n: Array, d: Array, bend: float) -> Array:
    return np.asarray(TRUTH.loss(n, d) * np.exp(bend * np.log10(6 * n * d / 1e18) ** 2))


@pytest.fixture(scope="module")
def straight() -> Fit:
    return fit(planted(0))


@pytest.fixture(scope="module")
def crooked() -> Fit:
    return fit(planted(0, bend=0.02))


@pytest.fixture(scope="module")
def tested(crooked: Fit) -> BackTest:
    return back_test(crooked, draws=100)


def test_every_cut_off_hides_the_largest_budgets_and_fits_the_rest(straight: Fit) -> None:
    found = back_test(straight, draws=100)
    assert len(found.steps) == 5
    for step in found.steps:
        assert step.hidden.c.min() > step.cut
        assert step.fitted == (straight.points.c <= step.cut * (1 + 1e-9)).sum()
        assert step.fitted + len(step.hidden) == len(straight.points)
        assert step.horizon == pytest.approx(1e21 / step.cut)
    assert [step.fitted for step in found.steps] == sorted(step.fitted for step in found.steps)


def test_a_step_predicts_what_a_fit_to_the_visible_runs_predicts(straight: Fit) -> None:
    step = back_test(straight, hide=(1.01e20,), draws=100).steps[0]
    alone = fit(straight.points[straight.points.c <= 1.01e20])
    expected = alone.predict(step.hidden.n, step.hidden.d)
    np.testing.assert_allclose(step.error, np.log(expected / step.hidden.loss))
    low, high = bootstrap(alone, draws=100).prediction_interval(step.hidden.n, step.hidden.d)
    np.testing.assert_allclose(step.low, low)
    inside = (low <= step.hidden.loss) & (step.hidden.loss <= high)
    np.testing.assert_array_equal(inside, np.abs(step.z) <= 1)
    assert step.covered == inside.mean()


def test_a_run_is_hidden_whole() -> None:
    """Its early rows are below the cut-off, but seen they would give its noise away."""
    points = planted(1, rows=3, runs=45)
    step = back_test(fit(points), hide=(2e19,), draws=100).steps[0]
    ends = np.array([points.c[points.run == run].max() for run in points.run])
    assert step.fitted == (ends <= 2e19).sum() < (points.c <= 2e19).sum()
    assert (step.hidden.c > 2e19).all()


def test_where_the_law_bends_intervals_miss_and_are_widened_until_they_hold(crooked: Fit, tested: BackTest) -> None:
    assert tested.covered < 0.8
    inside = sum(int((np.abs(step.z) <= 1).sum()) for step in tested.steps)
    assert f", {inside} of {sum(len(step.z) for step in tested.steps)} predictions fell inside" in tested.sentence()
    assert tested.slope > 0
    held = [np.abs(step.z) <= 1 + tested.slope * np.log(np.maximum(step.ratio, 2)) + 1e-9 for step in tested.steps]
    assert np.average([each.mean() for each in held], weights=[step.votes for step in tested.steps]) >= 0.95
    assert "So intervals are widened, at 10 times the largest budget by a factor of" in tested.sentence()


@pytest.mark.slow(reason="12 fits, each back-tested; that bent laws are widened is quick, above")
def test_calibrated_intervals_hold_runs_at_ten_times_the_compute_more_often() -> None:
    """12 laws with a bend that the formula does not know."""
    plain = widened = 0
    for seed in range(12):
        found = fit(planted(seed, bend=0.004), starts=4)
        best = TRUTH.optimum(1e22)
        at = (best.parameters, best.tokens)
        predicted = predict(bootstrap(found, draws=100), *at, back_test=back_test(found, draws=100, hide=3))
        truth = float(bent(np.array(at[0]), np.array(at[1]), 0.004))
        plain += bool(predicted.prediction[0] <= truth <= predicted.prediction[1])
        widened += bool(predicted.calibrated[0] <= truth <= predicted.calibrated[1])
    assert widened > plain
    assert widened >= 9


@pytest.mark.parametrize("laws", [3, pytest.param(6, marks=pytest.mark.slow(reason="six fits, each back-tested"))])
def test_a_law_that_holds_is_hardly_widened(laws: int) -> None:
    slopes = [back_test(fit(planted(seed), starts=4), draws=100, hide=3).slope for seed in range(laws)]
    assert np.median(slopes) < 0.35


@given(st.floats(1.0, 1e6), st.floats(1.0, 1e3), st.floats(0.001, 0.2), st.floats(0.001, 0.2))
def test_calibration_never_narrows_and_grows_with_the_distance(
    tested: BackTest, ratio: float, further: float, below: float, above: float
) -> None:
    interval = (2 * np.exp(-below), 2 * np.exp(above))
    near = tested.calibrate(interval, loss=2.0, compute=ratio * tested.largest)
    far = tested.calibrate(interval, loss=2.0, compute=ratio * further * tested.largest)
    slack = 1e-12
    assert far[0] <= near[0] + slack <= interval[0] + 2 * slack
    assert interval[1] <= near[1] + slack <= far[1] + 2 * slack


def test_within_the_data_nothing_is_widened(tested: BackTest) -> None:
    low, high = tested.calibrate((1.9, 2.2), loss=2.0, compute=tested.largest / 3)
    assert (float(low), float(high)) == pytest.approx((1.9, 2.2))


def test_a_band_has_all_intervals_one_inside_the_other(crooked: Fit, tested: BackTest) -> None:
    n, d = np.geomspace(1e9, 1e11, 3), np.geomspace(2e10, 2e12, 3)
    predicted = predict(bootstrap(crooked, draws=100), n, d, back_test=tested)
    ends = [predicted.calibrated[0], predicted.prediction[0], predicted.confidence[0], predicted.loss]
    ends += [predicted.confidence[1], predicted.prediction[1], predicted.calibrated[1]]
    assert (np.diff(np.stack(ends), axis=0) >= 0).all()
    np.testing.assert_allclose(predicted.compute, 6 * n * d)
    assert predicted.calibrated[1][-1] > predicted.prediction[1][-1]
    assert any("largest budgets hidden" in note for note in predicted.notes)
    assert any("widening is itself extrapolated" in note for note in predicted.notes)


def test_with_too_few_budgets_it_says_that_nothing_could_be_checked() -> None:
    points = planted(3, runs=30, budgets=1)
    found = fit(points)
    tested = back_test(found, draws=100)
    assert not tested.calibrated
    assert "could not be checked" in tested.sentence()
    predicted = predict(bootstrap(found, draws=100), 1e11, 2e12, back_test=tested)
    assert predicted.calibrated == predicted.prediction


def test_cut_offs_that_leave_too_few_runs_are_told_not_hidden() -> None:
    found = back_test(fit(planted(4, runs=18, budgets=3)), hide=(1.1e18, 1e20), draws=100)
    assert len(found.steps) == 1
    assert "Up to 1.1e18 FLOP" in found.skipped[0]
    assert "rows" in found.skipped[0]


@given(st.lists(st.floats(1e15, 1e24), min_size=1, max_size=40), st.integers(1, 6))
def test_cut_offs_always_hide_something_and_leave_enough(budgets: list[float], most: int) -> None:
    cuts = cut_offs(np.array(budgets), most)
    assert len(cuts) <= most
    assert cuts == sorted(cuts)
    for cut in cuts:
        assert 0.3 * len(budgets) <= (np.array(budgets) <= cut).sum() < len(budgets)


def test_bad_arguments_are_rejected(straight: Fit) -> None:
    with pytest.raises(ConfigError, match="hide must be 1 cut-off or more; it is 0"):
        back_test(straight, hide=0)
    with pytest.raises(ConfigError, match="level must lie between 0 and 1"):
        back_test(straight, level=1.5)
    with pytest.raises(ConfigError, match="draws must be 100 or more"):
        back_test(straight, draws=3)


@pytest.mark.parametrize("formula", ["power-floor", "E + a/C**alpha + B/D**0.37"])
def test_hidden_runs_are_predicted_at_the_flops_of_their_table(formula: str) -> None:
    """Our own runs' FLOPs hold attention, and a table's may hold anything: 6·N·D is another place for the law."""
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform([6, 8], [8.5, 10.5], (80, 2)).T
    c = 6 * n * d * (1 + 300 / n**0.3)  # 2.2 to 5.8 times 6·N·D
    loss = 1.7 + 900 / c**0.16 + ("D" in formula) * 500 / d**0.37
    points = Points.of(n, d, loss * np.exp(0.005 * rng.normal(size=80)), c=c)
    tested = back_test(fit(points, formula), draws=100)
    inside = sum(int((np.abs(step.z) <= 1).sum()) for step in tested.steps)
    assert inside >= 0.85 * sum(len(step.z) for step in tested.steps)
    assert float(tested.widening(10 * tested.largest)) < 3


def test_a_law_of_compute_is_back_tested_alike_with_and_without_a_column_of_tokens() -> None:
    rng = np.random.default_rng(1)
    n, d = 10 ** rng.uniform([6, 8], [8.5, 10.5], (60, 2)).T
    c = 6 * n * d * rng.uniform(1.1, 6, 60)
    loss = (1.7 + 900 / c**0.16) * np.exp(0.005 * rng.normal(size=60))
    with_tokens, without = (back_test(fit(p, "power-floor"), draws=100) for p in (
        Points.of(n, d, loss, c=c), Points.of(n, loss=loss, c=c)))  # fmt: skip
    assert with_tokens.covered == without.covered
    assert with_tokens.slope == pytest.approx(without.slope)


def test_a_prediction_at_given_flops_is_the_laws_at_these_flops() -> None:
    n, d = 10 ** np.random.default_rng(2).uniform([6, 8], [8.5, 10.5], (40, 2)).T
    found = fit(Points.of(n, d, 1.7 + 900 / (12 * n * d) ** 0.16, c=12 * n * d), "power-floor")
    predicted = predict(bootstrap(found, draws=100), 1e9, 1e11, c=3e21)
    assert float(predicted.loss) == pytest.approx(1.7 + 900 / 3e21**0.16, rel=1e-6)
    assert predicted.compute == 3e21
