"""Published laws and fits of planted runs give the numbers that ``golden_*.json`` keeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from glassformer.scaling.fits.bootstrap import bootstrap
from glassformer.scaling.fits.fitting import fit
from glassformer.scaling.fits.points import Points
from glassformer.scaling.laws.known import LAWS

FOLDER = Path(__file__).parent
LAW_VALUES = json.loads((FOLDER / "golden_laws.json").read_text(encoding="utf-8"))
FITS = json.loads((FOLDER / "golden_fits.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", LAW_VALUES)
def test_a_published_law_keeps_its_values(name):
    law, golden = LAWS[name], LAW_VALUES[name]
    found = law(**{symbol: np.array(values) for symbol, values in golden["inputs"].items()})
    expected = np.array([np.nan if value is None else value for value in golden["output"]])
    found = np.where(np.isfinite(found), found, np.nan)
    np.testing.assert_allclose(np.broadcast_to(found, expected.shape), expected, rtol=1e-9)
    for compute, (n, d, loss) in zip((1e15, 1e20, 5.76e23), golden.get("optimum", []), strict=False):
        best = law.optimum(compute)
        assert (best.parameters, best.tokens) == pytest.approx((n, d), rel=1e-9)
        assert best.loss == (None if loss is None else pytest.approx(loss, rel=1e-9))


@pytest.mark.parametrize("golden", FITS["fits"], ids=lambda each: f"{each['formula']}, {each['objective']}")
def test_a_fit_of_planted_runs_keeps_its_minimum_parameters_and_intervals(golden):
    rows, repeated = FITS["points"], golden["formula"] == "repeated-data"
    unique, loss = (rows["unique"], rows["repeated_loss"]) if repeated else (None, rows["loss"])
    found = fit(Points.of(rows["n"], rows["d"], loss, unique=unique), golden["formula"], golden["objective"])
    assert found.minimum == pytest.approx(golden["minimum"], rel=1e-9)
    assert found.parameters == pytest.approx(golden["parameters"], rel=1e-6)
    draws, at = bootstrap(found, draws=200, seed=0), {"unique": 1e11} if repeated else {}
    assert float(found.predict(1e10, 3e11, **at)) == pytest.approx(golden["predict"], rel=1e-9)
    ends = draws.prediction_interval(1e10, 3e11, **at)
    if golden["objective"] in {"absolute", "asymmetric"}:  # with kinks a refit may end in one of several minima
        assert ends == pytest.approx(golden["prediction_interval"], rel=5e-3)
        return
    assert ends == pytest.approx(golden["prediction_interval"], rel=1e-6)
    for name, interval in golden["intervals"].items():
        assert draws.interval(name) == pytest.approx(interval, rel=1e-4), name
