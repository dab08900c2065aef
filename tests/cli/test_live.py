"""A training as it is seen in the terminal: what a forecast says there."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from glassformer.cli.live import LiveTraining

FORECAST = {"kind": "extrapolation", "step": 500, "final_step": 2_000, "checked": 3, "widened": 1.0}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((1.618, 1.578, 1.671), "final loss at step 2,000: 1.62, 95 % interval 1.58 – 1.67"),
        ((0.00412, 0.0, 0.0213), "final loss at step 2,000: 0.0041, 95 % interval 0 – 0.021"),
    ],
)
def test_a_forecast_is_a_line_without_a_terminal(values, said):
    written = io.StringIO()
    with LiveTraining(Console(file=written, width=120)) as live:
        live(FORECAST | dict(zip(("loss", "low", "high"), values, strict=True)))
    assert said in written.getvalue()


def test_a_forecast_stands_beside_the_bar_in_a_terminal():
    written = io.StringIO()
    with LiveTraining(Console(file=written, width=160, force_terminal=True)) as live:
        live(FORECAST | {"loss": 1.618, "low": 1.578, "high": 1.671})
        live.bar.refresh()
    assert "(1.58 – 1.67)" in written.getvalue()
    assert "final loss at step" not in written.getvalue()
