"""Options that were given and have no effect beside others: rejected, with the reason, before anything is done."""

from __future__ import annotations

import typer

from glassformer.errors import ConfigError


def is_given(context: typer.Context, parameter: str) -> bool:
    """Whether the command line holds the option of a function's ``parameter``, even with its default's value."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def check_idle(context: typer.Context, *rules: tuple[str, bool, str]) -> None:
    """Refuse options without effect.

    Args:
        rules: for each: the function's parameter, whether its option would have no effect, and why.

    Raises:
        ConfigError: with every such option that was given.
    """
    complaints = [
        f"{option_name(context, parameter)} has no effect: {why}."
        for parameter, idle, why in rules
        if idle and is_given(context, parameter)
    ]
    if complaints:
        raise ConfigError(complaints, subject="command")


def option_name(context: typer.Context, parameter: str) -> str:
    """The option as it is written: ``--max-new-tokens``."""
    for each in context.command.params:
        if each.name == parameter:
            return max(each.opts, key=len)
    raise AssertionError(f"{context.command.name} has no parameter {parameter}")
