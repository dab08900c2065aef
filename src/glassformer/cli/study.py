"""``glassformer study``: a base, what to vary about it, and seeds; many runs, and one table."""

from __future__ import annotations

import contextlib
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
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

if TYPE_CHECKING:
    from glassformer.studies.checking import Checked
    from glassformer.studies.design import StudyConfig
    from glassformer.studies.execution import Executor
    from glassformer.studies.folder import Study


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
    until_decided: Annotated[
        bool,
        typer.Option("--until-decided", help="Add seeds one at a time until every variant is decided."),
    ] = False,
    budget_seeds: Annotated[
        int | None, typer.Option(help="With --until-decided: seeds in all, at most; 20 unless given.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="With --until-decided: the largest difference that would not matter, nats per token."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study; the preset's unless given.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time; one for each core unless given.")] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="RAY", help="Where: ray (the Ray cluster of this machine) or ray://HOST:PORT. Else here."),
    ] = None,
    studies: Annotated[Path | None, typer.Option(help="Folder for studies; ./studies unless given.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Make every run anew, even where an equal one exists.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Whether to write the report at the end.")
    ] = True,
) -> None:
    """Train a base and variants of it with several seeds, and compare them, paired by seed."""
    console = Terminal()
    options: dict[str, Any] = {
        "vary": vary, "data": data, "seeds": seeds, "steps": steps, "set": set_, "matched": matched, "name": name,
        "budget_seeds": budget_seeds, "margin": margin,
    }  # fmt: skip
    given = {option: value for option, value in options.items() if value is not None}
    given |= {option: True for option, on in (("grid", grid), ("until_decided", until_decided)) if on}
    with _reaching(on):
        opened, checked = _begin(what, given, workers, on, studies, console)
        maker = Maker(checked, workers, on, studies or places.studies_folder(), fresh, console)
        conclude(maker.make(opened), console, report=report)


@contextlib.contextmanager
def _reaching(on: str | None) -> Iterator[None]:
    """Be connected to the Ray cluster that is meant, if one is, from before anything is prepared."""
    if on is None:
        yield
        return
    from glassformer.studies.ray_cluster import connected

    with connected(on):
        yield


def _begin(
    what: str, given: dict[str, Any], workers: int | None, on: str | None, root: Path | None, console: Terminal
) -> tuple[Study, Checked]:
    """A new study, or the one that is meant, and what was found out about it."""
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
        raise RunError(f"The data of the study {study.name} have changed since it began; put them back to go on.")
    study.forget_failures()
    return study, checked


def _check(config: StudyConfig, workers: int | None, on: str | None, console: Terminal) -> Checked:
    """Refuse what cannot run here, before there is a folder."""
    from glassformer.studies.checking import check

    with preparing(console) as progress:
        checked = check(config, progress=progress)
    _count(checked, workers, on, n_runs=config.n_runs)
    for note in checked.notes:
        console.print(Text(note, style="dim"))
    return checked


def _count(checked: Checked, workers: int | None, on: str | None, *, n_runs: int) -> int:
    """Runs at a time, here or on the Ray cluster. Raises :class:`ConfigError` when more are asked for than fit."""
    from glassformer.studies import checking, ray_cluster

    if on is None:
        return checking.worker_count(workers, n_runs=n_runs, device=checked.device, run_bytes=checked.run_bytes)
    gpu = checked.device.startswith("cuda")
    return ray_cluster.places(workers, n_runs=n_runs, gpu=gpu, run_bytes=checked.run_bytes)


def _design(what: str, given: dict[str, Any]) -> StudyConfig | None:
    """The new study that the command line describes; None where it names one that is there."""
    from glassformer.studies import design
    from glassformer.studies.reading import SUFFIXES, read_study

    if given and Path(what).suffix in SUFFIXES and _is_study_file(Path(what)):
        listed = ", ".join(f"--{option.replace('_', '-')}" for option in given)
        raise ConfigError(
            f"{listed}: {what!r} is a study file, which holds the whole design; change it there, or name a preset or "
            "a run's file instead.",
            subject="command",
        )
    if given.get("grid") and len(given.get("vary", [])) == 1 and "," not in given["vary"][0]:
        raise ConfigError("--grid has no effect: one setting is varied, and it combines several.", subject="command")
    if what in preset_names() or {"vary", "data", "set"} & given.keys():
        changes = {**given, "seeds": _seeds(given.get("seeds", "3")), "set": _settings(given.get("set", []))}
        if changes.get("matched", "none") not in get_args(design.Matched):
            known = ", ".join(get_args(design.Matched))
            raise ConfigError(f"--matched is {changes['matched']!r}; expected one of {known}.", subject="study")
        return design.study(what, **({"vary": []} | changes))
    if given:
        listed = ", ".join(f"--{option.replace('_', '-')}" for option in given)
        raise ConfigError(
            f"{listed}: only a study of a preset takes its design from the command line; {what!r} is no preset.",
            subject="command",
        )
    return read_study(Path(what)) if Path(what).suffix in SUFFIXES else None


