"""``glassformer claims``: common claims about Transformers, and verdicts on them from measurements."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from glassformer import places
from glassformer.cli.sentences import check_writable, unwritable
from glassformer.cli.terminal import Terminal
from glassformer.errors import ConfigError

if TYPE_CHECKING:
    from glassformer.claims.budget import BudgetName
    from glassformer.claims.claim import Claim
    from glassformer.claims.claim_studies import ClaimStudies
    from glassformer.claims.verdicts import VerdictRecord

STYLES = {"supported": "green", "refuted": "red", "depends": "yellow", "undecided": "dim", "not tested": "dim"}
HOW = {True: "holds", False: "does not hold", None: "inconclusive at this budget"}


def claims(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[CLAIM]...", help="Claims to test; all are listed if none is given.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Test every claim.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Minutes on 2 cores. The default.")] = False,
    full: Annotated[bool, typer.Option("--full", help="More seeds and steps; hours for a study.")] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Training text; tinyshakespeare if it is on this machine, else python-stdlib."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time; one per core unless given.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder of verdicts; ./claims unless given.")] = None,
    studies: Annotated[Path | None, typer.Option(help="Folder for studies; ./studies unless given.")] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="PAGE.md", help="Write all recorded verdicts as one page of Markdown.")
    ] = None,
) -> None:
    """List claims about Transformers with their verdicts, or test them."""
    console = Terminal()
    complaints = []
    if quick and full:
        complaints.append("--quick and --full are two budgets; choose one.")
    if ids and every:
        complaints.append(f"--all tests every claim; omit it, or {' '.join(ids)}.")
    deciding = bool(ids) or every
    if not deciding:
        given = (("--quick", quick), ("--full", full), ("--data", data), ("--workers", workers), ("--studies", studies))
        complaints += [
            f"{option} has no effect without a claim to test: name one, or give --all."
            for option, value in given
            if value
        ]
    if complaints:
        raise ConfigError(complaints, subject="command")
    if write is not None:
        _make_place_for(write)
    folder = folder or places.claims_folder()
    if deciding:
        _check_options(ids or [], {"--data": data, "--workers": workers, "--studies": studies})
        _decide(
            ids or [], "full" if full else "quick", folder, _claim_studies(data, workers, studies, console), console
        )
    if write is not None:
        _write(write, folder, console)
    elif not deciding:
        _list(folder, console)


def _check_options(ids: list[str], options: dict[str, object]) -> None:
    """Raise :class:`ConfigError` for options of training where nothing is trained."""
    from glassformer.claims.registry import claims as named

    given = [option for option, value in options.items() if value is not None]
    if given and ids and all(claim.kind == "exact" for claim in named(ids)):
        raise ConfigError(
            f"{' and '.join(given)}: testing {', '.join(ids)} trains nothing; omit it.", subject="command"
        )


def _claim_studies(data: str | None, workers: int | None, studies: Path | None, console: Terminal) -> ClaimStudies:
    from glassformer.claims.claim_studies import ClaimStudies, local_text
    from glassformer.cli.study import study_runner

    return ClaimStudies(data or local_text(), study_runner(console, workers=workers, studies=studies))


def _decide(ids: list[str], budget: BudgetName, folder: Path, claim_studies: ClaimStudies, console: Terminal) -> None:
    from glassformer.claims.registry import IDS
    from glassformer.claims.registry import claims as named
    from glassformer.claims.verdicts import decide
    from glassformer.studies.runner import StoppedError

    chosen = named(ids or IDS)
    start = time.perf_counter()
    for claim in chosen:
        console.print(Text.assemble((claim.id, "bold"), f"  {claim.statement}"))
        try:
            verdict = decide(claim, budget, claim_studies, folder=folder, command=_command())
        except StoppedError as stopped:
            console.print(Text(str(stopped)))
            raise typer.Exit(130 if stopped.signal == "SIGINT" else 143) from None
        _show(claim, verdict, console)
    seconds = time.perf_counter() - start
    about = f"{len(chosen)} claim{'s' * (len(chosen) != 1)} tested, {budget} budget"
    console.print(Text.assemble((f"{about}, in {seconds:,.1f} s", "bold"), f"; verdicts in {folder}"))


def _show(claim: Claim, verdict: VerdictRecord, console: Terminal) -> None:
    """The verdict, what is true, under which condition, every measurement, and what could still be wrong."""
    reason = f": {verdict.not_tested}" if verdict.not_tested else ""
    console.print(Text(f"  {verdict.outcome}{reason}", f"bold {STYLES[verdict.verdict]}"))
    for part, holds in verdict.parts.items():
        console.print(Text(f"    {part}: {HOW[holds]}"))
    console.print(Text(f"  {verdict.sentence}"))
    console.print(Text(f"  {verdict.condition}"))
    for name, number in verdict.numbers.items():
        console.print(Text(f"    {name}: {number}", "dim"))
    for path in verdict.evidence:
        console.print(Text(f"  evidence {path}", "dim"))
    for note in verdict.circumstances.tuning_notes:
        console.print(Text(f"    grid of {note}", "dim"))
    if claim.could_be_wrong:
        console.print(Text("  What could still be wrong:"))
        for sentence in claim.could_be_wrong:
            console.print(Text(f"    {sentence}"))
    about = verdict.circumstances
    runs = f", {about.runs} runs ({about.reused} reused) on {about.data}" if about.runs else ""
    runs += f", {about.run_seconds / 3600:.2f} core-hours of training" if about.run_seconds else ""
    runs += f", tuned over {about.tuned_over}" if about.rates else ""
    console.print(Text(f"  {about.seconds:.1f} s{runs}", "dim"))
    console.print()


def _list(folder: Path, console: Terminal) -> None:
    from glassformer.claims.registry import claims as named
    from glassformer.claims.verdicts import last

    table = Table(box=None, padding=(0, 2))
    for heading in ("claim", "as stated by its source", "last verdict"):
        table.add_column(heading)
    for claim in named():
        verdict = last(folder, claim.id)
        shown = Text("no verdict yet", "dim")
        if verdict is not None:
            about = verdict.circumstances
            shown = Text.assemble(
                (verdict.outcome, STYLES[verdict.verdict]), (f"  {about.budget}, {about.date[:10]}", "dim")
            )
        table.add_row(Text(claim.id), Text(claim.statement), shown)
    console.print(table)


def _make_place_for(page: Path) -> None:
    """The page's folder; before anything is decided, which may take hours. Raises :class:`DataError`."""
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise unwritable(page, error) from error
    check_writable(page)


def _write(path: Path, folder: Path, console: Terminal) -> None:
    from glassformer.claims.page import page
    from glassformer.claims.registry import claims as named
    from glassformer.claims.verdicts import recorded

    every = named()
    text = page(every, {claim.id: recorded(folder, claim.id) for claim in every})
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    console.print(str(path))


def _command() -> list[str]:
    """The command line as a reader would type it."""
    return ["glassformer", *sys.argv[1:]]
