"""``glassformer train``: a preset or a run's file, a text or a task, and what to change about them."""

from __future__ import annotations

import shlex
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
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import TASKS
from glassformer.training.effects import check_effects
from glassformer.training.recipes import SUFFIXES, configuration
from glassformer.training.trainer import Trainer, TrainingResult


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
        typer.Option(
            help="Text: python-stdlib, tinyshakespeare, a file or folder, hf:owner/name. Pairs, for a translator: "
            "dates, multi30k-en-de, multi30k-de-en, pairs.tsv, pairs.jsonl, or two files 'a.de,a.en'. A task: "
            f"{', '.join(TASKS)}."
        ),
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
    from glassformer.training.samples import TextSamples
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
    if isinstance(trainer.samples, TextSamples) and trainer.samples.reads_unknown:
        given = {"--data": data, "--steps": steps, "--seed": seed, "--name": name, "--runs": runs}
        options = [part for option, value in given.items() if value is not None for part in (option, str(value))]
        assignments = [each for each in set_ or [] if not each.startswith(("data.tokenizer=", "data.unknown="))]
        settings = [part for each in [*assignments, "data.tokenizer=bpe"] for part in ("--set", each)]
        advice = shlex.join(["glassformer", "train", named, *options, *settings])
        console.print(f"a byte-pair tokenizer knows every text: {advice}", style="dim")
    introduce(trainer, console, model)
    outcome = watch(trainer, console, show_gradients=show_gradients)
    conclude(trainer, outcome, console)


def introduce(trainer: Trainer, console: Terminal, model: str) -> None:
    """What is about to be trained, on what, and where it is kept."""
    count = sum(p.numel() for p in trainer.model.parameters())
    data = trainer.config.data
    name = data.kind if isinstance(data, SyntheticConfig) else data.source
    about = f"  {count:,} parameters  ·  {name}: {trainer.samples.summary}"
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
        console.print(f"  go on with it   glassformer resume {name}")
        raise typer.Exit(130 if outcome.reason == "SIGINT" else 143)
    if trainer.config.model.has_encoder:
        console.print(f"  let it work     glassformer translate {name}")
        console.print(f"  score it        glassformer evaluate {name}")
    elif isinstance(trainer.config.data, SyntheticConfig):
        console.print(f"  count its right answers  glassformer evaluate {name}")
    else:
        console.print(f"  let it write    glassformer sample {name} --prompt ...")
    console.print(f"  draw its loss   glassformer chart {name}")


def best_in_words(outcome: TrainingResult) -> str:
    """The loss of the checkpoint "best", which the commands below use; without one, that they use the latest."""
    if outcome.best_loss is None:
        return "; no validation after an update was finite, or there was none: the latest checkpoint is used"
    return f", best validation loss {outcome.best_loss:.4f} nats/token (step {outcome.best_step:,})"
