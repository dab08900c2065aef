"""What the papers print, reproduced by the laws."""

from __future__ import annotations

import numpy as np
import pytest

from glassformer.scaling.laws.chinchilla import frontier_of
from glassformer.scaling.laws.known import law
from glassformer.scaling.laws.reconciling import PORIAN_CHAIN
from glassformer.scaling.laws.units import PF_DAY

GOPHER = 5.76e23

APPROACH_1 = np.array(
    [  # parameters, FLOPs, tokens: Hoffmann et al. 2022, table 3
        (400e6, 1.92e19, 8.0e9),
        (1e9, 1.21e20, 20.2e9),
        (10e9, 1.23e22, 205.1e9),
        (67e9, 5.76e23, 1.5e12),
        (175e9, 3.85e24, 3.7e12),
        (280e9, 9.90e24, 5.9e12),
        (520e9, 3.43e25, 11.0e12),
        (1e12, 1.27e26, 21.2e12),
        (10e12, 1.30e28, 216.2e12),
    ]
)


def test_the_rounding_trap_at_gophers_budget():
    assert law("chinchilla-printed").optimum(GOPHER).parameters == pytest.approx(32e9, rel=0.01)
    assert law("chinchilla").optimum(GOPHER).parameters == pytest.approx(40.4e9, rel=0.001)


def test_rounding_the_unrounded_constants_gives_the_printed_ones():
    for symbol, constant in law("chinchilla").constants.items():
        printed = law("chinchilla-printed").constants[symbol].value
        assert constant.printed is not None
        assert float(constant.printed) == printed
        assert constant.value == pytest.approx(printed, abs=0.05 if printed > 2 else 0.005)


def test_chinchillas_table_3_is_6_n_d_and_its_exponents_are_a_half():
    n, c, d = APPROACH_1.T
    np.testing.assert_allclose(6 * n * d, c, rtol=0.05)  # N and D are printed with one to four digits
    assert np.polyfit(np.log(c), np.log(n), 1)[0] == pytest.approx(0.50, abs=0.005)
    assert np.polyfit(np.log(c), np.log(d), 1)[0] == pytest.approx(0.50, abs=0.005)


def test_chinchillas_third_approach_gives_a_smaller_model_than_its_first():
    n, c, _ = APPROACH_1.T
    third = np.array([law("chinchilla").optimum(compute).parameters for compute in c])
    assert (third[3:] < n[3:]).all()
    assert law("chinchilla").a == pytest.approx(0.4565, abs=5e-5)
    assert law("chinchilla").b == pytest.approx(0.54, abs=0.005)  # printed: a 0.46, b 0.54


def test_the_refits_have_the_exponents_of_their_papers():
    assert law("besiroglu").a == pytest.approx(0.513, abs=0.001)
    errors = {symbol: constant.error for symbol, constant in law("besiroglu").constants.items()}
    assert errors == {"E": 0.026, "A": 124.5, "B": 1293, "α": 0.0154, "β": 0.0206}
    for symbol, constant in law("epoch-240").constants.items():
        published = law("besiroglu").constants[symbol]
        assert abs(constant.value - published.value) < 0.1 * published.error, symbol


def test_a_frontier_of_a_parametric_loss_is_its_optimum():
    one = law("besiroglu")
    for compute in (1e18, 1e21, GOPHER):
        assert frontier_of(one)(C=compute) == pytest.approx(one.optimum(compute).parameters)


