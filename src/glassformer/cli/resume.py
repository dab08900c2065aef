"""``glassformer resume``: continue a stopped run as if it had not been stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.idle_options import check_idle
from glassformer.cli.preparing import preparing
from glassformer.cli.terminal import Terminal, warn
from glassformer.cli.train import conclude, introduce, watch
from glassformer.runs.folder import Run


def resume(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, name, beginning of a name, or latest.")],
    runs: Annotated[Path | None, typer.Option(help="Folder of runs; ./runs unless given.")] = None,
    show_gradients: Annotated[
        bool, typer.Option("--show-gradients", help="Print every parameter's gradient norm as the training goes.")
    ] = False,
) -> None:
    """Resume a run that was stopped or killed."""
    from glassformer.tasks import opening
    from glassformer.training import session

    console = Terminal()
    opened = Run.open(run, root=runs)
    unrecorded = opening.run_config(opened).training.telemetry.gradients_every is None
    check_idle(context, ("show_gradients", unrecorded, "the run's telemetry.gradients_every=none records none"))
    with preparing(console) as progress:
        trainer, warnings = session.resume(opened, prepare_progress=progress)
    for warning in warnings:
        warn(warning)
    if reason := trainer.ended():
        console.print(
            f"{opened.name} has nothing left to train: {reason} at step {trainer.progress.step:,}.", highlight=False
        )
        return
    introduce(trainer, console, opened.name)
    console.print(f"from step {trainer.progress.step:,}", style="dim")
    conclude(trainer, watch(trainer, console, show_gradients=show_gradients), console)
