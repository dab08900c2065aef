"""The report of a fit: one offline HTML page.

From top to bottom: what it comes to, the law among its runs, what it misses, where the minimum is and how well the data
fix it, IsoFLOP curves, the way to the target, the back-test, influence, other choices, circumstances.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

import glassformer
from glassformer.charts.figures import Figure
from glassformer.charts.page import Page, Section
from glassformer.runs.environment import describe_environment
from glassformer.scaling.fit_report import fit_charts, reliability_charts, size_charts, surface_chart
from glassformer.scaling.fit_report.fit_tables import (
    choices_table,
    facts_table,
    influential_table,
    parameters_table,
    quality_table,
    reliability_table,
    target_table,
)
from glassformer.scaling.fits.findings import Findings
from glassformer.scaling.wording import budget
from glassformer.studies.report.text import machine, versions
from glassformer.wording import counted, duration

IN_THE_HEAD = ("points", "objective", "target", "machine", "computed")


def write_page(found: Findings, path: Path, *, command: Sequence[str]) -> Path:
    """Write the page and return its path.

    Raises:
        DataError: the place cannot be written to.
    """
    return page(found, circumstances(found, command)).save(path)


@np.errstate(all="ignore")
def page(found: Findings, facts: Mapping[str, str]) -> Page:
    """The page of a fit.

    Args:
        facts: its circumstances, by name.
    """
    name = Path(found.fit.points.source).name or "points"
    head = {key: facts[key] for key in IN_THE_HEAD if key in facts}
    return Page(f"What {name} says of scale", _sections(found, facts), facts=head)


def circumstances(found: Findings, command: Sequence[str]) -> dict[str, str]:
    """Where, when, with what and by which command: without these the numbers mean little."""
    environment = describe_environment(command)
    points, resampled = found.fit.points, found.bootstrap
    commit = environment["git"] or {}
    facts = {
        "points": f"{len(points):,} rows of {found.runs:,} runs",
        "objective": f"{found.fit.objective.describe()}, {found.fit.formula.name}",
        "target": f"{budget(found.target)} FLOP",
        "left out by --drop-influential": ", ".join(found.dropped),
        "of the points": " ".join(points.notes),
        "parameters counted": points.counting,
        "range": f"N {points.n.min():.3g} to {points.n.max():.3g}, D {points.d.min():.3g} to {points.d.max():.3g}, "
        f"C {points.c.min():.3g} to {points.c.max():.3g}, loss {points.loss.min():.4g} to {points.loss.max():.4g}",
        "bootstrap": f"{len(resampled.parameters):,} draws of {resampled.runs:,} runs, seed {resampled.seed}",
        "of the bootstrap": " ".join(resampled.notes),
        "machine": machine(environment),
        "versions": versions(environment),
        "computed": f"{environment['started'].replace('T', ' ')[:19]} UTC, in {duration(found.seconds)}",
        "command": shlex.join(_without_folders(environment["command"])),
        "code": f"commit {commit['commit'][:12]}{', changed' if commit.get('changed') else ''}" if commit else "",
        "variables": ", ".join(f"{name}={value}" for name, value in environment["variables"].items()),
        "page by": f"glassformer {glassformer.__version__}",
    }
    return {name: value for name, value in facts.items() if value}


def _without_folders(words: Sequence[str]) -> list[str]:
    """A command with the program's name without its folder: where a machine keeps it says nothing."""
    return [Path(words[0]).name, *words[1:]] if words else []


def _sections(found: Findings, facts: Mapping[str, str]) -> list[Section]:
    """The page from top to bottom."""
    sized = found.best.parameters is not None
    return [
        Section(
            "Summary",
            found.optimum_sentence(),
            [target_table(found), parameters_table(found), reliability_table(found)],
            missing=_dropped(found),
        ),
        Section(
            "Fit and data",
            "Whether the formula fits at all. Look for dots that leave the line of their size, and for a dashed "
            "frontier that runs away from the lowest dots.",
            [fit_charts.fit_and_data(found)] if sized else [],
            missing="" if sized else f"{found.fit.formula.shown} says nothing of N at a given compute.",
        ),
        Section(
            "Residuals",
            "A formula that fits leaves a cloud without shape about the line. A bend or a fan against N, D or C says "
            "where the formula is wrong, and there an extrapolation is wrong too.",
            [fit_charts.residuals(found)],
        ),
        Section(
            "The minimum",
            "Whether the fit is the lowest there is, and how well the data fix it. Parameters trade against each other "
            "along the valley of the objective; numbers that stay the same along it can be trusted.",
            [*_figure(found.surface, lambda: surface_chart.surface(found)), quality_table(found)],
            missing=found.missing.get("surface", ""),
        ),
        Section(
            "IsoFLOP curves",
            "The best size at each budget, read off the runs without any formula of N and D. Look for minima that the "
            "law's line misses, and for a slope that differs from its own.",
            [
                *_figure(found.isoflop, lambda: size_charts.isoflop_curves(found)),
                *([size_charts.optimum_path(found)] if sized else []),
            ],
            missing=_isoflop(found),
        ),
        Section(
            "Beyond the data",
            "The law's least loss at each budget, to the target. The prediction interval is where 95 % of new runs "
            "should end; the back-test's is as wide as the fit has been wrong before.",
            [fit_charts.extrapolation(found)],
        ),
        Section(
            "Back-test",
            "The largest budgets hidden, the law fitted to the rest and asked for the hidden losses: how far off it "
            "is, the farther it must reach.",
            [reliability_charts.back_test(found)] if found.back_test.steps else [],
            missing="" if found.back_test.steps else found.back_test.sentence(),
        ),
        Section(
            "Influence",
            "How far the fit moves when one point is left out. A law that hangs on a few points is a law of these "
            "points.",
            [reliability_charts.influence(found), *([influential_table(found)] if found.influential else [])],
        ),
        Section(
            "Other choices",
            _choices(found),
            [] if found.sensitivity is None else [reliability_charts.choices(found), choices_table(found)],
            missing=found.missing.get("other choices", ""),
        ),
        Section("Circumstances", "All that is needed to do it again.", [facts_table(facts)]),
    ]


def _figure(there: object | None, draw: Callable[[], Figure]) -> list[Figure]:
    return [] if there is None else [draw()]


def _dropped(found: Findings) -> str:
    if not found.dropped:
        return ""
    return (
        f"{counted(len(found.dropped), 'outlier')} {'was' if len(found.dropped) == 1 else 'were'} left out of "
        f"everything here, as --drop-influential asks: {', '.join(found.dropped)}."
    )


def _isoflop(found: Findings) -> str:
    """Why there are no curves, or which budgets are not among them."""
    if found.isoflop is None:
        return found.missing["IsoFLOP curves"]
    left = found.isoflop.unused
    if not left:
        return ""
    return (
        f"{len(found.isoflop.minima)} of {len(found.isoflop.minima) + len(left)} budgets have a lowest point among "
        f"their sizes. {left[0].sentence}" + (f" {len(left) - 1} more are in the JSON." if len(left) > 1 else "")
    )


def _choices(found: Findings) -> str:
    general = (
        "What another objective, other points, another formula or another way of counting would have said. Where the "
        "dots lie within the shaded interval, the choice does not matter; where they do not, the interval is too sure."
    )
    return general if found.sensitivity is None else f"{found.sensitivity.sentence()} {general}"