def test_kaplans_laws_at_round_numbers():
    assert law("kaplan-loss-of-parameters")(N=8.8e13) == 1
    assert law("kaplan-loss-of-tokens")(D=5.4e13) == 1
    assert law("kaplan-loss-of-compute")(C=1.6e7) == 1
    assert law("kaplan-loss-of-least-compute")(C_min=3.1e8) == 1
    assert law("kaplan-loss-of-least-compute")(C_min=1) == pytest.approx(2.66, abs=0.005)
    assert law("kaplan-critical-batch")(L=1) == 2.1e8
    joint = law("kaplan-loss-of-parameters-and-tokens")
    assert joint(N=1e9, D=1e30) == pytest.approx((6.4e13 / 1e9) ** 0.076)
    assert joint(N=1e30, D=1e10) == pytest.approx((1.8e13 / 1e10) ** 0.103)
    assert law("kaplan-loss-of-parameters-and-steps")(N=6.5e13, S_min=2.1e3) == 2


def test_kaplans_table_6_at_1_pf_day_and_its_exponents():
    for name, value, exponent in (
        ("parameters", 1.3e9, 0.73),
        ("batch", 2.0e6, 0.24),
        ("steps", 5.4e3, 0.03),
        ("tokens", 2e10, 0.27),
    ):
        one = law(f"kaplan-optimal-{name}")
        assert one(C_min=1) == value
        assert np.log10(one(C_min=10) / one(C_min=1)) == pytest.approx(exponent)


def test_kaplans_table_6_agrees_with_itself_to_its_digits():
    batch, steps, tokens = (law(f"kaplan-optimal-{name}") for name in ("batch", "steps", "tokens"))
    assert 2 * batch(C_min=1) * steps(C_min=1) == pytest.approx(tokens(C_min=1), rel=0.1)
    assert law("kaplan-optimal-parameters").a + tokens.constants["a"].value == pytest.approx(1)
    least = law("kaplan-optimal-parameters").optimum(PF_DAY)
    assert 2 * least.tokens == pytest.approx(2.2e10, rel=0.01)


def test_kaplans_own_theory_gives_fewer_parameters_than_its_table_6():
    assert law("kaplan-theory-parameters")(C_min=1) == pytest.approx(5.8e8, rel=0.01)
    n = law("kaplan-theory-parameters")(C_min=1)
    loss, batch = law("kaplan-loss-of-parameters-and-steps"), law("kaplan-critical-batch")
    stopped = (1 + 0.077 / 0.76) * (6.5e13 / n) ** 0.077
    steps = PF_DAY / (6 * n * batch(L=stopped))  # C_min = 6·N·B_crit·S_min
    assert loss(N=n, S_min=steps) == pytest.approx(stopped)  # the theory's optimum lies on the law itself
    for factor in (0.8, 1.25):  # and its neighbours at the same compute are worse
        other, reached = n * factor, stopped
        for _ in range(50):
            reached = loss(N=other, S_min=PF_DAY / (6 * other * batch(L=reached)))
        assert reached > stopped


def test_at_the_critical_batch_steps_and_compute_are_twice_the_least():
    assert law("kaplan-least-steps")(S=1000, B=5e5, B_crit=5e5) == 500
    assert law("kaplan-least-compute")(C=3, B=5e5, B_crit=5e5) == 1.5
    assert law("mccandlish-steps")(S_min=500, B=5e5, B_crit=5e5) == 1000
    assert law("mccandlish-examples")(E_min=1e9, B=5e5, B_crit=5e5) == 2e9
    assert law("mccandlish-learning-rate")(lr_max=1, B=64, B_noise=64) == 0.5


def test_steps_and_examples_lie_on_mccandlishs_hyperbola():
    batch, critical, least = np.geomspace(1e3, 1e8, 7), 2e5, 1e4
    steps = law("mccandlish-steps")(S_min=least, B=batch, B_crit=critical)
    examples = law("mccandlish-examples")(E_min=least * critical, B=batch, B_crit=critical)
    np.testing.assert_allclose(steps * batch, examples)
    np.testing.assert_allclose((steps / least - 1) * (examples / (least * critical) - 1), 1)


