"""Options of a command, declared apart from any command line: by a task, or read from the fields of a configuration.

An option that is not given has the value None, so that a default lives in one place, the configuration.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from glassformer.config import Config


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: of the parameter; the option is ``--name`` with hyphens.
        kind: int, float, str, bool (a switch) or Path.
        repeatable: whether it may be given several times, which makes its value a list.
        least, most: the limits of a number.
        short: another, shorter way to write it (``-o``).
        metavar: what stands for the value on the help page.
    """

    name: str
    kind: type
    help: str
    repeatable: bool = False
    least: int | None = None
    most: int | None = None
    short: str | None = None
    metavar: str | None = None

    @property
    def flag(self) -> str:
        """As it is written."""
        return f"--{self.name.replace('_', '-')}"


def field_options(
    config: type[Config],
    names: Iterable[str],
    *,
    renamed: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    short: Mapping[str, str] | None = None,
) -> list[Option]:
    """An option for each of the named settings of a configuration: its type, its docstring, its default.

    Args:
        renamed: the option's name where it is not the setting's.
        defaults: a command's own, in place of the configuration's.
        short: a shorter way to write an option.
    """
    renamed, short = renamed or {}, short or {}
    made = []
    for name in names:
        field = config.model_fields[name]
        text = re.sub(r"\s+", " ", field.description or "").strip()
        default = (defaults or {}).get(name, field.default)
        if default is not None and not isinstance(default, bool):
            text = f"{text} {default} unless given."
        made.append(Option(renamed.get(name, name), value_type(field.annotation), text, short=short.get(name)))
    return made


def value_type(annotation: Any) -> type:
    """The type that a setting's text is read as: int for ``Count | None``, str for a choice of words."""
    if hasattr(annotation, "__metadata__"):
        return value_type(annotation.__origin__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return value_type(next(each for each in typing.get_args(annotation) if each is not type(None)))
    if typing.get_origin(annotation) is typing.Literal:
        return str
    return annotation if isinstance(annotation, type) else str
