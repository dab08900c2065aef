"""The page of a ladder: what it learned, the law with its band, the variants, the design, its runs; one file."""

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
from glassformer.scaling.ladders.ladder_plan import Plan
from glassformer.scaling.ladders.ladder_rungs import short
from glassformer.scaling.ladders.ladder_told import Told, percent, tell
from glassformer.studies.report_text import machine, versions

PAGE = "ladder.html"


def write_page(ladder: Ladder, *, command: Sequence[str], path: Path | None = None) -> Path:
    """Write the page, as far as the ladder's runs have ended, and return its path: ``ladder.html`` in its folder.

    Raises:
        DataError: the place cannot be written to.
    """
    told = tell(ladder)
    facts = {
        "data": ladder.plan.base.data.source if hasattr(ladder.plan.base.data, "source") else "a task",
        "budget": ladder.plan.request.budget,
        "target": ladder.plan.request.target,
        **_circumstances(command),
    }
    page = Page(f"A ladder for {ladder.plan.request.preset}", list(_sections(told)), facts=facts)
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


def _sections(told: Told) -> Iterator[Section]:
    plan = told.plan
    figures = [reliability_table(told), *([parameters_table(told)] if told.learned else [])]
    yield Section("What it learned", " ".join(told.answers()), figures)
    if told.learned is not None:
        yield Section(
            "The law and the target",
            "The rungs, the law through them, and the run that they predict. Look for rungs that leave the line on one "
            "side: there the law is not theirs, and the band cannot be trusted.",
            [law_chart(told), *([back_test_table(told)] if told.learned.hidden else [])],
        )
    if told.scalings:
        yield Section(
            "Does the change still help?",
            "The variant's loss less the base's, paired by rung and seed, and how it goes on. Look for where the band "
            "leaves the dashed line.",
            [difference_chart(scaling) for scaling in told.scalings],
        )
    yield Section(
        "The design",
        "Which runs were chosen, and what each was to add. The first rungs fix the law roughly; the last ones are "
        "worth what the curve still falls.",
        [design_chart(plan), design_table(plan)],
    )
    yield Section(
        "Every run", "Each number above comes from these runs of the study beside this file.", [runs_table(told)]
    )


def reliability_table(told: Told) -> Table:
    """The law, the design's promise, the back-test, what is left open, what to run next: a sentence each."""
    rows = [[Cell(asked), Cell(found)] for asked, found in told.trust().items()]
    return Table([Header("asked", "left"), Header("found", "left")], rows, title="How far to trust it")


def parameters_table(told: Told) -> Table:
    """The law's parameters with their intervals."""
    assert told.learned is not None
    rows = [
        [Cell(name), Cell(f"{value:.5g}", value), Cell(f"{low:.4g}"), Cell(f"{high:.4g}")]
        for name, (value, low, high) in told.learned.intervals().items()
    ]
    headers = [Header("parameter", "left"), Header("value"), Header("95 % from"), Header("to")]
    return Table(headers, rows, title="Parameters", narrow=True)


def back_test_table(told: Told) -> Table:
    """What the law missed of rungs that were hidden from it."""
    assert told.learned is not None
    rows = [
        [
            Cell(each.run),
            Cell(f"{each.reach:.2f}×", each.reach),
            Cell(f"{each.band.loss:.4f}", each.band.loss),
            Cell(f"{each.band.low:.4f} to {each.band.high:.4f}"),
            Cell(f"{each.loss:.4f}", each.loss),
            Cell("yes" if each.band.holds(each.loss) else "no"),
        ]
        for each in told.learned.hidden
    ]
    headers = [Header("hidden run", "left"), *map(Header, ("beyond", "predicted", "band", "truth", "inside"))]
    return Table(headers, rows, title="Back-test: the largest rungs, hidden")


def design_table(plan: Plan) -> Table:
    """The rungs in the order in which they help."""
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
                Cell(f"±{percent(rung.promise)}", rung.promise),
            ]
        )
    cost_title = "cost (core-min)" if plan.budget.timed else "cost (FLOP)"
    titles = ("N", "D", "C (FLOP)", "steps", "learning rate", cost_title, "target known to")
    return Table([Header("rung", "left"), *map(Header, titles)], rows, title="The rungs")


def runs_table(told: Told) -> Table:
    """Every run with its loss."""
    rows = []
    for outcome in told.ladder.study.outcomes():
        run = told.plan.runs[0] if outcome.variant == "base" else None
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
