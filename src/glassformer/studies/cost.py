"""What a tuned study costs, before it begins: runs, and the time that their updates take here.

    selection: 2 arms × 4 values × 3 selection seeds = 24 runs of 500 steps; at most 42 where grids are extended
    comparison: 2 arms and at most 1 control × 5 fresh seeds = at most 15 runs of 1,000 steps
    about 12 min 30 s of updates, 2 runs at a time; at most 16 min 40 s

An arm's time is that of its updates, measured beside the other arms' (``studies/step_times.py``); validations, records
and starts of processes are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from glassformer.errors import GlassformerError
from glassformer.studies.checking import Checked, torch_threads
from glassformer.studies.design import BASE, StudyConfig
from glassformer.studies.step_times import StepTime, step_times
from glassformer.wording import counted, duration

ROUNDS = 3
"""Turns of each arm while its updates are timed: enough for an estimate."""


@dataclass(frozen=True)
class StudyCost:
    """Runs of both phases of a tuned study, and the seconds of their updates one after the other; None if unknown.

    Attributes:
        selection_runs, most_selection_runs: without any extension of a grid, and with all.
        most_comparison_runs: with every control, and every seed that may be added.
        seconds: of the selection without extensions, and the comparison with every control on the planned seeds.
        most_seconds: of the most runs of both.
    """

    config: StudyConfig
    selection_runs: int
    most_selection_runs: int
    most_comparison_runs: int
    seconds: float | None
    most_seconds: float | None

    def lines(self, workers: int) -> Iterator[str]:
        """The cost as sentences.

        Args:
            workers: runs at a time.
        """
        config, tuning, steps = self.config, self.config.tuning, self.config.base.training.max_steps
        assert tuning is not None, "nothing is tuned"
        arms = counted(1 + len(config.variants), "arm")
        values = " × ".join(str(len(each)) for each in tuning.grid.values())
        yield (
            f"selection: {arms} × {values} values × {counted(len(tuning.seeds), 'selection seed')} = "
            f"{counted(self.selection_runs, 'run')}{_of_steps(tuning.steps or steps)}; at most "
            f"{self.most_selection_runs:,} where grids are extended"
        )
        controls = f" and at most {counted(len(config.variants), 'control')}" if tuning.controls else ""
        yield (
            f"comparison: {arms}{controls} × {counted(most_seeds(config), 'fresh seed')} = at most "
            f"{counted(self.most_comparison_runs, 'run')}{_of_steps(steps)}"
        )
        if self.seconds is not None and self.most_seconds is not None:
            yield (
                f"about {duration(self.seconds / workers)} of updates, {counted(workers, 'run')} at a time; at most "
                f"{duration(self.most_seconds / workers)}"
            )


def study_cost(config: StudyConfig, times: Mapping[str, float] | None = None) -> StudyCost:
    """What a tuned study costs.

    Args:
        times: seconds of an update of every arm, if they are known.
    """
    tuning = config.tuning
    assert tuning is not None, "nothing is tuned"
    combinations, most = tuning.n_combinations, tuning.most_combinations
    arms, seeds = (BASE, *config.variants), most_seeds(config)
    trained = {arm: 2 if tuning.controls and arm != BASE else 1 for arm in arms}
    steps = {arm: config.arm(arm).training.max_steps or 0 for arm in arms}  # 0: another budget ends it
    seconds = most_seconds = None
    if times is not None and all(steps.values()):
        selected = {arm: config.at(arm, {}).get("training.max_steps", steps[arm]) for arm in arms}
        of_combination = math.fsum(times[arm] * selected[arm] for arm in arms) * len(tuning.seeds)
        of_seed = math.fsum(times[arm] * steps[arm] * trained[arm] for arm in arms)
        seconds = combinations * of_combination + len(config.seeds) * of_seed
        most_seconds = most * of_combination + seeds * of_seed
    return StudyCost(
        config,
        combinations * len(arms) * len(tuning.seeds),
        most * len(arms) * len(tuning.seeds),
        sum(trained.values()) * seeds,
        seconds,
        most_seconds,
    )


def measured_times(
    checked: Checked, measure: Callable[..., Mapping[str, StepTime]] = step_times
) -> dict[str, float] | None:
    """The seconds of an update of every arm, from a few of them; None where they cannot be made."""
    configs = {arm: samples.with_vocabulary(checked.config.arm(arm)) for arm, samples in checked.samples.items()}
    try:
        with torch_threads(checked.threads):
            return {arm: time.seconds for arm, time in measure(configs, checked.samples, ROUNDS).items()}
    except GlassformerError:  # its run says why
        return None


def most_seeds(config: StudyConfig) -> int:
    """Seeds of the comparison, those that may be added too."""
    return len(config.seeds) if config.until_decided is None else config.until_decided.budget_seeds


def _of_steps(steps: int | None) -> str:
    return "" if steps is None else f" of {counted(steps, 'step')}"
