"""Minima of IsoFLOP curves: planted ones are found, edges are rejected, Porian's published minima are ours."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.scaling.fits.isoflop import budgets, isoflop_minima
from glassformer.scaling.fits.points import Points
from glassformer.scaling.fits.reading import read_points

E, A, B, ALPHA, BETA = 1.8, 480.0, 2000.0, 0.35, 0.37
COMPUTE = np.geomspace(1e18, 1e21, 7)


def optimum(c):
    g = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    return g * (c / 6) ** (BETA / (ALPHA + BETA))


def planted(noise=0.0, seed=0, *, around=4.0, sizes=9) -> Points:
    """Runs of L = E + A/N^α + B/D^β on COMPUTE, their sizes within a factor of ``around`` of the best."""
    rng = np.random.default_rng(seed)
    c = np.repeat(COMPUTE, sizes)
    n = optimum(c) * np.tile(np.geomspace(1 / around, around, sizes), len(COMPUTE))
    d = c / (6 * n)
    return Points.of(n, d, E + A / n**ALPHA + B / d**BETA + noise * rng.standard_normal(len(n)))


@given(st.floats(1.5, 3.5), st.floats(0.002, 0.2), st.floats(-0.8, 0.8), st.floats(0.3, 0.7))
def test_exact_parabolas_give_their_vertices_and_law(least, bend, shift, exponent):
    c = np.repeat(COMPUTE, 6)
    best = 0.1 * c**exponent
    away = np.tile(np.linspace(-1.5, 1.5, 6), len(COMPUTE)) + shift
    n = best * np.exp(away)
    found = isoflop_minima(Points.of(n=n, c=c, loss=least + bend * away**2), width=math.inf)
    if len(found.minima) == len(COMPUTE):
        vertices = [each.parameters for each in found.minima]
        assert vertices == pytest.approx(0.1 * COMPUTE**exponent, rel=1e-6)
        assert [each.loss for each in found.minima] == pytest.approx([least] * len(COMPUTE))
        assert [each.tokens for each in found.minima] == pytest.approx(COMPUTE / 6 / np.array(vertices), rel=1e-6)
        assert found.parameters_law.exponent == pytest.approx(exponent, abs=1e-6)
        assert found.tokens_law.exponent == pytest.approx(1 - exponent, abs=1e-6)
    else:  # the lowest of the six is at an edge, and every budget says so
        assert np.abs(away[:6]).argmin() in (0, 5)
        assert len(found.unused) == len(COMPUTE)


@pytest.mark.parametrize("method", ["parabola", "interpolation"])
def test_a_planted_law_is_recovered(method):
    found = isoflop_minima(planted(), method=method, seed_noise=1e-5)
    assert [each.compute for each in found.minima] == pytest.approx(COMPUTE)
    assert [each.parameters for each in found.minima] == pytest.approx(optimum(COMPUTE), rel=0.1)
    assert found.parameters_law.exponent == pytest.approx(BETA / (ALPHA + BETA), abs=0.003)
    assert found.tokens_law.exponent == pytest.approx(ALPHA / (ALPHA + BETA), abs=0.003)


@pytest.mark.parametrize("method", ["parabola", "interpolation"])
def test_the_standard_error_of_a_minimum_is_its_spread_over_seeds(method):
    """A curve that is a parabola, so that nothing but noise moves the minimum."""
    away = np.linspace(-1.5, 1.5, 9)
    rng = np.random.default_rng(0)
    found, errors = [], []
    for _ in range(200):
        loss = 3 + 0.05 * away**2 + 0.002 * rng.standard_normal(9)
        (minimum,) = isoflop_minima(Points.of(n=1e7 * np.exp(away), c=np.full(9, 1e18), loss=loss), method=method,
                                    seed_noise=0.002, draws=200).minima  # fmt: skip
        found.append(math.log(minimum.parameters / 1e7))
        errors.append(minimum.error)
    spread = float(np.std(found))
    typical = float(np.sqrt(np.mean(np.square(errors))))
    assert typical == pytest.approx(spread, rel=0.25)
    assert abs(np.mean(found)) < 4 * spread / 200**0.5


def test_budgets_that_give_no_minimum_are_told_and_not_used():
    points = planted()
    few = points.c < 2e18
    keep = ~few | np.isin(np.cumsum(few), (3, 5, 7))  # 3 sizes of the least budget
    edge = points.c > 5e20
    keep &= ~edge | (points.n > optimum(points.c) * 1.2)  # of the largest only what is too large
    found = isoflop_minima(points[keep])
    assert len(found.minima) == len(COMPUTE) - 2
    assert [each.compute for each in found.unused] == pytest.approx(COMPUTE[[0, -1]])
    assert "3 sizes, and 4 are needed" in found.unused[0].sentence
    assert "the smallest of its sizes did best: train smaller models" in found.unused[1].sentence
    assert len(found.notes) == 2


def test_too_few_minima_give_no_power_law_and_say_so():
    points = planted()
    found = isoflop_minima(points[points.c < 4e18])
    assert len(found.minima) == 2
    assert found.parameters_law is found.tokens_law is None
    assert found.notes == ("There is no power law: it takes 3 minima, and there are 2.",)


def test_a_curve_that_opens_downwards_has_no_minimum():
    n, loss = 1e7 * np.exp(np.linspace(-1, 1, 7)), [3, 3.3, 3.4, 2.9, 3.4, 3.3, 3]
    (unused,) = isoflop_minima(Points.of(n=n, c=np.full(7, 1e18), loss=loss)).unused
    assert "has no least value" in unused.sentence


def test_runs_of_almost_the_same_compute_are_one_budget():
    rng = np.random.default_rng(0)
    c = np.repeat(COMPUTE, 5) * rng.uniform(1, 1.09, 35)
    order = rng.permutation(35)
    groups = budgets(Points.of(n=np.full(35, 1e7), c=c[order], loss=np.full(35, 3.0)))
    assert [sorted(order[group] // 5) for group in groups] == [[i] * 5 for i in range(7)]


def test_seeds_of_one_size_count_by_their_mean():
    points = planted()
    twice = Points.of(
        np.tile(points.n, 2), np.tile(points.d, 2), np.concatenate([points.loss + 0.1, points.loss - 0.1])
    )
    one, other = isoflop_minima(points), isoflop_minima(twice)
    assert [each.parameters for each in other.minima] == pytest.approx([each.parameters for each in one.minima])
    assert [len(each.used) for each in other.minima] == [2 * len(each.used) for each in one.minima]


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_the_order_of_the_rows_does_not_matter(seed):
    points = planted(0.002)
    shuffled = points[np.random.default_rng(seed).permutation(len(points))]
    one, other = isoflop_minima(points), isoflop_minima(shuffled)
    assert one.parameters_law.exponent == pytest.approx(other.parameters_law.exponent, rel=1e-9)


def test_wrong_arguments_are_rejected_with_every_reason():
    with pytest.raises(ConfigError) as raised:
        isoflop_minima(planted(), method="spline", width=1, same_budget=-1, seed_noise=-1, draws=0)
    assert len(raised.value.complaints) == 5
    with pytest.raises(ConfigError, match="at most a sixth of the least loss"):
        isoflop_minima(planted(), method="interpolation", seed_noise=1.0)


# ------------------------------------------------------------------------------------------------- Porian et al. 2024


@pytest.fixture(scope="module")
def published(glassformer_data):
    """By configuration: the points, the published minima that there are, and the published fits."""
    folder = glassformer_data / "scaling" / "porian2024"
    with (folder / "optimal_pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        fit["config"]: (
            read_points(folder / "isoflop_points.csv", where={"config": fit["config"]}),
            [{name: float(row[name]) for name in row if name != "config"} for row in rows
             if row["config"] == fit["config"] and row["n_opt"]],
            fit,
        )
        for fit in json.loads((folder / "reference_fits.json").read_text())
    }  # fmt: skip


def test_interpolation_reproduces_every_published_minimum_and_exponent(published):
    """From the losses on: their draws of noise were others, so minima agree within 4 %, exponents within 0.003."""
    for name, (points, pairs, fit) in published.items():
        noise = 0.01 if name.startswith("owt2") else 0.002
        found = isoflop_minima(points, method="interpolation", seed_noise=noise)
        assert [each.compute for each in found.minima] == pytest.approx([pair["flops"] for pair in pairs]), name
        for minimum, pair in zip(found.minima, pairs, strict=True):
            assert minimum.parameters == pytest.approx(pair["n_opt"], rel=0.04), name
            assert minimum.tokens == pytest.approx(pair["t_opt"], rel=0.05), name
            assert minimum.loss == pytest.approx(pair["loss_opt"], abs=0.002), name
            assert minimum.weight_error == pytest.approx(pair["n_star_std"], rel=0.1), name
        assert found.parameters_law.exponent == pytest.approx(fit["weighted.n_exponent"], abs=0.003), name
        assert found.tokens_law.exponent == pytest.approx(fit["weighted.t_exponent"], abs=0.005), name


def test_parabolas_come_near_the_published_minima(published):
    """Another method on the same losses: half of all minima within 12 %, exponents within 0.04."""
    away, budgets_found = [], 0
    for name, (points, pairs, fit) in published.items():
        found = isoflop_minima(points)
        at = {round(math.log2(each.compute), 3): each for each in found.minima}
        shared = [(at[key], pair) for pair in pairs if (key := round(math.log2(pair["flops"]), 3)) in at]
        away += [abs(math.log(minimum.parameters / pair["n_opt"])) for minimum, pair in shared]
        budgets_found += len(pairs)
        assert found.parameters_law.exponent == pytest.approx(fit["weighted.n_exponent"], abs=0.04), name
    assert len(away) >= budgets_found - 2
    assert np.median(away) < 0.12
    assert max(away) < 0.6
