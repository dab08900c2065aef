"""The numbers of a study's report: the comparison, and what the runs cost until they were as good as the base.

Every table, chart and file of the report reads them from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from glassformer.errors import RunError
from glassformer.models.counting import parameters
from glassformer.runs.folder import Run
from glassformer.runs.metrics import Record
from glassformer.statistics.comparison import Comparison, Difference, compare
from glassformer.statistics.sequential import Decision
from glassformer.studies.curves import first_reach, mean_loss, shared_steps
from glassformer.studies.design import BASE, run_key_of
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome
from glassformer.studies.summary import Arm, Summary, summarise
from glassformer.studies.tuned_results import TunedResults
from glassformer.training.session import entropies


@dataclass(frozen=True)
class RunNumbers:
    """One run, and what its own records say of its cost.

    Attributes:
        difference: final loss − the base's of the same seed, nats per token; None without a whole pair.
        reached_steps, reached_seconds: when its validation loss first was at the final one of the base's run with the
            same seed; None if never.
        area: its mean validation loss over the steps that all finished runs share; None for one that diverged.
        flops: of its training, in all, by formula.
    """

    outcome: RunOutcome
    difference: float | None
    reached_steps: float | None
    reached_seconds: float | None
    area: float | None
    flops: float | None
    flops_per_token: float | None


@dataclass(frozen=True)
class Numbers:
    """All numbers of a study's report."""

    summary: Summary
    runs: tuple[RunNumbers, ...]
    areas: Comparison
    shared: tuple[float, float] | None
    """The steps over which mean losses are compared."""

    @property
    def study(self) -> Study:
        """The study that the numbers are of."""
        return self.summary.study

    @property
    def comparison(self) -> Comparison:
        """The table of paired differences."""
        return self.summary.comparison

    def arm(self, name: str) -> Arm:
        """The base or a variant."""
        return next(arm for arm in self.summary.arms if arm.name == name)

    def runs_of(self, name: str) -> list[RunNumbers]:
        """The runs of the base or of a variant."""
        return [run for run in self.runs if run.outcome.variant == name]

    def difference(self, name: str) -> Difference | None:
        """The row of a variant, or of a control, which is in no family; None for the baseline."""
        rows = (*self.comparison.rows, *self.summary.controls)
        return next((row for row in rows if row.variant == name), None)

    @cached_property
    def tuned(self) -> TunedResults | None:
        """The rows of a tuned study; None for one that is not."""
        return self.summary.tuned

    @cached_property
    def steps(self) -> Mapping[str, float]:
        """Mean steps of each arm's finished runs, where arms differ in them; else empty."""
        means = {name: self.mean(name, lambda run: float(run.outcome.steps)) for name in self.study.config.arms}
        known = {name: mean for name, mean in means.items() if mean is not None}
        return known if len({round(mean) for mean in known.values()}) > 1 else {}

    def mean(self, name: str, of: Callable[[RunNumbers], float | None]) -> float | None:
        """The mean of a number over an arm's finished runs that have it."""
        found = self.found(name, of)
        return fmean(found) if found else None

    def found(self, name: str, of: Callable[[RunNumbers], float | None]) -> list[float]:
        """A number of every finished run of an arm that has it."""
        runs = [run for run in self.runs_of(name) if run.outcome.status == "finished"]
        return [value for run in runs if (value := of(run)) is not None]

    def parameters(self, name: str) -> int:
        """The parameters of an arm's model, each counted once."""
        return parameters(self.study.config.arm(name).model).total

    @cached_property
    def decisions(self) -> Mapping[str, Decision]:
        """Sequential decisions by variant; empty where the seeds were fixed beforehand."""
        return {
            sequential_result.decision.variant: sequential_result.decision
            for sequential_result in self.summary.sequential_results
        }

    @cached_property
    def strongest_first(self) -> list[Difference]:
        """The rows of the table: significant ones by the size of their difference, then the others by theirs."""
        return sorted(
            self.comparison.rows,
            key=lambda row: (row.mean is None, row.interval is None, not row.significant, -abs(row.mean or 0.0)),
        )

    @cached_property
    def entropies(self) -> dict[str, float]:
        """Entropies of the text's single tokens and pairs, nats per token; none where the arms read different texts."""
        if len(set(self.study.data().values())) > 1:
            return {}
        found = [entropies(run) for each in self.runs if (run := opened(each.outcome)) is not None]
        return next((each for each in found if each), {})


