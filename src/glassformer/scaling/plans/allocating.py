"""From a budget to N and D: whatever is given, the rest follows from C = 6·N·D and from the law's optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, Allocation, Frontier, ParametricLoss
from glassformer.scaling.plans.plan_request import PlanRequest

Spending = ParametricLoss | Frontier
"""A law that says how to spend a budget."""

LEAST, MOST = 1e-6, 1e40
"""FLOPs between which the budget of a given N or D is looked for."""


@dataclass(frozen=True)
class Target:
    """What the plan aims at, in the law's counting, and why.

    Attributes:
        parameters, tokens: N and D.
        why: for each of them, how it was found.
    """

    parameters: float
    tokens: float
    why_parameters: str
    why_tokens: str


def target(law: Spending, request: PlanRequest, compute: float | None) -> Target:
    """N and D for what was asked.

    Args:
        compute: FLOPs that were asked for, or that the hours pay for; None where neither was given.
    """
    n, d = request.parameters, request.tokens
    product = f"C/(6·N), C = {compute:.4g} FLOP" if compute is not None else ""
    if n is not None and d is not None:
        return Target(n, d, "as asked", "as asked")
    if compute is not None and n is not None:
        return Target(n, compute / (FLOPS_PER_PARAMETER_AND_TOKEN * n), "as asked", product)
    if compute is not None and d is not None:
        return Target(compute / (FLOPS_PER_PARAMETER_AND_TOKEN * d), d, product.replace("N", "D"), "as asked")
    if compute is not None:
        best = law.optimum(compute)
        return Target(best.parameters, best.tokens, f"{best.equation}; C = {compute:.4g} FLOP", product)
    if n is not None:
        best = budget_for(law, lambda each: each.parameters, n)
        return Target(n, best.tokens, "as asked", f"the D for which this N is optimal: {best.equation}")
    assert d is not None
    best = budget_for(law, lambda each: each.tokens, d)
    return Target(best.parameters, d, f"the N for which this D is optimal: {best.equation}", "as asked")


def budget_for(law: Spending, what: Callable[[Allocation], float], value: float) -> Allocation:
    """The optimum of the budget at which ``what`` of the optimum, which rises (or falls) with it, has this value."""
    low, high = math.log(LEAST), math.log(MOST)
    rising = what(law.optimum(math.exp(high))) > what(law.optimum(math.exp(low)))
    for _ in range(100):
        middle = (low + high) / 2
        if (what(law.optimum(math.exp(middle))) < value) == rising:
            low = middle
        else:
            high = middle
    return law.optimum(math.exp((low + high) / 2))
