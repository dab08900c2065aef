from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.scaling.fits.objectives import Absolute, Huber, Objective, Squares, asymmetric, objective

EVERY = [Huber(), Huber(0.5), Squares(), Absolute(), asymmetric(), Absolute(over=3.0, smooth=0.01)]


@pytest.mark.parametrize("which", EVERY, ids=lambda o: o.describe())
@given(r=st.floats(-2, 2).filter(lambda r: abs(r) > 1e-4))
def test_derivative_and_curvature_are_those_of_the_value(which, r):
    h = 1e-6
    near = np.array([r - h, r + h])
    if np.abs(np.abs(r) - which.width) < 2 * h:
        return  # where Huber's curvature jumps there is no derivative to compare
    slope = np.diff(which.value(near))[0] / (2 * h)
    bend = np.diff(which.derivative(near))[0] / (2 * h)
    assert which.derivative(np.array([r]))[0] == pytest.approx(slope, abs=1e-6, rel=1e-6)
    assert which.curvature(np.array([r]))[0] == pytest.approx(bend, abs=1e-5, rel=1e-3)


@pytest.mark.parametrize("which", EVERY, ids=lambda o: o.describe())
def test_no_residual_costs_nothing_and_a_larger_one_more(which):
    assert which.value(np.zeros(1))[0] == 0
    for side in (1.0, -1.0):
        cost = which.value(side * np.array([0.1, 0.2, 0.9]))
        assert (np.diff(cost) > 0).all()
        assert cost[0] > 0


def test_huber_divided_by_delta_tends_to_the_absolute_deviation():
    r = np.linspace(-0.1, 0.1, 21)
    assert Huber(1e-9).value(r) / 1e-9 == pytest.approx(Absolute().value(r), abs=1e-8)


def test_the_asymmetric_objective_costs_ten_times_as_much_above_the_point():
    assert asymmetric().value(np.array([0.2, -0.2])) == pytest.approx([2.0, 0.2])
    assert asymmetric().of == "L"


def test_a_widened_objective_tends_to_the_objective():
    r = np.linspace(-1, 1, 9)
    for which in EVERY:
        assert which.widened(1e-9).value(r) == pytest.approx(which.value(r), abs=1e-7)


def test_names_and_settings_that_make_no_sense_are_rejected():
    with pytest.raises(ConfigError, match="Did you mean 'squares'"):
        objective("square")
    with pytest.raises(ConfigError, match="limit at 0 is 'absolute'"):
        objective("huber", delta=0)
    with pytest.raises(ConfigError, match="above 0"):
        Absolute(over=-1)
    assert isinstance(objective(Squares()), Objective)
