"""A plan from a budget: a real model, its tokens, its settings and costs, and the sources of all of them.

    plan(PlanRequest(compute=1e18))                          FLOPs, 6·N·D in the law's own counting
    plan(PlanRequest(hours=8), data="notes.txt")             on this machine, your text
    plan(PlanRequest(parameters=1e7, data_limit=5e8))

The law names an N and a D; the nearest real shape is counted exactly, and from there on every number is of that model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from glassformer.scaling.laws.counting import counts
from glassformer.scaling.plans import expected_loss, machine_costs, numbers
from glassformer.scaling.plans.allocation import SizedRun, run_config, size_run
from glassformer.scaling.plans.law_estimates import law_estimates
from glassformer.scaling.plans.plan import TrainingPlan
from glassformer.scaling.plans.request import PlanRequest
from glassformer.scaling.plans.start import PlanInputs, plan_inputs
from glassformer.tasks.training_data import PrepareProgress

PRESET = "modern-small"
LAW = "besiroglu"
"""The default law: the one whose standard errors are published."""

ROUNDS = 12
"""Of the search for the budget that the hours pay for."""

NEAR = 0.01
"""Relative tolerance of that search: whole layers come no nearer."""


def plan(
    request: PlanRequest,
    *,
    law: str = LAW,
    fit: Path | None = None,
    preset: str = PRESET,
    data: str | None = None,
    rate: str = "deepseek",
    assignments: Sequence[str] = (),
    progress: PrepareProgress | None = None,
) -> TrainingPlan:
    """A run for a budget, each number with its source.

    Args:
        law: the name of a law with an optimum.
        fit: a table or a folder of runs; the law is fitted to them instead.
        preset: whose architecture, data and recipe.
        data: the text, as ``glassformer train`` takes it.
        rate: source of the learning rate: deepseek, step-law or preset.
        assignments: ``NAME=VALUE``, as ``glassformer train --set`` takes them.

    Raises:
        ConfigError: with every complaint about the request; or the budget is below the smallest sensible model's.
        DataError: the text or the points cannot be used.
    """
    inputs = plan_inputs(request, law, fit, preset, data, rate, assignments, progress)
    if request.hours is None:
        return _plan_of(inputs, size_run(inputs, request.flops_given))
    return _plan_of(inputs, _sized_for(inputs, 3600 * request.hours))


def _sized_for(inputs: PlanInputs, seconds: float) -> SizedRun:
    """The run that takes so long here, by iteration: a larger model sustains another speed."""
    compute = seconds * machine_costs.sustained(inputs.base)
    for attempt in range(ROUNDS):
        found = size_run(inputs, compute)
        step = machine_costs.pace(run_config(inputs.base, found.shape.model, found.steps), found.steps).seconds
        affordable = max(1, int(seconds / step))
        paid = compute * affordable / found.steps.number
        if abs(paid / compute - 1) < NEAR:
            break
        compute = paid if attempt < ROUNDS // 2 else (paid * compute) ** 0.5  # half a step, where it oscillates
    if inputs.request.tokens is not None:
        return found
    why = f"{seconds:,.0f} s / {step:.4g} s a step"
    return replace(found, steps=replace(found.steps, number=affordable), why_tokens=why)


def _plan_of(inputs: PlanInputs, sized: SizedRun) -> TrainingPlan:
    """Every number of the plan, in the order in which it is shown."""
    steps, model, base = sized.steps, counts(sized.shape.model, inputs.base.seq_len), inputs.base
    tokens, loss_law = float(steps.tokens), inputs.loss_law
    # 1. the run
    rates = numbers.rate_numbers(inputs, steps, model, sized.compute)
    config = run_config(base, sized.shape.model, steps).override(
        {
            "training.optimizer.learning_rate": rates["learning rate"].value,
            "training.schedule.warmup_steps": int(rates["warm-up"].value),
        }
    )
    # 2. its loss, and what every law says of it
    repetition = expected_loss.repeated(tokens, inputs.unique, inputs.unique_source, loss_law, model)
    own_law = inputs.own.law if inputs.own else None
    estimates = law_estimates(sized.compute, base.model, model, tokens, unique=inputs.unique, own=own_law)
    loss = expected_loss.loss_numbers(
        loss_law,
        inputs.own,
        model,
        tokens,
        repetition["effective tokens"].value if "effective tokens" in repetition else tokens,
        [each.here for each in estimates if each.here is not None],
    )
    # 3. its costs
    found = {
        **numbers.model_numbers(sized, inputs, model),
        **numbers.token_numbers(sized),
        **repetition,
        **numbers.batch_numbers(steps, model, sized.compute, given=inputs.batch_size is not None),
        **rates,
        **loss,
        **numbers.compute_numbers(sized, model),
        **machine_costs.numbers(config, steps),
    }
    return TrainingPlan(
        config=config,
        preset=inputs.preset,
        recipe=inputs.recipe,
        law=inputs.law.name,
        shape=sized.shape,
        numbers=found,
        off=expected_loss.what_if(loss_law, model.parameters(loss_law.counting or "total"), tokens, inputs.unique),
        estimates=estimates,
        warnings=(
            *numbers.warnings(sized, inputs, found, estimates),
            *expected_loss.warnings(loss["loss"].value, inputs.own, inputs.text.vocabulary),
            *machine_costs.warnings(found),
        ),
    )
