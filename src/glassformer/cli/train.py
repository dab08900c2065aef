"""``glassformer train``: a preset, a text, and what to change about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from glassformer import places
from glassformer.cli.live import LiveTraining
from glassformer.cli.preparing import preparing
from glassformer.config import parse_assignments
from glassformer.data.pairs import BUILT_IN as PAIRS
from glassformer.data.pairs import DATES
from glassformer.data.sources import BUILT_IN as TEXTS
from glassformer.errors import ConfigError
from glassformer.models.presets import Preset, preset
from glassformer.training.config import RunConfig
from glassformer.training.trainer import Outcome, Trainer


def train(
    model: Annotated[str, typer.Argument(metavar="PRESET", help="A preset (see: glassformer presets).")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Text: python-stdlib, tinyshakespeare, a file or folder, hf:owner/name. Pairs, for a translator: "
            "dates, multi30k-en-de, multi30k-de-en, pairs.tsv, pairs.jsonl, or two files 'a.de,a.en'."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change any setting: model.residual=none. Repeatable."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates to make (training.max_steps).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, samples and dropout (training.seed).")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; the preset's unless given.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder for runs; ./runs unless given.")] = None,
    show_gradients: Annotated[
        bool, typer.Option("--show-gradients", help="Print every parameter's gradient norm as the training goes.")
    ] = False,
) -> None:
    """Train a model from a preset on your text or sentence pairs."""
    from glassformer.training.session import start

    config = configuration(model, data=data, steps=steps, seed=seed, assignments=set_ or [])
    console = Console(soft_wrap=True)
    with preparing(console) as progress:
        trainer = start(config, root=runs, name=model if name is None else name, prepare_progress=progress)
    for note in trainer.samples.notes:
        console.print(f"[dim]{note}[/]", highlight=False)
    introduce(trainer, console, model)
    outcome = watch(trainer, console, show_gradients=show_gradients)
    conclude(trainer, outcome, console)


def configuration(
    model: str, *, data: str | None, steps: int | None, seed: int | None, assignments: list[str]
) -> RunConfig:
    """A preset with its recipe and what the command line changes. Raises :class:`ConfigError` with every complaint."""
    chosen = preset(model)
    options = {"data.source": data, "training.max_steps": steps, "training.seed": seed}
    given = {path: value for path, value in options.items() if value is not None}
    changes = parse_assignments(assignments)
    both = sorted(set(given) & set(changes))
    if both:
        raise ConfigError([f"{path} is given twice, by its option and by --set." for path in both], subject="command")
    if "model.vocab_size" in changes:
        raise ConfigError("model.vocab_size cannot be set: it is the number of tokens of the text.", subject="command")
    _refuse_data_of_another_kind(model, chosen, str((given | changes).get("data.source", "")))
    return with_recipe(chosen, given | changes)


def _refuse_data_of_another_kind(model: str, chosen: Preset, source: str) -> None:
    """Built-in data that the model cannot learn from. Of files, their reader knows."""
    if source in PAIRS and not chosen.model.has_encoder:
        raise ConfigError(
            f"{source!r} are sentence pairs, and {model} is a language model, which learns from a text; "
            "choose a preset with an encoder, such as transformer-small, or give a text.",
            subject="command",
        )
    if source in TEXTS and chosen.model.has_encoder:
        raise ConfigError(
            f"{source!r} is a text, and {model} is a translator, which learns from sentence pairs; "
            f"choose a preset without an encoder, such as gpt-nano, or give pairs: {', '.join(PAIRS)}, a file.",
            subject="command",
        )


def with_recipe(chosen: Preset, changes: Mapping[str, Any]) -> RunConfig:
    """A preset's model, data of its kind, its recipe, and changes to all of that."""
    recipe = dict(chosen.recipe)
    if "training.batch_size" in changes and "training.batch_tokens" not in changes:
        recipe.pop("training.batch_tokens", None)  # a batch has one limit
    kind = changes.get("data.tokenizer", "auto")
    by_letters = kind == "auto" and changes.get("data.source", DATES) == DATES
    if by_letters or kind in ("words", "characters"):
        recipe.pop("data.vocab_size", None)  # only byte pairs are so many as one wants
    return RunConfig(model=chosen.model).override(recipe | dict(changes))


def introduce(trainer: Trainer, console: Console, model: str) -> None:
    """What is about to be trained, on what, and where it is kept."""
    count = sum(p.numel() for p in trainer.model.parameters())
    console.print(
        f"[bold]{model}[/]  {count:,} parameters  ·  {trainer.config.data.source}: {trainer.samples.summary}",
        highlight=False,
    )
    console.print(f"[dim]run {trainer.run.path}[/]", highlight=False)


def watch(trainer: Trainer, console: Console, *, show_gradients: bool = False) -> Outcome:
    """Train, drawn in the terminal."""
    training = trainer.config.training
    with LiveTraining(console, max_seconds=training.max_seconds, show_gradients=show_gradients) as live:
        trainer.observers = [*trainer.observers, live]
        return trainer.train()


def conclude(trainer: Trainer, outcome: Outcome, console: Console) -> None:
    """How it ended, and what to do next."""
    best = "" if outcome.best_loss is None else f", best validation loss {outcome.best_loss:.4f}"
    verb = f"stopped by {outcome.reason} and saved" if outcome.interrupted else outcome.reason
    console.print(
        f"[bold]{verb}[/] at step {outcome.step:,} after {outcome.seconds:.0f} s of training{best}", highlight=False
    )
    name = trainer.run.name if trainer.run.path.parent == places.runs_folder() else str(trainer.run.path)
    if outcome.interrupted:
        console.print(f"  go on with it   glassformer resume {name}", highlight=False)
        raise typer.Exit(130 if outcome.reason == "SIGINT" else 143)
    if trainer.config.model.has_encoder:
        console.print(f"  let it work     glassformer translate {name}", highlight=False)
        console.print(f"  score it        glassformer evaluate {name}", highlight=False)
    else:
        console.print(f"  let it write    glassformer sample {name} --prompt ...", highlight=False)
    console.print(f"  draw its loss   glassformer chart {name}", highlight=False)
