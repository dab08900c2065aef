"""The page of a ladder: results, the law and its prediction, the variants, the design, its runs; one file."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import glassformer
from glassformer.charts.page import Page, Section
from glassformer.charts.table import Cell, Header, Table
from glassformer.runs.environment import describe_environment
from glassformer.scaling.ladders.ladder import Ladder
from glassformer.scaling.ladders.ladder_charts import design_chart, difference_chart, law_chart
from glassformer.scaling.ladders.ladder_plan import LadderPlan
from glassformer.scaling.ladders.ladder_rungs import short
from glassformer.scaling.ladders.ladder_summary import LadderSummary, percent, summarize
from glassformer.studies.report.text import machine, versions

PAGE = "ladder.html"


def write_page(ladder: Ladder, *, command: Sequence[str], path: Path | None = None) -> Path:
    """Write the page, as far as the ladder's runs have ended, and return its path: ``ladder.html`` in its folder.

    Raises:
        DataError: the place cannot be written to.
    """
    summary = summarize(ladder)
    facts = {
        "data": ladder.plan.base.data.source if hasattr(ladder.plan.base.data, "source") else "a task",
        "budget": ladder.plan.request.budget,
        "target": ladder.plan.request.target,
        **_circumstances(command),
    }
    page = Page(f"A ladder for {ladder.plan.request.preset}", list(_sections(summary)), facts=facts)
    return page.save(ladder.study.path / PAGE if path is None else path)


def _circumstances(command: Sequence[str]) -> dict[str, str]:
    environment = describe_environment(command)
    words = [Path(word).name if Path(word).is_absolute() else word for word in environment["command"]]
    facts = {
        "machine": machine(environment),
        "versions": versions(environment),
        "computed": f"{environment['started'].replace('T', ' ')[:19]} UTC",
        "command": shlex.join(words),
        "page by": f"glassformer {glassformer.__version__}",
    }
    return {name: value for name, value in facts.items() if value}


def _sections(summary: LadderSummary) -> Iterator[Section]:
    plan = summary.plan
    figures = [reliability_table(summary), *([parameters_table(summary)] if summary.fitted else [])]
    yield Section("Results", " ".join(summary.answers()), figures)
    if summary.fitted is not None:
        yield Section(
            "The law and the target",
            "The rungs, the law fitted to them, and the predicted run. Rungs that leave the line systematically show "
            "a misfit of the law; the prediction interval is then unreliable.",
            [law_chart(summary), *([back_test_table(summary)] if summary.fitted.held_out else [])],
        )
    if summary.effects:
        yield Section(
            "Effect of each variant over compute",
            "The variant's loss minus the baseline's, paired by rung and seed, and its extrapolation. Where the "
            "interval leaves the dashed line, the effect is significant.",
            [difference_chart(effect) for effect in summary.effects],
        )
    yield Section(
        "The design",
        "The chosen runs, and the expected contribution of each: the first rungs identify the law roughly, the last "
        "ones narrow the interval by as much as the curve still falls.",
        [design_chart(plan), design_table(plan)],
    )
    yield Section(
        "Runs", "Every number above comes from these runs, in the study beside this file.", [runs_table(summary)]
    )


def reliability_table(summary: LadderSummary) -> Table:
    """The rungs, the law, the design, the back-test, the next run: a sentence each."""
    rows = [[Cell(aspect), Cell(found)] for aspect, found in summary.reliability().items()]
    return Table([Header("aspect", "left"), Header("finding", "left")], rows, title="Reliability")


def parameters_table(summary: LadderSummary) -> Table:
    """The law's parameters with their intervals."""
    assert summary.fitted is not None
    rows = [
        [Cell(name), Cell(f"{value:.5g}", value), Cell(f"{low:.4g}"), Cell(f"{high:.4g}")]
        for name, (value, low, high) in summary.fitted.intervals().items()
    ]
    headers = [Header("parameter", "left"), Header("value"), Header("95 % from"), Header("to")]
    return Table(headers, rows, title="Parameters", narrow=True)


def back_test_table(summary: LadderSummary) -> Table:
    """Predictions for held-out rungs."""
    assert summary.fitted is not None
    rows = [
        [
            Cell(each.run),
            Cell(f"{each.reach:.2f}×", each.reach),
            Cell(f"{each.predicted.loss:.4f}", each.predicted.loss),
            Cell(f"{each.predicted.low:.4f} to {each.predicted.high:.4f}"),
            Cell(f"{each.loss:.4f}", each.loss),
            Cell("yes" if each.predicted.holds(each.loss) else "no"),
        ]
        for each in summary.fitted.held_out
    ]
    headers = [
        Header("held-out run", "left"),
        *map(Header, ("compute", "predicted", "95 % interval", "measured", "inside")),
    ]
    return Table(headers, rows, title="Back-test: the largest rungs held out")


def design_table(plan: LadderPlan) -> Table:
    """The rungs in the order of their contribution for their cost."""
    runs = {run.name: run for run in plan.runs}
    unit = 60.0 if plan.budget.timed else 1.0
    rows = [[Cell("none"), *[Cell("")] * 6, Cell(f"±{percent(plan.design.before)}")]]
    for rung in plan.design.rungs:
        run = runs[rung.candidate.label]
        cost = plan.cost(run) / unit
        rows.append(
            [
                Cell(run.shape),
                Cell(short(run.n), run.n),
                Cell(short(run.d), run.d),
                Cell(f"{run.c:.3g}", run.c),
                Cell(f"{run.steps:,}", run.steps),
                Cell(f"{run.changes['training.optimizer.learning_rate']:.3g}"),
                Cell(f"{cost:.3g}", cost),
                Cell(f"±{percent(rung.expected_half_width)}", rung.expected_half_width),
            ]
        )
    cost_title = "cost (core-min)" if plan.budget.timed else "cost (FLOP)"
    titles = ("N", "D", "C (FLOP)", "steps", "learning rate", cost_title, "expected half-width")
    return Table([Header("rung", "left"), *map(Header, titles)], rows, title="The rungs")


def runs_table(summary: LadderSummary) -> Table:
    """Every run with its loss."""
    rows = []
    for outcome in summary.ladder.study.outcomes():
        run = summary.plan.runs[0] if outcome.variant == "base" else None
        name = outcome.variant if run is None else run.name
        loss = Cell("–") if outcome.loss is None else Cell(f"{outcome.loss:.4f}", outcome.loss)
        rows.append(
            [
                Cell(name),
                Cell(str(outcome.seed), outcome.seed),
                Cell(f"{outcome.steps:,}", outcome.steps),
                loss,
                Cell(f"{outcome.seconds:.1f}", outcome.seconds),
                Cell(f"{outcome.status}, reused" if outcome.reused else outcome.status),
            ]
        )
    headers = [Header("run", "left"), *map(Header, ("seed", "steps", "validation loss", "seconds", "ended"))]
    return Table(headers, rows, title="Runs", sortable=True)
