"""The forecast of a final loss: calibrated on curves that are known, pure, silent where there is nothing to say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.tasks.training_config import ScheduleConfig
from glassformer.training.extrapolation import Extrapolation
from glassformer.training.schedules import factor, rates

SCHEDULES = {
    "cosine": ScheduleConfig(),
    "wsd": ScheduleConfig(kind="wsd", final_fraction=0.0),
    "constant": ScheduleConfig(kind="constant"),
    "inverse-sqrt": ScheduleConfig(kind="inverse-sqrt"),
}
STEPS = 1_000


def learning(schedule, seed, *, steps=STEPS, until=1.0, final_only=False):
    """Records of a run that follows L₀ + A·S₁^(−α) − C·S₂ with noise, its constants drawn by the seed."""
    draw = np.random.default_rng(seed)
    floor, scale, alpha = draw.uniform(1, 2.5), draw.uniform(1, 3), draw.uniform(0.3, 0.7)
    won, gap = draw.uniform(0.05, 0.2), draw.uniform(0, 0.1)
    area, fallen = rates(schedule, steps, 64)(np.arange(1, steps + 1, dtype=float))
    curve = floor + scale * (area / 20 + 1) ** -alpha - won * fallen
    noisy = curve + 0.03 * draw.standard_normal(steps)
    yield {"kind": "validation", "step": 0, "loss": 4.2}
    for step in range(10, int(until * steps) + 1, 10):
        yield {"kind": "train", "step": step, "loss": float(noisy[step - 10 : step].mean())}
        if step % 50 == 0:
            loss = curve[step - 1] + gap + 0.004 * draw.standard_normal()
            yield {"kind": "validation", "step": step, "loss": float(loss)}


def heard(records, schedule, steps=STEPS):
    extrapolation = Extrapolation(rates(schedule, steps, 64))
    return [forecast for record in records if (forecast := extrapolation.observe(record))], extrapolation


@pytest.mark.parametrize("kind", SCHEDULES)
def test_intervals_hold_the_final_loss_of_curves_of_the_known_form(kind):
    schedule, held, gains = SCHEDULES[kind], [], []
    for seed in range(20):
        records = list(learning(schedule, seed))
        final = records[-1]["loss"]
        for cut in (0.3, 0.6):
            known = [record for record in records if record["step"] <= cut * STEPS]
            forecast = heard(known, schedule)[0][-1]
            held.append(forecast.low <= final <= forecast.high)
            gains.append(abs(known[-1]["loss"] - final) - abs(forecast.loss - final))
            assert forecast.low < forecast.loss < forecast.high
            assert (forecast.step, forecast.final_step) == (cut * STEPS, STEPS)
    assert np.mean(held) >= 0.9
    assert np.median(gains) > 0, "nearer than the current loss"


def test_an_interval_narrows_as_the_end_comes_near():
    forecasts, _ = heard(learning(SCHEDULES["cosine"], 3), SCHEDULES["cosine"])
    width = [forecast.high - forecast.low for forecast in forecasts]
    assert len(width) >= 10
    assert width[-1] < width[len(width) // 2] < width[0]


def test_the_schedule_is_known_a_decay_to_come_lowers_the_forecast():
    """Two runs with equal records up to the half: the one that will decay is expected to end lower."""
    records = list(learning(SCHEDULES["constant"], 1, until=0.5))
    decaying = heard(records, SCHEDULES["wsd"])[0][-1]
    constant = heard(records, SCHEDULES["constant"])[0][-1]
    assert decaying.loss < constant.loss - 0.02


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.floats(0.2, 0.9), st.sampled_from(list(SCHEDULES)))
def test_a_forecast_is_a_pure_function_of_the_records_before_it(seed, until, kind):
    records = list(learning(SCHEDULES[kind], seed, steps=400))
    whole, _ = heard(records, SCHEDULES[kind], 400)
    cut = [record for record in records if record["step"] <= until * 400]
    again, _ = heard(
        [*({"kind": "gradients", "step": 1, "parameters": {}}, {"event": "start"}), *cut], SCHEDULES[kind], 400
    )
    assert again == [forecast for forecast in whole if forecast.step <= until * 400]
    assert [forecast.to_record() for forecast in again] == [
        record for forecast in again for record in [forecast.to_record()] if all(map(_finite, record.values()))
    ]


def _finite(value):
    return isinstance(value, str) or math.isfinite(value)


def test_earlier_forecasts_that_were_wrong_widen_the_interval():
    """The loss falls off a ledge that nothing foretold: what is said after it is less sure of itself."""
    schedule = SCHEDULES["constant"]
    smooth = list(learning(schedule, 5))
    ledge = [record | {"loss": record["loss"] - 0.6 * (record["step"] > 500)} for record in smooth]
    (calm, _), (shaken, _) = heard(smooth, schedule), heard(ledge, schedule)
    at = {forecast.step: forecast for forecast in shaken}
    for forecast in calm:
        if forecast.step > 600:
            assert at[forecast.step].widened > 1.5
            assert forecast.widened < 1.3
            assert at[forecast.step].checked == forecast.checked >= 5


# ------------------------------------------------------------------------------------------------ silence


def test_a_run_that_ends_with_its_time_is_not_forecast():
    extrapolation = Extrapolation(None)
    assert all(extrapolation.observe(record) is None for record in learning(SCHEDULES["cosine"], 0))
    assert "moment in time" in extrapolation.silence


def test_nothing_is_said_before_there_is_enough_nor_at_the_end():
    forecasts, extrapolation = heard(learning(SCHEDULES["cosine"], 0, until=0.1), SCHEDULES["cosine"])
    assert (forecasts, extrapolation.silence) == ([], "too little of the run is done")
    forecasts, extrapolation = heard(learning(SCHEDULES["cosine"], 0), SCHEDULES["cosine"])
    assert min(forecast.step for forecast in forecasts) >= 0.15 * STEPS
    assert max(forecast.step for forecast in forecasts) < STEPS
    assert extrapolation.silence == "the run has ended"


def test_nothing_is_said_while_the_loss_rises_or_once_it_is_not_finite():
    schedule = SCHEDULES["constant"]
    rising = [
        record | {"loss": record["loss"] * (1 + max(0, record["step"] - 400) / 400)}
        for record in learning(schedule, 2, until=0.8)
    ]
    forecasts, extrapolation = heard(rising, schedule)
    assert max(forecast.step for forecast in forecasts) <= 500
    assert extrapolation.silence == "the loss rises"
    burst = [record | ({"loss": math.nan} if record["step"] == 400 else {}) for record in learning(schedule, 2)]
    forecasts, extrapolation = heard(burst, schedule)
    assert max(forecast.step for forecast in forecasts) < 400
    assert extrapolation.silence == "a loss was not finite"


def test_a_loss_that_falls_to_nothing_is_never_expected_below_zero():
    falling = [
        {"kind": kind, "step": step, "loss": 4 * math.exp(-step / 60)}
        for step in range(0, 1000, 25)
        for kind in (("train", "validation") if step else ("validation",))
    ]
    forecasts, _ = heard(falling, SCHEDULES["cosine"])
    assert all(0 <= forecast.low <= forecast.loss <= forecast.high < 0.5 for forecast in forecasts[5:])


# ------------------------------------------------------------------------------------------------ the schedule


@pytest.mark.parametrize("kind", [*SCHEDULES, "noam"])
@pytest.mark.parametrize("total", [1, 7, 300, 20_000])
def test_the_area_is_the_sum_of_the_rates(kind, total):
    schedule = SCHEDULES.get(kind, ScheduleConfig(kind="noam"))
    each = np.array([factor(schedule, step, step / total, 64) for step in range(total)])
    each /= each.max()
    area, fallen = rates(schedule, total, 64)(np.arange(1.0, total + 1))
    if total <= 300:  # between knots it is a trapezium's
        each_sum = each[0] + np.concatenate([[0.0], np.cumsum((each[1:] + each[:-1]) / 2)])
        np.testing.assert_allclose(area, each_sum, rtol=1e-9)
    np.testing.assert_allclose(area[len(area) // 4 :], np.cumsum(each)[len(area) // 4 :], rtol=0.02, atol=0.5)
    np.testing.assert_allclose(fallen[each.argmax() :], 1 - each[each.argmax() :], atol=0.01)
    assert np.all(fallen[: each.argmax()] < 0.01)


# ------------------------------------------------------------------------------------------------ in the trainer

LONGER = {
    "training.max_steps": 40,
    "training.telemetry.log_every": 2,
    "training.telemetry.validate_every": 3,
    "training.telemetry.gradients_every": "none",
}


def forecasts_of(trainer):
    return [record for record in trainer.run.metrics() if record["kind"] == "extrapolation"]


def test_a_training_records_its_forecasts_and_observers_hear_them(runs, configure):
    seen = []
    trainer = runs.train(configure(LONGER), seen.append)
    found = forecasts_of(trainer)
    assert len(found) >= 5
    assert found == [record for record in seen if record.get("kind") == "extrapolation"]
    assert all(record["final_step"] == 40 and record["low"] < record["loss"] < record["high"] for record in found)
    again = Extrapolation(rates(trainer.config.training.schedule, 40, trainer.config.model.d_model))
    records = [record for record in trainer.run.metrics() if record["kind"] in ("train", "validation")]
    assert [forecast.to_record() for record in records if (forecast := again.observe(record))] == found


@pytest.mark.parametrize("step", [10, 21, 33])
def test_a_resumed_run_forecasts_what_an_uninterrupted_one_does(runs, configure, resume, assert_same_end, step):
    config = configure(LONGER)
    stopped = runs.train_until(config, step)
    resumed, _ = resume(stopped.run)
    whole = runs.train(config)
    assert_same_end(resumed, whole)
    assert len(forecasts_of(whole)) >= 5


def test_forecasting_changes_no_weight_and_can_be_left_out(runs, configure):
    on = runs.train(configure(LONGER))
    off = runs.train(configure(LONGER | {"training.telemetry.extrapolate": False}))
    assert forecasts_of(off) == []
    assert all(torch.equal(on.model.named_weights()[name], w) for name, w in off.model.named_weights().items())


def test_a_run_with_a_time_budget_is_trained_without_a_forecast(runs, configure):
    trainer = runs.train(configure(LONGER | {"training.max_seconds": 600}))
    assert forecasts_of(trainer) == []
