"""What is varied: from words such as ``model.n_layers=1|2|4`` to variants by name.

model.residual=none                          a variant
model.norm.kind=rmsnorm,model.norm.final=no  one variant that changes two settings
model.n_layers=1|2|4                         three variants; in a grid, a factor of three levels
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from glassformer.config import parse_assignments
from glassformer.errors import ConfigError
from glassformer.tasks.run_config import RunConfig

Changes = Mapping[str, Any]
"""Dotted settings and their values."""

Factor = dict[str, list[Any]]
"""Dotted settings, each with the values it takes."""

Vary = Mapping[str, Changes] | Sequence[str | Changes]

OWNED = {
    "model.vocab_size": "it is the number of tokens of the data",
    "training.seed": "the study's seeds are the same for every variant",
}
"""Settings that no variant can change, and why."""

LEFT_OUT = ("model.", "training.", "data.")
"""Rooms that a variant's name need not say."""

MOST_VARIANTS = 10_000


def variants_of(vary: Vary, base: RunConfig, *, grid: bool = False) -> dict[str, dict[str, Any]]:
    """Variants by name.

    In a grid the combination that equals the base is the base, and not listed again.

    Raises:
        ConfigError: changes that are no changes, or variants of one name.
    """
    if isinstance(vary, Mapping):
        if grid:
            raise ConfigError("a grid combines lists of values; these variants have names already.", subject="study")
        return {name: dict(changes) for name, changes in vary.items()}
    factors = [_factor(each) for each in vary]
    listed = _product(factors, base) if grid else [changes for factor in factors for changes in _one_at_a_time(factor)]
    named: dict[str, dict[str, Any]] = {}
    for changes in listed:
        name = name_of(changes)
        if name in named:
            raise ConfigError(f"the variant {name!r} is given twice.", subject="study")
        named[name] = changes
    return named


def name_of(changes: Changes) -> str:
    """What a variant that has no name is called: ``residual=none, optimizer.learning_rate=0.01``."""
    return ", ".join(f"{_short(path)}={shown(value)}" for path, value in changes.items())


def shown(value: Any) -> str:
    """A value as the command line writes it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return ",".join(map(shown, value)) if isinstance(value, list | tuple) else str(value)


def _short(path: str) -> str:
    return next((path.removeprefix(room) for room in LEFT_OUT if path.startswith(room)), path)


def _factor(given: str | Changes) -> Factor:
    """The settings of one ``--vary`` with their values."""
    if not isinstance(given, str):
        return {path: list(values) if isinstance(values, list | tuple) else [values] for path, values in given.items()}
    try:
        assignments = parse_assignments(_pieces(given))
    except ConfigError as error:
        raise ConfigError([each.replace("--set", "--vary") for each in error.complaints], subject="study") from None
    factor = {path: [value.strip() for value in values.split("|")] for path, values in assignments.items()}
    if len(factor) < len(_pieces(given)):
        raise ConfigError(f"--vary {given} gives a setting twice; list its values, as in a=1|2.", subject="study")
    return factor


def _pieces(text: str) -> list[str]:
    """Cut at the commas before a ``name=``; any other belongs to a value that is a list."""
    pieces: list[str] = []
    for piece in text.split(","):
        if "=" in piece or not pieces:
            pieces.append(piece)
        else:
            pieces[-1] += f",{piece}"
    return pieces


def _one_at_a_time(factor: Factor) -> list[dict[str, Any]]:
    """A variant for each value; several settings that change together have a value each."""
    if len(factor) > 1 and any(len(values) > 1 for values in factor.values()):
        raise ConfigError(
            f"{', '.join(factor)} change together, and one of them has several values: give each its own --vary and "
            "add --grid for every combination.",
            subject="study",
        )
    (count,) = {len(values) for values in factor.values()} or {0}
    return [{path: values[index] for path, values in factor.items()} for index in range(count)]


def _product(factors: list[Factor], base: RunConfig) -> list[dict[str, Any]]:
    """Every combination of one value of each setting, but the base's own."""
    values: Factor = {}
    for factor in factors:
        for path, listed in factor.items():
            if path in values:
                raise ConfigError(f"the grid has {path} twice; list its values, as in {path}=1|2.", subject="study")
            values[path] = listed
    count = 1
    for listed in values.values():
        count *= len(listed)
    if count > MOST_VARIANTS:
        raise ConfigError(f"the grid has {count:,} combinations; at most {MOST_VARIANTS:,} fit.", subject="study")
    combinations = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
    return [changes for changes in combinations if not _is_base(changes, base)]


def _is_base(changes: Changes, base: RunConfig) -> bool:
    """Whether these changes change nothing. Those that cannot be made are for the study to complain about."""
    try:
        return base.override(changes) == base
    except ConfigError:
        return False
