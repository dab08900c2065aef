"""The results of ``glassformer study``: the table, a sentence for each variant, the report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from glassformer import places
from glassformer.cli.terminal import Terminal, warn

if TYPE_CHECKING:
    from glassformer.statistics.comparison import Difference
    from glassformer.studies.adding_seeds import SequentialResult
    from glassformer.studies.design import StudyConfig
    from glassformer.studies.folder import Study
    from glassformer.studies.report.failures import Failures
    from glassformer.studies.runner import StudyResult
    from glassformer.studies.summary import Summary


def conclude(result: StudyResult, console: Terminal, *, report: bool = True) -> None:
    """The table, the report, and what to do next. Raises :class:`RunError` when runs failed."""
    from glassformer.studies.design import arm_label
    from glassformer.studies.summary import summarise

    study = result.study
    if study.config.tuning is not None and not study.config.chosen:
        result.check(command_of(study))  # runs of the selection failed, and there is nothing to compare yet
    summary = summarise(study)
    study.write_results(summary.to_dict())
    console.print()
    console.print(_table(summary))
    console.print(Text(summary.basis))
    for row in summary.comparison.rows:
        console.print(Text(f"  {summary.sentence(row)}"))
    for arm in [] if summary.tuned is None else summary.tuned.rows:
        if arm.note and not arm.on_edge:  # the sentences have those of an edge
            console.print(Text(f"  {arm_label(arm.arm)}: {arm.note}.", style="dim"))
    if summary.sequential_results:
        console.print(Text(_ending(study.config, summary.sequential_results), style="dim"))
    console.print(f"{study.path / 'results.json'}", style="dim")
    failures: Failures | None = None
    if report and any(arm.finished for arm in summary.arms):
        from glassformer.studies.report.failures import Failures as Noted
        from glassformer.studies.report.write import write_report

        failures = Noted()
        console.print(Text.assemble("report ", (str(write_report(study, failures=failures)), "bold")))
    result.check(command_of(study))
    if failures is not None:
        warn_of(failures)


def warn_of(failures: Failures) -> None:
    """Name what is missing from a report, and exit with status 1: its numbers are complete, the report is not."""
    if failures.reasons:
        warn(failures.sentence())
        raise typer.Exit(1)


def _ending(config: StudyConfig, sequential_results: Sequence[SequentialResult]) -> str:
    """Why no more seeds were added, and what is not shown."""
    from glassformer.studies.summary import NOT_FIXED

    open_ones = [
        sequential_result.decision.variant for sequential_result in sequential_results if not sequential_result.decided
    ]
    if not open_ones:
        return f"Every variant is decided after {len(config.seeds)} seeds. {NOT_FIXED}"
    return f"Inconclusive after {len(config.seeds)} seeds: {', '.join(open_ones)}. {NOT_FIXED}"


def _table(summary: Summary) -> Table:
    """A row for the baseline and each variant."""
    from glassformer.studies.design import arm_label

    accuracy = any(arm.accuracy is not None for arm in summary.arms)
    diverged = any(arm.count("diverged") for arm in summary.arms)
    tuned = summary.selection is not None
    table = Table(box=None, padding=(0, 2), collapse_padding=tuned)
    table.add_column("variant", overflow="fold", min_width=len("baseline"))
    holds = ", valid at every look" if summary.sequential_results else ""
    loss_heading = "loss" if tuned else "validation loss"
    for heading in ("n", loss_heading, "difference", f"95 % interval{holds}"):
        table.add_column(heading, justify="right", no_wrap=True)  # a narrow terminal cuts the names instead
    for heading, shown in (("accuracy", accuracy), ("diverged", diverged)):
        if shown:
            table.add_column(heading, justify="right")
    steps = _steps(summary)
    if steps:
        table.add_column("steps", justify="right")
    if tuned:
        for heading in (f"best {_tuned_setting(summary)}", "difference at the baseline's"):
            table.add_column(heading, justify="right")
    rows = {row.variant: row for row in summary.comparison.rows}
    for arm in summary.arms:
        if arm.name in summary.study.config.controls:
            continue  # they stand in their variant's row
        sequential_result = summary.sequential_result(arm.name)
        row = rows.get(arm.name) if sequential_result is None else sequential_result.decision
        interval = None if row is None else row.interval
        loss = arm.loss if row is None else _paired_loss(rows[arm.name])
        cells = [
            arm_label(arm.name),
            str(len(arm.finished) if row is None else row.n),  # of a variant, the pairs that its interval is of
            "–" if loss is None else f"{loss:.4f}",
            "" if row is None or row.mean is None else f"{row.mean:+.4f}",
            "" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}",
        ]
        cells += ["–" if arm.accuracy is None else f"{arm.accuracy:.3f}"] if accuracy else []
        cells += [str(arm.count("diverged"))] if diverged else []
        cells += [f"{steps[arm.name]:,.0f}" if arm.name in steps else "–"] if steps else []
        cells += [_best(summary, arm.name), _at_the_baselines(summary, arm.name)] if tuned else []
        table.add_row(*map(Text, cells))
    return table


def _steps(summary: Summary) -> dict[str, float]:
    """Mean steps of each arm's finished runs where arms differ in them, as those matched in cost do; else empty."""
    steps = {arm.name: fmean(each.steps for each in arm.finished) for arm in summary.arms if arm.finished}
    return steps if len({round(mean) for mean in steps.values()}) > 1 else {}


def _tuned_setting(summary: Summary) -> str:
    tuning = summary.study.config.tuning
    assert tuning is not None, "nothing is tuned"
    return ", ".join(setting.rpartition(".")[2].replace("_", " ") for setting in tuning.grid)


def _best(summary: Summary, arm: str) -> str:
    """The best values of an arm, in the order of the settings."""
    from glassformer.studies.variation import shown

    best = None if summary.selection is None else summary.selection.best.get(arm)
    return "–" if best is None else ", ".join(map(shown, best.values.values()))


def _at_the_baselines(summary: Summary, variant: str) -> str:
    """The difference of a variant's control, whose interval is in the sentences; "the same" at equal best values."""
    control, chosen = summary.control(variant), summary.study.config.chosen
    if control is None:
        own = chosen.get(variant)
        return "the same" if variant in summary.study.config.variants and own and own == chosen.get("base") else ""
    if control.mean is None:
        return "diverged" if control.variant_diverged else "–"
    return f"{control.mean:+.4f}"


def _paired_loss(row: Difference) -> float | None:
    """A variant's mean final loss over the pairs of its difference: a run without a partner is in neither."""
    paired = [pair.variant for pair in row.pairs if pair.base is not None and pair.variant is not None]
    return fmean(paired) if paired else None


def command_of(study: Study) -> str:
    """The command that resumes a study."""
    named = study.name if study.path.parent == places.studies_folder() else str(study.path)
    return f"glassformer study {named}"
