"""The runs that shrink the interval at a target most, for a given budget.

A ladder is a set of small runs whose losses are to say what a larger run, the target, will reach. The law that will be
fitted is a floor and one or two powers,

    L = E + Σ_k e^{u_k} · (x_k / x⁰_k)^{−a_k}        x = (N, D), or x = C along one path

and each run measures ln L with an error of standard deviation σ. Linearised about a prior law,
runs with Jacobian rows j_i = ∂ ln L(x_i)/∂θ leave the variance

    v = j_Tᵀ (P + Σ_i j_i j_iᵀ/σ²)⁻¹ j_T + σ²

at the target T: a Bayesian c-optimal design (Chaloner & Verdinelli 1995, "Bayesian experimental design: a review",
section 2.2), with P the precision of the prior, and σ² for the target's own run. Runs are added by
what they save of v for what they cost, and exchanged as long as that helps (Fedorov 1972). A run's place counts once:
a law needs different rungs to be found wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from glassformer.errors import ConfigError
from glassformer.scaling.laws.formula import Array
from glassformer.scaling.laws.sum_of_powers import SumOfPowers
from glassformer.statistics.prediction import standard_errors

NOISE = 0.005
"""σ of ln L before anything is measured: what seeds, and shapes of one size, scatter by in small language models."""

SPARE = 3
"""Runs beyond the law's parameters that a ladder needs at least: fewer leave no say on the noise."""

MOST_RUNGS = 14
"""Beyond so many, a rung repeats what others say; the budget is better spent on larger ones, or on seeds."""

STEP = 1.08
"""Budgets are tried in these steps, so that a larger one can never choose worse; up to 8 % is left unspent."""

FINEST = 75
"""Smaller budgets that are tried besides: down to 1.08^-75, a 320th."""

COST_EXPONENTS = (1.0, 0.5, 0.0)
"""How much a rung's cost counts while rungs are added: all of it begins with cheap ones, nothing with the largest."""


@dataclass(frozen=True)
class Prior:
    """The law and its uncertainty before any run: independent normal errors of θ.

    Attributes:
        sd: [p]; infinite where nothing is known.
        why: where it is from, a sentence.
    """

    law: SumOfPowers
    sd: tuple[float, ...]
    why: str = ""

    @property
    def precision(self) -> Array:
        """P [p, p]."""
        return np.diag(np.array(self.sd) ** -2.0)


@dataclass(frozen=True)
class Candidate:
    """A run that could be made.

    Attributes:
        x: inputs of the law, [k].
        cost: in the unit of the budget.
        label: what names it.
    """

    x: tuple[float, ...]
    cost: float
    label: str


@dataclass(frozen=True)
class Rung:
    """A run that is chosen.

    Attributes:
        number: of the candidate, from 0.
        expected_half_width: relative, of the 95 % interval at the target after this rung and those before it.
    """

    number: int
    candidate: Candidate
    expected_half_width: float


@dataclass(frozen=True)
class Design:
    """The chosen rungs in the order in which they help most for their cost.

    Attributes:
        before: relative half-width at the target with no run at all.
        budget, spent: in one unit.
        noise: σ of ln L of one run.
        seeds: runs of each rung.
    """

    rungs: tuple[Rung, ...]
    before: float
    budget: float
    spent: float
    noise: float
    seeds: int

    @property
    def expected_half_width(self) -> float:
        """Relative half-width of the 95 % interval at the target after all rungs: 0.03 is ±3 %."""
        return self.rungs[-1].expected_half_width if self.rungs else self.before

    def to_dict(self) -> dict[str, Any]:
        """As ``ladder.json`` holds it, where the expected half-width is the rung's "promise"."""
        rungs = [
            {"number": each.number, "candidate": asdict(each.candidate), "promise": each.expected_half_width}
            for each in self.rungs
        ]
        return asdict(self) | {"rungs": rungs}

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Self:
        """What :meth:`to_dict` gave."""
        rungs = []
        for rung in tree["rungs"]:
            found = rung["candidate"]
            candidate = Candidate(tuple(found["x"]), found["cost"], found["label"])
            rungs.append(Rung(rung["number"], candidate, rung["promise"]))
        return cls(**(dict(tree) | {"rungs": tuple(rungs)}))


