"""Options of the command line, from those that a task or a configuration declares.

    @with_options(SEARCH, after="checkpoint")
    def translate(run: RunName, checkpoint: ..., device: Device = "auto", **given): ...

The function gets what was given by name; a declared option that was not given is None.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from glassformer.cli.terminal import Terminal
from glassformer.tasks.options import Option

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, name, beginning of a name, or latest.")]
RunsFolder = Annotated[Path | None, typer.Option("--runs", help="Folder of runs; ./runs unless given.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps.")]


def with_options(options: Iterable[Option], *, after: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the declared options, behind its parameter ``after``; its ``**given`` gets their values."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**values: Any) -> None:
            function(**values)

        signature = inspect.signature(function, eval_str=True)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        place = 1 + next(index for index, each in enumerate(own) if each.name == after)
        parameters = [*own[:place], *map(_parameter, options), *own[place:]]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # typer reads it
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def _parameter(option: Option) -> inspect.Parameter:
    flags = [option.flag, *([option.short] if option.short else [])]
    declared = typer.Option(*flags, help=option.help, min=option.least, max=option.most, metavar=option.metavar)
    if option.kind is bool:
        annotation, default = Annotated[bool, typer.Option(option.flag, help=option.help)], False
    else:
        value: Any = list[option.kind] if option.repeatable else option.kind  # type: ignore[name-defined]
        annotation, default = Annotated[value | None, declared], None
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that were given: not None, not an empty list, a switch that is on."""
    return {name: value for name, value in values.items() if value is not None and value is not False and value != []}


@contextmanager
def translating() -> Iterator[Callable[[int, int], None]]:
    """Gives ``progress(sentences done, all)``, drawn on standard error where that is a terminal, once it is called."""
    console = Terminal(stderr=True, soft_wrap=False)
    columns = (TextColumn("translating"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("translating", total=None, visible=False)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield update
