"""``glassformer chart``: the loss of one or more runs, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.terminal import Terminal
from glassformer.runs.folder import Run


def chart(
    runs_named: Annotated[list[str], typer.Argument(metavar="RUN...", help="One or more runs.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to: .html .svg .pdf .png .json; loss.html in the run.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of runs; ./runs unless given.")] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
) -> None:
    """Plot the training and validation loss of runs."""
    from glassformer.charts.export import save_chart
    from glassformer.charts.loss import loss_chart
    from glassformer.training.session import entropies

    opened = [Run.open(name, root=runs) for name in dict.fromkeys(runs_named)]
    references = [entropies(run) for run in opened]
    same = references[0] if all(reference == references[0] for reference in references) else None
    title = opened[0].name if len(opened) == 1 else "Loss"
    records = {run.name: run.metrics() for run in opened}
    drawn = loss_chart(records, entropies=same or None, title=title, theme=theme)
    path = save_chart(drawn, output or opened[0].path / "loss.html")
    console = Terminal()
    console.print(f"{path}", soft_wrap=True)
    if same is None:
        console.print("The runs were trained on different texts, so no entropies are drawn.", style="dim")