@dataclass(frozen=True)
class DesignProblem:
    """A design problem: candidates, a target, the prior, and the error of a run.

    Attributes:
        target: inputs of the law at the target, [k].
        fewest, most: rungs; ``fewest`` is the law's parameters and :data:`SPARE` unless given.
        must: candidates, by number, that are chosen whatever they save.
    """

    candidates: Sequence[Candidate]
    target: tuple[float, ...]
    prior: Prior
    noise: float = NOISE
    seeds: int = 1
    fewest: int | None = None
    most: int = MOST_RUNGS
    must: tuple[int, ...] = ()

    @cached_property
    def rows(self) -> Array:
        """[m, p] Jacobian of each candidate, over the error of the mean of its seeds."""
        x = np.array([candidate.x for candidate in self.candidates])
        return self.prior.law.jacobian(x) * (math.sqrt(self.seeds) / self.noise)

    @cached_property
    def costs(self) -> Array:
        """[m] of all seeds."""
        return np.array([candidate.cost * self.seeds for candidate in self.candidates])

    @cached_property
    def aim(self) -> Array:
        """[p] the Jacobian at the target."""
        return self.prior.law.jacobian(self.target)

    @property
    def least(self) -> int:
        """Rungs at least."""
        return len(self.prior.sd) + SPARE if self.fewest is None else self.fewest

    @property
    def cheapest(self) -> float:
        """What the fewest rungs cost at least."""
        free = np.delete(self.costs, list(self.must))
        return float(self.costs[list(self.must)].sum() + np.sort(free)[: max(0, self.least - len(self.must))].sum())

    def covariance(self, chosen: Sequence[int]) -> Array:
        """[p, p] of θ once these are made."""
        rows = self.rows[list(chosen)]
        return np.asarray(np.linalg.inv(self.prior.precision + rows.T @ rows), dtype=np.float64)

    def variance(self, chosen: Sequence[int]) -> float:
        """Of ln L of the law at the target once these are made."""
        return float(self.aim @ self.covariance(chosen) @ self.aim)

    def half_width(self, chosen: Sequence[int]) -> float:
        """Relative, of the 95 % interval for the target's run."""
        return math.expm1(standard_errors() * math.sqrt(self.variance(chosen) + self.noise**2))

    def variance_reduction(self, covariance: Array) -> Array:
        """[m] by how much one more run of each candidate lowers the variance (Sherman & Morrison)."""
        seen = self.rows @ covariance
        return np.asarray((seen @ self.aim) ** 2 / (1 + np.einsum("mp,mp->m", seen, self.rows)), dtype=np.float64)


def choose(problem: DesignProblem, budget: float) -> Design:
    """The rungs for a budget; a larger budget never gives a wider expected interval.

    Raises:
        ConfigError: the budget, or the number of candidates, does not allow the fewest rungs that the law needs.
    """
    _check_enough(problem, budget)
    best: list[int] | None = None
    for level in _levels(budget, problem.cheapest):
        for cost_exponent in COST_EXPONENTS:
            chosen = _exchanged(problem, _greedy(problem, level, cost_exponent), level)
            if best is None or problem.variance(chosen) < problem.variance(best):
                best = chosen
    assert best is not None
    return _design(problem, best, budget)


def _check_enough(problem: DesignProblem, budget: float) -> None:
    count, parameters = len(problem.candidates), len(problem.prior.sd)
    if count < problem.least:
        raise ConfigError(
            f"a law of {parameters} parameters needs {problem.least} different runs at least, and only {count} fit "
            "the budget: raise --budget, or take a smaller batch (training.batch_size) or --tokens-per-parameter.",
            subject="ladder",
        )
    if problem.cheapest > budget:
        raise ConfigError(
            f"the {problem.least} cheapest runs cost {problem.cheapest / budget:.3g} times the budget, and a law of "
            f"{parameters} parameters needs so many: raise --budget, or take a smaller batch (training.batch_size).",
            subject="ladder",
        )


