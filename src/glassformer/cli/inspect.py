"""``glassformer inspect``: everything that happens in a model while it reads a text, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.terminal import Terminal, warn
from glassformer.errors import ConfigError

PAGE = "inspection.html"
"""Where a page is written by default: beside the run's other files."""


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FOLDER|PAGE",
            help="A run, a Hugging Face folder with a GPT-2 or Marian, or with --run the page to write.",
        ),
    ],
    text: Annotated[str | None, typer.Option(help="What the model reads; a translator's source.")] = None,
    target: Annotated[
        str | None, typer.Option(help="A translator's target; its own greedy translation unless given.")
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="latest, best, a step, average-N, or all: a slider over the training.")
    ] = "latest",
    run: Annotated[
        list[str] | None, typer.Option(help="Two of them are set side by side on the page that PAGE names.")
    ] = None,
    layer: Annotated[
        list[int] | None, typer.Option(help="Show this layer's attention alone, from 0. Repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=f"Where to; {PAGE} in the run, or here for a folder.")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of runs; ./runs unless given.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
) -> None:
    """Open a model on one offline page: attention, residual stream, lens, positions, gradients."""
    sources, page = _sources(what, run or [], text, output)
    from glassformer.inspection.page import inspect as build_page
    from glassformer.inspection.subjects import open_subject

    assert text is not None
    subjects = [open_subject(source, checkpoint=checkpoint, runs=runs, device=device) for source in sources]
    built = build_page(*subjects, text=text, target=target, layers=layer or None)
    path = built.save(page or _default(subjects[0].run.path if subjects[0].run else None))
    for warning in dict.fromkeys(warning for subject in subjects for warning in subject.warnings):
        warn(warning)
    Terminal().print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


def _sources(what: str, run: list[str], text: str | None, output: Path | None) -> tuple[list[str], Path | None]:
    """The models to open, and the page if it was named."""
    complaints = []
    if text is None:
        complaints.append("--text is missing; give the text to read, as in --text 'Once upon a time'.")
    if run and output is not None:
        complaints.append(f"with --run the page is named first, here {what!r}; leave -o {output} away.")
    if run and not _is_page(what):
        complaints.append(f"with --run the first argument is the page to write, as in page.html; it is {what!r}.")
    if len(run) > 2:
        complaints.append(f"{len(run)} runs are too many for one page; it sets 2 side by side.")
    if not run and _is_page(what):
        complaints.append(f"{what!r} is a page, and no run is named; add --run RUN, or say inspect RUN -o {what}.")
    if not run and output is not None and not _is_page(output):
        complaints.append(f"the page is one file of HTML, as in -o page.html; -o is {str(output)!r}.")
    if complaints:
        raise ConfigError(complaints, subject="command")
    return run or [what], Path(what) if run else output


def _is_page(path: str | Path) -> bool:
    return Path(path).suffix.lower() in (".html", ".htm")


def _default(folder: Path | None) -> Path:
    return Path(PAGE) if folder is None else folder / PAGE
