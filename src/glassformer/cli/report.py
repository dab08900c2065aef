"""``glassformer report``: the results of a study as pages, tables and charts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from glassformer.cli.study_table import warn_of
from glassformer.cli.terminal import Terminal
from glassformer.errors import ConfigError


def report(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A study, or latest.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to write to; the study's own unless given.")
    ] = None,
    pages: Annotated[
        bool,
        typer.Option("--pages/--no-pages", help="Whether to write each variant's model page."),
    ] = True,
    take_out: Annotated[
        bool,
        typer.Option("--take-out/--no-take-out", help="Whether to measure the trained baseline without the parts too."),
    ] = True,
    studies: Annotated[Path | None, typer.Option(help="Folder of studies; ./studies unless given.")] = None,
) -> None:
    """Write a study's report: one offline page, and the same as Markdown, CSV and charts."""
    from glassformer.studies.folder import Study
    from glassformer.studies.report.failures import Failures
    from glassformer.studies.report.numbers import gather
    from glassformer.studies.report.text import answers
    from glassformer.studies.report.write import write_report

    if output is not None and output.exists() and not output.is_dir():
        raise ConfigError(f"a report is a folder of files; -o is the file {str(output)!r}.", subject="command")
    opened = Study.open(study, root=studies)
    failures = Failures()
    path = write_report(opened, folder=output, open_pages=pages, take_out=take_out, failures=failures)
    console = Terminal()
    numbers = gather(opened)
    console.print(Text(numbers.summary.basis))
    for answer in answers(numbers):
        console.print(Text(answer.sentence))
    console.print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    warn_of(failures)