def _levels(budget: float, cheapest: float) -> list[float]:
    """Budgets to try: fixed ones, the same for every budget, up to this one; and the least that will do."""
    last = math.floor(math.log(budget) / math.log(STEP) + 1e-9)
    levels = [STEP**k for k in range(last - FINEST, last + 1)]
    return [cheapest, *(level for level in levels if cheapest < level <= budget)]


def _greedy(problem: DesignProblem, budget: float, cost_exponent: float) -> list[int]:
    """Rungs added by what they save over their cost to the power ``cost_exponent``, as long as one can be afforded."""
    chosen = list(problem.must)
    while (affordable := _affordable(problem, chosen, budget)).any() and len(chosen) < problem.most:
        gain = problem.variance_reduction(problem.covariance(chosen)) / problem.costs**cost_exponent
        chosen.append(int(np.argmax(np.where(affordable, gain, -np.inf))))
    return chosen


def _affordable(problem: DesignProblem, chosen: Sequence[int], budget: float) -> npt.NDArray[np.bool_]:
    """[m] whether a candidate is not chosen yet, and leaves enough for the fewest rungs."""
    free = np.ones(len(problem.candidates), dtype=bool)
    free[list(chosen)] = False
    left = budget - float(problem.costs[list(chosen)].sum())
    to_come = max(0, problem.least - len(chosen) - 1)
    order = [int(i) for i in np.argsort(problem.costs, kind="stable") if free[i]]
    reserve = np.full(len(free), float(problem.costs[order[:to_come]].sum()))
    for i in order[:to_come]:  # one of the cheapest itself: the next cheapest takes its place in the reserve
        others = [j for j in order if j != i][:to_come]
        reserve[i] = float(problem.costs[others].sum())
    return free & (problem.costs + reserve <= left * (1 + 1e-12))


def _exchanged(problem: DesignProblem, chosen: list[int], budget: float) -> list[int]:
    """One rung taken out for another, as long as that lowers the variance; then what can be added is added."""
    best = problem.variance(chosen)
    improved = True
    while improved:
        improved = False
        for out in [i for i in chosen if i not in problem.must]:
            rest = [i for i in chosen if i != out]
            without = problem.covariance(rest)
            allowed = _affordable(problem, rest, budget)
            after = float(problem.aim @ without @ problem.aim) - problem.variance_reduction(without)
            into = int(np.argmin(np.where(allowed, after, np.inf)))
            if allowed[into] and after[into] < best * (1 - 1e-9):
                chosen, best, improved = [*rest, into], float(after[into]), True
        more = _affordable(problem, chosen, budget)
        if not improved and more.any() and len(chosen) < problem.most:
            saved = np.where(more, problem.variance_reduction(problem.covariance(chosen)), -np.inf)
            chosen = [*chosen, int(np.argmax(saved))]
            best, improved = problem.variance(chosen), True
    return chosen


def _design(problem: DesignProblem, chosen: Sequence[int], budget: float) -> Design:
    """The rungs in the order of what each saves for its cost."""
    left, rungs = list(chosen), []
    ordered: list[int] = []
    while left:
        gain = problem.variance_reduction(problem.covariance(ordered)) / problem.costs
        ordered.append(max(left, key=lambda i: float(gain[i])))
        left.remove(ordered[-1])
        rungs.append(Rung(ordered[-1], problem.candidates[ordered[-1]], problem.half_width(ordered)))
    spent = float(problem.costs[list(chosen)].sum())
    return Design(tuple(rungs), problem.half_width([]), budget, spent, problem.noise, problem.seeds)
