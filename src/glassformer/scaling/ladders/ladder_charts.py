"""The charts of a ladder: the design's expected interval, the law and its prediction, a variant's difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from glassformer.charts.drawing import Drawing
from glassformer.charts.theme import Theme
from glassformer.scaling.chart_axes import COMPUTE_TITLE, LOSS, Rows, linear, over_compute, rounded, tooltip
from glassformer.scaling.ladders.effect_vs_compute import EffectVsCompute
from glassformer.scaling.ladders.ladder_fit import LadderFit
from glassformer.scaling.ladders.ladder_plan import LadderPlan
from glassformer.scaling.ladders.ladder_summary import LadderSummary, predict_run
from glassformer.statistics.prediction import Prediction

if TYPE_CHECKING:
    import altair as alt

PLACES = 60  # of a drawn curve
Row = dict[str, Any]


def design_chart(plan: LadderPlan) -> Drawing:
    """The expected interval at the target after each rung, over their cumulative cost."""
    design = plan.design
    spent = np.cumsum([plan.cost(_run(plan, rung.candidate.label)) for rung in design.rungs])
    scale = 60.0 if plan.budget.timed else 1.0
    rows: Rows = [{"cost": 0.0, "known": rounded(100 * design.before), "rung": "none"}] + [
        {
            "cost": rounded(float(cost) / scale),
            "known": rounded(100 * rung.expected_half_width),
            "rung": rung.candidate.label,
        }
        for cost, rung in zip(spent, design.rungs, strict=True)
    ]
    unit = "core-minutes" if plan.budget.timed else "FLOP"

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        known = [row["known"] for row in rows]
        x = alt.X("cost:Q", title=f"cost of the rungs so far ({unit})", axis=alt.Axis(tickCount=6))
        y = alt.Y(
            "known:Q",
            title="half-width of the 95 % interval at the target (%)",
            scale=alt.Scale(type="log", domain=[0.8 * min(known), 1.2 * max(known)], nice=False),
        )
        lines = alt.Chart().mark_line(interpolate="step-after", strokeWidth=2, color=look.palette[0])
        points = alt.Chart().mark_point(filled=True, size=60, opacity=1, color=look.palette[0])
        layers = [lines.encode(x=x, y=y), points.encode(x=x, y=y, tooltip=tooltip(rung="", cost=".3~g", known=".3~g"))]
        return alt.layer(*layers, data=alt.InlineData(values=rows)).configure(**look.config())

    return Drawing(
        build,
        title="Contribution of each rung",
        description="The 95 % interval at the target expected after each rung, in the order of their contribution for "
        "their cost.",
    )


def law_chart(summary: LadderSummary) -> Drawing:
    """The rungs, the law along the path to the target with its prediction interval, and the measured loss."""
    assert summary.fitted is not None
    plan, fitted = summary.plan, summary.fitted
    places = {run.name: run for run in (plan.target, plan.verification)}
    rows: Rows = [
        {"kind": "rung", "C": rounded(run.c), "loss": round(loss, 5), "what": f"{run.name}, seed {seed}"}
        for run in plan.runs
        for seed, loss in summary.ladder.losses(run).items()
        if loss is not None
    ]
    rows += _path_rows(plan, fitted)
    for run in places.values():
        rows.append(_row("target", run.c, "loss", *_ends(predict_run(fitted, run)), what=f"predicted for {run.name}"))
    rows += [
        {"kind": "truth", "C": rounded(plan.verification.c), "loss": round(each.loss, 5), "what": "measured"}
        for each in summary.verified
        if each.predicted is not None and each.loss is not None
    ]
    compute = np.array([row["C"] for row in rows])
    lows = [float(row["low"] if "low" in row else row["loss"]) for row in rows]
    highs = [float(row["high"] if "high" in row else row["loss"]) for row in rows]

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        x = over_compute(compute, 0.03)
        y = alt.Y(**linear("loss", LOSS, min(lows), max(highs)))
        shown = tooltip(what="", C=".3e", loss=".4f")

        def of(kind: str) -> alt.Chart:
            return alt.Chart().transform_filter(f"datum.kind === '{kind}'").encode(x=x)

        rungs = of("rung").mark_point(filled=True, size=70, opacity=0.9, color=look.palette[0])
        truth = of("truth").mark_point(shape="diamond", filled=True, size=180, opacity=1, color=look.palette[1])
        target = of("target").mark_point(filled=False, size=90, strokeWidth=2, color=look.palette[2])
        layers = [
            of("path").mark_area(opacity=0.18, color=look.palette[2]).encode(y=alt.Y("low:Q"), y2="high:Q"),
            of("path").mark_line(strokeWidth=2, color=look.palette[2]).encode(y=y),
            of("target").mark_rule(strokeWidth=2, color=look.palette[2]).encode(y=alt.Y("low:Q"), y2="high:Q"),
            target.encode(y=y, tooltip=[*shown, *tooltip(low=".4f", high=".4f")]),
            rungs.encode(y=y, tooltip=shown),
            truth.encode(y=y, tooltip=shown),
        ]
        return alt.layer(*layers, data=alt.InlineData(values=rows)).properties(height=400).configure(**look.config())

    return Drawing(
        build,
        title="The rungs, the law and the target",
        description="Points: the final validation loss of every run. Line and shaded area: the law along the path to "
        "the target, with its 95 % prediction interval. Circle: the prediction; diamond: the measured loss, after that "
        "run.",
    )


def difference_chart(effect: EffectVsCompute) -> Drawing:
    """Variant − baseline over compute: every pair, and the extrapolated difference with its interval."""
    rows: Rows = [
        {"kind": "pair", "C": rounded(rung.compute), "difference": round(value, 5), "what": f"{rung.name}, seed {seed}"}
        for rung in effect.rungs
        for seed, value in rung.differences.items()
    ]
    rows += [
        _row(kind, at.compute, "difference", at.difference, at.low, at.high, what=what)
        for kind, at, what in [
            *(("curve", at, f"{at.times:.2g} times the largest rung") for at in effect.curve),
            *(("asked", at, f"{at.times:g}×: {at.verdict}") for at in effect.at),
        ]
    ]
    compute = np.array([row["C"] for row in rows])
    ends = [float(row[end]) for row in rows for end in ("low", "high", "difference") if end in row]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = 0.05 * (high - low) or 0.01

    def build(look: Theme) -> alt.TopLevelMixin:
        import altair as alt

        x = over_compute(compute, 0.03, title=f"{COMPUTE_TITLE} of the base")
        scale = alt.Scale(domain=[low - room, high + room], nice=False, zero=False)
        y = alt.Y("difference:Q", title="loss of the variant − baseline (nats/token)", scale=scale)
        shown = tooltip(what="", difference="+.4f")

        def of(kind: str) -> alt.Chart:
            return alt.Chart().transform_filter(f"datum.kind === '{kind}'").encode(x=x)

        zero = alt.Chart().mark_rule(strokeDash=[5, 4], color=look.muted).encode(y=alt.datum(0))
        pairs = of("pair").mark_point(filled=True, size=60, opacity=0.8, color=look.palette[0])
        asked = of("asked").mark_point(filled=True, size=80, color=look.palette[1])
        layers = [
            zero,
            of("curve").mark_area(opacity=0.18, color=look.palette[1]).encode(y=alt.Y("low:Q"), y2="high:Q"),
            of("curve").mark_line(strokeWidth=2, color=look.palette[1]).encode(y=y),
            of("asked").mark_rule(strokeWidth=2, color=look.palette[1]).encode(y=alt.Y("low:Q"), y2="high:Q"),
            asked.encode(y=y, tooltip=shown),
            pairs.encode(y=y, tooltip=shown),
        ]
        return alt.layer(*layers, data=alt.InlineData(values=rows)).configure(**look.config())

    return Drawing(
        build,
        title=f"{effect.variant} minus the baseline",
        description="Each point is a pair of runs of one rung and seed; below the dashed line the variant is better. "
        "Line and shaded area: the extrapolated difference, with a 95 % interval at 10 and 100 times the compute of "
        "the largest rung.",
    )


def _path_rows(plan: LadderPlan, fitted: LadderFit) -> Rows:
    """The law's curve: N and D in the target's proportion, from the smallest rung's compute to the target's."""
    end = plan.target
    compute = np.geomspace(min(run.c for run in plan.runs), max(end.c, plan.verification.c), PLACES)
    share = np.sqrt(compute / end.c)
    predictions = fitted.curve(end.n * share, end.d * share, compute)
    return [
        _row("path", float(c), "loss", *_ends(each), what="the law")
        for c, each in zip(compute, predictions, strict=True)
    ]


def _row(kind: str, compute: float, quantity: str, value: float, low: float, high: float, *, what: str) -> Row:
    ends = {quantity: round(value, 5), "low": round(low, 5), "high": round(high, 5)}
    return {"kind": kind, "C": rounded(compute), **ends, "what": what}


def _ends(found: Prediction) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def _run(plan: LadderPlan, name: str) -> Any:
    return next(run for run in plan.runs if run.name == name)
