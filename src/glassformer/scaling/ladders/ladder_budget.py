"""What a ladder may cost, and what a run costs: FLOPs, or time on this machine as measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

from glassformer.errors import ConfigError
from glassformer.scaling.ladders.ladder_rungs import Run
from glassformer.scaling.laws.units import flops
from glassformer.training.config import RunConfig
from glassformer.training.samples import Samples
from glassformer.training.update_time import update_seconds

_TIME = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(s|sec|seconds?|m|min|minutes?|h|hours?)\s*", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}

MOST = 1e24
"""FLOPs: those of the largest published trainings. More is a slip of the keyboard."""

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
    matched = _TIME.fullmatch(text)
    if matched is None:
        try:
            amount = flops(text)
        except ConfigError as error:
            raise ConfigError(
                f"--budget is {text!r}; expected FLOPs (1e14, '3 PF-days') or time (90s, 20min, 2h). "
                f"{' '.join(error.complaints)}",
                subject="ladder",
            ) from None
        if amount > MOST:
            raise ConfigError(f"--budget is {text!r}; a ladder is of small runs, {MOST:g} at most.", subject="ladder")
        return Budget(amount, "FLOPs")
    seconds = float(matched[1]) * _SECONDS[matched[2][0].lower()]
    if seconds <= 0:
        raise ConfigError(f"--budget is {text!r}; expected a time above 0.", subject="ladder")
    return Budget(seconds, "seconds")


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


def pace_of(base: RunConfig, samples: Samples, small: Run, large: Run) -> Pace:
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
