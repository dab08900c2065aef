"""``glassformer scale fit``: a scaling law from training runs, and how reliable it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from glassformer.cli.terminal import Terminal, emit_json
from glassformer.errors import ConfigError, DataError, nearest, shown
from glassformer.numbers import NumberError, read_number

if TYPE_CHECKING:
    from glassformer.charts.table import Table as PageTable
    from glassformer.scaling.fits.findings import Findings

COLUMNS = {"N": "n", "D": "d", "C": "c", "loss": "loss", "run": "run", "U": "unique"}
PAGE = Path("fit.html")


def scale_fit(
    runs: Annotated[
        Path,
        typer.Argument(
            metavar="RUNS", help="A .csv, .tsv, .json or .jsonl of runs; a run's folder, a folder of runs, a study."
        ),
    ],
    formula: Annotated[
        str,
        typer.Option(help="chinchilla, repeated-data, power, power-floor; or your own: 'E + A/N**alpha + B/D**beta'."),
    ] = "chinchilla",
    fixed: Annotated[
        list[str] | None,
        typer.Option(
            "--fix", metavar="NAME=VALUE", help="A constant instead of a parameter, such as A=521,B=1488. Repeatable."
        ),
    ] = None,
    objective: Annotated[
        str, typer.Option(help="Loss function: huber, absolute, squares (on ln L) or asymmetric (on L).")
    ] = "huber",
    delta: Annotated[float | None, typer.Option(help="Of huber; 0.001 unless given.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=HEADER", help="Which column holds N, D, C, loss, run or U (unique). Repeatable."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Only rows with HEADER=TEXT, !=TEXT, >NUMBER ('N>1e7'). Repeatable."),
    ] = None,
    counting: Annotated[
        str | None, typer.Option(help="What N counts: total or non-embedding; total unless the table says otherwise.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="FLOP", help="Extrapolate to: 1e24, '3 PF-days'; 10 times the largest unless given."),
    ] = None,
    decimal: Annotated[
        str | None, typer.Option(metavar="MARK", help="The table's decimal mark, . or , where its cells leave it open.")
    ] = None,
    implausible: Annotated[
        bool,
        typer.Option("--implausible", help="Take numbers that no training has, as 18.79 parameters, for right."),
    ] = False,
    draws: Annotated[int, typer.Option(help="Bootstrap samples.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    drop_influential: Annotated[
        bool, typer.Option("--drop-influential", help="Leave out the outliers that move the fit, and list them.")
    ] = False,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="PAGE", help="The report page, .html; the fit goes beside it, .json.")
    ] = PAGE,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Fit a scaling law to training runs: parameters with intervals, a target, and a report page."""
    from glassformer.scaling.fit_report.fit_page import circumstances, page
    from glassformer.scaling.fits.findings import investigate
    from glassformer.scaling.fits.objectives import DELTA
    from glassformer.scaling.fits.reading import read_points
    from glassformer.scaling.fits.saved_fit import to_dict, write_fit
    from glassformer.scaling.laws.units import flops

    _check(objective, delta, counting, decimal, out)
    aim = None if target is None else flops(target, subject="--target")
    constants = _constants(fixed)
    points = read_points(
        runs,
        columns=_pairs(columns, "--columns", COLUMNS),
        where=where,
        counting=counting,  # type: ignore[arg-type]  # checked above
        decimal=decimal,  # type: ignore[arg-type]  # likewise
        implausible=implausible,
    )
    console = Terminal(stderr=as_json)
    with console.status("fitting") as status:
        found = investigate(
            points,
            formula,
            objective,
            delta=DELTA if delta is None else delta,
            fixed=constants,
            draws=draws,
            seed=seed,
            target=aim,
            drop_influential=drop_influential,
            progress=status.update,
        )
        status.update("drawing the page")
        facts = circumstances(found, ["glassformer", *sys.argv[1:]])
        drawn = page(found, facts).save(out)
        saved = write_fit(found, out.with_suffix(".json"), draws=draws, facts=facts)
    if as_json:
        emit_json(to_dict(found, draws=draws, facts=facts), ascii_only=False)
        return
    _show(found, facts, console)
    console.print(f"page {drawn}  {drawn.stat().st_size / 1e6:.1f} MB")
    console.print(f"fit  {saved}")


