"""Tuned studies: the settings that every arm is tuned over, their values, and the seeds that choose among them.

    study(..., learning_rates=[3e-4, 1e-3, 3e-3])                       one setting, the learning rate
    study(..., tune={"training.optimizer.weight_decay": [0.0, 0.1]})    any other, beside it or alone
    study(..., tune=True)                                               learning rates around the baseline's

A comparison at one learning rate measures a part and the luck of that rate. So each arm is trained at every value with
*selection seeds*, its best value is chosen there (``studies/choosing.py``), and the arms are compared on other seeds:
chosen and judged on the same ones, whoever has more to choose from looks better than it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from glassformer.config import Config, Count, Seed, value_at
from glassformer.errors import ConfigError
from glassformer.errors import shown as repeated
from glassformer.numbers import NumberError, read_integer, read_number
from glassformer.studies.variation import OWNED, Changes, shown
from glassformer.tasks.run_config import RunConfig
from glassformer.training.effects import without_effect
from glassformer.wording import listed

Number = float | int
Values = dict[str, Number]
"""A value of each tuned setting."""

LEARNING_RATE = "training.optimizer.learning_rate"
FIRST_SELECTION_SEED = 1000
SELECTION_SEEDS = 3
MOST_SEEDS = 10_000

AROUND = (0.1, 10**-0.5, 1.0, 10**0.5, 10.0)
"""Factors of a grid around the baseline's value."""

UNTUNABLE = {
    "data.": "it changes what the loss is measured on",
    "model.max_seq_len": "it changes what the loss is measured on",
    "training.seq_len": "it changes what the loss is measured on",
    "training.max_": "it sets how long a run trains, and more training would always be chosen",
    "training.patience": "it sets how long a run trains, and more training would always be chosen",
    "training.micro_batch_size": "it changes how a batch is computed, not what is learned",
    "training.telemetry.": "it changes what is recorded, not what is learned",
    "training.checkpoints.": "it changes what is saved, not what is learned",
} | OWNED
"""Settings, or beginnings of settings, that no study can be tuned over, and why."""

Tune = bool | str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]
"""True: the learning rate. A setting, or "setting=a|b|c". Settings with their values. Or several of these."""


class Tuning(Config):
    """What every arm of a study is tuned over, and on which seeds."""

    grid: dict[str, tuple[Number, ...]]
    """Dotted settings and their values, ascending; several settings make a grid of every combination."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MOST_SEEDS)] = tuple(
        range(FIRST_SELECTION_SEED, FIRST_SELECTION_SEED + SELECTION_SEEDS)
    )
    """Selection seeds: every arm is trained at every value with each. None of them is in the comparison."""
    steps: Count | None = None
    """Updates of a selection run of the baseline; an arm of more or fewer gets the same share. None: as in the
    comparison."""
    controls: bool = True
    """Whether each variant is also trained at the baseline's best values, on the seeds of the comparison."""

    @classmethod
    def subject(cls) -> str:
        return "study"

    def complaints(self) -> Iterator[str]:
        if not self.grid:
            yield "nothing is tuned: name a setting and its values, as in --tune training.optimizer.weight_decay=0|0.1."
        for setting, values in self.grid.items():
            if len(values) < 2:
                yield f"{setting} has {values_shown(values)} to choose from; expected at least 2 values."
            elif twice := [one for one, other in itertools.pairwise(sorted(values)) if one == other]:
                yield f"{setting} has {shown(twice[0])} twice among its values."
            elif list(values) != sorted(values):
                yield f"the values of {setting} are not in ascending order; write {values_shown(sorted(values))}."
        if len(set(self.seeds)) < len(self.seeds):
            seed = next(seed for index, seed in enumerate(self.seeds) if seed in self.seeds[:index])
            yield f"the selection seeds have {seed} twice."

    def combinations(self) -> list[Values]:
        """Every combination of one value of each setting, the smallest first."""
        return [dict(zip(self.grid, chosen, strict=True)) for chosen in itertools.product(*self.grid.values())]

    def complaints_within(
        self, base: RunConfig, variants: Mapping[str, Changes], seeds: Sequence[int], matched: str
    ) -> Iterator[str]:
        """What is wrong with this tuning in a study of these arms and seeds; arms that cannot be built are left out."""
        if shared := sorted({*seeds} & {*self.seeds}):
            yield (
                f"{_seeds(shared)} both chosen on and compared on: the comparison needs seeds that had no part in the "
                "choice; give other selection seeds (--selection-seeds) or other seeds (--seeds)."
            )
        yield from self._complaints_about_steps(base)
        arms = {"baseline": base} | dict(_built(base, variants))
        for setting, values in self.grid.items():
            reason = next((why for start, why in UNTUNABLE.items() if setting.startswith(start)), None)
            if reason is not None:
                yield f"{setting} cannot be tuned: {reason}."
                continue
            if varied := [name for name, changes in variants.items() if setting in changes]:
                names = listed([repr(name) for name in varied])
                yield f"{setting} is tuned, and the variant {names} sets it; leave it out of one of the two."
            if matched != "none" and (undone := _undoes(matched, setting)):
                yield f"{setting} is tuned, which would undo that arms are matched in {undone}; leave out one of the two."
            yield from dict.fromkeys(_invalid(setting, values, arms))

    def _complaints_about_steps(self, base: RunConfig) -> Iterator[str]:
        longest = base.training.max_steps
        if self.steps is None:
            return
        if longest is None:
            yield "selection steps shorten training.max_steps, which is none in the baseline: set it."
        elif self.steps >= longest:
            yield (
                f"selection runs of {self.steps:,} steps are no shorter than those of the comparison ({longest:,} "
                "steps); expected fewer, or no selection steps."
            )


