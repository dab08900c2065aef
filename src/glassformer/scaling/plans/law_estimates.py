"""What every law says about one budget, side by side.

The laws differ in three things, and each is a column: how they spend the budget (N, D), what they count as N, and
what loss they predict. To compare like with like, an N without embeddings is also turned into a real model of the
architecture at hand, counted whole; and every law of the loss predicts one and the same run, the plan's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.scaling.laws.counting import Counts, counts
from glassformer.scaling.laws.known import GROUPS, LAWS
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, Allocation, Frontier, Law, ParametricLoss
from glassformer.scaling.laws.notes import NOTES
from glassformer.scaling.laws.repeated_data import LOSS as REPEATED
from glassformer.scaling.laws.units import PF_DAY
from glassformer.scaling.plans.shapes import nearest_shape

FOR_COMPARISON_ONLY = {"chinchilla-printed"}
"""Listed among the laws only as a warning."""

GRID = 4001
"""Values of N at which a law without a closed optimum is evaluated."""

AllocationLaw = ParametricLoss | Frontier
"""A law that says how to spend a budget."""


@dataclass(frozen=True)
class LawEstimate:
    """What one law says.

    Attributes:
        counting: what the law's N counts: "total" or "non-embedding".
        parameters, tokens: how it would spend the budget, in its own counting; None where it does not say.
        total: all parameters of the real model nearest to ``parameters``; None where the smallest model is larger.
        loss: at its own optimum, nats per token of its own data; None where it does not say.
        here: the loss it predicts for the plan's run.
        equation, source: where the numbers are from.
        outside: where this leaves the range of the law's experiments, a sentence each.
    """

    law: str
    counting: str
    parameters: float | None
    tokens: float | None
    total: int | None
    loss: float | None
    here: float | None
    equation: str
    source: str
    outside: tuple[str, ...]

    @property
    def tokens_per_parameter(self) -> float | None:
        """D/N in the law's own counting."""
        return None if self.parameters is None or self.tokens is None else self.tokens / self.parameters


def law_estimates(
    compute: float, base: ModelConfig, run: Counts, tokens: float, *, unique: float | None, own: Law | None = None
) -> tuple[LawEstimate, ...]:
    """What every law says about a budget, and about a run.

    Args:
        compute: FLOPs, 6·N·D in each law's own counting.
        base: the architecture in which an N without embeddings becomes a model.
        run, tokens: the plan's model, counted, and its tokens.
        unique: unique tokens available; None where there are enough.
        own: a fit to the user's own runs, listed first.
    """
    laws = ([own] if own else []) + [
        law for group in GROUPS.values() if group is not NOTES for law in group if law.name not in FOR_COMPARISON_ONLY
    ]
    return tuple(_estimates(laws, compute, base, run, tokens, unique))


def _estimates(
    laws: Iterable[Law], compute: float, base: ModelConfig, run: Counts, tokens: float, unique: float | None
) -> Iterator[LawEstimate]:
    for law in laws:
        allocation = allocation_of(law, compute, unique)
        here = loss_of(law, run, tokens, unique)
        loss = allocation.loss if allocation else _loss_of_compute(law, compute)
        if allocation is None and loss is None and here is None:
            continue  # a law of something else
        n = allocation.parameters if allocation else None
        d = allocation.tokens if allocation else None
        yield LawEstimate(
            law=law.name,
            counting=law.counting or "—",
            parameters=n,
            tokens=d,
            total=_total(base, n, law) if n else None,
            loss=loss,
            here=here,
            equation=allocation.equation if allocation else law.formula,
            source=law.source,
            outside=tuple(_outside(law, compute, n, d, run, tokens)),
        )


def allocation_of(law: Law, compute: float, unique: float | None) -> Allocation | None:
    """How a law spends a budget; None where it does not say. With repeated data it has to be searched."""
    if isinstance(law, AllocationLaw):
        return law.optimum(compute)
    if law.name != REPEATED.name:
        return None
    products = compute / FLOPS_PER_PARAMETER_AND_TOKEN
    n = np.exp(np.linspace(math.log(1.0), math.log(products), GRID))
    d = products / n
    losses = law(N=n, D=d, U=np.full_like(d, unique) if unique else d)
    best = int(np.argmin(losses))
    equation = f"{law.formula}; least of {GRID} values of N with 6·N·D = C"
    return Allocation(
        law.name, compute, float(n[best]), float(d[best]), float(losses[best]), law.counting or "", equation
    )


def loss_of(law: Law, run: Counts, tokens: float, unique: float | None) -> float | None:
    """The loss a law expects of a model trained on so many tokens; None where it is another kind of law.

    Only the law of repeated data takes ``unique`` into account: the others count each token as fresh.
    """
    if law.output[0] != "L" or law.counting is None:
        return None
    inputs = {"N": run.parameters(law.counting), "D": tokens}
    if set(law.inputs) == {"N", "D", "U"}:
        inputs["U"] = tokens if unique is None else unique
    return float(law(**inputs)) if set(law.inputs) == set(inputs) else None


def _loss_of_compute(law: Law, compute: float) -> float | None:
    """The loss of a law that knows the compute alone (Kaplan's, in PF-days)."""
    if law.output[0] != "L" or law.counting is not None or len(law.inputs) != 1 or not {"C", "C_min"} & set(law.inputs):
        return None
    return float(law(**dict.fromkeys(law.inputs, compute / PF_DAY)))


def _total(base: ModelConfig, parameters: float, law: Law) -> int | None:
    """All parameters of a real model that has so many in the law's counting."""
    assert law.counting is not None
    try:
        shape = nearest_shape(base, parameters, counting=law.counting)
    except ConfigError:
        return None
    return counts(shape.model).total


def _outside(law: Law, compute: float, n: float | None, d: float | None, run: Counts, tokens: float) -> Iterator[str]:
    """Where its own optimum, or the plan's run, leaves the range of the experiments behind it."""
    if isinstance(law, Frontier):
        inputs = dict.fromkeys(law.inputs, compute / law.compute_unit)
    elif n is not None and d is not None:
        inputs = {"N": n, "D": d}
    elif law.counting is not None:
        inputs = {"N": float(run.parameters(law.counting)), "D": tokens}
    else:
        inputs = dict.fromkeys(law.inputs, compute / PF_DAY)
    yield from law.outside(**{symbol: value for symbol, value in inputs.items() if symbol in law.inputs})


def allocation_laws() -> list[str]:
    """Names of the laws that allocate a budget, and so can be planned with."""
    return [name for name, law in LAWS.items() if isinstance(law, AllocationLaw) and law not in NOTES]
