"""``glassformer scale ladder``: small runs that predict the loss of a large one, and the effect of a change there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from glassformer.cli.idle_options import check_idle
from glassformer.cli.preparing import preparing
from glassformer.cli.terminal import Terminal

if TYPE_CHECKING:
    from glassformer.scaling.ladders.ladder import Ladder
    from glassformer.scaling.ladders.ladder_plan import LadderPlan, LadderRequest
    from glassformer.scaling.ladders.ladder_rungs import LadderRun
    from glassformer.studies.checking import Checked


def scale_ladder(
    context: typer.Context,
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="A preset: its parts, in many sizes.")],
    budget: Annotated[
        str, typer.Option(help="Of all rungs together: FLOPs (1e14) or time of this machine (90s, 20min, 2h).")
    ],
    data: Annotated[str | None, typer.Option(help="The text, as in glassformer train.")] = None,
    target: Annotated[
        str, typer.Option(help="The run to predict: FLOPs (1e15), or a multiple of the largest rung (10x).")
    ] = "10x",
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A variant, model.residual=none: its effect at 10 and 100 times the compute. Repeatable.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each rung (and of each variant of it).")] = 1,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change any setting. Repeatable.")
    ] = None,
    law: Annotated[
        str | None,
        typer.Option(help="chinchilla (N and D) or power-floor (compute); the latter where there are variants."),
    ] = None,
    ratio: Annotated[
        float, typer.Option("--tokens-per-parameter", help="Of the target, and along the path to it.")
    ] = 20.0,
    verify: Annotated[
        bool, typer.Option("--verify", help="Then train the target, 10 times the largest rung at most, and compare.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the planned runs and their cost; train nothing.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Runs at a time; one for each core unless given.")
    ] = None,
    studies: Annotated[Path | None, typer.Option(help="Folder for studies; ./studies unless given.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again, even if an equal ladder exists.")] = False,
) -> None:
    """Choose the small runs that predict a large one best for a budget, train them, and fit a scaling law."""
    from glassformer.scaling.ladders.ladder import Ladder

    check_idle(context, ("verify", dry_run, "--dry-run trains nothing"))
    console = Terminal()
    request = _request(preset, data, budget, target, vary or [], seeds, set_ or [], law, ratio)
    found = None if fresh else Ladder.find(request, root=studies)
    if found is None:
        from glassformer.scaling.ladders.ladder_plan import plan_ladder

        with preparing(console) as progress:
            plan = plan_ladder(request, workers=workers, progress=progress)
        _show_plan(plan, console)
        if dry_run:
            return
        ladder, checked = _begin(plan, studies, console, fresh=fresh)
    else:
        ladder = found
        _show_plan(ladder.plan, console)
        if dry_run:
            return
        checked = ladder.check()
    console.print(f"ladder {ladder.study.path}", style="dim")
    _train(ladder, checked, console, fresh=fresh)
    _report(ladder, console)
    if verify:
        _verify(ladder, console)
    from glassformer.scaling.ladders.ladder_page import write_page

    console.print(Text.assemble("page ", (str(write_page(ladder, command=sys.argv)), "bold")))


def _request(
    preset: str, data: str | None, budget: str, target: str, vary: list[str], seeds: int, set_: list[str],
    law: str | None, ratio: float,
) -> LadderRequest:  # fmt: skip
    """The command line's request, read and checked."""
    from glassformer.config import parse_assignments
    from glassformer.scaling.ladders.ladder_plan import LadderRequest
    from glassformer.scaling.ladders.ladder_rungs import base_of
    from glassformer.studies.variation import variants_of

    settings = parse_assignments(set_)
    base, _ = base_of(preset, data=data, settings=settings)
    variants = variants_of(vary, base)
    for changes in variants.values():
        base.override(changes)  # complaints before anything is prepared
    return LadderRequest(preset, budget, data, settings, target, seeds, variants, law, ratio)


