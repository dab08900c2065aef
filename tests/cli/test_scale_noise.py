"""``glassformer scale noise``: a trained run's measured critical batch, or how to measure it."""

from __future__ import annotations

import re


def test_a_run_that_measured_its_noise_shows_it_beside_kaplan_s_formula(say, place, small):
    measuring = ("--set", "training.telemetry.noise_scale_every=2")
    trained = say("train", "nanogpt-shakespeare-cpu", "--data", "words.txt", "--steps", 30, *small, *measuring)
    assert trained.status == 0, trained.err
    said = say("scale", "noise", "latest")
    assert (said.status, said.err) == (0, "")
    assert "gradient noise scale of nanogpt-shakespeare-cpu" in said.out
    assert "Kaplan" in said.out
    assert re.search(r"2 – 30 +\d\.\d{3} ", said.out), said.out
    assert "At the end" in said.out


def test_a_run_without_measurements_is_refused_with_what_to_do(say, run):
    said = say("scale", "noise", run)
    assert said.status == 2
    assert "no measurement of the gradient noise scale" in said.err
    assert "--set training.telemetry.noise_scale_every=10" in said.err
