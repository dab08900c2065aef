"""The numbers of a plan that follow from its model and its steps: size, tokens, compute, batch, learning rate.

No number stands alone: a :class:`SourcedValue` carries its unit, its equation and the law or measurement behind it.

Batch and steps follow from the tokens alone; the critical batch is Kaplan's B_crit(L), at the loss that Kaplan's own
L(N, S_min) reaches in these steps (table 3 and eq. 5.3 belong together).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from glassformer.scaling.laws.counting import Counts
from glassformer.scaling.laws.hyperparameters import (
    DEEPSEEK_BATCH,
    DEEPSEEK_LEARNING_RATE,
    STEP_BATCH,
    STEP_LEARNING_RATE,
)
from glassformer.scaling.laws.kaplan import CRITICAL_BATCH, LEAST_COMPUTE, LEAST_STEPS, OF_PARAMETERS_AND_STEPS
from glassformer.scaling.laws.law import Law
from glassformer.scaling.laws.repeated_data import LOSS as REPEATED
from glassformer.scaling.laws.units import PF_DAY
from glassformer.scaling.plans.allocation import SizedRun, Steps
from glassformer.scaling.plans.law_estimates import LawEstimate
from glassformer.scaling.plans.start import PlanInputs
from glassformer.scaling.wording import large

FEW_EPOCHS = 4
"""Up to here repeated tokens are nearly as good as fresh ones (Muennighoff et al. 2023, §6.1)."""

FAR = 0.05
"""From this share on, the real shape's deviation from the law's N is a warning."""

WARM_UP = 0.1
"""Largest share of a run that warms up: longer ones spoil small budgets (Porian et al. 2024)."""

ROUNDS = 60
"""Bisections of ln L in search of the loss at which B_crit, S_min and L agree."""


@dataclass(frozen=True)
class SourcedValue:
    """A number with its provenance.

    Attributes:
        equation: how it was computed, with the numbers that went in.
        source: the law (its name and paper), the measurement, or the setting.
        interval: 95 %, or what ``note`` says; None where unknown.
        note: its limitations.
    """

    value: float
    unit: str
    equation: str
    source: str
    interval: tuple[float, float] | None = None
    note: str = ""


Numbers = Mapping[str, SourcedValue]


def cited(law: Law) -> str:
    """A law's name and source."""
    return f"{law.name}: {law.source}"


def _by_law(law: Law, unit: str, **inputs: float) -> SourcedValue:
    values = ", ".join(f"{symbol} = {value:.3g}" for symbol, value in inputs.items())
    note = _outside(law, **inputs)
    return SourcedValue(float(law(**inputs)), unit, f"{law.formula}, {values}", cited(law), note=note)


def _outside(law: Law, **inputs: float) -> str:
    return " ".join(law.outside(**{symbol: value for symbol, value in inputs.items() if symbol in law.inputs}))


# --- model, tokens, compute ------------------------------------------------------------------------------------------


def model_numbers(sized: SizedRun, inputs: PlanInputs, model: Counts) -> dict[str, SourcedValue]:
    """Parameters in both countings, and the vocabulary."""
    shape, wanted = sized.shape, sized.target
    found = {
        "total": SourcedValue(model.total, "parameters", "every one, once", "models/counting.parameters, exactly"),
        "non-embedding": SourcedValue(
            model.non_embedding,
            "parameters",
            "attention, feed-forward and norms: no token table, no positions, no head",
            "models/counting.parameters",
        ),
    }
    found[shape.counting] = SourcedValue(
        shape.parameters,
        "parameters",
        f"target {wanted.parameters:,.0f} ({shape.counting}): {wanted.why_parameters}; counted exactly, the nearest of "
        f"{shape.tried} shapes, {shape.deviation:+.2%}",
        cited(inputs.law),
    )
    active = {}
    if model.idle:
        active["active parameters"] = SourcedValue(
            model.total - model.idle,
            "parameters",
            "those that a token meets: not the experts that it is not given to",
            "models/counting.active_parameters, exactly",
        )
    return {
        "parameters": found["total"],
        "parameters without embeddings": found["non-embedding"],
        **active,
        "vocabulary": SourcedValue(inputs.text.vocabulary, "tokens", "distinct tokens of the text", inputs.text.source),
    }