def steps_in_selection(tuning: Tuning, base: RunConfig, arm: RunConfig) -> dict[str, int]:
    """The change that makes an arm's run a selection run: the share of its steps that the baseline makes of its own."""
    whole, own = base.training.max_steps, arm.training.max_steps
    if tuning.steps is None or whole is None or own is None:
        return {}
    return {"training.max_steps": max(1, round(own * tuning.steps / whole))}


def values_shown(values: Sequence[Number]) -> str:
    """Values as a sentence has them.

    >>> values_shown([0.001, 0.01]), values_shown([])
    ('0.001 and 0.01', 'nothing')
    """
    return listed([shown(value) for value in values]) if values else "nothing"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]} is" if len(seeds) == 1 else f"seeds {listed([str(seed) for seed in seeds])} are"


def _built(base: RunConfig, variants: Mapping[str, Changes]) -> Iterator[tuple[str, RunConfig]]:
    for name, changes in variants.items():
        try:
            yield f"variant {name!r}", base.override(changes)
        except ConfigError:  # the study complains about it
            continue


def _invalid(setting: str, values: Sequence[Number], arms: Mapping[str, RunConfig]) -> Iterator[str]:
    """Why arms cannot have these values; what is wrong with the baseline's is said once."""
    idle = []
    for name, arm in arms.items():
        found = []
        for value in values:
            try:
                tuned = arm.override({setting: value})
            except ConfigError as error:
                found += error.complaints
            else:
                idle += list(without_effect(tuned, [setting]))[:1] if value == values[-1] else []
        yield from found if name == "baseline" else (f"{name}: {each}" for each in found)
        if found and name == "baseline":
            return
    if len(idle) == len(arms):
        yield f"{setting} is tuned without effect: {idle[0]}"


def _undoes(matched: str, setting: str) -> str | None:
    """In what arms would no longer be matched at different values of a setting; None if they would be."""
    sizes = setting.startswith("model.") and not setting.endswith((".dropout", ".eps", ".std", ".theta"))
    batch = setting in ("training.batch_size", "training.batch_tokens")
    return matched if (sizes and matched in ("parameters", "flops")) or (batch and matched == "flops") else None


# ----------------------------------------------------------------------------------------------------- what is asked


def read_tuning(
    base: RunConfig,
    *,
    tune: Tune | None = None,
    learning_rates: Sequence[Any] | None = None,
    selection_seeds: int | Sequence[int] | None = None,
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
    asked = [] if learning_rates is None else [(LEARNING_RATE, learning_rates)]
    for setting, values in [*asked, *_settings(tune, complaints)]:
        try:
            if setting in grid:
                raise ConfigError(f"{setting} is tuned twice; give all its values at once.")
            grid[setting] = grid_around(base, setting) if values is None else _numbers(base, setting, values)
        except ConfigError as error:
            complaints += error.complaints
    if not grid and not complaints:
        return None, _without_tuning(selection_seeds=selection_seeds, selection_steps=selection_steps, controls=controls)
    tree: dict[str, Any] = {"grid": grid, "steps": selection_steps, "controls": controls}
    try:
        tree["seeds"] = _selection_seeds(selection_seeds, seeds)
    except ConfigError as error:
        complaints += error.complaints
    try:
        return Tuning.build(tree), complaints
    except ConfigError as error:
        more = [each for each in error.complaints if grid or not each.startswith("nothing is tuned")]
        return None, [*complaints, *more]


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


def _numbers(base: RunConfig, setting: str, values: Any) -> tuple[Number, ...]:
    """The values as the setting's numbers. Raises :class:`ConfigError` with all that are none."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        values = str(values).split("|") if isinstance(values, str | int | float) else None
    if values is None:
        raise ConfigError(f"{setting} is tuned over something that is not a list of numbers.")
    found: list[Number] = []
    complaints = []
    for value in values:
        try:
            found.append(_typed(base, setting, _number(value)))
        except NumberError as error:
            complaints.append(f"{setting} is tuned over {repeated(value)}: {error}")
    if complaints:
        raise ConfigError(complaints)
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
    if not abs(value) < float("inf"):
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


def _selection_seeds(asked: int | Sequence[int] | None, seeds: Sequence[int]) -> list[int]:
    """So many seeds from 1000 on that are not the study's, or the ones given."""
    if isinstance(asked, Sequence):
        return list(asked)
    count = SELECTION_SEEDS if asked is None else asked
    if not 1 <= count <= MOST_SEEDS:
        raise ConfigError(f"selection_seeds is {count}; expected a number from 1 to {MOST_SEEDS:,}.")
    fresh = (seed for seed in itertools.count(FIRST_SELECTION_SEED) if seed not in seeds)
    return list(itertools.islice(fresh, count))


def _without_tuning(*, controls: bool, **given: Any) -> list[str]:
    """Complaints about options of a tuning where nothing is tuned."""
    names = [name for name, value in given.items() if value is not None] + ["controls"] * (not controls)
    if not names:
        return []
    return [
        f"{listed(names)} only matter{'s' * (len(names) == 1)} where arms are tuned: give learning_rates "
        "(--learning-rates) or tune (--tune) too."
    ]
