"""The tables of a fit's report: parameters, the target, every other choice, and the points that move the fit."""

from __future__ import annotations

import math
from collections.abc import Mapping

from glassformer.charts.table import Cell, Header, Table
from glassformer.scaling.fits.best_size import exponent
from glassformer.scaling.fits.diagnostics import shown
from glassformer.scaling.fits.findings import Findings
from glassformer.scaling.wording import Interval, budget, digits, large, percent_error, to

NOTHING = "–"
LISTED = 40
"""Influential points in the table, at most."""


def parameters_table(found: Findings) -> Table:
    """Each parameter with its standard error and interval; and the exponent of N ∝ C^a."""
    fit, resampled = found.fit, found.bootstrap
    errors = resampled.standard_errors
    rows = [_row(shown(name), fit.parameters[name], errors[name], resampled.interval(name)) for name in fit.names]
    if "a" in resampled.quantities and "a" not in fit.names:
        error, value = float(resampled.draws("a").std(ddof=1)), resampled.estimate("a")
        rows.append(_row("a = β/(α + β)", value, error, resampled.interval("a")))
    headers = [Header("parameter", align="left"), *map(Header, ("value", "standard error", "95 % interval"))]
    return Table(
        headers,
        rows,
        title=f"L = {fit.formula.shown}",
        description=f"{fit.objective.describe()}; {len(fit.points):,} points of {found.runs:,} runs. Standard errors "
        f"and intervals from {len(resampled.parameters):,} bootstrap draws of whole runs; intervals are corrected for "
        "bias and widened for the number of parameters. N_opt grows as C^a.",
        narrow=True,
    )


def _row(name: str, value: float, error: float, interval: Interval) -> list[Cell]:
    known = error if math.isfinite(error) else None  # which the page could not hold, nor order by
    if not math.isfinite(value):  # a, where both exponents are 0
        return [Cell(name), Cell(NOTHING), Cell(NOTHING), Cell(NOTHING)]
    return [Cell(name), Cell(digits(value, 5), value), Cell(digits(error, 2), known), Cell(to(interval, digits))]


def reliability_table(found: Findings) -> Table:
    """How reliable the fit is, a sentence or two each."""
    headers = [Header("asked", align="left"), Header("found", align="left")]
    return Table(headers, [list(item) for item in found.reliability.items()], title="Reliability")


def quality_table(found: Findings) -> Table:
    """How good the minimum is, and how well the data fix it."""
    fit = found.fit
    starts = fit.starts
    second = NOTHING if starts.second_best is None else digits(starts.second_best, 8)
    rows = [
        ["objective, sum over the points", digits(fit.minimum, 8)],
        ["objective, mean", digits(fit.mean, 8)],
        ["gradient norm there", digits(fit.gradient_norm, 2)],
        ["starts that converged here", f"{starts.agreeing} of {starts.tried}"],
        ["next best minimum", second],
        ["condition number", digits(fit.condition)],
        ["directions left open", str(len(found.bootstrap.unidentified))],
        ["median miss of a point", percent_error(_median_miss(found)).lstrip("+")],
    ]
    headers = [Header("the minimum", align="left"), Header("")]
    return Table(headers, rows, title="How good the minimum is", narrow=True)