def _is_study_file(path: Path) -> bool:
    """Whether a file describes a study: Python always does; TOML unless it has what only a single run's file has."""
    from glassformer.studies.reading import KEYS

    if path.suffix == ".py":
        return True
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # its reader says what is wrong
    return bool({"vary", "variants", "seeds", "name", "grid", "matched", "until_decided"} & found.keys() & KEYS.keys())


def _check_known(what: str, root: Path) -> None:
    """Raise :class:`RunError` for what is neither a preset nor a study."""
    from glassformer.studies.folder import find_study, list_studies

    if find_study(what, root) is None:
        if what == "latest":
            raise RunError(f"There is no study in {root} yet, so there is no latest one. Make one first.")
        known = [*preset_names(), *(path.name for path in list_studies(root))]
        raise RunError(
            f"{what!r} is no preset, no study file (.toml, .py) and no study in {root}. {nearest(what, known)}"
        )


def _seeds(text: str) -> int | list[int]:
    """``8`` is a number of seeds, ``0,3,7`` are seeds."""
    try:
        numbers = [read_integer(piece) for piece in text.split(",") if piece.strip()]
        return numbers if "," in text else numbers[0]
    except (ValueError, IndexError):
        raise ConfigError(f"--seeds is {text!r}; expected how many (8) or which (0,3,7).", subject="command") from None


def _settings(assignments: list[str]) -> dict[str, str]:
    from glassformer.config import parse_assignments

    return parse_assignments(assignments)


@dataclass(frozen=True)
class Maker:
    """Reuses what is there, and makes the rest.

    Attributes:
        workers, on: how many at a time, and where; chosen for the machine, and here, if None.
        studies: the folder in which runs that can be used again are looked for.
    """

    checked: Checked
    workers: int | None
    on: str | None
    studies: Path
    fresh: bool
    console: Terminal

    def make(self, study: Study) -> Study:
        """Make every run, and where seeds are to be added, those of the added ones. Gives the study with all seeds."""
        from glassformer.studies.deciding import until_decided

        self._introduce(study)
        if study.config.until_decided is None:
            signal = self.train(study)
        else:
            study, signal = until_decided(study, self.train)
        if signal is not None:
            left = len(study.waiting())
            left_of = f": {left} of {study.config.n_runs} runs are left"
            self.console.print(Text.assemble((f"stopped by {signal} and saved", "bold"), left_of))
            self.console.print(f"  go on with it   {command_of(study)}")
            raise typer.Exit(130 if signal == "SIGINT" else 143)
        return study

    def _introduce(self, study: Study) -> None:
        config, rule = study.config, study.config.until_decided
        about = (
            f"  the base and {len(config.variants)} variant{'s' * (len(config.variants) != 1)} × "
            f"{len(config.seeds)} seed{'s' * (len(config.seeds) != 1)}: {config.n_runs} runs"
        )
        self.console.print(Text.assemble((study.name, "bold"), about))
        if rule is not None:
            margin = "" if rule.margin is None else f", or shown to differ by less than {rule.margin:g} nats"
            self.console.print(
                f"seeds are added until every variant is shown to differ{margin}: {rule.budget_seeds} at most",
                style="dim",
            )
        self.console.print(f"study {study.path}", style="dim")
        for variant, note in config.adjusted.items():
            self.console.print(Text(f"  {variant}: matched in {config.matched}: {note}", style="dim"))

    def train(self, study: Study) -> str | None:
        """Make the runs that have no outcome; gives the signal that stopped it, or None."""
        from glassformer.studies.execution import Driver
        from glassformer.studies.live import LiveStudy
        from glassformer.studies.reuse import reuse

        if not self.fresh:
            reused = reuse(
                study,
                runs=places.runs_folder(),
                studies=self.studies,
                threads=self.checked.threads,
                report=self._tell,
            )
            for outcome in reused:
                self.console.print(Text(f"  {outcome.variant}, seed {outcome.seed}: reuses {outcome.run}", style="dim"))
        if not study.waiting():
            return None
        with LiveStudy(self.console, study) as live:
            return Driver(study, self._executor(study), [live]).run()

    def _executor(self, study: Study) -> Executor:
        """Processes here, or stations on the Ray cluster."""
        from glassformer.studies.processes import LocalProcesses
        from glassformer.studies.ray_cluster import RayCluster

        checked, waiting = self.checked, len(study.waiting())
        count = _count(checked, self.workers, self.on, n_runs=waiting)
        executor: Executor
        if self.on is None:
            executor = LocalProcesses(study, count, threads=checked.threads, spread=checked.device == "cuda")
        else:
            gpu = checked.device.startswith("cuda")
            executor = RayCluster(study, count, checked.threads, gpu, checked.run_bytes, self._tell)
        here = "" if self.on is None else f" on the Ray cluster ({self.on})"
        threads = "" if checked.threads is None else f", {checked.threads} thread each"
        self.console.print(f"{waiting} to make, {count} at a time{threads}{here}", style="dim")
        return executor

    def _tell(self, note: str) -> None:
        self.console.print(Text(note, style="dim"))
