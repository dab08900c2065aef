from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.scaling.fits.formulas import CHINCHILLA, fix, formula, own, power_law, repeated_data
from glassformer.scaling.fits.points import Points
from glassformer.scaling.laws.known import LAWS

POINTS = Points.of(
    n=[1e7, 3e7, 1e8, 3e8], d=[4e9, 2e9, 9e9, 3e10], loss=[3.5, 3.3, 2.9, 2.6], unique=[1e9, 2e9, 3e9, 3e9]
)
CASES = [
    (CHINCHILLA, [1.8, 480.0, 2000.0, 0.35, 0.37]),
    (power_law("N"), [30.0, 0.1]),
    (power_law("D", floor=True), [1.5, 300.0, 0.3]),
    (repeated_data(), [1.8, 480.0, 2000.0, 0.35, 0.37, 15.4, 5.3]),
    (own("((N_c/N)**(p/q) + D_c/D)**q"), [8e13, 2e13, 0.1, 0.07]),
    (own("E + k*log(N)/sqrt(D) + exp(-N/S)"), [1.0, 2.0, 1e8]),
]


@pytest.mark.parametrize(("law", "values"), CASES, ids=lambda c: getattr(c, "name", ""))
def test_the_jacobian_is_the_derivative_of_the_value(law, values):
    values = np.array(values)
    assert len(law.names) == len(values)
    analytic = law.jacobian(values, POINTS)
    for i, v in enumerate(values):
        up, down = values.copy(), values.copy()
        up[i], down[i] = v * (1 + 1e-6), v * (1 - 1e-6)
        numeric = (law.value(up, POINTS) - law.value(down, POINTS)) / (2e-6 * v)
        assert analytic[:, i] == pytest.approx(numeric, rel=1e-5, abs=1e-9 / v)


@pytest.mark.parametrize(("law", "values"), CASES, ids=lambda c: getattr(c, "name", ""))
def test_second_derivatives_of_the_working_formula_are_those_of_the_first(law, values):
    working, columns, p = law.working, law.columns(POINTS), len(values)
    theta = working.of(np.array(values))

    def slopes(theta):
        return [np.broadcast_to(each, (1, 4))[0] for each in working.run(working.program, theta[None], columns)]

    exact = dict(zip(working.pairs, slopes(theta)[1 + p :], strict=True))
    for j in range(p):
        h = 1e-5 * max(abs(theta[j]), 1e-2)
        up, down = theta.copy(), theta.copy()
        up[j] += h
        down[j] -= h
        for i in range(j, p):
            numeric = (slopes(up)[1 + i] - slopes(down)[1 + i]) / (2 * h)
            found = np.broadcast_to(exact.get((i, j), 0.0), (4,))
            assert found == pytest.approx(np.broadcast_to(numeric, (4,)), rel=1e-3, abs=1e-6)


def test_the_chinchilla_formula_is_linear_in_its_floor_and_factors():
    assert CHINCHILLA.names == ("E", "A", "B", "alpha", "beta")
    assert CHINCHILLA.linear == ("E", "A", "B")
    assert CHINCHILLA.logged == (False, True, True, False, False)
    assert own("A*B/N").linear == ("A",)  # together they are not linear


def test_a_name_and_the_same_formula_in_words_are_one_law():
    values = np.array([1.8, 480.0, 2000.0, 0.35, 0.37])
    mine = own("L(N, D) = E + A/N**alpha + B/D**beta")
    assert mine.names == CHINCHILLA.names
    assert mine.value(values, POINTS) == pytest.approx(CHINCHILLA.value(values, POINTS), rel=1e-15)


def test_values_may_have_leading_axes():
    values = np.tile([1.8, 480.0, 2000.0, 0.35, 0.37], (3, 2, 1))
    assert CHINCHILLA.value(values, POINTS).shape == (3, 2, 4)
    assert CHINCHILLA.jacobian(values, POINTS).shape == (3, 2, 4, 5)


def test_data_seen_once_are_worth_all_of_themselves():
    once = Points.of(n=[1e6, 2e6], d=[1e9, 2e9], loss=[3.0, 2.9], unique=[1e9, 2e9])
    values = [1.8, 480.0, 2000.0, 0.35, 0.37]
    assert repeated_data().value(np.array([*values, 15.4, 5.3]), once) == pytest.approx(
        CHINCHILLA.value(np.array(values), once)
    )


def test_repeated_data_are_worth_what_muennighoff_says():
    # 4 epochs of 1e9 tokens with R* = 15.39: D' = U(1 + R*(1 − e^(−3/R*)))
    points = Points.of(n=[1e6], d=[4e9], loss=[3.0], unique=[1e9])
    effective = 1e9 * (1 + 15.39 * (1 - np.exp(-3 / 15.39)))
    found = repeated_data().value(np.array([1.8, 0.0, 2000.0, 0.35, 0.37, 15.39, 5.31]), points)
    assert found[0] == pytest.approx(1.8 + 2000 / effective**0.37)


