"""``glassformer demo``: a minute of training on text that every machine has, then a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from glassformer.cli.preparing import preparing
from glassformer.cli.train import introduce, watch
from glassformer.training.telemetry import Record

PRESET = "nanogpt-shakespeare-cpu"
PROMPT = "def "


def demo(
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to train.")] = 60.0,
    runs: Annotated[Path | None, typer.Option(help="Folder for runs; ./runs unless given.")] = None,
) -> None:
    """Train a small GPT on Python's own source for a minute, and let it write."""
    from glassformer.cli.sample import stream_sample
    from glassformer.training.opening import open_model
    from glassformer.training.recipes import configuration
    from glassformer.training.session import start

    console = Console(soft_wrap=True)
    console.print(
        "A GPT of 0.8 million parameters reads the source code of Python's standard library, letter by letter, and "
        f"learns to write more of it. {seconds:.0f} seconds."
    )
    settings = {
        "training.max_steps": "none",
        "training.max_seconds": seconds,
        "training.optimizer.learning_rate": 3e-3,
        "training.telemetry.validation_tokens": 32_768,
        "training.checkpoints.every": "none",
    }
    config = configuration(
        PRESET, data="python-stdlib", steps=None, seed=0, assignments=[f"{k}={v}" for k, v in settings.items()]
    )
    with preparing(console) as progress:
        trainer = start(config, root=runs, name="demo", prepare_progress=progress)
    introduce(trainer, console, PRESET)
    outcome = watch(trainer, console)
    console.print(
        f"[bold]{outcome.reason}[/]: {outcome.step:,} steps, validation loss {outcome.best_loss:.3f} nats per letter "
        f"(it began at {_first_loss(trainer.run.metrics()):.3f})\n",
        highlight=False,
    )
    if outcome.interrupted:
        raise typer.Exit(130)
    stream_sample(open_model(trainer.run, "best"), PROMPT, max_new_tokens=400, temperature=0.8, seed=0)
    name = trainer.run.name
    console.print(f"\n\nThe run is in [bold]{trainer.run.path}[/]. What to try next:", highlight=False)
    for command in (
        f"glassformer sample {name} --prompt 'class '",
        f"glassformer chart {name}",
        "glassformer train tiny-transformer --data tinyshakespeare --show-gradients",
        f"glassformer train {PRESET} --data your-text.txt --set model.residual=none",
        "glassformer info gpt2",
    ):
        console.print(f"  {command}", highlight=False)


def _first_loss(records: list[Record]) -> float:
    return float(next(record["loss"] for record in records if record.get("kind") == "validation"))
