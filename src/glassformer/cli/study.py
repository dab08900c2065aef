"""``glassformer study``: a baseline, what to vary about it, and seeds; many runs, and one table."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.text import Text

from glassformer import places
from glassformer.cli.preparing import preparing
from glassformer.cli.study_table import command_of, conclude
from glassformer.cli.terminal import Terminal
from glassformer.errors import ConfigError, RunError, nearest
from glassformer.models.presets import preset_names
from glassformer.numbers import read_integer
from glassformer.wording import counted, listed

if TYPE_CHECKING:
    from glassformer.studies.checking import Checked
    from glassformer.studies.design import StudyConfig
    from glassformer.studies.folder import Study
    from glassformer.studies.runner import StudyRunner


def study(
    what: Annotated[
        str,
        typer.Argument(metavar="WHAT", help="A preset; a study file (.toml, .py); or a study to resume, or latest."),
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A variant: model.residual=none. Several settings: a=1,b=2. Several variants: a=1|2|4. Repeatable.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="The text or pairs, as in glassformer train.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Number of seeds (8), or a list (0,3,7). 3 unless given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps of each run (training.max_steps).")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any setting of the baseline. Repeatable."),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Every combination of the varied settings.")] = False,
    matched: Annotated[
        str | None, typer.Option(help="Match every variant to the baseline in: parameters, flops, seconds.")
    ] = None,
    learning_rates: Annotated[
        str | None,
        typer.Option(
            metavar="RATES", help="Tune every arm over these first (3e-4,1e-3,3e-3); compare each at its own best."
        ),
    ] = None,
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME[=VALUES]]",
            help="Tune another setting: NAME=0.01|0.1|1. Without values: around the baseline's. Alone: the learning "
            "rate. Repeatable.",
        ),
    ] = None,
    selection_seeds: Annotated[
        str | None,
        typer.Option(help="Seeds to tune on: a number (3) or a list; 1000,1001,1002 unless given."),
    ] = None,
    selection_steps: Annotated[
        int | None, typer.Option(help="Steps of a run that tunes; those of --steps unless given.")
    ] = None,
    controls: Annotated[
        bool,
        typer.Option("--controls/--no-controls", help="Train tuned variants at the baseline's best values, too."),
    ] = True,
    until_decided: Annotated[
        bool,
        typer.Option("--until-decided", help="Add seeds one at a time until every variant is decided."),
    ] = False,
    budget_seeds: Annotated[
        int | None, typer.Option(help="With --until-decided: maximum seeds; 20 unless given.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="With --until-decided: equivalence margin, nats per token."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; the preset's unless given.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time; one per core unless given.")] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="RAY", help="Ray cluster: ray (this machine's) or ray://HOST:PORT. Default: this machine."
        ),
    ] = None,
    studies: Annotated[Path | None, typer.Option(help="Folder for studies; ./studies unless given.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Retrain all runs, even where an equal one exists.")] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Whether to write the report at the end.")
    ] = True,
) -> None:
    """Train a baseline and variants of it with several seeds, and compare them, paired by seed."""
    from glassformer.studies.ray_connection import connected

    console = Terminal()
    options: dict[str, Any] = {
        "vary": vary, "data": data, "seeds": seeds, "steps": steps, "set": set_, "matched": matched, "name": name,
        "budget_seeds": budget_seeds, "margin": margin, "learning_rates": learning_rates, "tune": tune,
        "selection_seeds": selection_seeds, "selection_steps": selection_steps, "controls": None if controls else False,
    }  # fmt: skip
    given = {option: value for option, value in options.items() if value is not None}
    given |= {option: True for option, on in (("grid", grid), ("until_decided", until_decided)) if on}
    with connected(on):
        opened, checked = _begin(what, given, workers, on, studies, console)
        runner = study_runner(console, workers=workers, on=on, studies=studies, fresh=fresh)
        run_and_conclude(opened, checked, runner, console, report=report)


def _begin(
    what: str, given: dict[str, Any], workers: int | None, on: str | None, root: Path | None, console: Terminal
) -> tuple[Study, Checked]:
    """A new study, or an existing one, and what was checked about it."""
    from glassformer.runs.folder import check_name
    from glassformer.studies.folder import Study
    from glassformer.studies.same_data import began_with

    config = _design(what, given)
    if config is not None:
        check_name(config.name, "study")
        checked = _check(config, workers, on, console)
        return Study.create(checked.config, data=checked.data, command=sys.argv, root=root), checked
    _check_known(what, root or places.studies_folder())
    study = Study.open(what, root=root)
    checked = _check(study.config, workers, on, console)
    if not all(began_with(study, arm, fingerprint) for arm, fingerprint in checked.data.items()):
        raise RunError(f"The data of the study {study.name} have changed since it began; restore them to resume.")
    return study, checked


def _check(config: StudyConfig, workers: int | None, on: str | None, console: Terminal) -> Checked:
    """Check that it can run here, before there is a folder."""
    from glassformer.studies.checking import check
    from glassformer.studies.runner import count_workers

    with preparing(console) as progress:
        checked = check(config, progress=progress)
    count_workers(checked, workers, on, n_runs=config.n_runs)
    for note in checked.notes:
        console.print(Text(note, style="dim"))
    return checked


def _design(what: str, given: dict[str, Any]) -> StudyConfig | None:
    """The new study that the command line describes; None where it names an existing one."""
    from glassformer.config import parse_assignments
    from glassformer.studies import design
    from glassformer.studies.study_file import SUFFIXES, read_study

    options = ", ".join(f"--{option.replace('_', '-')}" for option in given)
    if given and Path(what).suffix in SUFFIXES and _is_study_file(Path(what)):
        raise ConfigError(
            f"{options}: {what!r} is a study file, which has the whole design; change it there, or name a preset or "
            "a run's file instead.",
            subject="command",
        )
    if given.get("grid") and len(given.get("vary", [])) == 1 and "," not in given["vary"][0]:
        raise ConfigError("--grid has no effect: one setting is varied, and it combines several.", subject="command")
    if what in preset_names() or {"vary", "data", "set"} & given.keys():
        changes = {**given, "seeds": _seeds(given.get("seeds", "3")), "set": parse_assignments(given.get("set", []))}
        if changes.get("matched", "none") not in get_args(design.Matched):
            known = ", ".join(get_args(design.Matched))
            raise ConfigError(f"--matched is {changes['matched']!r}; expected one of {known}.", subject="study")
        return design.study(what, **({"vary": []} | changes))
    if given:
        raise ConfigError(
            f"{options}: only a study of a preset takes its design from the command line; {what!r} is not a preset.",
            subject="command",
        )
    return read_study(Path(what)) if Path(what).suffix in SUFFIXES else None


def _is_study_file(path: Path) -> bool:
    """Whether a file describes a study: Python always does; TOML unless it has what only a single run's file has."""
    if path.suffix == ".py":
        return True
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # its reader says what is wrong
    own = {"vary", "variants", "seeds", "name", "grid", "matched", "until_decided", "learning_rates", "tune"}
    return bool(own & found.keys())