def token_numbers(sized: SizedRun) -> dict[str, SourcedValue]:
    """D, and D/N in the law's counting."""
    shape, steps = sized.shape, sized.steps
    return {
        "tokens": SourcedValue(
            steps.tokens,
            "tokens",
            f"{steps.number:,} steps × {steps.batch:,}; {sized.why_tokens}",
            "C = 6·N·D (Kaplan et al. 2020, §2.1) with the real model's N",
        ),
        "tokens per parameter": SourcedValue(
            steps.tokens / shape.parameters, "tokens", f"D/N, N {shape.counting}", "arithmetic"
        ),
    }


def compute_numbers(sized: SizedRun, model: Counts) -> dict[str, SourcedValue]:
    """FLOPs as the papers count them, and every one of them."""
    compute, tokens = sized.compute, sized.steps.tokens
    each, exact = model.flops_per_token_training, model.compute(tokens)
    return {
        "compute": SourcedValue(
            compute,
            "FLOP",
            f"6·N·D = 6 · {sized.shape.parameters:,} · {tokens:,}, N {sized.shape.counting}",
            "the papers' convention (Kaplan et al. 2020, §2.1)",
        ),
        "counted compute": SourcedValue(
            exact,
            "FLOP",
            f"{each:,} FLOPs a token · D: all matrix products, the head's too; 6·N·D is {compute / exact:.2f} of it",
            "models/counting.flops_per_token, exactly",
        ),
    }


# --- batch, steps, learning rate -------------------------------------------------------------------------------------


def batch_numbers(steps: Steps, model: Counts, compute: float, *, given: bool) -> dict[str, SourcedValue]:
    """The batch and its alternatives, the critical batch, the steps and their lower bounds."""
    size, tokens = steps.batch, steps.tokens
    loss, critical = critical_batch(steps, model.parameters("non-embedding"))
    rows = f"{steps.rows:,} sequence{'s' * (steps.rows > 1)} of {steps.seq_len:,}"
    least = LEAST_STEPS(S=steps.number, B=size, B_crit=critical)
    least_compute = LEAST_COMPUTE(C=compute / PF_DAY, B=size, B_crit=critical) * PF_DAY
    by_law = f"{STEP_BATCH.formula} = {STEP_BATCH(D=tokens):,.0f} at D = {tokens:.3g}, in whole sequences: {rows}"
    equation, source = (f"{rows}, as set", "--set training.batch_size") if given else (by_law, cited(STEP_BATCH))
    return {
        "batch": SourcedValue(size, "tokens", equation, source),
        "batch by DeepSeek": _by_law(DEEPSEEK_BATCH, "tokens", C=compute),
        "critical batch": SourcedValue(
            critical,
            "tokens",
            f"{CRITICAL_BATCH.formula}, at L = {loss:.3g}: {OF_PARAMETERS_AND_STEPS.formula}, S_min = S/(1 + B_crit/B)",
            cited(CRITICAL_BATCH),
            note=_outside(OF_PARAMETERS_AND_STEPS, N=model.parameters("non-embedding")),
        ),
        "steps": SourcedValue(steps.number, "updates", f"D / B = {tokens:,} / {size:,}", "arithmetic"),
        "least steps": SourcedValue(
            least,
            "updates",
            f"{LEAST_STEPS.formula} = {steps.number:,}/(1 + {critical:.3g}/{size:,})",
            cited(LEAST_STEPS),
            note="with a far larger batch; at the critical batch it is twice as many",
        ),
        "least compute": SourcedValue(
            least_compute,
            "FLOP",
            f"{LEAST_COMPUTE.formula} = {compute:.3g}/(1 + {size:,}/{critical:.3g})",
            cited(LEAST_COMPUTE),
            note="with a far smaller batch; at the critical batch it is half as much",
        ),
    }


