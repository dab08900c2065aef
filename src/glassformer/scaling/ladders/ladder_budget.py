"""What a ladder may cost, and what a run costs: FLOPs, or time on this machine as measured."""

from __future__ import annotations

from dataclasses import dataclass

from glassformer.errors import ConfigError
from glassformer.numbers import split_amount
from glassformer.scaling.ladders.ladder_rungs import LadderRun, RunGrid, short
from glassformer.scaling.laws.units import UNITS, amount, unit_of
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import TrainingData
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

    def seconds(self, run: LadderRun, tokens_per_step: float, validated: int) -> float:
        """Of a run by one worker: its updates, two validations of so many tokens each, and its start."""
        each = run.c / run.d
        update = self.fixed + self.per_flop * each * tokens_per_step
        forward = self.per_flop * each / 3 + self.fixed / tokens_per_step / 3
        return run.steps * update + 2 * validated * forward + START


def pace_of(base: RunConfig, samples: TrainingData, small: LadderRun, large: LadderRun) -> Pace:
    """Measured with a small and a large model of a ladder: a few updates of each, with torch's threads as they are."""
    times = []
    for run in (small, large):
        config = base.override(run.changes)
        times.append((run.c / run.d * samples.tokens_per_step, update_seconds(config, samples)))
    (less, quick), (more, slow) = times
    per_flop = max(0.0, (slow - quick) / (more - less)) if more > less else slow / more
    per_flop = per_flop or slow / more
    return Pace(max(0.0, quick - per_flop * less), per_flop)


@dataclass(frozen=True)
class Prices:
    """What a run costs: seconds of one worker where there is a pace, FLOPs where there is none."""

    run_grid: RunGrid
    pace: Pace | None

    def __call__(self, run: LadderRun) -> float:
        if self.pace is None:
            return run.c
        validated = self.run_grid.base.training.telemetry.validation_tokens or 0
        return self.pace.seconds(run, self.run_grid.samples.tokens_per_step, validated)

    def payable(self, most: float, target: float | None) -> list[LadderRun]:
        """Runs along the path that cost ``most`` at most, up to half the FLOPs of the target, if that is given."""
        # a run lasts longer than its FLOPs alone would take, so this is more than ``most`` pays for
        ceiling = most if self.pace is None else most / self.pace.per_flop
        ceiling = min(ceiling, target / 2) if target else ceiling
        return [run for run in self.run_grid.path(ceiling, least=0) if self(run) <= most]


def why_no_rung(written: str, budget: Budget, prices: Prices, most: float, target: float | None) -> str:
    """Why no run along the path costs ``most`` or somewhat less: the budget, the target or the text, with numbers.

    Args:
        written: the budget, as it was given.
        target: FLOPs; None for a multiple of the largest rung.
    """
    run_grid, unit = prices.run_grid, "core-seconds" if budget.timed else "FLOPs"
    per_step = run_grid.samples.tokens_per_step
    tokens = f"{short(per_step * run_grid.samples.steps_per_epoch)} tokens"

    def scaled(run: LadderRun) -> str:
        """The budget, as it would be written, whose largest rung is this run."""
        amount = budget.amount * prices(run) / most
        return f"{amount:.0f}s" if budget.timed else f"{amount:.2g}"

    extremes = run_grid.extremes()
    if extremes is None:
        return (
            f"the text is too short: it has {tokens}, and a rung, which sees it once at most, takes "
            f"{short(run_grid.fewest_steps * per_step)} ({run_grid.fewest_steps} updates of {per_step:,.0f} tokens). "
            "Take more text, a smaller --budget, or a smaller training.batch_size."
        )
    cheapest, largest = extremes
    smallest = f"the cheapest run ({cheapest.name}, {cheapest.steps:,} updates; the text has {tokens})"
    if target is not None and target / 2 < cheapest.c:
        return f"--target {target:.3g} is too small: rungs take half of it at most, and {smallest} {cheapest.c:.3g}."
    if prices(cheapest) > most:
        return (
            f"--budget {written} is too small: {most:.3g} {unit} are left for the largest rung, and {smallest} costs "
            f"{prices(cheapest):.3g}. Set --budget above {scaled(cheapest)}, or make runs smaller (--set "
            "training.batch_size, model.max_seq_len)."
        )
    return (
        f"the text is too short for --budget {written}, which pays for rungs of {most:.3g} {unit}: it has {tokens}, "
        f"and the largest rung that sees it once at most ({largest.name}, updates of {per_step:,.0f} tokens) costs "
        f"{prices(largest):.3g}. Set --budget to about {scaled(largest)}, or take more text, or a smaller "
        "--tokens-per-parameter or training.batch_size."
    )


def guessed_flops(budget: Budget, workers: int, device: str) -> float:
    """FLOPs that a budget may come to, before anything is measured: small models reach a third of the matrix peak."""
    from glassformer import speed

    return budget.amount if not budget.timed else budget.amount * workers * speed.matmul_peak(device=device) / 3
