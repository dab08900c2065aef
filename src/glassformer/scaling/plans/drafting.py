"""From a budget to a model and its steps, before anything is said about them.

The law names N; the nearest real shape is counted; the tokens then follow from the budget and the *real* N, in whole
steps. A budget of hours is turned into FLOPs by the time that such a step takes on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, Frontier
from glassformer.scaling.plans import machine_costs
from glassformer.scaling.plans.allocating import Spending, Target, budget_for, target
from glassformer.scaling.plans.plan_settings import Steps, steps_of
from glassformer.scaling.plans.plan_start import Start
from glassformer.scaling.plans.shapes import Shape, nearest_shape, smallest
from glassformer.scaling.wording import budget as in_flops
from glassformer.scaling.wording import digits
from glassformer.training.config import RunConfig

ROUNDS = 12
"""Of the search for the budget that some hours pay for."""

NEAR = 0.01
"""A budget this near, relatively, is found: whole layers come no nearer."""


@dataclass(frozen=True)
class Draft:
    """A model and its steps.

    Attributes:
        aim: what the law, or the user, wanted.
        why_tokens: how many steps, and why.
    """

    aim: Target
    shape: Shape
    steps: Steps
    why_tokens: str

    @property
    def compute(self) -> float:
        """FLOPs, 6·N·D in the law's counting."""
        return float(FLOPS_PER_PARAMETER_AND_TOKEN * self.shape.parameters * self.steps.tokens)

    def outside(self, law: Spending) -> list[str]:
        """Where the law leaves the range of its experiments, a sentence each."""
        if isinstance(law, Frontier):
            return law.outside(**dict.fromkeys(law.inputs, self.compute / law.compute_unit))
        return law.outside(N=float(self.shape.parameters), D=float(self.steps.tokens))


def draft(start: Start) -> Draft:
    """The model and the steps for what was asked.

    Raises:
        ConfigError: the budget is below that of the smallest sensible model.
    """
    if start.request.hours is None:
        return _of_budget(start, start.request.flops_given)
    return _of_hours(start, 3600 * start.request.hours)


def run_of(base: RunConfig, model: ModelConfig, steps: Steps, **further: Any) -> RunConfig:
    """The run that trains this model in these steps."""
    ends = {f"training.{name}": None for name in ("max_tokens", "max_epochs", "max_seconds")}
    sizes = {"training.batch_size": steps.rows, "training.max_steps": steps.number}
    return RunConfig.build(base.to_dict() | {"model": model.to_dict()}).override(ends | sizes | further)


def _of_budget(start: Start, compute: float | None) -> Draft:
    law, request, base = start.law, start.request, start.base
    both = request.parameters is not None and request.tokens is not None
    aim = target(law, request, None if both else compute)
    _refuse_too_small(start, aim, compute)
    shape = nearest_shape(base.model, aim.parameters, counting=law.counting or "total", aspect=request.aspect)
    d, why = aim.tokens, f"target {aim.tokens:.4g}: {aim.why_tokens}"
    if compute is not None and request.tokens is None:
        d = compute / (FLOPS_PER_PARAMETER_AND_TOKEN * shape.parameters)
        why = f"C/(6·N) = {d:.4g} at C = {compute:.4g} FLOP and the real N"
    return Draft(aim, shape, steps_of(d, base.seq_len, start.rows), why)


def _of_hours(start: Start, seconds: float) -> Draft:
    """The budget whose run takes so long, found by trying: a larger model sustains another speed."""
    compute = seconds * machine_costs.sustained(start.base)
    for attempt in range(ROUNDS):
        found = _of_budget(start, compute)
        step = machine_costs.pace(run_of(start.base, found.shape.model, found.steps), found.steps).seconds
        pays_for = max(1, int(seconds / step))
        paid = compute * pays_for / found.steps.number
        if abs(paid / compute - 1) < NEAR:
            break
        compute = paid if attempt < ROUNDS // 2 else (paid * compute) ** 0.5  # half a step, where it goes to and fro
    if start.request.tokens is not None:
        return found
    why = f"{seconds:,.0f} s / {step:.4g} s a step"
    return replace(found, steps=replace(found.steps, number=pays_for), why_tokens=why)


def _refuse_too_small(start: Start, aim: Target, compute: float | None) -> None:
    """Raise :class:`ConfigError` if the law wants a smaller model than there is, with the least budget that does."""
    law, model = start.law, start.base.model
    counting = law.counting or "total"
    least = smallest(model, counting)
    if aim.parameters >= least:
        return
    enough = 1.005 * budget_for(law, lambda each: each.parameters, least).compute  # rounded up
    budget = f"--compute {in_flops(enough)} or more"
    if start.request.hours is not None and compute is not None:
        budget += f", about --hours {digits(start.request.hours * enough / compute, 2)}"
    raise ConfigError(
        f"{aim.parameters:,.0f} parameters ({counting}) are below the smallest sensible model, which with a vocabulary "
        f"of {model.vocab_size:,} and a context of {model.max_seq_len:,} has {least:,}. By {law.name} it takes "
        f"{budget}, and less with a smaller vocabulary (data.tokenizer) or context (model.max_seq_len).",
        subject="plan",
    )