def _show_plan(plan: LadderPlan, console: Terminal) -> None:
    """The rungs in the order of their contribution, with their costs and the expected interval at the target."""
    from glassformer.scaling.ladders.ladder_rungs import short
    from glassformer.scaling.ladders.ladder_summary import percent
    from glassformer.scaling.ladders.rate_sweep import FACTORS

    design, runs = plan.design, {run.name: run for run in plan.runs}
    variants = len(plan.request.vary)
    of_each = f" × {1 + variants} variants" * (variants > 0) + f" × {design.seeds} seeds" * (design.seeds > 1)
    about = (
        f"{of_each} for {plan.request.preset}, updates of "
        f"{plan.base.training.batch_size * plan.base.seq_len:,} tokens; cost {_cost(_spent(plan), plan)} of "
        f"{_cost(_afford(plan), plan)}"
    )
    console.print(Text.assemble((f"a ladder of {len(runs)} rungs", "bold"), about))
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("rung")
    timed = plan.budget.timed
    for heading in ("N", "D", "FLOPs", "steps", *(["core-min"] if timed else []), "half-width"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("none", *[""] * (4 + timed), f"±{percent(design.before)}")
    for rung in design.rungs:
        table.add_row(*_cells(runs[rung.candidate.label], plan), f"±{percent(rung.expected_half_width)}")
    table.add_row(*_cells(plan.target, plan), "the target", style="bold")
    console.print(table)
    if plan.sweep is not None and plan.sweep.best is None:
        run = plan.sweep.run
        console.print(
            f"learning rate measured first, by {len(FACTORS)} runs of {run.name}: {_cost(plan.sweep.cost, plan)}",
            style="dim",
        )
    if plan.verification != plan.target:
        run = plan.verification
        console.print(f"--verify trains N={short(run.n)}, D={short(run.d)}: {run.c:.3g} FLOPs", style="dim")
    for note in plan.notes:
        console.print(Text(note, style="dim"))


def _cells(run: LadderRun, plan: LadderPlan) -> list[str]:
    from glassformer.scaling.ladders.ladder_rungs import short

    minutes = [f"{plan.cost(run) / 60:.1f}"] if plan.budget.timed else []
    return [run.shape.partition(",")[0], short(run.n), short(run.d), f"{run.c:.3g}", f"{run.steps:,}", *minutes]


def _spent(plan: LadderPlan) -> float:
    return plan.design.spent + (plan.sweep.cost if plan.sweep else 0.0)


def _afford(plan: LadderPlan) -> float:
    return plan.budget.amount * (plan.workers if plan.budget.timed else 1)


def _cost(amount: float, plan: LadderPlan) -> str:
    """FLOPs, or minutes of one worker."""
    return f"{amount / 60:.1f} core-min" if plan.budget.timed else f"{amount:.2e} FLOPs"


def _begin(plan: LadderPlan, studies: Path | None, console: Terminal, *, fresh: bool) -> tuple[Ladder, Checked]:
    """Sweep the learning rate, and make the ladder's study."""
    from glassformer.scaling.ladders.ladder import Ladder
    from glassformer.studies.live import LiveStudy
    from glassformer.studies.runner import StoppedError

    try:
        ladder, checked = Ladder.begin(plan, root=studies, watch=lambda study: LiveStudy(console, study), fresh=fresh)
    except StoppedError as stopped:
        console.print(Text(str(stopped), style="bold"))
        _hint_resume(stopped.signal, console)
    if ladder.plan.sweep is not None:
        console.print(Text(ladder.plan.sweep.sentence))
    return ladder, checked


def _train(ladder: Ladder, checked: Checked, console: Terminal, *, fresh: bool) -> None:
    """Train the runs that are pending."""
    from glassformer.studies.live import LiveStudy

    waiting = len(ladder.study.pending())
    if waiting:
        console.print(f"{waiting} of {len(ladder.study.plan)} runs pending", style="dim")
    signal = ladder.conduct(checked, watch=lambda study: LiveStudy(console, study), fresh=fresh)
    if signal is not None:
        left = len(ladder.study.pending())
        left_of = f": {left} of {len(ladder.study.plan)} runs are left"
        console.print(Text.assemble((f"stopped by {signal} and saved", "bold"), left_of))
        _hint_resume(signal, console)


def _report(ladder: Ladder, console: Terminal) -> None:
    """The results; written before the target is trained, so that they are a prediction."""
    from glassformer.scaling.ladders.ladder_summary import summarize

    summary = summarize(ladder)
    console.print()
    for sentence in summary.sentences():
        console.print(Text(f"  {sentence}"))
    console.print(f"{ladder.write(summary.to_dict())}", style="dim")


def _verify(ladder: Ladder, console: Terminal) -> None:
    """Train the target, and report whether its loss lies inside the prediction interval."""
    from glassformer.cli.live import LiveTraining
    from glassformer.scaling.ladders.ladder_summary import summarize

    run, summary = ladder.plan.verification, summarize(ladder)
    if summary.fitted is None or len(summary.verified) == 1 + len(ladder.plan.request.vary):
        return  # nothing was predicted, or everything is known and reported
    console.print(f"training the target: {run.shape}, {run.steps:,} steps, {run.c:.3g} FLOPs", style="dim")
    with LiveTraining(console, max_seconds=None, show_gradients=False) as live:
        signal = ladder.verify([live])
    if signal is not None:
        console.print(f"stopped by {signal} and saved", style="bold")
        _hint_resume(signal, console)
    summary = summarize(ladder)
    ladder.write(summary.to_dict())
    for each in summary.verified:
        console.print(Text(f"  {each.sentence()}", style="bold"))


def _hint_resume(signal: str, console: Terminal) -> NoReturn:
    console.print("  the same command resumes it")
    raise typer.Exit(130 if signal == "SIGINT" else 143)