def gather(study: Study) -> Numbers:
    """The numbers of a study as far as its runs have ended.

    Raises:
        RunError: no run has finished, or a file of the study is damaged.
    """
    summary = summarise(study)
    outcomes = {(each.variant, each.seed): each for arm in summary.arms for each in arm.outcomes}
    finished = [each for each in outcomes.values() if each.status == "finished"]
    if not finished and study.config.tuning is not None and not study.config.chosen:
        raise RunError(
            f"There is nothing to report on {study.name} yet: the selection of each arm's best values has not ended. "
            f"Resume it: glassformer study {study.path}"
        )
    if not finished:
        ended = f"{len(outcomes)} of {study.config.n_runs} runs have ended, none of them with a loss"
        raise RunError(
            f"There is nothing to report on {study.name} yet: {ended}. Resume it: glassformer study {study.path}"
        )
    shared = shared_steps(each.curve.steps for each in finished)
    runs = {run_key: _run_numbers(each, outcomes.get((BASE, each.seed)), shared) for run_key, each in outcomes.items()}
    areas: dict[str, dict[int, float | None]] = {name: {} for name in study.config.arms}
    for (name, seed), run in runs.items():
        if run.outcome.status != "failed":
            areas[name][seed] = run.area
    planned = [(each.variant, each.seed) for each in study.plan]
    order = [run_key for name in study.config.arms for run_key in planned if run_key[0] == name and run_key in runs]
    return Numbers(
        summary,
        tuple(runs[run_key] for run_key in order),
        compare(areas.pop(BASE), areas, confidence=summary.comparison.confidence),
        shared,
    )


def opened(outcome: RunOutcome) -> Run | None:
    """The run's folder, if it is still where it was."""
    try:
        return None if outcome.run is None else Run.open(outcome.run)
    except RunError:
        return None


def name_of(run: RunNumbers) -> str:
    """A run's name in the study."""
    return run_key_of(run.outcome.variant, run.outcome.seed)


def _run_numbers(outcome: RunOutcome, base: RunOutcome | None, shared: tuple[float, float] | None) -> RunNumbers:
    curve = outcome.curve
    level = None if base is None else base.loss
    difference = None if level is None or outcome.loss is None else outcome.loss - level
    spent, per_token = _flops(outcome)
    return RunNumbers(
        outcome,
        difference,
        None if level is None else first_reach(curve.steps, curve.losses, level),
        None if level is None else first_reach(curve.seconds, curve.losses, level),
        None if shared is None else mean_loss(curve.steps, curve.losses, *shared),
        spent,
        per_token,
    )


def _flops(outcome: RunOutcome) -> tuple[float | None, float | None]:
    """FLOPs of the whole training, and for each predicted token, from the run's own records."""
    run = opened(outcome)
    if run is None or not outcome.steps:
        return None, None
    timed = [each for each in run.metrics() if each.get("kind") == "train" and each["step"] and _is_timed(each)]
    if not timed:
        return None, None
    last = timed[-1]
    per_token = float(
        round(last["flops_per_second"] / last["tokens_per_second"])
    )  # the rates are rounded, FLOPs are not
    return per_token * last["tokens"] * outcome.steps / last["step"], per_token


def _is_timed(record: Record) -> bool:
    """Whether a training record says how many tokens it had computed, and how fast."""
    tokens, flops, in_all = (record.get(name, 0) for name in ("tokens_per_second", "flops_per_second", "tokens"))
    return 0 < tokens < math.inf and 0 < flops / tokens < math.inf and 0 < in_all < math.inf
