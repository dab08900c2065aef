"""The picture of a selection: final loss against the tuned setting, a line for each arm with every seed as a point.

One setting makes one plot; two make a panel for each value of the second; of three or more the table has the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean
from typing import TYPE_CHECKING, Any

from glassformer.charts.drawing import Drawing
from glassformer.charts.theme import Theme
from glassformer.studies.choosing import SelectionPoint
from glassformer.studies.design import arm_label
from glassformer.studies.report.curves import legend
from glassformer.studies.tuned_results import TunedResults
from glassformer.studies.tuned_wording import number, words

if TYPE_CHECKING:
    import altair as alt

Rows = list[dict[str, Any]]

HEIGHT = 300
TOP, ROW = 7, 13  # CSS pixels: where the first arm's mark of a diverged run stands, and between two arms' marks
ABOVE = 0.06  # of the losses' range, left free below them; above them stand the marks
PANELS = 3  # in a row
MOST_PANELS = 12


def selection_chart(results: TunedResults) -> Drawing | None:
    """Loss against the tuned setting; None where there are no points, or more than two settings."""
    settings = [*results.grid]
    if not results.selection.points or len(settings) > 2:
        return None
    across, *panels = settings
    shown = sorted({point.values[panels[0]] for point in results.selection.points}) if panels else []
    if len(shown) > MOST_PANELS:
        return None
    arms = [row.arm for row in results.rows] or list(dict.fromkeys(each.arm for each in results.selection.points))
    rows = [row for point in results.selection.points for row in _rows(results, point, across, panels)]
    low, high = _domain(rows)
    logarithmic = all(row["x"] > 0 for row in rows)
    ticks = sorted({row["x"] for row in rows})
    off = {row["key"] for row in rows if row["kind"] == "off"}
    extended = [row["extended"] for row in rows if row["kind"] == "seed"]
    means = [row["best"] for row in rows if row["kind"] == "mean"]
    drawn = [bool(means), not all(extended), any(extended), any(means)]
    room = ABOVE * (high - low) or 0.1
    marks = (
        (TOP + ROW * len(arms)) * bool(off) / HEIGHT * (high - low + 2 * room)
    )  # of the losses' axis, above all points
    name = words(across)

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        x = alt.X(
            "x:Q",
            title=f"{name} (log scale)" if logarithmic else name,
            scale=alt.Scale(type="log" if logarithmic else "linear", nice=False, padding=22),
            axis=alt.Axis(values=ticks, format="~g", labelOverlap=True, grid=True),
        )
        y = alt.Y(
            "loss:Q",
            title="final validation loss (nats/token)",
            scale=alt.Scale(domain=[low - room, high + room + marks], nice=False, zero=False),
            axis=alt.Axis(labelExpr=f"datum.value <= {high + room} ? datum.label : ''"),
        )
        colour, dash = legend(arms, look, columns=2)
        tooltip = [
            alt.Tooltip("arm:N", title="variant"),
            alt.Tooltip("run:N", title="seed"),
            alt.Tooltip("at:N", title=name),
            alt.Tooltip("text:N", title="loss"),
        ]

        def of(test: str) -> alt.Chart:
            return alt.Chart().transform_filter(test).encode(x=x, color=colour)

        layers = [
            of("datum.kind === 'mean'").mark_line(strokeWidth=2.5).encode(y=y, strokeDash=dash),
            of("datum.kind === 'seed' && !datum.extended")
            .mark_point(filled=True, size=42, opacity=0.6)
            .encode(y=y, tooltip=tooltip),
            of("datum.kind === 'seed' && datum.extended")
            .mark_point(filled=False, size=42, strokeWidth=1.6, opacity=0.9)
            .encode(y=y, tooltip=tooltip),
            of("datum.kind === 'mean' && datum.best")
            .mark_point(shape="diamond", filled=True, size=230, opacity=1, stroke=look.background, strokeWidth=1.5)
            .encode(y=y, tooltip=tooltip),
        ]
        layers = [layer for layer, test in zip(layers, drawn, strict=True) if test]  # Vega warns of empty ones
        layers += [
            of(f"datum.kind === 'off' && datum.place === {place}")
            .mark_point(shape="triangle-up", filled=True, size=70, opacity=0.9)
            .encode(y=alt.value(TOP + ROW * place), tooltip=tooltip)
            for place, arm in enumerate(arms)
            if arm in off
        ]
        if off:
            edge = alt.Chart().transform_filter("datum.kind === 'edge'").encode(y=y)
            layers.insert(0, edge.mark_rule(strokeDash=[5, 4], strokeWidth=1.2, color=look.muted))
        ends = [{"kind": "edge", "panel": panel, "loss": high + room} for panel in {row["panel"]: None for row in rows}]
        placed = [row | {"place": arms.index(row["key"])} for row in rows]
        data = alt.InlineData(values=placed + ends * bool(off))
        if not panels:
            return alt.layer(*layers, data=data).properties(height=HEIGHT).configure(**look.config())
        header = alt.Header(labelColor=look.text, labelFontSize=12, title=None)
        panel = alt.layer(*layers).properties(width=260, height=HEIGHT)
        sort = [f"{words(panels[0])} {number(value)}" for value in shown]
        return panel.facet(facet=alt.Facet("panel:N", sort=sort, header=header), columns=PANELS, data=data).configure(
            **look.config()
        )

    return Drawing(
        build,
        title=f"Final loss against {name}",
        description="Selection runs. "
        f"Points: seeds{', hollow where a grid was extended' if any(extended) else ''}. "
        "Lines: means over seeds. Diamonds: each arm's best."
        + (
            " Triangles above the dashed line: runs that diverged or ended above the loss at initialisation."
            if off
            else ""
        ),
    )


def _rows(results: TunedResults, point: SelectionPoint, across: str, panels: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each seed, and one for their mean where no run is off the chart; the best always has its mean."""
    best = results.selection.best.get(point.arm)
    shared = {
        "key": point.arm,
        "arm": arm_label(point.arm),
        "x": point.values[across],
        "at": number(point.values[across]),
        "panel": " ".join(f"{words(name)} {number(point.values[name])}" for name in panels),
        "extended": results.extended(point),
        "best": best is not None and best.values == point.values,
    }
    losses = []
    for seed, loss in sorted(point.losses.items()):
        start = results.initial.get(point.arm, {}).get(seed)
        diverged = loss is None or not math.isfinite(loss)
        above = loss is not None and start is not None and loss > start
        text = "diverged" if diverged else f"{loss:.4f}{', above the loss at initialisation' if above else ''}"
        losses.append(None if diverged or above else loss)
        kept = {"kind": "off" if diverged or above else "seed", "loss": None if diverged else loss, "text": text}
        yield shared | kept | {"run": str(seed)}
    known = [loss for loss in losses if loss is not None]
    if known and (len(known) == len(losses) or shared["best"]):
        mean = fmean(known)
        yield shared | {"kind": "mean", "loss": mean, "text": f"{mean:.4f}", "run": f"mean of {len(known)}"}


def _domain(rows: Rows) -> tuple[float, float]:
    """The range of the losses that are drawn at their own height."""
    losses = [row["loss"] for row in rows if row["kind"] != "off"]
    return (min(losses), max(losses)) if losses else (0.0, 1.0)
