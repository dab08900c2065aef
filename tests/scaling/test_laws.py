"""Every law alike: it computes, it explains itself, it says where it leaves its range, and tables are not mixed."""

from __future__ import annotations

import math
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.scaling.laws.chinchilla import UNROUNDED
from glassformer.scaling.laws.combining import combine
from glassformer.scaling.laws.explaining import constant_in_words, in_numbers, number
from glassformer.scaling.laws.kaplan import allocation
from glassformer.scaling.laws.known import GROUPS, LAWS, law, laws
from glassformer.scaling.laws.law import ParametricLoss
from glassformer.scaling.laws.units import PF_DAY, flops

RANGES = {  # of inputs for which the source gives none, and the general ones
    "N": (1e4, 1e12),
    "D": (1e6, 1e13),
    "U": (1e6, 1e13),
    "C": (1e12, 1e25),
    "C_min": (1e-8, 1e4),
    "S": (1e2, 1e6),
    "S_min": (1e2, 1e6),
    "E_min": (1e6, 1e12),
    "B": (1e3, 1e8),
    "B_crit": (1e3, 1e8),
    "B_noise": (1e3, 1e8),
    "L": (1.0, 6.0),
    "G": (1.0, 16.0),
    "G2": (1e-6, 1e3),
    "T": (1e-3, 1e6),
    "lr_max": (1e-5, 1.0),
    "r": (1.0, 256.0),
}

FALLING = {  # laws that fall with these inputs; with all others of theirs they rise
    "kaplan-critical-batch": {"L"},
    "kaplan-least-steps": {"B_crit"},
    "kaplan-least-compute": {"B"},
    "mccandlish-noise-scale": {"G2"},
    "mccandlish-steps": {"B"},
    "mccandlish-examples": {"B_crit"},
    "mccandlish-learning-rate": {"B_noise"},
    "deepseek-learning-rate": {"C"},
    "step-law-learning-rate": {"N"},
}


def falling(name):
    """Losses fall with everything."""
    return set(LAWS[name].inputs) if LAWS[name].output[0] == "L" else FALLING.get(name, set())


def draw(data, name):
    """Inputs of a law within its range, spread in the logarithm."""
    found = {}
    for symbol in LAWS[name].inputs:
        low, high = LAWS[name].fitted_range.get(symbol, RANGES[symbol])
        low = low or RANGES[symbol][0]
        found[symbol] = math.exp(data.draw(st.floats(math.log(low), math.log(high)), label=symbol))
    return found


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_inside_its_range_a_law_is_finite_positive_and_monotone(name, data):
    inputs = draw(data, name)
    value = LAWS[name](**inputs)
    assert isinstance(value, float)
    assert math.isfinite(value)
    assert value > 0
    if name == "pearce-song-exponent":
        assert 0.5 < value < 1  # a hump, neither rising nor falling
        return
    for symbol in inputs:
        more = LAWS[name](**inputs | {symbol: inputs[symbol] * 1.1})
        slack = 1e-12 * value
        if symbol in falling(name):
            assert more <= value + slack, symbol
        else:
            assert more >= value - slack, symbol