def test_porians_chain_falls_from_kaplans_exponent_to_chinchillas():
    assert [round(step.a, 3) for step in PORIAN_CHAIN] == [0.835, 0.706, 0.602, 0.571, 0.497]
    assert [step.constants["a"].printed for step in PORIAN_CHAIN] == ["0.835", "0.706", "0.602", "0.571", "0.497"]
    sizes = [step.optimum(GOPHER).parameters for step in PORIAN_CHAIN]
    assert sizes == sorted(sizes, reverse=True)


def test_pearce_and_songs_exponent_is_the_slope_of_their_frontier():
    n = np.geomspace(1e3, 1e12, 40)
    compute = law("pearce-song-compute")
    slope = 2e-6 / np.log(compute(N=n * np.exp(1e-6)) / compute(N=n * np.exp(-1e-6)))
    np.testing.assert_allclose(law("pearce-song-exponent")(N=n), slope, rtol=1e-6)
    assert law("pearce-song-exponent")(N=1) == pytest.approx(0.3658 / (0.3478 / 3 + 0.3658), abs=0.001)
    assert law("pearce-song-exponent")(N=1e16) == pytest.approx(law("besiroglu").a, abs=0.001)


def test_pearce_and_songs_frontier_is_the_least_loss_at_its_compute():
    n = 1e8
    compute, total = law("pearce-song-compute")(N=n), law("pearce-song-total-parameters")
    losses = [law("besiroglu").loss(total(N=m), compute / (6 * m)) for m in (0.97 * n, n, 1.03 * n)]
    assert losses[1] == min(losses)


def test_counting_without_embeddings_at_kaplans_sizes_looks_like_kaplans_exponent():
    n = np.geomspace(768, 1.5e9, 200)
    compute = law("pearce-song-compute")(N=n)
    slope = np.polyfit(np.log(compute), np.log(n), 1)[0]
    assert 0.70 < slope < 0.85  # though the law of all parameters has 0.513


def test_repeated_data_gives_the_losses_of_the_authors_example():
    loss = law("muennighoff")
    assert loss(N=6.34e9, D=242e9, U=25e9) == pytest.approx(2.2256440889984477, rel=1e-12)
    assert loss(N=8.67e9, D=178e9, U=25e9) == pytest.approx(2.2269634075087867, rel=1e-12)


def test_repeated_tokens_are_worth_less_and_less():
    effective = law("muennighoff-effective-tokens")
    assert effective(D=1e9, U=1e9) == 1e9  # one epoch: all of it
    assert effective(D=1e9, U=5e9) == 1e9  # more unique tokens than are trained on change nothing
    assert effective(D=4e9, U=1e9) == pytest.approx(3.73e9, rel=0.002)  # four epochs cost little
    assert effective(D=1e12, U=1e9) == pytest.approx((1 + 15.387756) * 1e9)  # and there is an end
    loss = law("muennighoff")
    fresh = {symbol: loss.constants[symbol].value for symbol in "EABαβ"}
    n = 1e7  # fewer than the tokens need: no excess
    expected = fresh["E"] + fresh["A"] / n ** fresh["α"] + fresh["B"] / 1e10 ** fresh["β"]
    assert loss(N=n, D=1e10, U=1e10) == pytest.approx(expected)


def test_hyperparameters_at_known_points():
    assert law("deepseek-learning-rate")(C=1) == 0.3118
    assert law("deepseek-batch")(C=1) == 0.2920
    assert law("step-law-learning-rate")(N=1e9, D=1e11) == pytest.approx(1.79 * 1e9**-0.713 * 1e11**0.307)
    assert law("step-law-batch")(D=1e11) == pytest.approx(0.58 * 1e11**0.571)


def test_finer_experts_help_and_the_gain_runs_out():
    loss = law("krajewski-experts")
    at = [loss(N=1e9, D=1e10, G=g) for g in (1, 2, 4, 8, 16)]
    gains = -np.diff(at)
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()
    assert loss(N=1e9, D=1e10, G=1) == pytest.approx(0.47 + (2.1 + 18.1) / 1e9**0.115 + 30.8 / 1e10**0.147)
