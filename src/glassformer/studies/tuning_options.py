"""What a user asks a study to be tuned over, read as a :class:`~glassformer.studies.tuning.Tuning`.

    learning_rates=[3e-4, 1e-3, 3e-3]                         the learning rate
    tune="training.optimizer.weight_decay=0|0.1"              a setting and its values
    tune="training.optimizer.weight_decay"                    a grid around the baseline's value
    tune={"training.optimizer.beta2": [0.95, 0.99, 0.999]}    settings by name
    tune=True                                                 a grid around the baseline's learning rate

Texts are read as the command line has them, and every complaint comes at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from glassformer.config import Config, value_at
from glassformer.errors import ConfigError
from glassformer.errors import shown as repeated
from glassformer.numbers import NumberError, read_integer, read_number
from glassformer.studies.tuning import FIRST_SELECTION_SEED, LEARNING_RATE, MOST_SEEDS, SELECTION_SEEDS, Number, Tuning
from glassformer.studies.variation import shown
from glassformer.tasks.run_config import RunConfig
from glassformer.wording import listed

AROUND = (0.1, 10**-0.5, 1.0, 10**0.5, 10.0)
"""Factors of a grid around the baseline's value."""

Tune = bool | str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
"""True: the learning rate. A setting, or "setting=a|b|c". Settings with their values. Or several of these."""


def read_tuning(
    base: RunConfig,
    *,
    tune: Tune | None = None,
    learning_rates: str | Sequence[Any] | None = None,
    selection_seeds: str | int | Sequence[int] | None = None,
    selection_steps: int | None = None,
    controls: bool = True,
    seeds: Sequence[int] = (),
) -> tuple[Tuning | None, list[str]]:
    """The tuning that is asked for, None if there is none, and every complaint about what was asked.

    Args:
        seeds: of the study; default selection seeds are others.
    """
    complaints: list[str] = []
    grid: dict[str, tuple[Number, ...]] = {}
    rates = learning_rates.split(",") if isinstance(learning_rates, str) else learning_rates
    asked = [] if rates is None else [(LEARNING_RATE, rates)]
    for setting, values in [*asked, *_settings(tune, complaints)]:
        if setting in grid:
            complaints.append(f"{setting} is tuned twice; give all its values at once.")
        try:
            grid[setting] = (
                grid_around(base, setting) if values is None else _numbers(base, setting, values, complaints)
            )
        except ConfigError as error:
            complaints += error.complaints
    if not grid and not complaints:
        given = {"selection_seeds": selection_seeds, "selection_steps": selection_steps}
        return None, _without_tuning(given, controls)
    tree: dict[str, Any] = {"grid": grid, "steps": selection_steps, "controls": controls}
    try:
        tree["seeds"] = _selection_seeds(selection_seeds, seeds)
    except ConfigError as error:
        complaints += error.complaints
    try:
        return Tuning.build(tree), complaints
    except ConfigError as error:
        broken = [setting for setting in grid if any(each.startswith(setting) for each in complaints)]
        more = [each for each in error.complaints if grid and not each.startswith(tuple(broken))]
        return _usable(tree), [*complaints, *(each.replace("steps is", "selection_steps is") for each in more)]


def _usable(tree: Mapping[str, Any]) -> Tuning | None:
    """What is right of a wrong tuning, so that the study's other complaints about it come at once."""
    seeds = {"seeds": list(dict.fromkeys(tree["seeds"]))} if "seeds" in tree else {}
    grid = {setting: sorted(set(values)) for setting, values in tree["grid"].items() if len(set(values)) > 1}
    steps = {"steps": tree["steps"]} if tree["steps"] and tree["steps"] > 0 else {}
    try:
        return Tuning.build({"grid": grid, **seeds, **steps})
    except ConfigError:
        return None


def grid_around(base: RunConfig, setting: str) -> tuple[Number, ...]:
    """Five values around the baseline's, a factor of √10 apart, in 2 digits; those that it can have.

    Raises:
        ConfigError: there is no such setting, or its value is not a positive number.
    """
    value = value_at(base, setting)
    if value is None or isinstance(value, Config):
        base.override({setting: "1"})  # says what is wrong with the name
    if type(value) not in (int, float) or not value > 0:
        raise ConfigError(
            f"{setting} is {shown(value)} in the baseline, and a grid is made around a positive number; give its "
            f"values, as in --tune {setting}=0.1|1|10."
        )
    scaled = [float(f"{value * factor:.2g}") for factor in AROUND]
    around: list[Number] = [max(1, round(each)) for each in scaled] if isinstance(value, int) else [*scaled]
    return tuple(each for each in dict.fromkeys(around) if _fits(base, setting, each))


