"""What a ladder may cost, and what a run costs: FLOPs, or time on this machine as measured."""

from __future__ import annotations

from dataclasses import dataclass

from glassformer.errors import ConfigError
from glassformer.numbers import split_amount
from glassformer.scaling.ladders.ladder_rungs import Run
from glassformer.scaling.laws.units import UNITS, amount, unit_of
from glassformer.training.config import RunConfig
from glassformer.training.samples import TrainingData
from glassformer.training.update_time import update_seconds

_TIME = {"s": 1.0, "m": 60.0, "h": 3600.0} | {"sec": 1.0, "second": 1.0, "seconds": 1.0}
_TIME |= {"min": 60.0, "minute": 60.0, "minutes": 60.0, "hour": 3600.0, "hours": 3600.0}

MOST = 1e24
"""FLOPs: those of the largest published trainings. More is a slip of the keyboard."""

MOST_SECONDS = 30 * 86_400.0
"""A month."""

EXAMPLE = "1e14 or '3 PF-days' (FLOPs), 90s, 20min or 2h (time)"

START = 1.5
"""Seconds in which a worker opens a run, makes its model and writes its last checkpoint, about."""

PACKED = 0.9
"""Of the time of all workers, what a queue of unequal runs fills, about."""


@dataclass(frozen=True)
class Budget:
    """What a ladder may cost.

    Attributes:
        amount: FLOPs, or seconds on the clock.
        unit: which.
    """

    amount: float
    unit: str

    @property
    def timed(self) -> bool:
        """Whether it is time."""
        return self.unit == "seconds"


def read_budget(text: str) -> Budget:
    """``1e14``, ``3 PF-days``: FLOPs; ``90s``, ``20min``, ``2h``: time of this machine.

    Raises:
        ConfigError: it is neither, or nothing.
    """
    _, unit = split_amount(text)
    units = _TIME if unit_of(unit, _TIME) is not None else UNITS
    try:
        found = amount(text, units, subject="ladder", what="a unit of compute or time", example=EXAMPLE)
    except ConfigError as error:
        raise ConfigError(
            f"--budget is {text!r}; expected FLOPs or time. {' '.join(error.complaints)}", subject="ladder"
        ) from None
    most, kind = (MOST_SECONDS, "seconds") if units is _TIME else (MOST, "FLOPs")
    if not 0 < found <= most:
        raise ConfigError(
            f"--budget is {text!r}; expected above 0, and {most:g} {kind} at most: a ladder is of small runs.",
            subject="ladder",
        )
    return Budget(found, kind)


@dataclass(frozen=True)
class Pace:
    """How long an update takes here: ``fixed`` seconds, and ``per_flop`` more for each FLOP of matrix products."""

    fixed: float
    per_flop: float

    def seconds(self, run: Run, tokens_per_step: float, validated: int) -> float:
        """Of a run by one worker: its updates, two validations of so many tokens each, and its start."""
        each = run.c / run.d
        update = self.fixed + self.per_flop * each * tokens_per_step
        forward = self.per_flop * each / 3 + self.fixed / tokens_per_step / 3
        return run.steps * update + 2 * validated * forward + START


def pace_of(base: RunConfig, samples: TrainingData, small: Run, large: Run) -> Pace:
    """Measured with a small and a large model of a ladder: a few updates of each, with torch's threads as they are."""
    times = []
    for run in (small, large):
        config = base.override(run.changes)
        times.append((run.c / run.d * samples.tokens_per_step, update_seconds(config, samples)))
    (less, quick), (more, slow) = times
    per_flop = max(0.0, (slow - quick) / (more - less)) if more > less else slow / more
    per_flop = per_flop or slow / more
    return Pace(max(0.0, quick - per_flop * less), per_flop)


def guessed_flops(budget: Budget, workers: int, device: str) -> float:
    """FLOPs that a budget may come to, before anything is measured: small models reach a third of the matrix peak."""
    from glassformer import speed

    return budget.amount if not budget.timed else budget.amount * workers * speed.matmul_peak(device=device) / 3
