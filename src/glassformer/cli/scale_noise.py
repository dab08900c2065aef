"""``glassformer scale noise``: the critical batch of a run, from its own gradients."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # numpy is imported when the command runs
    from rich.table import Table

    from glassformer.scaling.noise_scale import MeasuredNoise


def scale_noise(
    run_named: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, name, beginning of a name, or latest.")
    ],
    runs: Annotated[Path | None, typer.Option(help="Folder of runs; ./runs unless given.")] = None,
) -> None:
    """Read the gradient noise scale of a run: its critical batch, beside Kaplan's formula.

    The run must have measured it: glassformer train ... --set training.telemetry.noise_scale_every=10
    """
    from rich.text import Text

    from glassformer.cli.terminal import Terminal
    from glassformer.runs.folder import Run
    from glassformer.scaling.noise_scale import read_noise_scale

    run = Run.open(run_named, root=runs)
    measured = read_noise_scale(run.metrics())
    console = Terminal(soft_wrap=False)
    console.print(_table(run.name, measured))
    console.print(Text(measured.sentence()))
    console.print(
        Text(
            "Tokens are those of the objective. Kaplan's formula was fitted to losses per token of GPT-2's tokenizer; "
            "losses per character, or per token of another tokenizer, are not comparable.",
            style="dim",
        )
    )


def _table(name: str, measured: MeasuredNoise) -> Table:
    """A row for each stage of the training."""
    from rich.table import Table

    table = Table(title=f"gradient noise scale of {name}, in tokens", title_justify="left", box=None, padding=(0, 1))
    for heading in ("steps", "loss", "noise scale", "95 % interval", "Kaplan", "S/S_min", "E/E_min"):
        table.add_column(heading, justify="left" if heading == "steps" else "right", no_wrap=True)
    for stage in measured.stages:
        low, high = stage.interval
        table.add_row(
            f"{stage.first_step:,} – {stage.last_step:,}",
            "–" if stage.loss is None else f"{stage.loss:.3f}",
            _tokens(stage.tokens),
            f"{_tokens(low)} – {_tokens(high)}",
            "–" if stage.kaplan is None else _tokens(stage.kaplan),
            "∞" if math.isinf(stage.times_fewest_steps) else f"{stage.times_fewest_steps:.2f}",
            "∞" if math.isinf(stage.times_fewest_tokens) else f"{stage.times_fewest_tokens:.2f}",
        )
    return table


def _tokens(count: float) -> str:
    """Three figures: 41.2k."""
    if math.isinf(count):
        return "∞"
    for unit in ("", "k", "M"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}G"