def _fits(base: RunConfig, setting: str, value: Number) -> bool:
    try:
        base.override({setting: value})
    except ConfigError:
        return False
    return True


def _settings(tune: Any, complaints: list[str]) -> Iterator[tuple[str, Any]]:
    """Settings and their values; None where a grid around the baseline's value is asked for."""
    if tune is None or tune is False:
        return
    if tune is True:
        yield LEARNING_RATE, None
    elif isinstance(tune, str):
        setting, sign, values = tune.partition("=")
        yield setting.strip(), values.split("|") if sign else None
    elif isinstance(tune, Mapping):
        yield from ((setting, None if values is True else values) for setting, values in tune.items())
    elif isinstance(tune, Sequence):
        for each in tune:
            yield from _settings(each, complaints)
    else:
        complaints.append(
            f"tune is {repeated(tune)}; expected a setting, its values as in 'training.optimizer.weight_decay=0|0.1', "
            "or a table of settings and their values."
        )


def _numbers(base: RunConfig, setting: str, values: Any, complaints: list[str]) -> tuple[Number, ...]:
    """Those of the values that are numbers, as the setting's type holds them; complaints about the others."""
    if isinstance(values, str | int | float):
        values = str(values).split("|")
    if not isinstance(values, Sequence):
        raise ConfigError(f"{setting} is tuned over {repeated(values)}; expected a list of numbers.")
    found: list[Number] = []
    for value in values:
        try:
            found.append(_typed(base, setting, _number(value)))
        except NumberError as error:
            complaints.append(f"{setting} is tuned over {repeated(value)}: {error}")
    return tuple(found)


def _number(value: Any) -> Number:
    """An integer where it is one, else a finite number. Raises :class:`NumberError`."""
    if isinstance(value, str):
        try:
            return read_integer(value)
        except NumberError:
            value = read_number(value)
    if type(value) not in (int, float):
        raise NumberError("expected a number.")
    if not math.isfinite(value):
        raise NumberError("expected a finite number.")
    number: Number = value
    return number


def _typed(base: RunConfig, setting: str, number: Number) -> Number:
    """The number as the setting's type holds it; unchanged where it does not fit, of which the study complains."""
    try:
        typed = value_at(base.override({setting: number}), setting)
    except ConfigError:
        return number
    return typed if type(typed) in (int, float) else number


def _selection_seeds(asked: Any, seeds: Sequence[int]) -> list[int]:
    """So many seeds from 1000 on that are not the study's, or the ones given."""
    expected = f"expected a number from 1 to {MOST_SEEDS:,}, or a list of seeds (1000,1001)."
    if isinstance(asked, str):
        try:
            numbers = [read_integer(piece) for piece in asked.split(",") if piece.strip()]
            asked = numbers if "," in asked else numbers[0]
        except (NumberError, IndexError):
            raise ConfigError(f"selection_seeds is {repeated(asked)}; {expected}") from None
    if isinstance(asked, Sequence):
        wrong = [f"selection_seeds has {repeated(seed)}; {expected}" for seed in asked if not _is_seed(seed)]
        if wrong or not asked:
            raise ConfigError(wrong or f"selection_seeds is empty; {expected}")
        return list(asked)
    count = SELECTION_SEEDS if asked is None else asked
    if type(count) is not int or not 1 <= count <= MOST_SEEDS:
        raise ConfigError(f"selection_seeds is {repeated(asked)}; {expected}")
    fresh = (seed for seed in itertools.count(FIRST_SELECTION_SEED) if seed not in seeds)
    return list(itertools.islice(fresh, count))


def _is_seed(seed: Any) -> bool:
    return type(seed) is int and 0 <= seed < 2**64


def _without_tuning(given: Mapping[str, Any], controls: bool) -> list[str]:
    """A complaint about options of a tuning where nothing is tuned."""
    names = [name for name, value in given.items() if value is not None] + ["controls"] * (not controls)
    if not names:
        return []
    matter = "only matters" if len(names) == 1 else "only matter"
    return [f"{listed(names)} {matter} where arms are tuned: give learning_rates (--learning-rates) or --tune too."]
