"""Groups of commands that are imported when they are called, so that ``--help`` answers at once.

A group is a table: a command's name -> where it lives and the one line that the help page says of it. A command may
itself be such a group.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from glassformer.errors import shown
from glassformer.trust import trusting_parts


@dataclass(frozen=True)
class Command:
    """Where a command lives (``package.module:name``) and the one line that ``--help`` says of it.

    What has this name is a function, or a group of commands made by :func:`group`. ``opens``: whether the command opens
    runs, studies or configurations, which may name part files; it then also takes ``--trust-parts``. ``bare``: options
    that may stand without a value, and the value that they then have.
    """

    place: str
    summary: str
    opens: bool = False
    bare: Mapping[str, str] = field(default_factory=dict)


class SingleCommand(TyperCommand):
    """A command some of whose options may stand without a value: at the end, or before another option."""

    bare: Mapping[str, str] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the words, with the value that a bare option stands for."""
        whole = [
            f"{word}={self.bare[word]}" if word in self.bare and following[:1] == "-" else word
            for word, following in itertools.pairwise([*args, "-"])
        ]
        return super().parse_args(ctx, whole)


class LazyGroup(TyperGroup):
    """A group whose commands stand for themselves by name and summary until one is called; that one is imported."""

    table: Mapping[str, Command]

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Without any argument, the help page: no mistake, so exit status 0."""
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names, imported, and the arguments left."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name, self.table[name]) if name is not None and name in self.table else command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the message about a value that does not fit its option also shows the value."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            rejected: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()  # pydantic's has the value
            ours = (
                error.ctx is not None and error.ctx.parent is ctx
            )  # not of a group inside this one, which has reported it
            if rejected and ours:
                expected = error.message.removeprefix("Input should be ").partition(", unable")[0]
                error.message = f"{shown(rejected[0]['input'])}; expected {expected}."
            raise


def load(name: str, row: Command) -> Any:
    """Import a command: the group that stands there, or the parser that typer makes from the function."""
    module, _, attribute = row.place.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, LazyGroup):
        return found
    single = _typer()
    single.command(name=name, cls=SingleCommand)(_trusting(found) if row.opens else found)
    made = typer.main.get_command(single)
    assert isinstance(made, SingleCommand)
    made.bare = row.bare
    return made


def _trusting(function: Callable[..., None]) -> Callable[..., None]:
    """The command's function with the option ``--trust-parts``, in force while it runs."""

    @functools.wraps(function)
    def command(*, trust_parts: bool = False, **options: Any) -> None:
        with trusting_parts(trust_parts):
            function(**options)

    option = typer.Option(
        "--trust-parts", help="Execute part files (Python) that a run, study or file names, even if not known here."
    )
    parameter = inspect.Parameter(
        "trust_parts", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option]
    )
    signature = inspect.signature(function, eval_str=True)
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]  # which is what typer reads
        parameters=[*signature.parameters.values(), parameter]
    )
    command.__annotations__ = {name: each.annotation for name, each in command.__signature__.parameters.items()}  # type: ignore[attr-defined]
    return command


def group(name: str, callback: Callable[..., None], table: Mapping[str, Command]) -> LazyGroup:
    """A group of commands, none of them imported yet.

    Args:
        callback: its docstring is the group's help, its parameters the options that stand before the command.
        table: the commands, in the order of the help page.
    """
    app = _typer(cls=LazyGroup, name=name)
    app.callback()(callback)
    made = typer.main.get_command(app)
    assert isinstance(made, LazyGroup)
    made.table = table
    made.commands = {name: TyperCommand(name=name, help=row.summary) for name, row in table.items()}
    return made


def _typer(**settings: Any) -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", **settings)
