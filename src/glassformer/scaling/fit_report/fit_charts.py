"""The charts of a fit: the law among its runs, its residuals, and what it predicts beyond the data.

Quantities that span powers of ten are on logarithmic axes; their units are in the axes' titles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from glassformer.charts.drawing import Drawing
from glassformer.charts.theme import Theme
from glassformer.scaling.chart_axes import (
    COUNT,
    LOSS,
    SAMPLES,
    Rows,
    end_of_data,
    gradient,
    linear,
    one_legend,
    over_compute,
    rounded,
    shades,
    tooltip,
)
from glassformer.scaling.fits.points import Array
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN
from glassformer.scaling.wording import budget, digits, large, percent_error

if TYPE_CHECKING:
    import altair as alt

    from glassformer.scaling.fits.findings import Findings

MODELS = 7  # sizes for which the law is drawn
# what is shown of a run
RUN = {
    "run": "",
    "N": ".4~s",
    "D": ".4~s",
    "C": ".3e",
    "loss": ".4f",
    "predicted": ".4f",
    "error": "",
}
INTERVALS = ("95 % of new runs, by the fit", "95 % of new runs, by the back-test")


# ------------------------------------------------------------------------------------------------- the law


def fit_and_data(found: Findings) -> Drawing:
    """Every run, and the law: a line for each of a few model sizes, and the frontier of the best of all sizes."""
    points, fit = found.fit.points, found.fit
    runs = _runs(found)
    sizes = np.unique(np.quantile(points.n, np.linspace(0, 1, MODELS)))
    curves: Rows = []
    for index, size in enumerate(sizes):
        d = np.geomspace(points.d.min(), points.d.max(), SAMPLES)
        curves += [
            {"C": rounded(c), "loss": rounded(loss), "N": rounded(size), "model": index}
            for c, loss in zip(
                FLOPS_PER_PARAMETER_AND_TOKEN * size * d, fit.predict(np.full(SAMPLES, size), d), strict=True
            )
        ]
    frontier = [{"C": rounded(each.compute), "loss": rounded(each.loss)} for each in found.path]
    budgets = np.array([row["C"] for row in runs] + [row["C"] for row in frontier])
    low, high = float(points.loss.min()), float(points.loss.max())
    low = min(low, *(row["loss"] for row in frontier))

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        x = over_compute(budgets)
        y = alt.Y(**linear("loss", LOSS, low, high))
        colour = alt.Color(
            "N:Q",
            scale=alt.Scale(type="log", domain=[rounded(points.n.min()), rounded(points.n.max())], range=shades(look)),
            legend=gradient("parameters N", format="~s", labelExpr=COUNT, tickCount=5),
        )
        layers = [
            alt.Chart({"values": curves})
            .mark_line(clip=True, strokeWidth=1.4, opacity=0.7)
            .encode(x=x, y=y, color=colour.copy().legend(None), detail="model:N"),
            alt.Chart({"values": frontier})
            .mark_line(clip=True, strokeWidth=2.6, strokeDash=[7, 4], color=look.text)
            .encode(x=x, y=y),
            alt.Chart({"values": runs})
            .mark_circle(size=44, opacity=0.9, stroke=look.background, strokeWidth=0.6)
            .encode(x=x, y=y, color=colour, tooltip=tooltip({"loss": "measured"}, **RUN)),
        ]
        return one_legend(alt.layer(*layers)).properties(height=440).configure(**look.config())

    return Drawing(
        build,
        title="Fit and data",
        description="Each dot is a row of the table, by what it cost and where it ended; darker or brighter: more "
        "parameters. Thin lines: the fitted law for a model of one size, trained longer and longer. Dashed: the least "
        f"loss that the law sees at each budget, to the target of {budget(found.target)} FLOP.",
    )


def _runs(found: Findings) -> Rows:
    points, predicted = found.fit.points, found.fit.predicted
    return [
        {
            "run": str(points.run[i]),
            "N": rounded(points.n[i]),
            "D": rounded(points.d[i]),
            "C": rounded(points.c[i]),
            "loss": rounded(points.loss[i]),
            "predicted": rounded(predicted[i]),
            "error": percent_error(found.fit.residuals[i]),
            "residual": rounded(100 * np.expm1(found.fit.residuals[i])),
            "named": i in found.influential,
        }
        for i in range(len(points))
    ]


# ------------------------------------------------------------------------------------------------- residuals


def residuals(found: Findings) -> Drawing:
    """By how much the law misses each run, against N, D and C: a panel each."""
    panels = {"N": "against parameters N", "D": "against tokens D", "C": "against compute C (FLOP)"}
    runs = [row | {"panel": title, "at": row[name]} for name, title in panels.items() for row in _runs(found)]

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        compute = f"datum.value < 1e15 ? {COUNT} : format(datum.value, '.0e')"
        axis = alt.Axis(format="~s", labelExpr=f"replace({compute}, 'e+', 'e')", tickCount=4, labelOverlap=True)
        x = alt.X("at:Q", title=None, axis=axis, scale=alt.Scale(type="log", nice=False, padding=10))
        y = alt.Y("residual:Q", title="predicted − measured (% of the loss)", axis=alt.Axis(format="+.3~f"))
        colour = alt.Color(
            "named:N",
            legend=None,
            scale=alt.Scale(domain=[False, True], range=[look.palette[0], look.palette[1]]),
        )
        data = alt.InlineData(values=runs)
        zero = alt.Chart().mark_rule(color=look.text, strokeWidth=1.2).encode(y=alt.YDatum(0))
        dots = (
            alt.Chart()
            .mark_circle(size=40, opacity=0.75)
            .encode(x=x, y=y, color=colour, tooltip=tooltip({"loss": "measured"}, **RUN))
        )
        header = alt.Header(labelColor=look.text, labelFontSize=12, title=None, labelAnchor="start")
        return (
            alt.layer(zero, dots)
            .properties(width=260, height=240)
            .facet(facet=alt.Facet("panel:N", sort=list(panels.values()), header=header), columns=3, data=data)
            .resolve_scale(x="independent")
            .configure(**look.config())
        )

    return Drawing(
        build,
        title="Residuals",
        description="Dots above the line: the law expects a higher loss than was measured."
        + (" In the second colour: the outliers that move the fit." if found.influential else ""),
    )


# ------------------------------------------------------------------------------------------------- beyond the data


def extrapolation(found: Findings) -> Drawing:
    """The least loss at each budget, to the target, with its prediction intervals: the fit's and the back-test's."""
    intervals: Rows = []
    for each in found.path:
        for kind, ends in zip(INTERVALS, (each.loss_interval, each.calibrated), strict=True):
            if ends is not None:
                low, high = map(rounded, ends)
                intervals.append({"C": rounded(each.compute), "low": low, "high": high, "interval": kind})
    kinds = list(dict.fromkeys(row["interval"] for row in intervals))
    path = [{"C": rounded(each.compute), "loss": rounded(each.loss)} for each in found.path]
    runs = _runs(found)
    frontier = _lowest(found.fit.points.c, found.fit.points.loss)
    best = found.best
    size = "" if best.parameters is None else f" at N = {large(best.parameters)}"
    goal = [path[-1] | {"text": f"{digits(best.loss, 4)}{size}"}]
    budgets = np.array([row["C"] for row in [*runs, *path]])
    low = min([row["low"] for row in intervals] + [row["loss"] for row in path])
    high = float(np.quantile(found.fit.points.loss, 0.98))

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        x = over_compute(budgets)
        y, y_low = (alt.Y(**linear(end, LOSS, low, high, 0.04)) for end in ("loss", "low"))
        shown = alt.Legend(symbolOpacity=0.6)  # the shades' own opacity is too faint for a small mark
        colours = alt.Scale(domain=kinds, range=list(look.palette[: len(kinds)]))
        colour = alt.Color("interval:N", scale=colours, legend=shown)
        layers: list[alt.Chart] = []
        for kind in reversed(kinds):  # the widest first; what lies under a narrower one would mix with its colour
            rows = alt.Chart({"values": [row for row in intervals if row["interval"] == kind]})
            place = {"x": x, "y": y_low, "y2": "high:Q"}
            layers += [
                rows.mark_area(clip=True, opacity=1, color=look.background).encode(**place),
                rows.mark_area(clip=True, opacity=0.22).encode(**place, color=colour),
            ]
        layers += [
            alt.Chart({"values": runs})
            .mark_circle(clip=True, size=26, opacity=0.4, color=look.muted)
            .encode(x=x, y=y, tooltip=tooltip({"loss": "measured"}, **RUN)),
            alt.Chart({"values": [runs[i] for i in frontier]})
            .mark_circle(clip=True, size=48, opacity=1, color=look.text)
            .encode(x=x, y=y, tooltip=tooltip({"loss": "measured"}, **RUN)),
            alt.Chart({"values": path}).mark_line(clip=True, strokeWidth=2.6, color=look.palette[0]).encode(x=x, y=y),
            alt.Chart({"values": goal})
            .mark_point(shape="diamond", filled=True, size=150, color=look.palette[1], opacity=1)
            .encode(x=x, y=y),
            alt.Chart({"values": goal})
            .mark_text(align="right", dx=-12, dy=14, fontSize=12, color=look.text)
            .encode(x=x, y=y, text="text:N"),
            end_of_data(found, look, x),
        ]
        return alt.layer(*layers).properties(height=400).configure(**look.config())

    return Drawing(
        build,
        title="Extrapolation",
        description=f"Line: the loss at {_place(found)} for each budget. Dots: the runs; strong: those that no cheaper "
        "run beats. Diamond: the target. Dotted: the largest budget of the data. What is above the highest "
        "2 % of the losses is cut off.",
    )


def _place(found: Findings) -> str:
    return "the best size" if found.best.place is None else "the size on the runs' own trend"


def _lowest(c: Array, loss: Array) -> Sequence[int]:
    """The rows that no row of at most their compute beats."""
    order = np.lexsort((loss, c))
    best = np.minimum.accumulate(loss[order])
    return [int(i) for i, least in zip(order, best, strict=True) if loss[i] <= least]
