"""``glassformer train``: a preset or a run's file, a text or a task, and what to change about them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from glassformer import places
from glassformer.cli.idle_options import check_idle
from glassformer.cli.live import LiveTraining
from glassformer.cli.preparing import preparing
from glassformer.cli.terminal import Terminal, warn
from glassformer.config import parse_assignments
from glassformer.tasks.registry import task_of, tasks
from glassformer.training.effects import check_effects
from glassformer.training.recipes import SUFFIXES, configuration
from glassformer.training.recording import TrainingResult
from glassformer.training.trainer import Trainer


def train(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help="A preset (see: glassformer presets), or a file that describes a run (.json, .toml), as "
            "glassformer scale plan writes one.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(help=" ".join(task.data_help for task in tasks())),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any setting: model.residual=none. Repeatable."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates to make (training.max_steps).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, samples and dropout (training.seed).")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; the preset's or file's unless given.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder for runs; ./runs unless given.")] = None,
    show_gradients: Annotated[
        bool, typer.Option("--show-gradients", help="Print every parameter's gradient norm as the training goes.")
    ] = False,
) -> None:
    """Train a model from a preset on your text or sentence pairs, or on a task."""
    from glassformer.training.session import start

    config = configuration(model, data=data, steps=steps, seed=seed, assignments=set_ or [])
    check_effects(config, parse_assignments(set_ or []))
    unrecorded = config.training.telemetry.gradients_every is None
    check_idle(context, ("show_gradients", unrecorded, "training.telemetry.gradients_every=none records none"))
    named = model
    if Path(model).suffix in SUFFIXES:
        model = Path(model).stem
    console = Terminal()
    with preparing(console) as progress:
        trainer = start(config, root=runs, name=model if name is None else name, prepare_progress=progress)
    for note in trainer.samples.notes:
        console.print(f"{note}", style="dim")
    given = {"--data": data, "--steps": steps, "--seed": seed, "--name": name, "--runs": runs}
    for setting, why in trainer.samples.advice.items():
        options = [part for option, value in given.items() if value is not None for part in (option, str(value))]
        assignments = [each for each in set_ or [] if not each.startswith(("data.tokenizer=", "data.unknown="))]
        settings = [part for each in [*assignments, setting] for part in ("--set", each)]
        console.print(f"{why}: {shlex.join(['glassformer', 'train', named, *options, *settings])}", style="dim")
    introduce(trainer, console, model)
    outcome = watch(trainer, console, show_gradients=show_gradients)
    conclude(trainer, outcome, console)


def introduce(trainer: Trainer, console: Terminal, model: str) -> None:
    """What is about to be trained, on what, and where it is kept."""
    count = sum(p.numel() for p in trainer.model.parameters())
    about = f"  {count:,} parameters  ·  {trainer.config.data.name}: {trainer.samples.summary}"
    console.print(Text.assemble((model, "bold"), about))
    console.print(f"run {trainer.run.path}", style="dim")


def watch(trainer: Trainer, console: Terminal, *, show_gradients: bool = False) -> TrainingResult:
    """Train, drawn in the terminal."""
    training = trainer.config.training
    with LiveTraining(console, max_seconds=training.max_seconds, show_gradients=show_gradients) as live:
        trainer.observers = [*trainer.observers, live]
        return trainer.train()


def conclude(trainer: Trainer, outcome: TrainingResult, console: Terminal) -> None:
    """How it ended, and what to do next."""
    verb = f"stopped by {outcome.reason} and saved" if outcome.interrupted else outcome.reason
    when = f" at step {outcome.step:,} after {outcome.seconds:.0f} s of training{best_in_words(outcome)}"
    console.print(Text.assemble((verb, "bold"), when))
    if outcome.best_loss is not None and outcome.first_loss is not None and outcome.first_loss <= outcome.best_loss:
        warn(
            f"training did not lower the validation loss: it was {outcome.first_loss:.4f} before the first update, and "
            "those weights are not kept."
        )
    name = trainer.run.name if trainer.run.path.parent == places.runs_folder() else str(trainer.run.path)
    if outcome.interrupted:
        print_steps(console, [("resume", f"glassformer resume {name}")])
        raise typer.Exit(130 if outcome.reason == "SIGINT" else 143)
    print_steps(console, [*task_of(trainer.config).next_steps(name), ("plot the loss", f"glassformer chart {name}")])


def print_steps(console: Terminal, steps: Sequence[tuple[str, str]]) -> None:
    """What can be done next: words and a command a line, the commands below one another."""
    width = max(len(words) for words, _ in steps)
    for words, command in steps:
        console.print(f"  {words:{width}}   {command}")


def best_in_words(outcome: TrainingResult) -> str:
    """The loss of the checkpoint "best", which the commands below use; without one, that they use the latest."""
    if outcome.best_loss is None:
        return "; no validation after an update was finite, or there was none: the latest checkpoint is used"
    return f", best validation loss {outcome.best_loss:.4f} nats/token (step {outcome.best_step:,})"
