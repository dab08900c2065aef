"""What other choices would have said: against kyo-takano's data, and on planted laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.scaling.fits.best_size import best_parameters, best_size, exponent
from glassformer.scaling.fits.fitting import fit
from glassformer.scaling.fits.isoflop import isoflop_minima
from glassformer.scaling.fits.points import Points
from glassformer.scaling.fits.reading import read_points
from glassformer.scaling.fits.sensitivity import DELTAS, sensitivity
from glassformer.scaling.laws.law import ParametricLoss

TARGET = 1e24
LOG_HUBER = "Huber with δ = 0.001 on ln L"


def planted(noise: float = 0.0, *, odd: int = 0) -> Points:
    """The law of Besiroglu et al. at 60 sizes and lengths; the first ``odd`` runs end a fifth too high."""
    draw = np.random.default_rng(0)
    n = np.tile(np.geomspace(4e7, 1e10, 10), 6)
    d = n * np.repeat(np.geomspace(3, 200, 6), 10)
    loss = (1.817 + 482.01 / n**0.3478 + 2085.43 / d**0.3658) * np.exp(noise * draw.standard_normal(60))
    loss[:odd] *= 1.2
    return Points.of(n, d, loss)


@pytest.fixture(scope="module")
def of_kyo_takano(glassformer_data):
    points = read_points(glassformer_data / "scaling" / "kyo_takano_chinchilla" / "df.csv")
    return sensitivity(fit(points), TARGET, isoflop=isoflop_minima(points))


def test_the_default_loss_of_kyo_takano_gives_6_5_tokens_a_parameter_and_log_huber_22_9(of_kyo_takano):
    asymmetric = next(each for each in of_kyo_takano.alternatives if "10 above" in each.name)
    chosen = of_kyo_takano.alternatives[0]
    assert chosen.made
    assert LOG_HUBER in chosen.name
    assert chosen.ratio == pytest.approx(22.9, abs=0.05)
    assert asymmetric.ratio == pytest.approx(6.5, abs=0.05)
    low, high = of_kyo_takano.ratios
    assert low <= asymmetric.ratio < chosen.ratio <= high


def test_every_kind_of_choice_is_made_with_the_fit_itself_first(of_kyo_takano):
    groups = [each.group for each in of_kyo_takano.alternatives]
    assert groups[0] == "as chosen"
    assert [each.made for each in of_kyo_takano.alternatives].count(True) == 1
    assert {"objective", "points", "formula", "counting", "method"} <= set(groups)
    assert groups.count("objective") == len(DELTAS) - 1 + 3  # the δ of the fit is no other choice
    for each in of_kyo_takano.alternatives:
        assert each.missing == ""
        exact = 0.05 if each.group == "counting" else 1e-9  # there the FLOPs of the embeddings come on top
        assert 6 * each.parameters * each.tokens == pytest.approx(TARGET, rel=exact)


def test_the_sentence_names_the_two_choices_that_lie_furthest_apart(of_kyo_takano):
    low, high = of_kyo_takano.ratios
    assert f"{low:.3g}" in of_kyo_takano.sentence()
    assert f"{high:.3g}" in of_kyo_takano.sentence()


def test_on_a_planted_law_without_noise_every_choice_but_the_counting_finds_the_same_optimum():
    truth = ParametricLoss.of(E=1.817, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658, source="planted").optimum(TARGET)
    found = sensitivity(fit(planted()), TARGET)
    alike = [each for each in found.alternatives if each.group in ("as chosen", "objective", "points")]
    assert len(alike) >= 9
    for each in alike:
        assert each.parameters == pytest.approx(truth.parameters, rel=0.01), each.name
        assert each.loss == pytest.approx(truth.loss, rel=1e-3), each.name


def test_points_that_stand_apart_are_left_out_only_in_their_own_row():
    points = planted(0.002, odd=3)
    found = sensitivity(fit(points), TARGET, influential=[0, 1, 2])
    without = found.alternative("without the 3 influential points")
    assert without.n_points == len(points) - 3
    assert {each.n_points for each in found.alternatives if each.group == "objective"} == {len(points)}


def test_a_choice_that_the_points_cannot_carry_is_reported_and_not_dropped():
    few = planted(0.002)[np.arange(0, 60, 8)]  # 8 points carry 5 parameters; three quarters of them do not
    assert len(few) == 8
    found = sensitivity(fit(few), TARGET)
    reported = next(each for each in found.alternatives if each.group == "points")
    assert reported.ratio is None
    assert reported.missing


@settings(deadline=None, max_examples=30)
@given(
    alpha=st.floats(0.2, 0.6),
    beta=st.floats(0.2, 0.6),
    scale=st.floats(0.2, 5.0),
    power=st.floats(19, 26),
)
def test_the_search_for_the_best_size_finds_what_the_closed_form_says(alpha, beta, scale, power):
    law = ParametricLoss.of(E=1.7, A=400 * scale, B=1000, alpha=alpha, beta=beta, source="planted")
    known = law.optimum(10**power)
    found = best_size(lambda n, d: law(N=n, D=d), 10**power)
    assert found is not None
    assert found.parameters == pytest.approx(known.parameters, rel=1e-4)
    assert found.loss == pytest.approx(known.loss, rel=1e-9)
    assert exponent(lambda n, d: law(N=n, D=d), 10**power) == pytest.approx(law.a, abs=1e-3)


def test_a_law_that_always_wants_a_larger_model_has_no_best_size():
    assert best_size(lambda n, d: 2 + 400 / n**0.3, 1e21) is None


def test_the_best_sizes_of_many_draws_at_once_are_those_of_each_alone():
    found = fit(planted(0.002))
    best = best_size(found.predict, TARGET)
    assert best is not None
    draws = found.values * np.exp(0.02 * np.random.default_rng(1).standard_normal((5, len(found.values))))
    together = best_parameters(found, best)(draws)
    for values, parameters in zip(draws, together, strict=True):
        constants = dict(zip(found.names, values, strict=True))
        alone = ParametricLoss.of(**constants, source="a draw").optimum(TARGET)
        assert math.log(parameters) == pytest.approx(math.log(alone.parameters), abs=1e-3)
