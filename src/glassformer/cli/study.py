"""``glassformer study``: a base, what to vary about it, and seeds; many runs, and one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from glassformer import places
from glassformer.cli.preparing import preparing
from glassformer.errors import ConfigError, GlassformerError, RunError, nearest
from glassformer.models.presets import preset_names

if TYPE_CHECKING:
    from glassformer.studies.checking import Checked
    from glassformer.studies.design import StudyConfig
    from glassformer.studies.folder import Study
    from glassformer.studies.summary import Summary


def study(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="A preset; a study file (.toml, .py); or a study to go on with, or latest."
        ),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A variant: model.residual=none. Several settings: a=1,b=2. Several variants: a=1|2|4. Repeatable.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="The text or pairs, as in glassformer train.")] = None,
    seeds: Annotated[str | None, typer.Option(help="How many seeds (8), or which (0,3,7). 3 unless given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates of each run (training.max_steps).")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any setting of the base. Repeatable."),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Every combination of what is varied.")] = False,
    matched: Annotated[
        str | None, typer.Option(help="Make every variant equal to the base in: parameters, flops, seconds.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; the preset's unless given.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time; one for each core unless given.")] = None,
    studies: Annotated[Path | None, typer.Option(help="Folder for studies; ./studies unless given.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Make every run anew, even where an equal one exists.")
    ] = False,
) -> None:
    """Train a base and variants of it with several seeds, and compare them, paired by seed."""
    console = Console(soft_wrap=True)
    options: dict[str, Any] = {
        "vary": vary, "data": data, "seeds": seeds, "steps": steps, "set": set_, "matched": matched, "name": name,
    }  # fmt: skip
    given = {option: value for option, value in options.items() if value is not None} | ({"grid": True} if grid else {})
    opened = _begin(what, given, workers, studies, console)
    _make(*opened, workers=workers, studies=studies or places.studies_folder(), fresh=fresh, console=console)
    _conclude(opened[0], console)


def _begin(
    what: str, given: dict[str, Any], workers: int | None, root: Path | None, console: Console
) -> tuple[Study, Checked]:
    """A new study, or the one that is meant, and what was found out about it."""
    from glassformer.runs.folder import check_name
    from glassformer.studies.folder import Study

    config = _design(what, given)
    if config is not None:
        check_name(config.name, "study")
        checked = _check(config, workers, console)
        return Study.create(checked.config, data=checked.data, command=sys.argv, root=root), checked
    _refuse_unknown(what, root or places.studies_folder())
    study = Study.open(what, root=root)
    checked = _check(study.config, workers, console)
    if checked.data != study.data():
        raise RunError(f"The data of the study {study.name} have changed since it began; put them back to go on.")
    study.forget_failures()
    return study, checked


def _check(config: StudyConfig, workers: int | None, console: Console) -> Checked:
    """Refuse what cannot run here, before there is a folder."""
    from glassformer.studies.checking import check, worker_count

    with preparing(console) as progress:
        checked = check(config, progress=progress)
    worker_count(workers, n_runs=config.n_runs, device=checked.device, run_bytes=checked.run_bytes)
    for note in checked.notes:
        console.print(Text(note, style="dim"))
    return checked


def _design(what: str, given: dict[str, Any]) -> StudyConfig | None:
    """The new study that the command line describes; None where it names one that is there."""
    from glassformer.studies import design
    from glassformer.studies.reading import SUFFIXES, read_study

    if what in preset_names() or {"vary", "data", "set"} & given.keys():
        changes = {**given, "seeds": _seeds(given.get("seeds", "3")), "set": _settings(given.get("set", []))}
        if changes.get("matched", "none") not in get_args(design.Matched):
            known = ", ".join(get_args(design.Matched))
            raise ConfigError(f"--matched is {changes['matched']!r}; expected one of {known}.", subject="study")
        return design.study(what, **({"vary": []} | changes))
    if given:
        listed = ", ".join(f"--{option}" for option in given)
        raise ConfigError(
            f"{listed}: only a study of a preset takes its design from the command line; {what!r} is no preset.",
            subject="command",
        )
    return read_study(Path(what)) if Path(what).suffix in SUFFIXES else None


def _refuse_unknown(what: str, root: Path) -> None:
    """Raise :class:`RunError` for what is neither a preset nor a study."""
    from glassformer.studies.folder import find_study, list_studies

    if find_study(what, root) is None:
        known = [*preset_names(), *(path.name for path in list_studies(root))]
        raise RunError(
            f"{what!r} is no preset, no study file (.toml, .py) and no study in {root}. {nearest(what, known)}"
        )


def _seeds(text: str) -> int | list[int]:
    """``8`` is a number of seeds, ``0,3,7`` are seeds."""
    try:
        numbers = [int(piece) for piece in text.split(",") if piece.strip()]
        return numbers if "," in text else numbers[0]
    except (ValueError, IndexError):
        raise ConfigError(f"--seeds is {text!r}; expected how many (8) or which (0,3,7).", subject="command") from None


def _settings(assignments: list[str]) -> dict[str, str]:
    from glassformer.config import parse_assignments

    return parse_assignments(assignments)


def _make(study: Study, checked: Checked, *, workers: int | None, studies: Path, fresh: bool, console: Console) -> None:
    """Reuse what is there, and make the rest."""
    from glassformer.studies.checking import worker_count
    from glassformer.studies.execution import Driver
    from glassformer.studies.live import LiveStudy
    from glassformer.studies.processes import LocalProcesses
    from glassformer.studies.reuse import reuse

    config = study.config
    console.print(
        f"[bold]{study.name}[/]  the base and {len(config.variants)} variant{'s' * (len(config.variants) != 1)} × "
        f"{len(config.seeds)} seed{'s' * (len(config.seeds) != 1)}: {config.n_runs} runs",
        highlight=False,
    )
    console.print(f"[dim]study {study.path}[/]", highlight=False)
    for variant, note in config.adjusted.items():
        console.print(Text(f"  {variant}: matched in {config.matched}: {note}", style="dim"))
    if not fresh:
        reused = reuse(study, runs=places.runs_folder(), studies=studies, threads=checked.threads)
        for outcome in reused:
            console.print(Text(f"  {outcome.variant}, seed {outcome.seed}: reuses {outcome.run}", style="dim"))
    waiting = len(study.waiting())
    if not waiting:
        return
    count = worker_count(workers, n_runs=waiting, device=checked.device, run_bytes=checked.run_bytes)
    threads = "" if checked.threads is None else f", {checked.threads} thread each"
    console.print(f"[dim]{waiting} to make, {count} at a time{threads}[/]", highlight=False)
    spread = checked.device == "cuda"
    executor = LocalProcesses(study, count, threads=checked.threads, spread=spread)
    with LiveStudy(console, study) as live:
        signal = Driver(study, executor, [live]).run()
    if signal is not None:
        left = len(study.waiting())
        console.print(f"[bold]stopped by {signal} and saved[/]: {left} of {config.n_runs} runs are left")
        console.print(f"  go on with it   glassformer study {_named(study)}", highlight=False)
        raise typer.Exit(130 if signal == "SIGINT" else 143)


def _conclude(study: Study, console: Console) -> None:
    """The table, and what to do next. Raises :class:`GlassformerError` when runs failed."""
    from glassformer.studies.summary import summarise

    summary = summarise(study)
    study.write_results(summary.to_dict())
    console.print()
    console.print(_table(summary))
    for row in summary.comparison.rows:
        console.print(Text(f"  {row.sentence()}"))
    console.print(f"[dim]{study.path / 'results.json'}[/]", highlight=False)
    failed = [each for arm in summary.arms for each in arm.outcomes if each.status == "failed"]
    if failed:
        reasons = "\n".join(f"  - {each.variant}, seed {each.seed}: {each.reason}" for each in failed)
        raise GlassformerError(
            f"{len(failed)} of {study.config.n_runs} runs failed, and are in no comparison:\n{reasons}\n"
            f"glassformer study {_named(study)} tries them again; what the workers said is in {study.logs}."
        )


def _table(summary: Summary) -> Table:
    """A row for the base and each variant."""
    accuracy = any(arm.accuracy is not None for arm in summary.arms)
    diverged = any(arm.count("diverged") for arm in summary.arms)
    table = Table(box=None, padding=(0, 2))
    table.add_column("variant")
    for heading in ("n", "validation loss", "difference", "95 % interval"):
        table.add_column(heading, justify="right")
    for heading, shown in (("accuracy", accuracy), ("diverged", diverged)):
        if shown:
            table.add_column(heading, justify="right")
    rows = {row.variant: row for row in summary.comparison.rows}
    for arm in summary.arms:
        row = rows.get(arm.name)
        interval = None if row is None else row.interval
        cells = [
            arm.name,
            str(len(arm.finished)),
            "–" if arm.loss is None else f"{arm.loss:.4f}",
            "" if row is None or row.mean is None else f"{row.mean:+.4f}",
            "" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}",
        ]
        cells += ["–" if arm.accuracy is None else f"{arm.accuracy:.3f}"] if accuracy else []
        cells += [str(arm.count("diverged"))] if diverged else []
        table.add_row(*map(Text, cells))
    return table


def _named(study: Study) -> str:
    return study.name if study.path.parent == places.studies_folder() else str(study.path)
