"""The loss chart says what was logged, and what the data allows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.charts import loss_chart
from glassformer.charts.loss import RAW_POINTS, smoothed
from glassformer.charts.theme import THEMES
from glassformer.errors import ConfigError, RunError


def records(steps=100, start=4.0, validate_every=25):
    train = [{"kind": "train", "step": s, "loss": start / s, "lr": 1e-3} for s in range(1, steps + 1)]
    validation = [
        {"kind": "validation", "step": s, "loss": start / s + 0.1}
        for s in range(validate_every, steps + 1, validate_every)
    ]
    return train + validation


def rows(spec, kind):
    """The data that says it is of this kind, wherever in the specification it lies."""
    return [row for data in spec["datasets"].values() for row in data if row.get("kind") == kind]


def references(spec):
    rules = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rule"]
    return {row["label"][0]: row["loss"] for rule in rules for row in spec["datasets"][rule["data"]["name"]]}


def test_every_logged_loss_is_drawn_where_it_was_logged():
    spec = loss_chart({"a": records()}).to_dict()
    assert [(row["step"], row["loss"]) for row in rows(spec, "training")] == [
        (step, round(4.0 / step, 5)) for step in range(1, 101)
    ]
    assert [row["step"] for row in rows(spec, "validation")] == [25, 50, 75, 100]
    assert len(rows(spec, "training, smoothed")) == 100


def test_entropies_stand_as_labelled_reference_lines():
    spec = loss_chart({"a": records()}, entropies={"unigram entropy": 3.3128, "bigram entropy": 2.4519}).to_dict()
    assert references(spec) == {"unigram entropy": 3.3128, "bigram entropy": 2.4519}
    assert references(loss_chart({"a": records()}).to_dict()) == {}


def test_a_single_run_is_coloured_by_kind_and_several_by_run():
    def domain(spec):
        return next(
            layer["encoding"]["color"]["scale"]["domain"] for layer in spec["layer"] if "color" in layer["encoding"]
        )

    assert domain(loss_chart({"a": records()}).to_dict()) == ["training", "validation"]
    assert domain(loss_chart({"a": records(validate_every=1000)}).to_dict()) == ["training"]
    assert domain(loss_chart({"a": records(), "b": records()}).to_dict()) == ["a", "b"]


def test_no_two_of_twenty_runs_look_alike():
    spec = loss_chart({f"seed {seed}": records() for seed in range(20)}).to_dict()
    smooth = next(layer for layer in spec["layer"] if "strokeDash" in layer["encoding"])
    colours, dashes = (smooth["encoding"][name]["scale"]["range"] for name in ("color", "strokeDash"))
    assert len({(colour, tuple(dash)) for colour, dash in zip(colours, dashes, strict=True)}) == 20


def test_axes_carry_their_units():
    encoding = loss_chart({"a": records()}).to_dict()["layer"][0]["encoding"]
    assert (encoding["x"]["title"], encoding["y"]["title"]) == ("optimizer step", "loss (nats/token)")


def test_a_long_run_is_thinned_to_what_can_be_seen_with_both_its_ends():
    shown = rows(loss_chart({"a": records(steps=20_000)}).to_dict(), "training")
    assert len(shown) == RAW_POINTS
    assert (shown[0]["step"], shown[-1]["step"]) == (1, 20_000)


def test_a_loss_that_is_not_finite_is_left_out():
    logged = [
        *records(steps=3),
        {"kind": "train", "step": 4, "loss": math.nan},
        {"kind": "train", "step": 5, "loss": None},
    ]
    assert [row["step"] for row in rows(loss_chart({"a": logged}).to_dict(), "training")] == [1, 2, 3]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=400))
def test_smoothing_stays_within_what_was_measured_and_keeps_the_first_value(values):
    result = smoothed(np.array(values))
    assert result.shape == (len(values),)
    assert result[0] == pytest.approx(values[0])
    assert result.min() >= min(values) - 1e-9
    assert result.max() <= max(values) + 1e-9


def test_smoothing_leaves_a_straight_fall_where_it_was_until_the_last_half_window():
    line = np.linspace(4.0, 2.0, 1000)
    assert np.allclose(smoothed(line)[:990], line[:990])


def test_runs_without_losses_are_all_named():
    with pytest.raises(RunError, match=r"No loss has been logged yet in b, c\."):
        loss_chart({"a": records(), "b": [], "c": [{"event": "checkpoint", "step": 1}]})
    with pytest.raises(RunError, match="at least one run"):
        loss_chart({})


def test_an_unknown_theme_suggests_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'dark'"):
        loss_chart({"a": records()}, theme="drak")


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_and_lines_stand_out_from_the_background(theme):
    """Contrast as WCAG 2.2 defines it: 4.5 for text; lines 1.5 at least, in whatever colour vision."""

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(colour):
        low, high = sorted((luminance(colour), luminance(theme.background)))
        return (high + 0.05) / (low + 0.05)

    assert contrast(theme.text) >= 4.5
    assert contrast(theme.muted) >= 4.5
    assert all(contrast(colour) >= 1.5 for colour in theme.palette)
    assert len(set(theme.palette)) == len(theme.palette)


def test_the_band_of_a_single_run_is_the_interval_of_each_forecast():
    forecasts = [
        {"kind": "extrapolation", "step": step, "loss": 1.0, "low": 1 - 9 / step, "high": 1 + 9 / step}
        for step in (25, 50, 75)
    ]

    def bands(**runs):
        spec = loss_chart(runs).to_dict()
        return [spec["datasets"][layer["data"]["name"]] for layer in spec["layer"] if layer["mark"]["type"] == "area"]

    (band,) = bands(a=records() + forecasts)
    assert [(row["step"], row["low"], row["high"]) for row in band] == [
        (each["step"], each["low"], each["high"]) for each in forecasts
    ]
    assert bands(a=records()) == bands(a=records() + forecasts, b=records()) == []