def _median_miss(found: Findings) -> float:
    ordered = sorted(abs(float(r)) for r in found.fit.residuals)
    return ordered[len(ordered) // 2]


def target_table(found: Findings) -> Table:
    """What the fit says of the target."""
    best = found.best
    rows = [
        ["loss, nats per token", digits(best.loss, 4), to(best.calibrated, _four)],
        ["the same, not widened by the back-test", digits(best.loss, 4), to(best.loss_interval, _four)],
    ]
    if best.parameters is not None and best.tokens is not None and best.ratio is not None:
        rows = [
            ["parameters N", large(best.parameters), to(best.parameters_interval, large)],
            ["tokens D", large(best.tokens), to(best.tokens_interval, large)],
            ["tokens for each parameter", digits(best.ratio), to(best.ratio_interval)],
            *rows,
        ]
        slope = exponent(found.fit.predict, found.target)
        if slope is not None:
            rows.append(["a of N ∝ C^a there", digits(slope), NOTHING])
    if best.place is not None:
        named = ("parameters N", "tokens D")
        trend = [
            [f"{name}, on the runs' trend", large(at), NOTHING] for name, at in zip(named, best.place, strict=True)
        ]
        rows = [*trend, *rows]
    headers = [Header("at the target", align="left"), Header("best"), Header("95 % interval")]
    return Table(
        headers,
        rows,
        title=f"{budget(found.target)} FLOP, {digits(found.beyond, 2)} times the largest budget of the data",
        narrow=True,
    )


def _four(value: float) -> str:
    return digits(value, 4)


def choices_table(found: Findings) -> Table:
    """Every other choice and what it says of the target."""
    assert found.sensitivity is not None
    headers = [
        Header("changed", align="left"),
        Header("to", align="left"),
        *map(Header, ("points", "best N", "best D", "D/N", "a", "loss", "against the fit's N")),
    ]
    own = found.best.parameters
    rows = []
    for each in found.sensitivity.alternatives:
        if each.parameters is None or each.tokens is None or each.ratio is None:
            empty = [Cell(NOTHING)] * 6
            rows.append([Cell(each.group), Cell(f"{each.name}: {each.missing}"), Cell(f"{each.n_points:,}"), *empty])
            continue
        against = each.parameters / own if own else None
        rows.append(
            [
                Cell(each.group),
                Cell(each.name),
                Cell(f"{each.n_points:,}", each.n_points),
                Cell(large(each.parameters), each.parameters),
                Cell(large(each.tokens), each.tokens),
                Cell(digits(each.ratio), each.ratio),
                Cell(NOTHING) if each.exponent is None else Cell(digits(each.exponent), each.exponent),
                Cell(NOTHING) if each.loss is None else Cell(digits(each.loss, 4), each.loss),
                Cell(NOTHING) if against is None or each.made else Cell(f"× {digits(against)}", against),
            ]
        )
    return Table(
        headers,
        rows,
        title=f"Sensitivity: one choice changed, at {budget(found.target)} FLOP",
        sortable=True,
        description="N counts all parameters in every row; a is the slope of ln N over ln C around the target. The "
        "IsoFLOP minima say nothing of the loss.",
    )


def influential_table(found: Findings) -> Table:
    """The outliers that move the fit, the strongest first."""
    fit, points = found.fit, found.fit.points
    ordered = sorted(found.influential, key=lambda i: -fit.influence[i])
    rows = [
        [
            Cell(str(points.run[i])),
            Cell(large(points.n[i]), float(points.n[i])),
            Cell(large(points.d[i]), float(points.d[i])),
            Cell(budget(points.c[i]), float(points.c[i])),
            Cell(digits(points.loss[i], 4), float(points.loss[i])),
            Cell(percent_error(fit.residuals[i]), float(fit.residuals[i])),
            Cell(digits(fit.influence[i]), float(fit.influence[i])),
        ]
        for i in ordered[:LISTED]
    ]
    names = ("N", "D", "C", "loss", "error of the law", "influence")
    more = f" The strongest {LISTED} of {len(ordered)}." if len(ordered) > LISTED else ""
    return Table(
        [Header("run", align="left"), *map(Header, names)],
        rows,
        title="Outliers that move the fit",
        sortable=True,
        description=f"Each lies far from the law and moves the fit when it alone is left out.{more}",
    )


def facts_table(facts: Mapping[str, str]) -> Table:
    """The circumstances."""
    headers = [Header("circumstance", align="left"), Header("value", align="left")]
    return Table(headers, [list(item) for item in facts.items()], title="Circumstances")
