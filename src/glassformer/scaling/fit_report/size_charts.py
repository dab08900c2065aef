"""The charts of the best size: IsoFLOP curves, and how their lowest points and the law's optimum move with compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glassformer.charts.drawing import Drawing
from glassformer.charts.theme import Theme
from glassformer.scaling.chart_axes import (
    COMPUTE,
    LOSS,
    SAMPLES,
    Rows,
    around,
    end_of_data,
    gradient,
    linear,
    logarithmic,
    one_legend,
    over_compute,
    rounded,
    shades,
    tooltip,
)
from glassformer.scaling.fits.points import Points

if TYPE_CHECKING:
    import altair as alt

    from glassformer.scaling.fits.findings import Findings
    from glassformer.scaling.fits.isoflop import IsoFlops

FARTHEST = 1e4
"""Times the best size: as far as the chart follows an interval."""


def isoflop_curves(found: Findings) -> Drawing:
    """Loss over N at each budget, the parabola through it, and its lowest point."""
    assert found.isoflop is not None
    dots, curves, lowest = _isoflop_rows(found.fit.points, found.isoflop)
    budgets = np.array([row["C"] for row in dots])
    sizes = np.array([row["N"] for row in dots])
    losses = np.array([row["loss"] for row in dots])

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        x = alt.X(**logarithmic("N", "parameters N", *around(sizes, 0.03)))
        y = alt.Y(**linear("loss", LOSS, losses.min(), losses.max()))
        colour = alt.Color(
            "C:Q",
            scale=alt.Scale(type="log", domain=[budgets.min(), budgets.max()], range=shades(look)),
            legend=gradient("compute C (FLOP)", format=".0e", labelExpr=COMPUTE, tickCount=3),
        )
        shown = tooltip({"C": "budget"}, C=".3e", N=".4~s", loss=".4f")
        layers = [
            alt.Chart({"values": curves})
            .mark_line(clip=True, strokeWidth=1.6)
            .encode(x=x, y=y, color=colour.copy().legend(None), detail="C:N"),
            alt.Chart({"values": dots})
            .mark_circle(clip=True, size=40, opacity=0.9)
            .encode(x=x, y=y, color=colour, tooltip=shown),
            alt.Chart({"values": lowest})
            .mark_point(
                shape="diamond", filled=True, size=120, color=look.palette[1], stroke=look.background, opacity=1
            )
            .encode(x=x, y=y, tooltip=shown),
        ]
        return one_legend(alt.layer(*layers)).properties(height=400).configure(**look.config())

    figure = Drawing(
        build,
        title="IsoFLOP curves",
        description="Dots: runs of one budget. Lines: parabolas through them, in ln N. Diamonds: their lowest points, "
        "the best size for that budget.",
    )
    figure.narrow = True
    return figure


def _isoflop_rows(points: Points, isoflop: IsoFlops) -> tuple[Rows, Rows, Rows]:
    """The runs of each budget that has a minimum, the curve through them, and the minimum."""
    dots: Rows = []
    curves: Rows = []
    for each in isoflop.minima:
        c, n, loss = rounded(each.compute), points.n[each.used], points.loss[each.used]
        dots += [{"C": c, "N": rounded(x), "loss": rounded(y)} for x, y in zip(n, loss, strict=True)]
        along = np.geomspace(n.min(), n.max(), SAMPLES)
        curves += [{"C": c, "N": rounded(x), "loss": rounded(y)} for x, y in zip(along, each.curve(along), strict=True)]
    minima = [
        {"C": rounded(each.compute), "N": rounded(each.parameters), "loss": rounded(each.loss)}
        for each in isoflop.minima
    ]
    return dots, curves, minima


def _drawn(end: float, best: float, farthest: float) -> float:
    """An interval's end where it can be drawn: one that is open, or absurdly far, at FARTHEST times the best size."""
    if not np.isfinite(end):
        return best * farthest
    low, high = sorted((best, best * farthest))
    return min(max(end, low), high)


def optimum_path(found: Findings) -> Drawing:
    """The best size at each budget: by the law with its interval, and by the IsoFLOP minima."""
    series = ["the law", "IsoFLOP minima"][: 1 if found.isoflop is None else 2]
    path = [
        {
            "series": series[0],
            "C": rounded(each.compute),
            "N": rounded(each.parameters),
            "low": rounded(_drawn(each.parameters_interval[0], each.parameters, 1 / FARTHEST)),
            "high": rounded(_drawn(each.parameters_interval[1], each.parameters, FARTHEST)),
        }
        for each in found.path
        if each.parameters is not None and each.parameters_interval is not None
    ]
    minima: Rows = []
    line: Rows = []
    if found.isoflop is not None:
        minima = [row | {"series": series[1]} for row in _isoflop_rows(found.fit.points, found.isoflop)[2]]
        law = found.isoflop.parameters_law
        if law is not None:
            ends = (found.isoflop.minima[0].compute, found.target)
            line = [{"series": series[1], "C": rounded(c), "N": rounded(law(c))} for c in ends]
    everything = [*path, *minima, *line]
    budgets = np.array([row["C"] for row in everything])
    sizes = np.array([row[name] for row in everything for name in ("N", "low", "high") if name in row])

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        x = over_compute(budgets)
        reach = around(sizes, 0.04)
        y = alt.Y(**logarithmic("N", "best number of parameters N", *reach))
        shown = alt.Legend(symbolOpacity=1)  # else as faint as the shade
        scale = alt.Scale(domain=series, range=list(look.palette[: len(series)]))
        colour = alt.Color("series:N", scale=scale, legend=shown)
        shade = (
            alt.Chart({"values": path})
            .mark_area(opacity=0.2, clip=True)
            .encode(x=x, y=alt.Y(**logarithmic("low", None, *reach)), y2="high:Q", color=colour)
        )
        layers = [shade, alt.Chart({"values": path}).mark_line(strokeWidth=2.6).encode(x=x, y=y, color=colour)]
        layers += [end_of_data(found, look, x)]
        if minima:
            layers += [
                alt.Chart({"values": line}).mark_line(strokeDash=[7, 3], strokeWidth=2).encode(x=x, y=y, color=colour),
                alt.Chart({"values": minima})
                .mark_point(shape="diamond", filled=True, size=90, opacity=1)
                .encode(x=x, y=y, color=colour, tooltip=tooltip(series="", C=".3e", N=".4~s")),
            ]
        return alt.layer(*layers).properties(height=400).configure(**look.config())

    figure = Drawing(
        build,
        title="The best size at each budget",
        description="Line and shade: the law's, and its 95 % interval from the bootstrap. Dotted: the largest budget "
        "of the data." + (" Diamonds and dashes: the IsoFLOP minima and the power law through them." if minima else ""),
    )
    figure.narrow = True
    return figure
