"""``glassformer demo``: a minute of training on text that every machine has, a sample, and a small study."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from glassformer import places
from glassformer.cli.idle_options import check_idle
from glassformer.cli.preparing import preparing
from glassformer.cli.terminal import Terminal
from glassformer.cli.train import best_in_words, introduce, watch

PRESET = "nanogpt-shakespeare-cpu"
PROMPT = "def "

STUDIED = "tiny-transformer"
ARMS = {
    "no skip": {"model.residual": "none"},
    "no attention": {"model.sublayers": "feedforward"},
}
"""The study notes behind this project took the second for the first: they deleted the line that adds attention's
output, and with it the attention."""


def demo(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to train.")] = 60.0,
    runs: Annotated[Path | None, typer.Option(help="Folder for runs; ./runs unless given.")] = None,
    study_steps: Annotated[int, typer.Option(min=0, help="Steps of each run of the study; 0 leaves it out.")] = 400,
    studies: Annotated[Path | None, typer.Option(help="Folder for studies; ./studies unless given.")] = None,
) -> None:
    """Train a small GPT on Python's own source, generate text, and study what its residual connection is for."""
    from glassformer.cli.sample import stream_sample
    from glassformer.tasks.open_run import open_model
    from glassformer.training.recipes import configuration
    from glassformer.training.session import start

    check_idle(context, ("studies", study_steps == 0, "--study-steps 0 leaves the study out"))
    console = Terminal()
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
        f"{outcome.reason}: {outcome.step:,} steps{best_in_words(outcome)}"
        + (f" ({outcome.first_loss:.4f} before the first update)\n" if outcome.first_loss is not None else "\n"),
    )
    if outcome.interrupted:
        raise typer.Exit(130)
    stream_sample(open_model(trainer.run, "best"), PROMPT, max_new_tokens=400, temperature=0.8, seed=0)
    name = trainer.run.name
    console.print()
    if study_steps:
        _study_the_residual(console, study_steps, studies or places.studies_folder())
    console.print(Text.assemble("\nThe run is in ", (str(trainer.run.path), "bold"), ". What to try next:"))
    for command in (
        f"glassformer sample {name} --prompt 'class '",
        f"glassformer inspect {name} --text 'import sys' -o page.html",
        f"glassformer chart {name}",
        "glassformer train tiny-transformer --data tinyshakespeare --show-gradients",
        f"glassformer train {PRESET} --data your-text.txt --set model.residual=none",
        "glassformer info gpt2",
    ):
        console.print(f"  {command}")


def _study_the_residual(console: Terminal, steps: int, root: Path) -> None:
    """Three arms, three seeds: the whole model, without its skips, and without attention."""
    from glassformer.cli.study import run_and_conclude, study_runner
    from glassformer.studies.checking import check
    from glassformer.studies.design import study
    from glassformer.studies.folder import Study

    console.print(
        f"\nWhat is the residual connection worth? {STUDIED}, one layer, with it, without it, and without the "
        f"attention that it goes around; three seeds each, {steps:,} steps."
    )
    design = study(STUDIED, data="python-stdlib", vary=ARMS, seeds=3, steps=steps, name="demo-residual")
    with preparing(console) as progress:
        checked = check(design, progress=progress)
    created = Study.create(checked.config, data=checked.data, command=sys.argv, root=root)
    run_and_conclude(created, checked, study_runner(console, studies=root), console, report=True)
