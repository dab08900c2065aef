"""``glassformer evaluate``: what a trained model is worth, measured as its task measures it, by the task's options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from glassformer.cli.options import Device, RunName, RunsFolder, given, translating, with_options
from glassformer.cli.sentences import unwritable, write_lines
from glassformer.cli.terminal import Terminal, emit_json, warn
from glassformer.errors import ConfigError
from glassformer.runs.folder import Run
from glassformer.tasks.opening import run_config
from glassformer.tasks.registry import task_of, tasks
from glassformer.tasks.task import EvaluationRequest, Task, option_names

OPTIONS = {option.name: option for task in tasks() for option in task.evaluation_options}

FEW = 5
"""Options of a task that a message lists."""


@with_options(OPTIONS.values(), after="run")
def evaluate(
    run: RunName,
    device: Device = "auto",
    runs: RunsFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    **values: Any,
) -> None:
    """Measure a model's loss; score a translator's translations, or the answers to a task."""
    found = Run.open(run, root=runs)
    config = run_config(found)
    task, options = task_of(config), given(values)
    check_options(task, found.name, options)
    with translating() as progress:
        asked = EvaluationRequest(found, config, options, device, runs, warn, progress)
        report = task.evaluate(asked)
    if (folder := options.get("output")) is not None:
        _write(folder, report.files)
    if as_json:
        emit_json(report.payload)
        return
    console = Terminal()
    for line in report.lines:
        console.print(line)


def check_options(task: Task, name: str, options: dict[str, Any]) -> None:
    """Raise :class:`ConfigError` if options were given that are another task's."""
    own = {option.name for option in task.evaluation_options}
    if idle := [OPTIONS[option] for option in options if option not in own]:
        verb = "has" if len(idle) == 1 else "have"
        few = len(own) <= FEW
        others = f" (its options are {option_names(task.evaluation_options)})" if few else ""
        raise ConfigError(
            f"{option_names(idle)} {verb} no effect: {name} has learned from {task.config.learned}{others}.",
            subject="command",
        )


def _write(folder: Path, files: dict[str, list[str]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    for file, lines in files.items():
        write_lines(lines, folder / file)
