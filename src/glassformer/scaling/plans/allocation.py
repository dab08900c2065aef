"""From a budget to N and D, and from those to a real model and whole steps.

What is not given follows from C = 6·N·D and the law's optimum. The nearest real shape is then counted, and the tokens
follow from the budget and the *real* N, in whole steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.scaling.laws.hyperparameters import STEP_BATCH
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, Allocation, Frontier
from glassformer.scaling.plans.law_estimates import AllocationLaw
from glassformer.scaling.plans.request import PlanRequest
from glassformer.scaling.plans.shapes import Shape, nearest_shape, smallest
from glassformer.scaling.plans.start import PlanInputs
from glassformer.scaling.wording import budget as in_flops
from glassformer.scaling.wording import digits
from glassformer.tasks.run_config import RunConfig

LEAST, MOST = 1e-6, 1e40
"""FLOPs between which the budget of a given N or D is searched."""


@dataclass(frozen=True)
class Target:
    """N and D in the law's counting, and how each was found."""

    parameters: float
    tokens: float
    why_parameters: str
    why_tokens: str


@dataclass(frozen=True)
class Steps:
    """Tokens as updates.

    Attributes:
        rows: sequences of an update.
        seq_len: tokens of a sequence.
        number: of updates.
    """

    rows: int
    seq_len: int
    number: int

    @property
    def batch(self) -> int:
        """Tokens of an update."""
        return self.rows * self.seq_len

    @property
    def tokens(self) -> int:
        """Training tokens in all."""
        return self.batch * self.number


@dataclass(frozen=True)
class SizedRun:
    """A real model and its steps.

    Attributes:
        target: N and D of the law, or the user's.
        why_tokens: how the number of steps was found.
    """

    target: Target
    shape: Shape
    steps: Steps
    why_tokens: str

    @property
    def compute(self) -> float:
        """FLOPs, 6·N·D in the law's counting."""
        return float(FLOPS_PER_PARAMETER_AND_TOKEN * self.shape.parameters * self.steps.tokens)

    def outside(self, law: AllocationLaw) -> list[str]:
        """Where the run leaves the range of the law's experiments, a sentence each."""
        if isinstance(law, Frontier):
            return law.outside(**dict.fromkeys(law.inputs, self.compute / law.compute_unit))
        return law.outside(N=float(self.shape.parameters), D=float(self.steps.tokens))


def size_run(inputs: PlanInputs, compute: float | None) -> SizedRun:
    """The model and the steps for a budget.

    Args:
        compute: FLOPs, given or paid for by the hours; None where N or D are given instead.

    Raises:
        ConfigError: the budget is below that of the smallest sensible model.
    """
    law, request, base = inputs.law, inputs.request, inputs.base
    both = request.parameters is not None and request.tokens is not None
    wanted = target(law, request, None if both else compute)
    _check_large_enough(inputs, wanted, compute)
    shape = nearest_shape(base.model, wanted.parameters, counting=law.counting or "total", aspect=request.aspect)
    d, why = wanted.tokens, f"target {wanted.tokens:.4g}: {wanted.why_tokens}"
    if compute is not None and request.tokens is None:
        d = compute / (FLOPS_PER_PARAMETER_AND_TOKEN * shape.parameters)
        why = f"C/(6·N) = {d:.4g} at C = {compute:.4g} FLOP and the real N"
    return SizedRun(wanted, shape, steps_for(d, base.seq_len, inputs.batch_size), why)


def target(law: AllocationLaw, request: PlanRequest, compute: float | None) -> Target:
    """N and D of a request; ``compute`` as of :func:`size_run`."""
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


def budget_for(law: AllocationLaw, what: Callable[[Allocation], float], value: float) -> Allocation:
    """The optimum of the budget at which ``what``, monotonic in the budget, has this value; by bisection."""
    low, high = math.log(LEAST), math.log(MOST)
    rising = what(law.optimum(math.exp(high))) > what(law.optimum(math.exp(low)))
    for _ in range(100):
        middle = (low + high) / 2
        if (what(law.optimum(math.exp(middle))) < value) == rising:
            low = middle
        else:
            high = middle
    return law.optimum(math.exp((low + high) / 2))


def steps_for(tokens: float, seq_len: int, rows: int | None) -> Steps:
    """The Step Law's batch in whole sequences, or the user's, and the number of updates nearest to the tokens."""
    if rows is None:
        rows = max(1, round(STEP_BATCH(D=tokens) / seq_len))
    return Steps(rows, seq_len, max(1, round(tokens / (rows * seq_len))))


def run_config(base: RunConfig, model: ModelConfig, steps: Steps, **further: Any) -> RunConfig:
    """The run that trains this model in these steps."""
    ends = {f"training.{name}": None for name in ("max_tokens", "max_epochs", "max_seconds")}
    sizes = {"training.batch_size": steps.rows, "training.max_steps": steps.number}
    return RunConfig.build(base.to_dict() | {"model": model.to_dict()}).override(ends | sizes | further)


def _check_large_enough(inputs: PlanInputs, wanted: Target, compute: float | None) -> None:
    """Raise :class:`ConfigError` if the law asks for less than the smallest model, with the least budget that does."""
    law, model = inputs.law, inputs.base.model
    counting = law.counting or "total"
    least = smallest(model, counting)
    if wanted.parameters >= least:
        return
    enough = 1.005 * budget_for(law, lambda each: each.parameters, least).compute  # rounded up
    budget = f"--compute {in_flops(enough)} or more"
    if inputs.request.hours is not None and compute is not None:
        budget += f", about --hours {digits(inputs.request.hours * enough / compute, 2)}"
    raise ConfigError(
        f"{wanted.parameters:,.0f} parameters ({counting}) are below the smallest sensible model, which with a "
        f"vocabulary of {model.vocab_size:,} and a context of {model.max_seq_len:,} has {least:,}. By {law.name} it "
        f"takes {budget}, and less with a smaller vocabulary (data.tokenizer) or context (model.max_seq_len).",
        subject="plan",
    )