@pytest.mark.parametrize("name", LAWS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_call_with_arrays_is_many_calls_with_numbers(name, data):
    rows = [draw(data, name) for _ in range(3)]
    columns = {symbol: np.array([row[symbol] for row in rows]) for symbol in rows[0]}
    found = LAWS[name](**columns)
    assert found.shape == (3,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [LAWS[name](**row) for row in rows], rtol=1e-14)


@pytest.mark.parametrize("name", LAWS)
def test_explain_names_formula_source_table_units_and_every_constant(name):
    one = LAWS[name]
    reported = re.sub(r"\s+", " ", one.explain())
    for needed in (one.name, one.title, one.formula, one.source, one.table, one.output[1], one.note):
        assert re.sub(r"\s+", " ", needed) in reported
    for symbol, constant in one.constants.items():
        assert constant_in_words(symbol, constant) in reported
        assert constant.unit
        assert constant.meaning
    for symbol, meaning in one.inputs.items():
        assert f"{symbol}: {meaning}" in reported
    assert all(len(line) <= 120 for line in one.explain().splitlines())


@pytest.mark.parametrize("name", LAWS)
def test_a_law_says_what_its_n_counts_and_its_formula_uses_its_symbols(name):
    one = LAWS[name]
    assert (one.counting is not None) == ("N" in one.inputs or one.output[0] == "N")
    assert set(one.fitted_range) <= set(one.inputs)
    assert one.refers_to is None or one.refers_to in LAWS
    bare = one.formula.replace("·", " ")
    if not name.startswith(("notes-", "mixed-")):  # which are as written, with numbers in place
        for symbol in one.constants:
            assert re.search(rf"(?<!\w){re.escape(symbol)}(?!\w)", bare), symbol


def test_all_sources_of_the_field_are_there():
    sources = " ".join(one.source for one in LAWS.values())
    for paper in ("2001.08361", "1812.06162", "2203.15556", "2404.10102", "2406.19146", "2406.12907"):
        assert paper in sources
    for paper in ("2305.16264", "2401.02954", "2503.04715", "2402.07871"):
        assert paper in sources
    assert sum(map(len, GROUPS.values())) == len(LAWS)


def test_wrong_inputs_are_rejected_all_at_once():
    with pytest.raises(ConfigError) as error:
        law("chinchilla")(N=-1, d=2e9)
    assert len(error.value.complaints) == 3
    assert "Did you mean 'D'?" in str(error.value)
    assert "D is missing: training tokens." in str(error.value)
    assert "above 0" in str(error.value)
    for bad in (math.nan, math.inf, 0, "many", None):
        with pytest.raises(ConfigError):
            law("chinchilla")(N=bad, D=1e9)
    with pytest.raises(ConfigError, match="no budget"):
        UNROUNDED.optimum(0)


def test_unknown_laws_are_told_at_once_with_the_nearest():
    with pytest.raises(ConfigError) as error:
        laws(["chinchila", "kaplan-critical-batch", "besirogu"])
    assert len(error.value.complaints) == 2
    assert "Did you mean 'chinchilla'?" in str(error.value)


def test_leaving_the_range_is_said_for_each_input_with_the_factor():
    assert law("chinchilla").outside(N=1e9, D=1e11) == []
    complaints = law("chinchilla").outside(N=[1e6, 1e9], D=5e12)
    assert len(complaints) == 2
    assert "factor of 70" in complaints[0]
    assert "factor of 10" in complaints[1]
    assert law("krajewski-experts").outside(N=1e30) == []  # of which nothing is known


def test_mixing_tables_is_rejected_with_the_tables_and_the_reason():
    with pytest.raises(ConfigError) as error:
        combine(law("kaplan-loss-of-compute"), law("kaplan-loss-of-least-compute"))
    assert "0.050 belongs with 3.1e8" in str(error.value)
    assert "2.29" in str(error.value)
    assert "Kaplan eq. 1.3" in str(error.value)
    with pytest.raises(ConfigError, match=r"5.8e8.*1.3e9"):
        combine(law("kaplan-loss-of-parameters-and-steps"), law("kaplan-optimal-parameters"))
    with pytest.raises(ConfigError, match="32 billion"):
        combine(law("chinchilla"), law("chinchilla-printed"))
    with pytest.raises(ConfigError, match="fitted separately"):
        combine(law("chinchilla"), law("kaplan-loss-of-tokens"))
    with pytest.raises(ConfigError) as error:
        combine(law("chinchilla"), law("besiroglu"), law("muennighoff"))
    assert len(error.value.complaints) == 3


def test_kaplans_allocation_takes_constants_of_one_table_only():
    right = allocation(law("kaplan-loss-of-parameters-and-steps"), law("kaplan-critical-batch"))
    assert right(C_min=1) == law("kaplan-theory-parameters")(C_min=1)
    with pytest.raises(ConfigError, match="Take both from one table"):
        allocation(law("kaplan-loss-of-parameters"), law("kaplan-critical-batch"))


def test_laws_of_one_table_are_combined():
    assert set(combine(law("deepseek-batch"))) == {"k", "a"}
    both = combine(law("kaplan-loss-of-parameters-and-steps"), law("kaplan-critical-batch"))
    assert set(both) == {"α_N", "α_S", "N_c", "S_c", "B_star", "α_B"}
    with pytest.raises(ConfigError, match="k is 0.3118"):  # one symbol, two meanings
        combine(law("deepseek-learning-rate"), law("deepseek-batch"))


def test_a_fit_makes_a_law_that_can_be_sent_to_another_process():
    fitted = ParametricLoss.of(E=1.7, A=400.0, B=410.0, alpha=0.34, beta=0.28, source="a fit of 240 points")
    again = pickle.loads(pickle.dumps(fitted))
    assert again(N=1e9, D=1e10) == fitted.loss(1e9, 1e10)
    assert again.explain() == fitted.explain()


@settings(deadline=None)
@given(exponent=st.floats(15, 26))
def test_the_optimum_spends_the_budget_and_no_neighbour_is_better(exponent):
    compute = 10**exponent
    best = UNROUNDED.optimum(compute)
    assert 6 * best.parameters * best.tokens == pytest.approx(compute)
    for factor in (0.9, 1.1):
        assert UNROUNDED.loss(best.parameters * factor, best.tokens / factor) > best.loss


def test_numbers_and_formulas_are_written_shortly():
    assert [number(value) for value in (6.4e13, 406.401018, 1.3e9, 0.073, 1e-8)] == [
        "6.4e13",
        "406.401018",
        "1.3e9",
        "0.073",
        "1e-8",
    ]
    assert in_numbers(law("kaplan-loss-of-parameters")) == "L(N) = (8.8e13/N)^0.076"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e18", 1e18),
        ("3 PF-days", 3 * PF_DAY),
        ("1 pf-day", PF_DAY),
        ("2.5 EFLOP", 2.5e18),
        ("1,000,000", 1e6),
        (7e9, 7e9),
    ],
)
def test_compute_is_read_with_its_unit(text, value):
    assert flops(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "many", "3 PF-dys", "-1e18", "0", "1e999", "1e18 1e18"])
def test_what_is_no_compute_is_rejected(text):
    with pytest.raises(ConfigError):
        flops(text)
