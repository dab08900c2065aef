"""The charts of a study's report: selection, learning curves, paired differences, cost. Every seed is in each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from glassformer.charts.drawing import Drawing
from glassformer.charts.theme import Theme
from glassformer.statistics.comparison import Difference
from glassformer.statistics.wording import percent, signed
from glassformer.studies.design import arm_label
from glassformer.studies.report.curves import finished_runs, learning_curves, legend
from glassformer.studies.report.numbers import Numbers, RunNumbers
from glassformer.studies.report.tuning_chart import selection_chart

if TYPE_CHECKING:
    import altair as alt

ROW = 52  # CSS pixels of a variant in the plot of differences
SPREAD = 0.5  # of a row, over which a variant's seeds are put one below the other
Rows = list[dict[str, Any]]
Interval = tuple[float, float] | None


def charts(numbers: Numbers) -> dict[str, Drawing]:
    """The charts of a study by name. One that there are no numbers for is left out."""
    drawn = {"curves": learning_curves(numbers)}
    selection = None if numbers.tuned is None else selection_chart(numbers.tuned)
    if selection is not None:
        drawn["selection"] = selection
    if any(row.mean is not None for row in numbers.comparison.rows):
        drawn["differences"] = differences(numbers)
    drawn["cost-seconds"] = cost(numbers, lambda run: run.outcome.seconds, "seconds of training")
    if len({run.flops for run in finished_runs(numbers) if run.flops is not None}) > 1:
        drawn["cost-flops"] = cost(numbers, lambda run: run.flops, "FLOPs of training")
    return drawn


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
    kind = "interval, valid at every look" if numbers.decisions else "t interval"

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
            title="difference in final validation loss (nats/token); above 0: worse than the baseline",
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
        title="Variant − baseline, seed by seed",
        description=f"Dots: one for each seed. Diamond and bar: the mean and its {confidence} {kind}; no bar where "
        "there are too few pairs.",
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
            "arm": arm_label(run.outcome.variant),
            "run": f"{arm_label(run.outcome.variant)}, seed {run.outcome.seed}",
            "cost": spent,
            "loss": run.outcome.loss,
        }
        for run in finished_runs(numbers)
        if (spent := of(run)) is not None
    ]

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        free = alt.Scale(zero=False, nice=True, padding=14)
        colour, _ = legend(arms, look, "circle", 2)
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
        description="A dot for each finished run; lower and further left is better.",
    )
    figure.narrow = True
    return figure


def _json(names: Sequence[str]) -> str:
    return json.dumps(list(names))
