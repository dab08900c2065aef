"""The charts of a study's report: learning curves, paired differences, cost against loss. Every seed is in each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from glassformer.charts.drawing import Drawing
from glassformer.charts.theme import DASHES, Theme
from glassformer.studies.design import BASE
from glassformer.studies.report_numbers import Numbers, RunNumbers
from glassformer.studies.statistics import Difference
from glassformer.studies.wording import percent, signed

if TYPE_CHECKING:
    import altair as alt

TOGETHER = 6
"""As many arms share one plot of learning curves; more get a panel each, with the base in all of them."""

PANELS = 3  # in a row
ABOVE = 0.08  # of the curves' own height, left free above and below them
ROW = 52  # CSS pixels of a variant in the plot of differences
SPREAD = 0.5  # of a row, over which a variant's seeds are put one below the other
Rows = list[dict[str, Any]]
Interval = tuple[float, float] | None


def charts(numbers: Numbers) -> dict[str, Drawing]:
    """The charts of a study by name. One that there are no numbers for is left out."""
    drawn = {"curves": learning_curves(numbers)}
    if any(row.mean is not None for row in numbers.comparison.rows):
        drawn["differences"] = differences(numbers)
    drawn["cost-seconds"] = cost(numbers, lambda run: run.outcome.seconds, "seconds of training")
    if len({run.flops for run in _finished(numbers) if run.flops is not None}) > 1:
        drawn["cost-flops"] = cost(numbers, lambda run: run.flops, "FLOPs of training")
    return drawn


# ------------------------------------------------------------------------------------------------ learning curves


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
        colour, dash = _legend(config.arms, look)
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
        title="Validation loss of every run",
        description="Validation loss over the steps. Thin: every seed; bold, with points: the mean of finished runs; a "
        "cross: the last validation of a run that diverged. What is higher than the losses after the first "
        "validation is cut off.",
    )


def _curve_rows(runs: Sequence[RunNumbers], name: str) -> Iterator[dict[str, Any]]:
    """Points of every seed, of their mean, and where diverged runs end."""
    for run in runs:
        curve = run.outcome.curve
        points = [
            {"arm": name, "run": f"{name}, seed {run.outcome.seed}", "step": step, "loss": round(loss, 5)}
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
        yield {"arm": name, "run": f"mean of {len(curves)}", "step": step, "loss": round(mean, 5), "kind": "mean"}


def _domain(numbers: Numbers) -> tuple[float, float]:
    """The lowest and the highest loss of finished runs, those before any update left out if there are others."""
    curves = [run.outcome.curve for run in _finished(numbers)]
    points = [point for curve in curves for point in zip(curve.steps, curve.losses, strict=True)]
    losses = [loss for step, loss in points if loss is not None and step > 0] or [
        loss for _, loss in points if loss is not None
    ]
    return min(losses), max(losses)


# --------------------------------------------------------------------------------------------- paired differences


def differences(numbers: Numbers) -> Drawing:
    """The forest plot: for each variant its seeds, their mean, and its interval, about the line of no difference."""
    rows = [row for row in numbers.strongest_first if row.mean is not None]
    names = [row.variant for row in rows]
    effects = [_effect(numbers, row) for row in rows]
    seeds = [dot for index, row in enumerate(rows) for dot in _seed_rows(row, index)]
    means = [
        {"variant": name, "x": mean, "y": index, "text": _written(mean, interval)}
        for index, (name, (mean, interval)) in enumerate(zip(names, effects, strict=True))
    ]
    intervals = [
        {"x": interval[0], "x2": interval[1], "y": index}
        for index, (_, interval) in enumerate(effects)
        if interval is not None
    ]
    confidence = percent(numbers.comparison.confidence)
    kind = "interval that holds at every look" if numbers.decisions else "t interval"

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        y = alt.Y(
            "y:Q",
            scale=alt.Scale(domain=[len(rows) - 0.5, -0.5], nice=False, zero=False),
            axis=alt.Axis(
                title=None,
                values=list(range(len(rows))),
                labelExpr=f"{_json(names)}[datum.value]",
                labelLimit=260,
                labelColor=look.text,
                labelFontSize=13,
                grid=False,
            ),
        )
        axis = alt.Axis(grid=True, tickCount=7, format="+.3~f", labelExpr="datum.value ? datum.label : '0'")
        scale = alt.Scale(nice=True, zero=True)
        x = alt.X(
            "x:Q",
            title="difference in final validation loss (nats/token); right of 0: worse than the base",
            axis=axis,
            scale=scale,
        )
        zero = alt.Chart({"values": [{"x": 0}]}).mark_rule(color=look.text, strokeWidth=1.4).encode(x=x)
        accent, second = look.palette[0], look.palette[1]

        def layer(values: Rows) -> alt.Chart:
            return alt.Chart({"values": values}).encode(x=x, y=y)

        layers = [
            zero,
            *([layer(intervals).mark_rule(strokeWidth=3, color=accent).encode(x2="x2:Q")] if intervals else []),
            layer(seeds)
            .mark_circle(size=46, opacity=0.85, color=second)
            .encode(
                tooltip=[
                    alt.Tooltip("variant:N"),
                    alt.Tooltip("seed:Q"),
                    alt.Tooltip("x:Q", title="difference", format="+.5f"),
                ]
            ),
            layer(means)
            .mark_point(shape="diamond", filled=True, size=170, opacity=1, color=accent, stroke=look.background)
            .encode(tooltip=[alt.Tooltip("variant:N"), alt.Tooltip("text:N", title="mean and interval")]),
            layer(means)
            .mark_text(align="left", dx=10, fontSize=12, color=look.text)
            .encode(x=alt.value("width"), text="text:N"),
        ]
        return alt.layer(*layers).properties(height=ROW * len(rows)).configure(**look.config())

    return Drawing(
        build,
        title="Variant − base, seed by seed",
        description=f"Dots: variant − base, one for each seed. Diamond and bar: the mean and its {confidence} {kind}; "
        "no bar where there are too few pairs.",
    )


def _seed_rows(row: Difference, index: int) -> Rows:
    whole = [(pair.seed, pair.difference) for pair in row.pairs if pair.difference is not None]
    step = SPREAD / max(1, len(whole) - 1)
    return [
        {"variant": row.variant, "seed": seed, "x": difference, "y": index - SPREAD / 2 + step * place}
        for place, (seed, difference) in enumerate(whole)
    ]


def _effect(numbers: Numbers, row: Difference) -> tuple[float, Interval]:
    """The mean and its interval: where seeds were added until something was decided, those of that moment."""
    decision = numbers.decisions.get(row.variant)
    if decision is not None and decision.mean is not None:
        return decision.mean, decision.interval
    assert row.mean is not None
    return row.mean, row.interval


def _written(mean: float, interval: Interval) -> str:
    if interval is None:
        return signed(mean, mean)
    scale = (interval[1] - interval[0]) / 2
    return f"{signed(mean, scale)} ({signed(interval[0], scale)} to {signed(interval[1], scale)})"


# ------------------------------------------------------------------------------------------------ cost and loss


def cost(numbers: Numbers, of: Callable[[RunNumbers], float | None], title: str) -> Drawing:
    """Final loss against what a run cost; a dot for each finished run."""
    arms = numbers.study.config.arms
    rows = [
        {
            "arm": run.outcome.variant,
            "run": f"{run.outcome.variant}, seed {run.outcome.seed}",
            "cost": spent,
            "loss": run.outcome.loss,
        }
        for run in _finished(numbers)
        if (spent := of(run)) is not None
    ]

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        free = alt.Scale(zero=False, nice=True, padding=14)
        colour, _ = _legend(arms, look, "circle", 2)
        chart = (
            alt.Chart({"values": rows})
            .mark_point(filled=True, size=90, opacity=0.8)
            .encode(
                x=alt.X("cost:Q", title=title, scale=free, axis=alt.Axis(format="~s", tickCount=6)),
                y=alt.Y("loss:Q", title="final validation loss (nats/token)", scale=free),
                color=colour,
                tooltip=[
                    alt.Tooltip("run:N"),
                    alt.Tooltip("cost:Q", title=title, format=".4~s"),
                    alt.Tooltip("loss:Q", format=".4f"),
                ],
            )
        )
        return chart.properties(height=320).configure(**look.config())

    figure = Drawing(
        build,
        title=f"Loss against {title}",
        description="A dot for each finished run; low and left is good.",
    )
    figure.narrow = True
    return figure


def _finished(numbers: Numbers) -> list[RunNumbers]:
    return [run for run in numbers.runs if run.outcome.status == "finished"]


def _legend(arms: Sequence[str], look: Theme, symbol: str = "stroke", columns: int = 4) -> tuple[Any, Any]:
    """The base in the colour of text, variants in the palette's; where that begins again, with another dash."""
    import altair as alt

    palette = look.palette[:-1]  # the last is the colour of text
    colours = [look.text, *(palette[index % len(palette)] for index in range(len(arms) - 1))]
    dashes = [[1, 0], *(list(DASHES[index // len(palette) % len(DASHES)]) for index in range(len(arms) - 1))]
    legend = alt.Legend(symbolType=symbol, symbolOpacity=1, columns=columns)
    colour = alt.Color("arm:N", sort=list(arms), scale=alt.Scale(domain=list(arms), range=colours), legend=legend)
    dash = alt.StrokeDash("arm:N", sort=list(arms), scale=alt.Scale(domain=list(arms), range=dashes), legend=legend)
    return colour, dash


def _json(names: Sequence[str]) -> str:
    return json.dumps(list(names))
