"""Lines in panels: the chart that the results of this room share. Each panel has an axis of its own, and one x."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glassformer.charts.theme import DASHES, Theme

if TYPE_CHECKING:
    import altair as alt

Row = dict[str, Any]
"""A point: ``frame``, ``panel``, ``series``, ``x``, ``mean``, and where there is a range ``least`` and ``most``."""

NUMBERS = ("mean", "least", "most")


def line_panels(
    rows: Sequence[Row],
    theme: Theme,
    *,
    panels: Sequence[str],
    series: Sequence[str],
    dashed: Sequence[str] = (),
    ordered: bool = False,
    x_title: str = "",
    names: Sequence[str] | None = None,
    log: bool = False,
    mark: float | None = None,
    n_frames: int = 1,
    size: tuple[int, int] = (300, 150),
) -> alt.TopLevelMixin:
    """A line for each of the ``series`` in each of the ``panels``, shaded from the least to the most.

    Args:
        rows: the points. With frames, those of the chosen one are drawn; what is not finite is not.
        dashed: which of the series are.
        ordered: whether the series have an order (layers, say), which their colours are to show.
        names: what the x values are, in order, if they are names; unless given they are numbers.
        log: whether the y axes are logarithmic; what is not positive is then to be left out of the rows.
        mark: a y value that gets a dashed line.
        size: of a panel, in CSS pixels.
    """
    import altair as alt

    rows = [row for row in rows if all(math.isfinite(row.get(number, 0.0)) for number in NUMBERS)]
    if names is None:
        x = alt.X("x:Q", title=x_title, axis=alt.Axis(tickMinStep=1), scale=alt.Scale(nice=False))
    else:
        x = alt.X("x:N", sort=list(names), title=x_title or None, axis=alt.Axis(labelAngle=-45))
    scale = alt.Scale(type="log") if log else alt.Scale(zero=False)
    axis = alt.Axis(format="~g", tickCount=5) if log else alt.Axis()
    numbers = [alt.Tooltip(f"{name}:Q", format=".4~g") for name in NUMBERS]
    tooltip: list[Any] = [
        alt.Tooltip("panel:N", title=" "),
        alt.Tooltip("x:Q" if names is None else "x:N", title=x_title or "at"),
    ]
    base = alt.Chart().encode(x=x, **_colours(alt, series, theme, ordered=ordered))
    if len(series) > 1:
        tooltip.append(alt.Tooltip("series:N"))
    layers: list[Any] = []
    if any("least" in row for row in rows):
        range_area = base.mark_area(opacity=0.18, line=False)
        layers.append(range_area.encode(y=alt.Y("least:Q", title=None, scale=scale, axis=axis), y2="most:Q"))
    else:
        numbers = numbers[:1]
    few = len({row["x"] for row in rows}) <= 60
    points: Any = alt.OverlayMarkDef(size=20, filled=True) if few else False
    line = base.mark_line(strokeWidth=1.8, point=points).encode(
        y=alt.Y("mean:Q", title=None, scale=scale, axis=axis), tooltip=[*tooltip, *numbers]
    )
    if dashed:
        patterns = [list(DASHES[1 if name in dashed else 0]) for name in series]
        line = line.encode(
            strokeDash=alt.StrokeDash(
                "series:N", sort=list(series), scale=alt.Scale(domain=list(series), range=patterns), legend=None
            )
        )
    layers.append(line)
    if mark is not None:
        rule = alt.Chart().mark_rule(strokeDash=[5, 4], color=theme.muted)
        layers.append(rule.encode(y=alt.Y(datum=mark, title=None, scale=scale)))
    width, height = size
    chart = (
        alt.layer(*layers)
        .properties(width=width, height=height)
        .facet(
            facet=alt.Facet("panel:N", title=None, sort=list(panels)),
            columns=min(2, len(panels)),
            data=alt.InlineData(values=list(rows)),
        )
        .resolve_scale(y="independent")
        .resolve_axis(x="independent")
        .configure(**theme.config())
        .configure_header(labelColor=theme.text, labelFontSize=12)
    )
    if n_frames > 1:
        shown = alt.param(name="frame", value=n_frames - 1)
        chart = chart.add_params(shown).transform_filter("datum.frame == frame")
    return chart


def _colours(alt: Any, series: Sequence[str], theme: Theme, *, ordered: bool) -> dict[str, Any]:
    """Colours by series; one colour where there is one."""
    if len(series) == 1:
        return {"color": alt.value(theme.palette[0])}
    if ordered:
        scale = alt.Scale(domain=list(series), scheme="cividis" if theme.name == "light" else "viridis")
    else:
        scale = alt.Scale(
            domain=list(series), range=[theme.palette[i % len(theme.palette)] for i in range(len(series))]
        )
    legend = alt.Legend(symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=2.5)
    return {"color": alt.Color("series:N", sort=list(series), scale=scale, legend=legend)}


def thinned(count: int, most: int) -> Tensor:
    """At most so many indices below ``count``, evenly spaced, the first and the last among them: int64."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()


def point(frame: int, panel: str, series: str, x: float | str, values: Any) -> Row:
    """One row, from the values (a tensor of one or more) that the point is the mean of."""
    row: Row = {"frame": frame, "panel": panel, "series": series, "x": x, "mean": float(f"{float(values.mean()):.5g}")}
    if values.numel() > 1:
        row |= {"least": float(f"{float(values.min()):.5g}"), "most": float(f"{float(values.max()):.5g}")}
    return row
