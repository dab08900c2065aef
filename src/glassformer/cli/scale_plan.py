"""``glassformer scale plan``: from a budget to a run that can be started, and what that rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from glassformer.cli.idle_options import check_idle
from glassformer.cli.preparing import preparing
from glassformer.cli.scale_plan_lines import UNKNOWN, Line, sections, signed
from glassformer.cli.terminal import Terminal, emit_json
from glassformer.errors import ConfigError
from glassformer.scaling.wording import digits, large

if TYPE_CHECKING:
    from glassformer.scaling.plans.plan import TrainingPlan

DEFAULT_OUT = Path("plan.json")
LAW = "besiroglu"
LABELS, VALUES = 13, 11  # columns
NO_EMBEDDINGS, OUTSIDE = "°", "*"
LEGEND = (
    f"N as the law counts, {NO_EMBEDDINGS} without embeddings; in all: of the real model that has this N; loss: at the "
    f"law's own optimum; this run: its loss for the plan's run; {OUTSIDE} outside the range of its experiments"
)

FRESH = "; only muennighoff takes the repetition of the text into account, the others count each token as fresh"
WASTED = "compute wasted: beyond the least that reaches the same loss"


def scale_plan(
    context: typer.Context,
    compute: Annotated[
        str | None, typer.Option(metavar="FLOP", help="A budget, 6·N·D: 1e18, '3 PF-days', '2 EFLOP'.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="Instead: hours of training on this machine.")] = None,
    params: Annotated[
        str | None, typer.Option(metavar="N", help="Instead, or as well: parameters, 1e7 or 10M.")
    ] = None,
    tokens: Annotated[str | None, typer.Option(metavar="D", help="Instead, or as well: training tokens, 1e9.")] = None,
    data_limit: Annotated[
        str | None, typer.Option(metavar="TOKENS", help="Unique tokens available; the text's own unless given.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The text, as in glassformer train: its vocabulary and length are counted.")
    ] = None,
    vocab: Annotated[int | None, typer.Option(help="Assume a vocabulary of this size; no text is read.")] = None,
    preset: Annotated[str, typer.Option(help="Whose architecture, tokenizer and recipe.")] = "modern-small",
    law: Annotated[
        str | None, typer.Option(help="The law to plan with (see: glassformer scale laws); besiroglu unless given.")
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(metavar="RUNS", help="Instead: a law fitted to your runs, a .csv or a folder of runs."),
    ] = None,
    rate: Annotated[str, typer.Option(help="Source of the learning rate: deepseek, step-law or preset.")] = "deepseek",
    aspect: Annotated[
        float | None,
        typer.Option(
            help="Wanted d_model / n_layers; the depth stays within a factor of 2 of it, and the parameters decide. "
            "Unless given: 64, or 4 layers where that would be fewer."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any other setting of the run. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The run's file to write, .json or .toml.")] = DEFAULT_OUT,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also every number with its equation and its source.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as one JSON object; write no file.")
    ] = False,
) -> None:
    """Plan a training from a budget: shape, tokens, batch, steps, loss, and the estimates of other laws."""
    check_idle(
        context,
        ("out", as_json, "--json writes no file"),
        ("explain", as_json, "--json has every number already"),
    )
    from glassformer.scaling.plans.plan import check_place, explained, write_plan
    from glassformer.scaling.plans.planning import plan
    from glassformer.scaling.plans.request import read_request
    from glassformer.scaling.plans.start import base_run, collect_errors, rate_source

    given = {"compute": compute, "parameters": params, "tokens": tokens, "data_limit": data_limit}
    request, *_ = collect_errors(  # plan() reads the rest again, without errors
        lambda: read_request(given, hours=hours, vocabulary=vocab, aspect=aspect),
        lambda: _one_law(law, fit),
        lambda: base_run(preset, data, set_ or []),
        lambda: rate_source(rate),
        lambda: None if as_json else check_place(out),
    )
    console = Terminal(soft_wrap=False)
    with preparing(console) as progress:
        made = plan(
            request,
            law=law or LAW,
            fit=fit,
            preset=preset,
            data=data,
            rate=rate,
            assignments=set_ or [],
            progress=progress,
        )
    if as_json:
        emit_json(made.to_dict(), indent=2)
        return
    write_plan(made, out)  # first: a reader who leaves early, as head does, has the file
    _show(made, console)
    if explain:
        console.print()
        console.print(Text(explained(made)), soft_wrap=True)
    data_of_paper = " --data TEXT" if vocab is not None and data is None else ""
    console.print()
    if not explain:
        console.print("every number's equation and source: --explain", style="dim")
    console.print(Text.assemble("train it   ", (f"glassformer train {out}{data_of_paper}", "bold")), soft_wrap=True)


def _one_law(law: str | None, fit: Path | None) -> None:
    """Raise :class:`ConfigError` for two laws, or one that does not allocate a budget."""
    from glassformer.scaling.plans.start import allocation_law

    if law is not None and fit is not None:
        raise ConfigError(f"--law {law} and --fit {fit} both set the law: leave one out.", subject="plan")
    allocation_law(law or LAW)


# --- what is shown --------------------------------------------------------------------------------------------------


def _show(plan: TrainingPlan, console: Terminal) -> None:
    """The plan in groups of lines, the laws side by side, N or D halved and doubled, and the warnings."""
    from glassformer.scaling.plans.plan import headline

    console.print(Text(headline(plan), style="bold"))
    console.print(Text(f"{plan.shape.words}; vocabulary {plan['vocabulary'].value:,.0f}; {plan.preset}", style="dim"))
    for title, lines in sections(plan):
        console.print()
        console.print(Text(title, style="italic"))
        console.print(Padding(_grid(lines), (0, 0, 0, 2)))
    console.print()
    console.print(Text("this budget by each law", style="italic"))
    console.print(_disagreement(plan))
    legend = LEGEND + (FRESH if "cost of repetition" in plan.numbers else "")
    console.print(Padding(Text(legend, style="dim"), (0, 0, 0, 2)))
    console.print()
    console.print(Text("N or D halved or doubled", style="italic"))
    console.print(_what_if(plan))
    unique = plan.numbers.get("unique tokens") if "cost of repetition" in plan.numbers else None
    on_text = f" on {large(unique.value)} unique tokens, parameters counted in full" if unique else ""
    console.print(Padding(Text(WASTED + on_text, style="dim"), (0, 0, 0, 2)))
    if plan.warnings:
        console.print()
    for warning in plan.warnings:
        row = Table.grid(padding=(0, 1))
        row.add_row(Text("!", style="bold yellow"), Text(warning))
        console.print(row)


def _grid(lines: Iterable[Line]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=LABELS)
    grid.add_column(no_wrap=True, justify="right", min_width=VALUES)
    grid.add_column(style="dim")
    for line in lines:
        grid.add_row(Text(line.label), Text(line.value, style="bold"), Text(line.beside))
    return grid


def _disagreement(plan: TrainingPlan) -> Table:
    """A row for each law; where the terminal is narrow, the laws' names are cut."""
    table = Table(box=None, padding=(0, 0, 0, 2))
    table.add_column("law", overflow="ellipsis")
    for heading in ("N", "in all", "D", "D/N", "loss", "this run"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in plan.estimates:
        n = _cell(each.parameters, large)
        cells = (
            f"{each.law}{OUTSIDE if each.outside else ''}",
            f"{n}{NO_EMBEDDINGS if each.counting == 'non-embedding' and each.parameters else ''}",
            *(_cell(value, large) for value in (each.total, each.tokens)),
            *(_cell(value, digits) for value in (each.tokens_per_parameter, each.loss, each.here)),
        )
        table.add_row(*map(Text, cells), style="bold" if each.law == plan.law else "")
    return table


def _cell(value: float | None, write: Callable[[float], str]) -> str:
    return UNKNOWN if value is None else write(value)


def _what_if(plan: TrainingPlan) -> Table:
    """A row for each case."""
    table = Table(box=None, padding=(0, 0, 0, 2))
    table.add_column("", no_wrap=True)
    for heading in ("N", "D", "loss", "difference", "compute wasted"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in plan.off:
        wasted = f"{100 * each.wasted:.0f} %"
        cells = (each.what, large(each.parameters), large(each.tokens), digits(each.loss, 4), signed(each.difference))
        table.add_row(*map(Text, (*cells, wasted)))
    return table