def critical_batch(steps: Steps, parameters: int) -> tuple[float, float]:
    """Kaplan's loss and critical batch (tokens) of a run: where B_crit(L), S_min(B_crit) and L(N, S_min) agree."""
    low, high = 1e-3, 1e3  # nats; the loss that follows from a supposed one falls as the supposed one rises
    for _ in range(ROUNDS):
        supposed = (low * high) ** 0.5
        least = LEAST_STEPS(S=steps.number, B=steps.batch, B_crit=CRITICAL_BATCH(L=supposed))
        if OF_PARAMETERS_AND_STEPS(N=parameters, S_min=least) > supposed:
            low = supposed
        else:
            high = supposed
    return high, CRITICAL_BATCH(L=high)


def rate_numbers(inputs: PlanInputs, steps: Steps, model: Counts, compute: float) -> dict[str, SourcedValue]:
    """The learning rate and its alternatives, and the warm-up."""
    recipe, training = inputs.recipe.training, inputs.base.training
    known = {
        "deepseek": _by_law(DEEPSEEK_LEARNING_RATE, "peak", C=compute),
        "step-law": _by_law(STEP_LEARNING_RATE, "peak", N=model.parameters("non-embedding"), D=steps.tokens),
        "preset": SourcedValue(
            recipe.optimizer.learning_rate, "peak", "as it stands in the recipe", f"preset {inputs.preset}"
        ),
    }
    names = {"deepseek": "DeepSeek", "step-law": "the Step Law", "preset": "the preset"}
    taken, given = known[inputs.rate], inputs.sets("training.optimizer.learning_rate")
    if given:
        taken = SourcedValue(
            training.optimizer.learning_rate, "peak", "as set", "--set training.optimizer.learning_rate"
        )
    others = {
        f"learning rate by {names[name]}": number for name, number in known.items() if given or name != inputs.rate
    }
    return {"learning rate": taken, **others, "warm-up": _warm_up(inputs, steps)}


def _warm_up(inputs: PlanInputs, steps: Steps) -> SourcedValue:
    """As set, or the preset's, a tenth of the run at most."""
    warmup = inputs.base.training.schedule.warmup_steps
    if inputs.sets("training.schedule.warmup_steps"):
        return SourcedValue(warmup, "updates", "as set", "--set training.schedule.warmup_steps")
    return SourcedValue(
        min(warmup, max(1, int(WARM_UP * steps.number))),
        "updates",
        f"min({warmup:,} of the preset, {WARM_UP:g} · {steps.number:,} steps)",
        "Porian et al. 2024, arXiv 2406.19146: a warm-up as long as the training spoils small budgets",
    )


# --- warnings --------------------------------------------------------------------------------------------------------


def warnings(sized: SizedRun, inputs: PlanInputs, numbers: Numbers, estimates: Sequence[LawEstimate]) -> Iterator[str]:
    """Limitations of the model, its batch and its text."""
    if abs(sized.shape.deviation) > FAR:
        yield (
            f"The nearest real shape has {sized.shape.deviation:+.0%} of the target's parameters: so near the "
            "smallest, or with so large a vocabulary, whole layers come no nearer."
        )
    for each in sized.outside(inputs.law):
        yield f"Outside the law's experiments: {each}"
    if numbers["batch"].value > numbers["critical batch"].value:
        yield "The batch is above Kaplan's critical batch: much of each update's compute is wasted."
    if "epochs" in numbers and numbers["epochs"].value > FEW_EPOCHS:
        (best,) = (each.parameters for each in estimates if each.law == REPEATED.name)
        assert best is not None
        yield (
            f"The text runs short: {numbers['epochs'].value:,.0f} epochs; beyond {FEW_EPOCHS} repetition costs, and "
            f"beyond some 40 it gains almost nothing. {REPEATED.name}, which also discounts parameters in excess of "
            f"the unique tokens, would take {large(best)} parameters for this budget and text. More text helps, or a "
            "smaller budget."
        )
