"""The corrections of the study notes' recipe, and of two mixtures: the wrong side and the right side of each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from glassformer.scaling.laws.kaplan import OF_PARAMETERS_AND_STEPS, OPTIMAL_PARAMETERS
from glassformer.scaling.laws.known import LAWS, law
from glassformer.scaling.laws.notes import CORRECTIONS, HEAD_WIDTH
from glassformer.scaling.laws.units import PF_DAY


def correction(number):
    return next(each for each in CORRECTIONS if each.number == number)


def test_each_has_a_law_for_the_wrong_side_that_leads_to_the_right_one():
    assert [each.number for each in CORRECTIONS] == list(range(1, 10))
    for each in CORRECTIONS:
        assert LAWS[each.wrong.name] is each.wrong
        assert each.wrong.refers_to in LAWS
        assert each.right.name.startswith(each.wrong.refers_to)
        assert each.wrong.formula in str(each)


def test_1_the_sign_of_the_critical_batchs_exponent():
    assert correction(1).wrong_value == pytest.approx(4.1e10, rel=0.01)
    assert correction(1).right_value == pytest.approx(1.1e6, rel=0.03)
    losses = np.array([4.0, 3.0, 2.0])
    assert (np.diff(law("notes-critical-batch")(L=losses)) < 0).all()  # shrinks as the loss falls
    assert (np.diff(law("kaplan-critical-batch")(L=losses)) > 0).all()  # grows


def test_2_the_printed_tokens_are_twice_what_the_papers_own_numbers_give():
    assert correction(2).wrong_value == 4e10
    assert correction(2).right_value == 2e10
    derived = 2 * OPTIMAL_PARAMETERS.optimum(PF_DAY).tokens  # 2·C_min/(6·N): at the critical batch
    assert derived == pytest.approx(2.2e10, rel=0.01)
    assert correction(2).wrong_value / derived == pytest.approx(1.8, abs=0.05)
    assert correction(2).right_value / derived == pytest.approx(0.9, abs=0.05)


def test_3_at_the_critical_batch_twice_as_many_steps_are_run():
    assert correction(3).right_value == 2 * correction(3).wrong_value
    steps, critical = correction(3).right_value, 2e6
    assert law("kaplan-least-steps")(S=steps, B=critical, B_crit=critical) == correction(3).wrong_value


def test_4_flops_put_into_a_law_of_pf_days():
    assert int(correction(4).wrong_value) == 20_824
    assert int(correction(4).right_value) == 5_253
    for compute in (1e15, 1e19, 1e23):  # in PF-days the notes' formula is right
        assert law("least-steps-of-flops")(C=compute) == pytest.approx(
            law("kaplan-optimal-steps")(C_min=compute / PF_DAY)
        )
        assert law("notes-steps-of-flops")(C=compute / PF_DAY) == pytest.approx(law("least-steps-of-flops")(C=compute))


def test_5_the_width_formula_leaves_one_layer():
    wrong, right = law("notes-width"), law("width-at-aspect-ratio")
    assert wrong(N=1.3e9) == 10_408
    assert int(wrong(N=1.3e9)) // HEAD_WIDTH == 162
    assert 10_408 % 162  # so it has no such heads
    for n in (1e6, 1.3e9, 1e12):
        assert n / (12 * wrong(N=n) ** 2) == pytest.approx(1, rel=0.01)  # layers, for every budget
        width = right(N=n, r=64)
        assert 12 * (width / 64) * width**2 == pytest.approx(n)  # N = 12 · n_layers · d²
    assert right(N=1.3e9, r=64) / 64 == pytest.approx(29.8, abs=0.05)  # layers


def test_6_the_optimum_stops_a_tenth_above_the_converged_loss():
    constants = {symbol: each.value for symbol, each in OF_PARAMETERS_AND_STEPS.constants.items()}
    converged = (constants["N_c"] / 1.3e9) ** constants["α_N"]
    assert correction(6).right_value / converged == pytest.approx(1.10, abs=0.005)
    assert correction(6).wrong_value == law("kaplan-loss-of-parameters")(N=1.3e9)
    assert 1.05 < correction(6).right_value / correction(6).wrong_value < 1.15


def test_7_the_exponent_073_is_superseded():
    each = correction(7)
    assert each.wrong_value / each.right_value == pytest.approx(20, rel=0.05)  # at Gopher's budget
    assert each.right_value == pytest.approx(40.4e9, rel=0.001)
    for exponents, formula in ((0.73, each.wrong), (law("chinchilla").a, each.right)):
        slope = math.log10(formula(C=1e22) / formula(C=1e21))
        assert slope == pytest.approx(exponents)


def test_8_an_exponent_with_another_laws_scale():
    assert correction(8).wrong_value == pytest.approx(2.29, abs=0.005)
    assert correction(8).right_value == pytest.approx(2.66, abs=0.005)


def test_9_tables_3_and_6_do_not_agree():
    assert correction(9).wrong_value == 1.3e9
    assert correction(9).right_value == pytest.approx(5.8e8, rel=0.01)


def test_each_says_at_what_it_was_compared():
    assert "At L = 3: 4.0964e+10 instead of 1.1226e+06 tokens." in str(correction(1))
    assert "20825 instead of 5253.9 steps." in str(correction(4))
    assert "10408 instead of" in str(correction(5))
    assert "N = 1.3e+09, r = 64" in str(correction(5))


def test_only_the_notes_mistakes_are_attributed_to_them():
    for each in CORRECTIONS:
        by_notes = each.stands_in == "notes"
        assert by_notes == (each.number <= 7)
        assert by_notes == each.wrong.name.startswith("notes-")
        assert by_notes == ("notes" in each.wrong.source)
        assert by_notes == ("Not in the notes" not in str(each))
