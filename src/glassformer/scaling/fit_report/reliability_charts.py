"""The charts of a fit's reliability: the back-test, influence, and what other choices would have said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from glassformer.charts.drawing import Drawing
from glassformer.charts.theme import Theme
from glassformer.scaling.chart_axes import Rows, around, logarithmic, over_compute, rounded, tooltip
from glassformer.scaling.wording import budget, digits, large, percent_error

if TYPE_CHECKING:
    import altair as alt

    from glassformer.scaling.fits.findings import Findings

ROW = 26  # CSS pixels of a line among the other choices
NAMED = 12  # points that are named in the chart of influence


# ------------------------------------------------------------------------------------------------- back-test


def back_test(found: Findings) -> Drawing:
    """Every hidden run: its error in half-widths of its interval, against how far beyond the fitted runs it lies."""
    tested = found.back_test
    names = [f"fitted to {budget(step.cut)}" for step in tested.steps]
    rows: Rows = [
        {
            "cut": name,
            "ratio": rounded(ratio),
            "z": rounded(z),
            "error": percent_error(error),
            "run": str(run),
            "loss": rounded(loss),
        }
        for name, step in zip(names, tested.steps, strict=True)
        for ratio, z, error, run, loss in zip(
            step.ratio, step.z, step.error, step.hidden.run, step.hidden.loss, strict=True
        )
    ]
    far = max(tested.horizon, found.beyond, 2.0)
    ratios = np.geomspace(1.0, far, 60)
    allowed = [
        {"ratio": rounded(r), "low": -rounded(w), "high": rounded(w)}
        for r, w in zip(ratios, tested.widening(ratios * tested.largest), strict=True)
    ]
    highest = max(1.3, *(abs(row["z"]) for row in rows), allowed[-1]["high"])

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        steps = [step for power in range(7) for step in (10**power, 2 * 10**power, 5 * 10**power) if step <= far]
        axis = alt.Axis(values=steps, format=",d", labelExpr="datum.label + '×'")
        title = "compute of the hidden run, in times the largest fitted"
        x = alt.X("ratio:Q", title=title, axis=axis, scale=alt.Scale(type="log", domain=[1, far * 1.04], nice=False))
        scale = alt.Scale(domain=[-1.05 * highest, 1.05 * highest], nice=False)
        said = "error, in half-widths of its interval"
        y = alt.Y("z:Q", title=said, scale=scale, axis=alt.Axis(tickCount=7))
        shades = [*look.palette[1:], look.palette[0]]
        colour = alt.Color("cut:N", sort=names, scale=alt.Scale(domain=names, range=shades[: len(names)]))
        titles = {"cut": "law", "ratio": "times the largest fitted", "loss": "measured"}
        shown = tooltip(titles, run="", cut="", ratio=".3~g", loss=".4f", error="")
        layers = [
            alt.Chart({"values": allowed})
            .mark_area(opacity=0.16, color=look.palette[0])
            .encode(x=x, y=alt.Y("low:Q", scale=scale, title=said), y2="high:Q"),
            alt.Chart({"values": [{"z": -1}, {"z": 1}]}).mark_rule(strokeDash=[5, 4], color=look.muted).encode(y=y),
            alt.Chart({"values": [{"z": 0}]}).mark_rule(color=look.text).encode(y=y),
            alt.Chart({"values": rows})
            .mark_circle(size=52, opacity=0.85)
            .encode(x=x, y=y, color=colour, tooltip=shown),
        ]
        return alt.layer(*layers).properties(height=340).configure(**look.config())

    return Drawing(
        build,
        title="Predictions of hidden runs",
        description="Each dot is a run that was hidden from the law: above 0, the law predicted a higher loss than "
        "was measured. Dashed: the ends of the 95 % interval given at the time. Shaded: as wide as it would have had "
        "to be; the prediction intervals beyond the data are widened by as much.",
    )


# ------------------------------------------------------------------------------------------------- influence


def influence(found: Findings) -> Drawing:
    """How far each point alone moves the fit, against its compute."""
    points, named = found.fit.points, set(found.influential)
    strongest = sorted(named, key=lambda i: -found.fit.influence[i])[:NAMED]
    rows: Rows = [
        {
            "run": str(points.run[i]),
            "C": rounded(points.c[i]),
            "influence": rounded(found.fit.influence[i]),
            "N": large(points.n[i]),
            "D": large(points.d[i]),
            "loss": rounded(points.loss[i]),
            "kind": "outliers" if i in named else "other points",
        }
        for i in range(len(points))
    ]
    labels = [rows[i] | {"text": f"{points.run[i]}, loss {points.loss[i]:.2f}"} for i in strongest]
    kinds = ["outliers", "other points"] if named else ["other points"]

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        x = over_compute(points.c, 0.06)
        y = alt.Y("influence:Q", title="influence on the fit", axis=alt.Axis(tickCount=6))
        colour = alt.Color(
            "kind:N", sort=kinds, scale=alt.Scale(domain=kinds, range=[look.palette[1], look.palette[0]][-len(kinds) :])
        )
        shown = tooltip(run="", N="", D="", C=".3e", loss=".4f", influence=".3g")
        layers = [
            alt.Chart({"values": rows})
            .mark_circle(size=60, opacity=0.85)
            .encode(x=x, y=y, color=colour, tooltip=shown),
        ]
        if labels:
            words = alt.Chart({"values": labels}).mark_text(align="left", dx=8, fontSize=11, color=look.muted)
            layers.append(words.encode(x=x, y=y, text="text:N"))
        return alt.layer(*layers).properties(height=300).configure(**look.config())

    return Drawing(
        build,
        title="How far each point moves the fit",
        description="How far the law moves at the points when one of them is left out, in standard errors."
        + (" Outliers lie far from the law as well; they are in the fit." if named else ""),
    )


# ------------------------------------------------------------------------------------------------- other choices


def choices(found: Findings) -> Drawing:
    """Tokens for each parameter at the target, as every other choice would have it, below the choice that was made."""
    assert found.sensitivity is not None
    compared = [each for each in found.sensitivity.alternatives if each.ratio is not None]
    rows: Rows = [
        {
            "name": each.name,
            "group": each.group,
            "y": index,
            "ratio": rounded(each.ratio or 0),
            "N": large(each.parameters or 0),
            "loss": "–" if each.loss is None else digits(each.loss, 4),
            "made": each.made,
        }
        for index, each in enumerate(compared)
    ]
    best = found.best
    interval = best.ratio_interval
    if interval is not None and not (interval[0] > 0 and np.isfinite(interval).all()):
        interval = None  # open: there is none to draw
    ratios = np.array([row["ratio"] for row in rows] + list(interval or ()))
    names = [row["name"] for row in rows]

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        x = alt.X(**logarithmic("ratio", "tokens for each parameter at the target, D/N", *around(ratios, 0.08)))
        y = alt.Y(
            "y:Q",
            scale=alt.Scale(domain=[len(rows) - 0.5, -0.5], nice=False, zero=False),
            axis=alt.Axis(
                title=None,
                values=list(range(len(rows))),
                labelExpr=f"{json.dumps(names, ensure_ascii=False)}[datum.value]",
                labelLimit=360,
                labelColor=look.text,
                labelFontSize=12,
                grid=True,
            ),
        )
        groups = list(dict.fromkeys(row["group"] for row in rows))
        colour = alt.Color(
            "group:N",
            sort=groups,
            scale=alt.Scale(domain=groups, range=[look.text, *look.palette][: len(groups)]),
            legend=alt.Legend(columns=3),
        )
        shown = tooltip({"name": "choice", "ratio": "D/N"}, name="", ratio=".3g", N="", loss="")
        layers: list[Any] = []
        if interval is not None:
            shaded = [{"low": rounded(interval[0]), "high": rounded(interval[1])}]
            ends = around(ratios, 0.08)
            layers.append(
                alt.Chart({"values": shaded})
                .mark_rect(opacity=0.13, color=look.palette[0])
                .encode(x=alt.X(**logarithmic("low", None, *ends)), x2="high:Q")
            )
        layers += [
            alt.Chart({"values": [row for row in rows if row["made"]][:1]})
            .mark_rule(color=look.text, strokeDash=[4, 3])
            .encode(x=x),
            alt.Chart({"values": rows})
            .mark_point(filled=True, size=110, opacity=1)
            .encode(x=x, y=y, color=colour, tooltip=shown),
        ]
        return alt.layer(*layers).properties(height=ROW * len(rows) + 20).configure(**look.config())

    return Drawing(
        build,
        title=f"What other choices say of {budget(found.target)} FLOP",
        description="Each dot is the whole fit again with one choice changed. Dashed: the choice that was made; "
        "shaded: its 95 % interval. Dots outside it show that the choice matters more than the noise.",
    )
