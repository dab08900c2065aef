"""The learning curves of a study's report: every seed, the mean of each arm, and where diverged runs end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from glassformer.charts.drawing import Drawing
from glassformer.charts.theme import DASHES, Theme
from glassformer.studies.design import BASE, arm_label
from glassformer.studies.report.numbers import Numbers, RunNumbers

if TYPE_CHECKING:
    import altair as alt

TOGETHER = 6
"""As many arms share one plot of learning curves; more get a panel each, with the base in all of them."""

PANELS = 3  # in a row
ABOVE = 0.08  # of the curves' own height, left free above and below them


def learning_curves(numbers: Numbers) -> Drawing:
    """Validation loss over steps: every seed a thin line, the mean of an arm's finished runs a bold one."""
    config = numbers.study.config
    panels = [[*config.arms]] if len(config.arms) <= TOGETHER else [[BASE, name] for name in config.variants]
    facets = len(panels) > 1
    rows = [
        row | {"panel": arms[-1]}
        for arms in panels
        for name in arms
        for row in _curve_rows(numbers.runs_of(name), name)
    ]
    low, high = _domain(numbers)
    references = {
        label: value
        for label, value in numbers.entropies.items()
        if low - (high - low) / 2 <= value <= high + (high - low) / 2
    }
    low, high = min([low, *references.values()]), max([high, *references.values()])
    last = max([1, *(step for run in numbers.runs for step in run.outcome.curve.steps)])
    room = ABOVE * (high - low) or 0.1
    place: dict[str, Any] = {"align": "left", "baseline": "middle", "dx": 8}  # beside the plot, where no curve runs
    if facets:
        place = {"align": "right", "baseline": "bottom", "dy": -16, "dx": -4}
    rows += [
        {"kind": "reference", "panel": arms[-1], "label": [f"{label} entropy", f"{value:.3f}"], "loss": value}
        for arms in panels
        for label, value in references.items()
    ]

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        y = alt.Y(
            "loss:Q",
            title="validation loss (nats/token)",
            scale=alt.Scale(domain=[low - room, high + room], nice=False, zero=False),
        )
        x = alt.X(
            "step:Q",
            title="optimizer step",
            axis=alt.Axis(format=",d", tickCount=6, tickMinStep=1),
            scale=alt.Scale(domain=[0, last], nice=False),
        )
        colour, dash = legend(config.arms, look)
        tooltip = [
            alt.Tooltip("arm:N", title="variant"),
            alt.Tooltip("run:N", title="seed"),
            alt.Tooltip("step:Q", format=","),
            alt.Tooltip("loss:Q", format=".4f"),
        ]

        def of(kind: str) -> alt.Chart:
            return alt.Chart().transform_filter(f"datum.kind === '{kind}'").encode(x=x, y=y)

        seeds = of("seed").mark_line(clip=True, strokeWidth=1.1, opacity=0.45)
        means = of("mean").mark_line(clip=True, strokeWidth=3).encode(strokeDash=dash)
        points = of("mean").mark_point(clip=True, filled=True, size=40, opacity=1).encode(tooltip=tooltip)
        ends = of("end").mark_point(clip=True, shape="cross", angle=45, filled=True, size=110, opacity=1)
        lines = alt.Chart().transform_filter("datum.kind === 'reference'").encode(y=y)
        layers = [
            lines.mark_rule(strokeDash=[5, 4], strokeWidth=1.2, color=look.muted),
            lines.mark_text(**place, color=look.muted, fontSize=12, lineHeight=14).encode(
                x=alt.value("width"), text="label:N"
            ),
            seeds.encode(color=colour, detail="run:N", tooltip=tooltip),
            means.encode(color=colour),
            points.encode(color=colour),
            ends.encode(color=colour, tooltip=tooltip),
        ]
        data = alt.InlineData(values=rows)
        if not facets:
            return alt.layer(*layers, data=data).properties(height=420).configure(**look.config())
        panel = alt.layer(*layers).properties(width=260, height=200)
        header = alt.Header(labelColor=look.text, labelFontSize=12, title=None)
        return panel.facet(
            facet=alt.Facet("panel:N", sort=list(config.variants), header=header), columns=PANELS, data=data
        ).configure(**look.config())

    return Drawing(
        build,
        title="Validation loss of all runs",
        description="Thin lines: seeds; bold lines with points: means of finished runs; crosses: the last validation "
        "of diverged runs. Losses higher than any after step 0 are cut off.",
    )


def _curve_rows(runs: Sequence[RunNumbers], name: str) -> Iterator[dict[str, Any]]:
    """Points of every seed, of their mean, and where diverged runs end."""
    for run in runs:
        curve = run.outcome.curve
        points = [
            {
                "arm": arm_label(name),
                "run": f"{arm_label(name)}, seed {run.outcome.seed}",
                "step": step,
                "loss": round(loss, 5),
            }
            for step, loss in zip(curve.steps, curve.losses, strict=True)
            if loss is not None
        ]
        yield from (point | {"kind": "seed"} for point in points)
        if run.outcome.status == "diverged" and points:
            yield points[-1] | {"kind": "end"}
    curves = [
        {
            step: loss
            for step, loss in zip(run.outcome.curve.steps, run.outcome.curve.losses, strict=True)
            if loss is not None
        }
        for run in runs
        if run.outcome.status == "finished"
    ]
    shared = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    for step in shared:
        mean = fmean(curve[step] for curve in curves)
        yield {
            "arm": arm_label(name),
            "run": f"mean of {len(curves)}",
            "step": step,
            "loss": round(mean, 5),
            "kind": "mean",
        }


def _domain(numbers: Numbers) -> tuple[float, float]:
    """The lowest and the highest loss of finished runs, those before any update left out if there are others."""
    curves = [run.outcome.curve for run in finished_runs(numbers)]
    points = [point for curve in curves for point in zip(curve.steps, curve.losses, strict=True)]
    losses = [loss for step, loss in points if loss is not None and step > 0] or [
        loss for _, loss in points if loss is not None
    ]
    return min(losses), max(losses)


def finished_runs(numbers: Numbers) -> list[RunNumbers]:
    """The runs that have a final loss."""
    return [run for run in numbers.runs if run.outcome.status == "finished"]


def legend(arms: Sequence[str], look: Theme, symbol: str = "stroke", columns: int = 4) -> tuple[Any, Any]:
    """The base in the colour of text, variants in the palette's; where that begins again, with another dash."""
    import altair as alt

    palette = look.palette[:-1]  # the last is the colour of text
    colours = [look.text, *(palette[index % len(palette)] for index in range(len(arms) - 1))]
    dashes = [[1, 0], *(list(DASHES[index // len(palette) % len(DASHES)]) for index in range(len(arms) - 1))]
    labels = [arm_label(arm) for arm in arms]
    shared = alt.Legend(symbolType=symbol, symbolOpacity=1, columns=columns)
    colour = alt.Color("arm:N", sort=labels, scale=alt.Scale(domain=labels, range=colours), legend=shared)
    dash = alt.StrokeDash("arm:N", sort=labels, scale=alt.Scale(domain=labels, range=dashes), legend=shared)
    return colour, dash