@pytest.mark.parametrize(
    "text",
    ["__import__('os').system('true')", "N.real", "[N][0]", "N if A else D", "lambda: N", "'A'", "A/N and B", "f'{A}'"],
)
def test_what_is_no_arithmetic_is_rejected_and_never_run(text):
    with pytest.raises(ConfigError):
        formula(text)


def test_mistakes_in_a_formula_are_told_all_at_once():
    with pytest.raises(ConfigError) as caught:
        own("E + A^2 + lg(N) + exp(N, D)")
    assert len(caught.value.complaints) == 3
    assert "Write a power as **" in str(caught.value)
    assert "Did you mean 'log'?" in str(caught.value)
    with pytest.raises(ConfigError, match="none of N, D, C and U"):
        own("a + b")
    with pytest.raises(ConfigError, match="no parameter to fit"):
        own("1/N")
    with pytest.raises(ConfigError, match="cannot be read"):
        own("E + A/")
    with pytest.raises(ConfigError, match="no parameter 'F'"):
        own("E + a/N", limits={"F": (0, 1)})
    with pytest.raises(ConfigError, match="Did you mean 'chinchilla'"):
        formula("chinchila")
    with pytest.raises(ConfigError, match="of N, D or C"):
        power_law("U")


@given(a=st.floats(0.1, 3), x=st.floats(0.5, 4))
def test_derivatives_of_nested_expressions_are_exact(a, x):
    nested, at = own("sqrt(N**2 + a*exp(-N/a)) / log(1 + N) - -N**a"), Points.of(n=[x], d=[1.0], loss=[1.0])

    def value(a):
        return float(nested.value(np.array([a]), at)[0])

    numeric = (value(a + 1e-6) - value(a - 1e-6)) / 2e-6
    assert float(nested.jacobian(np.array([a]), at)[0, 0]) == pytest.approx(numeric, rel=1e-5, abs=1e-6)


def test_what_a_law_prints_is_what_a_fit_of_the_same_text_computes():
    law, mine = LAWS["krajewski-experts"], own("c + (g/2**0.58 + a)/N**0.115 + b/D**0.147")
    k = {name: constant.value for name, constant in law.constants.items()}
    values = np.array([k[name] for name in mine.names])
    assert mine.value(values, POINTS) == pytest.approx(law(N=POINTS.n, D=POINTS.d, G=2.0), rel=1e-14)


def test_numbers_are_computed_when_a_formula_is_read_and_impossible_ones_are_rejected():
    assert own("E + A/N**(1/2)").value(np.array([1.0, 3.0]), POINTS) == pytest.approx(1 + 3 / POINTS.n**0.5)
    for text, reason in {
        "E/N + 9**9**9": "too large",
        "E/N + 1/0": "divides by zero",
        "E/N + log(-1)": "finite",
    }.items():
        with pytest.raises(ConfigError, match=reason):
            own(text)


# ------------------------------------------------------------------------------------------------- constants


def test_a_parameter_that_is_fixed_is_a_constant_of_the_formula():
    fixed = fix(CHINCHILLA, {"A": 480.0, "alpha": 0.35})
    assert fixed.names == ("E", "B", "beta")
    assert fixed.shown == "E + 480/N^0.35 + B/D^β"
    whole = CHINCHILLA.value(np.array([1.8, 480.0, 2000.0, 0.35, 0.37]), POINTS)
    assert fixed.value(np.array([1.8, 2000.0, 0.37]), POINTS) == pytest.approx(whole, rel=1e-15)


def test_the_parameters_that_unique_tokens_warrant_follow_the_constants_that_are_fixed():
    law = {"A": 100.0, "B": 3000.0, "alpha": 0.3, "beta": 0.4}
    fixed, values = fix(repeated_data(), law), np.array([1.8, 15.0, 5.0])
    expected = repeated_data(**law).value(np.array([1.8, 100.0, 3000.0, 0.3, 0.4, 15.0, 5.0]), POINTS)
    assert fixed.value(values, POINTS) == pytest.approx(expected, rel=1e-14)
    assert not np.allclose(fix(repeated_data(), {"A": 100.0}).columns(POINTS)["U_N"], fixed.columns(POINTS)["U_N"])


def test_constants_that_cannot_be_fixed_are_rejected_all_at_once():
    with pytest.raises(ConfigError) as caught:
        fix(CHINCHILLA, {"F": 1.0, "alpha": -1.0})
    assert len(caught.value.complaints) == 2
    with pytest.raises(ConfigError, match="every parameter is fixed"):
        fix(power_law(), {"a": 1.0, "alpha": 0.1})


def test_a_formula_of_ones_own_may_hold_the_parameters_that_unique_tokens_warrant():
    mine = own("E + A/(U_N*(1 + R*(1 - exp(-(N/U_N - 1)/R))))**alpha", limits={"R": (1e-3, 1e6)})
    assert mine.columns(POINTS)["U_N"] == pytest.approx(repeated_data().columns(POINTS)["U_N"])
    assert mine.value(np.array([1.8, 480.0, 0.35, 5.3]), POINTS).shape == (4,)