def _check(objective: str, delta: float | None, counting: str | None, decimal: str | None, out: Path) -> None:
    """Refuse what cannot be meant before anything is read. Raises :class:`ConfigError` with every complaint."""
    complaints = []
    if delta is not None and objective != "huber":
        complaints.append(f"--delta is of the objective huber; {objective!r} has none. Leave it out.")
    if counting not in (None, "total", "non-embedding"):
        complaints.append(f"--counting is {counting!r}. {nearest(counting, ('total', 'non-embedding'))}")
    if decimal not in (None, ".", ","):
        complaints.append(f"--decimal is {decimal!r}; expected . or ,")
    if out.suffix.lower() not in (".html", ".htm"):
        complaints.append(f"-o is {str(out)!r}; the page is one .html file.")
    if complaints:
        raise ConfigError(complaints, subject="command")
    try:
        blocked = out.is_dir() or any(above.exists() and not above.is_dir() for above in out.parents)
    except (OSError, ValueError) as error:  # a name too long, or with a NUL
        why = getattr(error, "strerror", error)
        raise DataError(f"The page cannot be written to {shown(str(out))}: {why}.") from error
    if blocked:
        raise DataError(f"The page cannot be written to {str(out)!r}: a folder is meant, or a file is in its way.")


def _pairs(given: Sequence[str] | None, option: str, known: dict[str, str]) -> dict[str, str] | None:
    """``["N=Model Size"]`` → ``{"n": "Model Size"}``. Raises :class:`ConfigError` with every complaint."""
    found, complaints = {}, []
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            complaints.append(f"{option} is {text!r}; expected NAME=VALUE.")
        elif name not in known:
            complaints.append(f"{option} names {name!r}. {nearest(name, known)}")
        else:
            found[known[name]] = value
    if complaints:
        raise ConfigError(complaints, subject="command")
    return found or None


def _constants(given: Sequence[str] | None) -> dict[str, float]:
    """``["A=521,B=1488"]`` as numbers by name. Raises :class:`ConfigError` with every complaint."""
    found: dict[str, float] = {}
    complaints = []
    for text in (part.strip() for each in given or () for part in each.split(",")):
        name, equals, value = text.partition("=")
        name = name.strip()
        if name in found:
            complaints.append(f"--fix names {shown(name)} twice. Give one value.")
        try:
            found[name] = read_number(value)
        except NumberError as error:
            why = str(error) if equals and name else "expected NAME=VALUE."
            complaints.append(f"--fix is {shown(text)}: {why} Example: --fix A=521,alpha=0.353.")
    if complaints:
        raise ConfigError(complaints, subject="command")
    return found


def _show(found: Findings, facts: dict[str, str], console: Terminal) -> None:
    """The parameters, the minimum, the target, and how reliable it is."""
    import numpy as np

    from glassformer.scaling.fit_report.fit_tables import parameters_table, quality_table, target_table

    with np.errstate(all="ignore"):
        tables = parameters_table(found), quality_table(found), target_table(found)
    console.print(Text(f"{facts['points']}; {facts['objective']}", "dim"))
    for note in found.fit.points.notes:
        console.print(Text(note, "dim"))
    if found.dropped:
        console.print(Text(f"left out, as --drop-influential asks: {', '.join(found.dropped)}", "yellow"))
    for table in tables:
        console.print()
        console.print(Text(table.title, "bold"))
        console.print(_plain(table))
    console.print()
    console.print(Text(found.optimum_sentence()))
    for name, sentence in found.reliability.items():
        console.print(Text(name, "bold"))
        console.print(Text(f"  {sentence}"))
    console.print()


def _plain(table: PageTable) -> Table:
    """A table of the page in the terminal."""
    drawn = Table(box=None, padding=(0, 2))
    for header in table.headers:
        align: Any = header.align
        drawn.add_column(header.text, justify=align, no_wrap=True)
    for row in table.rows:
        drawn.add_row(*(Text(cell.text) for cell in row))
    return drawn
