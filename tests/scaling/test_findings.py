"""What is found out about a fit: the loss at its target, and one verdict on what its points identify."""

from __future__ import annotations

import numpy as np
import pytest

from glassformer.scaling.fit_report.fit_page import page
from glassformer.scaling.fits.best_size import on_trend
from glassformer.scaling.fits.bootstrap import bootstrap
from glassformer.scaling.fits.diagnostics import shown
from glassformer.scaling.fits.findings import investigate
from glassformer.scaling.fits.fitting import fit
from glassformer.scaling.fits.points import Points


def runs_of_20_tokens_a_parameter(rows: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """N and D about the line D = 20·N."""
    rng = np.random.default_rng(0)
    n = np.geomspace(1e7, 1e9, rows)
    return n, 20 * n * rng.uniform(0.7, 1.4, rows)


@pytest.mark.parametrize(
    ("text", "law"),
    [("E + A/N**alpha", lambda n, d: 1.7 + 400 / n**0.34), ("E + B/D**beta", lambda n, d: 1.7 + 400 / d**0.29)],
)
def test_a_formula_without_a_best_size_is_asked_at_a_size_on_the_runs_own_trend(text, law):
    n, d = runs_of_20_tokens_a_parameter()
    noise = np.exp(0.001 * np.random.default_rng(1).standard_normal(len(n)))
    found = investigate(Points.of(n, d, law(n, d) * noise), text, draws=100, target=6 * 20 * (1e10) ** 2)
    assert found.best.parameters is None
    assert found.best.place == pytest.approx((1e10, 2e11), rel=0.3)
    assert found.best.loss == pytest.approx(law(*found.best.place), rel=5e-3)
    side = (found.target / 6) ** 0.5  # the same for both is not where these runs lead
    assert abs(law(side, side) - law(1e10, 2e11)) > 0.02
    assert "on the trend of the runs" in found.optimum_sentence()


def test_a_law_of_compute_alone_has_no_place():
    n, d = runs_of_20_tokens_a_parameter()
    loss = 1.7 + 900 / (6 * n * d) ** 0.16
    noise = np.exp(0.001 * np.random.default_rng(1).standard_normal(len(n)))
    found = investigate(Points.of(n, d, loss * noise), "power-floor", draws=100, target=1e24)
    assert found.best.place is None
    assert found.best.loss == pytest.approx(1.7 + 900 / 1e24**0.16, rel=0.01)


def test_the_trend_keeps_the_ratio_of_runs_of_one_ratio_and_the_size_of_runs_of_one_size():
    n = np.geomspace(1e7, 1e9, 10)
    np.testing.assert_allclose(on_trend(Points.of(n, 20 * n, n**-0.1), np.array([1.2e21])), [[10**9.5], [20 * 10**9.5]])
    d = np.geomspace(1e9, 1e11, 10)
    fixed = Points.of(np.full(10, 1e8), d, d**-0.1)
    np.testing.assert_allclose(on_trend(fixed, np.array([6e20])), [[1e8], [1e12]])


# ------------------------------------------------------------------------------------------------- identification


def tied(rows: int = 24, checkpoints: int = 1, noise: float = 0.01) -> Points:
    """Runs of nearly one ratio of tokens to parameters; each row of a run carries the run's own error."""
    rng = np.random.default_rng(3)
    n = np.repeat(10 ** rng.uniform(7, 9, rows), checkpoints)
    d = 20 * n * np.repeat(np.exp(0.5 * rng.standard_normal(rows)), checkpoints)
    d = d * np.tile(np.linspace(0.9, 1, checkpoints), rows) if checkpoints > 1 else d
    own = np.repeat(noise * rng.standard_normal(rows), checkpoints)
    return Points.of(
        n, d, (1.8 + 480 / n**0.35 + 2100 / d**0.37) * np.exp(own), run=np.repeat(np.arange(rows), checkpoints)
    )


@pytest.mark.parametrize("checkpoints", [1, 8])
def test_no_standard_error_contradicts_the_verdict_on_what_is_identified(checkpoints):
    found = investigate(tied(checkpoints=checkpoints), draws=200)
    errors = found.bootstrap.standard_errors
    wild = [name for name, value in found.fit.parameters.items() if errors[name] >= abs(value)]
    assert wild, "the points leave A or B open"
    named = {part for direction in found.bootstrap.unidentified for part in direction.combination}
    assert {f"ln {shown(name)}" for name in wild} <= named
    assert "identify every combination" not in found.reliability["identified"]


def test_rows_of_one_run_do_not_identify_what_its_runs_do_not():
    one, eight = (fit(tied(checkpoints=count)) for count in (1, 8))
    assert len(eight.unidentified) >= len(one.unidentified) > 0


def test_a_good_design_is_identified_in_one_voice():
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform([7, 8.5], [9.5, 11], (60, 2)).T
    loss = (1.8 + 480 / n**0.35 + 2100 / d**0.37) * np.exp(0.001 * rng.standard_normal(60))
    found = investigate(Points.of(n, d, loss), draws=200)
    assert found.bootstrap.unidentified == ()
    assert "identify every combination" in found.reliability["identified"]


def test_no_interval_leaves_what_its_parameter_may_be():
    rng = np.random.default_rng(1)
    n, d = 10 ** rng.uniform([7, 8.5], [9.5, 11], (40, 2)).T
    loss = (0.05 + 30 / n**0.1 + 10 / d**0.1) * np.exp(0.03 * rng.standard_normal(40))
    draws = bootstrap(fit(Points.of(n, d, loss)), draws=200)
    for name in draws.quantities:
        low, high = draws.interval(name)
        least, most = draws.fit.formula.limit(name) if name in draws.names else (0.0, 1.0)
        assert least <= low <= high <= most, name


def test_losses_that_hardly_depend_on_size_have_no_best_size_and_still_a_page():
    """All losses the same to nine digits: the fit's exponents are 0, where its closed form of the best size is none."""
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform([6, 8], [8, 10], (40, 2)).T
    points = Points.of(n, d, 3 + 1e-9 * rng.standard_normal(40))
    found = investigate(points, draws=100, fixed={"beta": 0.0, "alpha": 1.4})
    assert found.best.parameters is None
    assert "<html" in page(found, {}).html()
