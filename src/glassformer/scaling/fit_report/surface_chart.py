"""The chart of the objective around its minimum: nested regions over two parameters, and the draws' fits in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glassformer.charts.colours import lookup
from glassformer.charts.drawing import Drawing
from glassformer.charts.theme import Theme
from glassformer.scaling.chart_axes import Rows, rounded, tooltip
from glassformer.scaling.fits.diagnostics import shown

if TYPE_CHECKING:
    import altair as alt

    from glassformer.scaling.fits.findings import Findings
    from glassformer.scaling.fits.surface import Surface

CLOUD = 400  # bootstrap draws shown over the surface


def surface(found: Findings) -> Drawing:
    """Nested regions of the two exponents in which the objective stays below so much above its minimum."""
    assert found.surface is not None
    drawn = found.surface
    regions = _regions(drawn)
    levels = [_level(level) for level in drawn.levels]
    draws = found.bootstrap.parameters[:, [found.fit.names.index(name) for name in drawn.names]]
    inside = draws[((draws >= drawn.low) & (draws <= drawn.high)).all(axis=1)][:CLOUD]
    cloud = [{"x": rounded(x), "y": rounded(y)} for x, y in inside]
    lowest = [{"x": rounded(drawn.at[0]), "y": rounded(drawn.at[1]), "text": "the fit"}]

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        table = lookup("sequential", look.name)
        # the innermost region has the strongest colour
        places = np.linspace(0.82, 0.12, len(levels)) * (len(table) - 1)
        colours = ["#" + bytes(table[int(at)]).hex() for at in places]
        axis = alt.Axis(tickCount=6, grid=False)
        titles = {"x": shown(drawn.names[0]), "y": shown(drawn.names[1])}
        x = alt.X("x:Q", title=titles["x"], axis=axis, scale=_scale(drawn, 0))
        y = alt.Y("y:Q", title=titles["y"], axis=axis, scale=_scale(drawn, 1))
        colour = alt.Color(
            "level:N", sort=levels, scale=alt.Scale(domain=levels, range=colours), legend=alt.Legend(columns=3)
        )
        layers = [
            alt.Chart({"values": regions})
            .mark_rect(clip=True, strokeWidth=0)
            .encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=colour),
            alt.Chart({"values": cloud}).mark_circle(size=20, opacity=0.75, color=look.palette[1]).encode(x=x, y=y),
            alt.Chart({"values": lowest})
            .mark_point(shape="cross", filled=True, size=190, opacity=1, color=look.text, stroke=look.background)
            .encode(x=x, y=y, tooltip=tooltip(titles, x=".4f", y=".4f")),
        ]
        return alt.layer(*layers).properties(height=430).configure(**look.config())

    held = f" {', '.join(map(shown, drawn.held))} held at the fit." if drawn.held else ""
    figure = Drawing(
        build,
        title=f"The objective over {shown(drawn.names[0])} and {shown(drawn.names[1])}",
        description="How much higher than at its minimum (the cross) the objective is, the other parameters set to "
        f"their best at each place.{held} Dots: {len(cloud)} of the bootstrap's fits. A long thin region is a "
        "direction that the data hardly identify.",
    )
    figure.narrow = True
    return figure


def _scale(drawn: Surface, axis: int) -> alt.Scale:
    import altair as alt

    domain = [rounded(drawn.low[axis]), rounded(drawn.high[axis])]
    if drawn.logarithmic[axis]:
        return alt.Scale(type="log", domain=domain, nice=False)
    return alt.Scale(domain=domain, nice=False, zero=False)


def _level(level: float) -> str:
    return f"up to +{100 * level:.3g} %"


def _regions(drawn: Surface) -> Rows:
    """Bars that fill the regions, the widest region first; each bar overlaps the next a little, so that no seam shows.

    A bar is a run of neighbouring cells of one row.
    """
    rows: Rows = []
    columns, lines = drawn.edges
    over = lines[1:] + 0.35 * np.diff(lines)
    for level in sorted(drawn.levels, reverse=True):
        inside = drawn.excess <= level  # [y, x]
        for index, line in enumerate(inside):
            changes = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
            rows += [
                {
                    "x": rounded(columns[start]),
                    "x2": rounded(columns[stop]),
                    "y": rounded(lines[index]),
                    "y2": rounded(over[index]),
                    "level": _level(level),
                }
                for start, stop in changes.reshape(-1, 2)
            ]
    return rows
