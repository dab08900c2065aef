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
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from glassformer.config import Config, Count, Seed
from glassformer.errors import ConfigError
from glassformer.studies.variation import OWNED, Changes, shown
from glassformer.tasks.run_config import RunConfig
from glassformer.training.effects import without_effect
from glassformer.wording import listed

Number = float | Annotated[int, Field(ge=-(10**15), le=10**15)]
Values = dict[str, Number]
"""A value of each tuned setting."""

LEARNING_RATE = "training.optimizer.learning_rate"
FIRST_SELECTION_SEED = 1000
SELECTION_SEEDS = 3
MOST_SEEDS = 10_000

MOST_EXTENSIONS = 3
"""Times that an arm's grid is extended at one edge."""

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

BATCH = ("training.batch_size", "training.batch_tokens")
"""Settings of how much an update reads."""


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

    @property
    def n_combinations(self) -> int:
        """Combinations that every arm is trained at."""
        return math.prod(len(values) for values in self.grid.values())

    @property
    def most_combinations(self) -> int:
        """Combinations of an arm whose grid is extended as far as it may be.

        Of a single setting one edge alone: what lies beyond it never makes the other the best.
        """
        edges = 1 if len(self.grid) == 1 else 2
        return math.prod(len(values) + edges * MOST_EXTENSIONS for values in self.grid.values())

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
                yield f"{setting} is tuned, which would undo the matching in {undone}; leave out one of the two."
            elif setting in BATCH and base.training.max_steps is not None and base.training.max_tokens is None:
                yield (
                    f"{setting} cannot be tuned over runs of {base.training.max_steps:,} steps: a larger batch is more "
                    "training, which would always be chosen; set training.max_tokens, and training.max_steps to none."
                )
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
    batch = setting in BATCH
    return matched if (sizes and matched in ("parameters", "flops")) or (batch and matched == "flops") else None
