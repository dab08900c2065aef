"""A plan from a budget: a real model, its tokens, its settings, its costs, and what all of that rests on.

    plan(PlanRequest(compute=1e18))                          FLOPs, 6·N·D in the law's own counting
    plan(PlanRequest(hours=8), data="notes.txt")             on this machine, your text
    plan(PlanRequest(parameters=1e7, data_limit=5e8))

The law names an N and a D; the nearest real shape is counted exactly, and from there on every number is of that model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glassformer.scaling.laws.counting import counts
from glassformer.scaling.plans import machine_costs, plan_numbers
from glassformer.scaling.plans.disagreement import opinions
from glassformer.scaling.plans.drafting import Draft, draft, run_of
from glassformer.scaling.plans.expecting import expected_loss, off_by_two, repeated
from glassformer.scaling.plans.plan import Plan, Traced
from glassformer.scaling.plans.plan_request import PlanRequest
from glassformer.scaling.plans.plan_settings import batch_numbers, rate_numbers, warm_up
from glassformer.scaling.plans.plan_start import Start, begin
from glassformer.training.samples import PrepareProgress

PRESET = "modern-small"
LAW = "besiroglu"
"""What is planned with unless told otherwise: the law whose standard errors are published."""


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
) -> Plan:
    """A run for a budget, every number traced.

    Args:
        law: the name of a law with an optimum.
        fit: a table or a folder of runs; the law is fitted to them instead.
        preset: whose architecture, data and recipe.
        data: the text, as ``glassformer train`` takes it.
        rate: where the learning rate is from: deepseek, step-law or preset.
        assignments: ``NAME=VALUE``, as ``glassformer train --set`` takes them.

    Raises:
        ConfigError: with every complaint about what was asked; or the budget is below the smallest sensible model's.
        DataError: the text or the points cannot be used.
    """
    start = begin(request, law, fit, preset, data, rate, assignments, progress)
    return _filled(start, draft(start))


def _filled(start: Start, made: Draft) -> Plan:
    """Every number of the plan, in the order in which it is read."""
    steps, model, base = made.steps, counts(made.shape.model, start.base.seq_len), start.base
    tokens, loss_law = float(steps.tokens), start.loss_law
    rates = rate_numbers(
        start.rate,
        steps,
        model,
        made.compute,
        recipe=start.recipe.training.optimizer.learning_rate,
        preset=start.preset,
        given=base.training.optimizer.learning_rate if start.sets("training.optimizer.learning_rate") else None,
    )
    warming = _warm_up(start, made)
    further: dict[str, Any] = {
        "training.optimizer.learning_rate": rates["learning rate"].value,
        "training.schedule.warmup_steps": int(warming.value),
    }
    config = run_of(base, made.shape.model, steps, **further)
    repetition = repeated(tokens, start.unique, start.unique_source, loss_law, model)
    found = opinions(
        made.compute, base.model, model, tokens, unique=start.unique, own=start.own.law if start.own else None
    )
    loss = expected_loss(
        loss_law,
        start.own,
        model,
        tokens,
        repetition["effective tokens"].value if "effective tokens" in repetition else tokens,
        [each.here for each in found if each.here is not None],
        start.text.vocabulary,
    )
    numbers = {
        **plan_numbers.model_numbers(made, start, model),
        **plan_numbers.token_numbers(made),
        **repetition,
        **batch_numbers(steps, model, made.compute, given=start.rows is not None),
        **rates,
        "warm-up": warming,
        **loss.numbers,
        **plan_numbers.compute_numbers(made, model),
        **machine_costs.numbers(config, steps),
    }
    return Plan(
        config=config,
        preset=start.preset,
        recipe=start.recipe,
        law=start.law.name,
        shape=made.shape,
        numbers=numbers,
        off=off_by_two(loss_law, model.parameters(loss_law.counting or "total"), tokens, start.unique),
        opinions=found,
        warnings=(
            *plan_numbers.warnings(made, start, numbers),
            *plan_numbers.short_of_data(numbers, found),
            *loss.warnings,
            *machine_costs.warnings(numbers),
        ),
    )


def _warm_up(start: Start, made: Draft) -> Traced:
    recipe = start.base.training.schedule.warmup_steps
    if start.sets("training.schedule.warmup_steps"):
        return Traced(recipe, "updates", "as set", "--set training.schedule.warmup_steps")
    return warm_up(made.steps, recipe)
