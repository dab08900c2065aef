"""Each schedule against its formula, and that it advances once per update."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.tasks.training_config import ScheduleConfig
from glassformer.training.schedules import factor, noam

STEPS = 1_000


def factors(total=STEPS, d_model=64, **settings):
    config = ScheduleConfig(**settings)
    return [factor(config, step, step / total, d_model) for step in range(total)]


@given(st.integers(1, 100_000), st.integers(1, 4096), st.integers(1, 10_000))
def test_noam_is_equation_3_of_the_paper(step, d_model, warmup):
    expected = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
    config = ScheduleConfig(kind="noam", warmup_steps=warmup)
    assert noam(step, d_model, warmup) == expected
    assert factor(config, step - 1, 0.5, d_model) == expected, "the first update is the paper's step 1"


def test_noam_peaks_at_the_end_of_its_warm_up_at_the_paper_s_value():
    found = factors(10_000, d_model=512, kind="noam", warmup_steps=4000)
    assert max(found) == found[3999] == pytest.approx(6.9877e-4, rel=1e-4)  # (512 · 4000)^−0.5


@pytest.mark.parametrize("kind", ["constant", "cosine", "wsd"])
def test_warm_up_is_linear_and_never_zero(kind):
    found = factors(kind=kind, warmup_steps=100)
    steps = [b - a for a, b in zip(found[:99], found[1:100], strict=True)]
    assert found[0] > 0
    assert all(step == pytest.approx(steps[0]) for step in steps)
    assert found[99] < 1.0
    assert found[100] == pytest.approx(1.0, abs=0.03)
    assert factors(kind=kind, warmup_steps=0)[0] == 1.0


def test_constant_stays():
    assert set(factors(kind="constant", warmup_steps=10)[10:]) == {1.0}


def test_cosine_begins_at_the_peak_where_the_warm_up_ends():
    config = ScheduleConfig(kind="cosine", warmup_steps=50, final_fraction=0.1)
    found = [factor(config, step, step / 100, 64) for step in range(101)]
    assert found[50] == 1.0
    assert found[75] == pytest.approx(0.55)  # half-way down
    assert found[100] == pytest.approx(0.1)
    assert max(abs(after - before) for before, after in zip(found, found[1:], strict=False)) < 0.04  # no jump


def test_cosine_falls_from_the_peak_to_its_end_value():
    found = factors(kind="cosine", warmup_steps=0, final_fraction=0.1)
    assert found == pytest.approx([0.1 + 0.45 * (1 + math.cos(math.pi * step / STEPS)) for step in range(STEPS)])
    assert found == sorted(found, reverse=True)
    assert factor(ScheduleConfig(final_fraction=0.1), STEPS, 1.0, 64) == pytest.approx(0.1)
    assert found[STEPS // 2] == pytest.approx(0.55)


def test_wsd_warms_up_stays_and_falls_on_a_line():
    settings = {"kind": "wsd", "warmup_steps": 50, "final_fraction": 0.0, "decay_fraction": 0.25}
    found = factors(**settings)
    assert set(found[50:750]) == {1.0}
    assert found[750:] == pytest.approx([1 - (step / STEPS - 0.75) / 0.25 for step in range(750, STEPS)])
    assert factor(ScheduleConfig(**settings), STEPS, 1.0, 64) == pytest.approx(0.0)


def test_wsd_without_a_decay_stays_to_its_end():
    assert set(factors(kind="wsd", warmup_steps=0, decay_fraction=0.0)) == {1.0}


@given(
    st.sampled_from(["constant", "cosine", "noam", "wsd"]),
    st.integers(1, 200),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(0, 5_000),
    st.floats(0, 1),
)
def test_no_schedule_leaves_its_range(kind, warmup, final, decay, step, progress):
    config = ScheduleConfig(kind=kind, warmup_steps=warmup, final_fraction=final, decay_fraction=decay)
    assert 0.0 <= factor(config, step, progress, 64) <= 1.0 + 1e-12


@pytest.mark.parametrize("micro", [1, 4])
@pytest.mark.parametrize("kind", ["constant", "cosine", "noam", "wsd"])
def test_the_schedule_advances_once_per_update_whatever_the_micro_batches(runs, configure, kind, micro):
    trainer = runs.train(
        configure(
            {
                "training.schedule.kind": kind,
                "training.micro_batch_size": micro,
                "training.telemetry.log_every": 1,
                "training.max_steps": 6,
            }
        )
    )
    config = trainer.config.training
    found = [record["learning_rate"] for record in trainer.run.metrics() if record["kind"] == "train"]
    peak = config.optimizer.learning_rate
    assert found == [peak * factor(config.schedule, step, step / 6, 16) for step in range(6)]


def test_a_time_budget_moves_the_schedule_by_its_time(runs, configure):
    trainer = runs.start(configure({"training.max_seconds": 10.0, "training.schedule.warmup_steps": 0}))
    trainer.progress.seconds = 5.0
    assert trainer._schedule() == pytest.approx(0.55)
    trainer.progress.seconds = 11.0
    assert trainer._schedule() == pytest.approx(0.1)