def _check_known(what: str, root: Path) -> None:
    """Raise :class:`RunError` for what is neither a preset nor a study."""
    from glassformer.studies.lookup import find_study, list_studies

    if find_study(what, root) is None:
        if what == "latest":
            raise RunError(f"There is no study in {root} yet, so there is no latest one. Run one first.")
        known = [*preset_names(), *(path.name for path in list_studies(root))]
        raise RunError(
            f"{what!r} is not a preset, a study file (.toml, .py) or a study in {root}. {nearest(what, known)}"
        )


def _seeds(text: str) -> int | list[int]:
    """``8`` is a number of seeds, ``0,3,7`` are seeds."""
    try:
        numbers = [read_integer(piece) for piece in text.split(",") if piece.strip()]
        return numbers if "," in text else numbers[0]
    except (ValueError, IndexError):
        raise ConfigError(f"--seeds is {text!r}; expected a number (8) or a list (0,3,7).", subject="command") from None


def run_and_conclude(study: Study, checked: Checked, runner: StudyRunner, console: Terminal, *, report: bool) -> None:
    """Run a study, then print its table and write its report; a signal ends the command, and the study is saved."""
    from glassformer.studies.runner import runs_left

    _introduce(study, checked, runner, console)
    result = runner.run(study, checked)
    if result.stopped is not None:
        left = f": {runs_left(result.study)} are left"
        console.print(Text.assemble((f"stopped by {result.stopped} and saved", "bold"), left))
        console.print(f"  resume with   {command_of(study)}")
        raise typer.Exit(130 if result.stopped == "SIGINT" else 143)
    conclude(result, console, report=report)


def study_runner(console: Terminal, **options: Any) -> StudyRunner:
    """A runner that draws the study, and prints its notes."""
    from glassformer.studies.live import LiveStudy
    from glassformer.studies.runner import StudyRunner

    return StudyRunner(
        watch=lambda study: LiveStudy(console, study),
        report=lambda note: console.print(Text(note, style="dim")),
        **options,
    )


def _introduce(study: Study, checked: Checked, runner: StudyRunner, console: Terminal) -> None:
    config, rule = study.config, study.config.until_decided
    variants, seeds = counted(len(config.variants), "variant"), counted(len(config.seeds), "seed")
    controls = f" and {counted(len(config.controls), 'control')}" if config.controls else ""
    about = f"  baseline and {variants}{controls} × {seeds}: {counted(config.n_runs, 'run')}"
    if config.tuning is not None and not config.chosen:
        about = f"  baseline and {variants}, each tuned over {listed(list(config.tuning.grid))} before the comparison"
    console.print(Text.assemble((study.name, "bold"), about))
    for line in _cost(study, checked, runner):
        console.print(Text(f"  {line}"))
    if rule is not None:
        margin = "" if rule.margin is None else f" or within ±{rule.margin:g} nats"
        console.print(
            f"seeds are added until every difference is significant{margin}: {rule.budget_seeds} at most", style="dim"
        )
    console.print(f"study {study.path}", style="dim")
    for variant, note in config.adjusted.items():
        console.print(Text(f"  {variant}: matched in {config.matched}: {note}", style="dim"))


def _cost(study: Study, checked: Checked, runner: StudyRunner) -> list[str]:
    """What a tuned study that has not begun will cost; nothing of others."""
    from glassformer.studies.cost import measured_times, study_cost
    from glassformer.studies.runner import count_workers

    if study.config.tuning is None or study.config.chosen or study.selection is not None:
        return []
    workers = count_workers(checked, runner.workers, runner.on, n_runs=study.config.n_selection_runs)
    return list(study_cost(study.config, measured_times(checked)).lines(workers))
