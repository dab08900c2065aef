"""The numbers of a plan that follow from its model and its steps, traced; and what to beware of in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from glassformer.scaling.laws.counting import Counts
from glassformer.scaling.laws.repeated_data import LOSS as REPEATED
from glassformer.scaling.plans.disagreement import Opinion
from glassformer.scaling.plans.drafting import Draft
from glassformer.scaling.plans.plan import Traced
from glassformer.scaling.plans.plan_settings import cited
from glassformer.scaling.plans.plan_start import Start
from glassformer.scaling.wording import large

FEW_EPOCHS = 4
"""Up to here repeated tokens are nearly as good as fresh ones (Muennighoff et al. 2023, §6.1)."""

FAR = 0.05
"""From this share on, a real shape's deviation from the law's N is told."""


def model_numbers(draft: Draft, start: Start, model: Counts) -> dict[str, Traced]:
    """Parameters in both countings, and the vocabulary."""
    shape, aim = draft.shape, draft.aim
    found = {
        "total": Traced(model.total, "parameters", "every one, once", "models/counting.parameters, exactly"),
        "non-embedding": Traced(
            model.non_embedding,
            "parameters",
            "attention, feed-forward and norms: no token table, no positions, no head",
            "models/counting.parameters",
        ),
    }
    found[shape.counting] = Traced(
        shape.parameters,
        "parameters",
        f"target {aim.parameters:,.0f} ({shape.counting}): {aim.why_parameters}; counted exactly, the nearest of "
        f"{shape.tried} shapes, {shape.deviation:+.2%}",
        cited(start.law),
    )
    return {
        "parameters": found["total"],
        "parameters without embeddings": found["non-embedding"],
        "vocabulary": Traced(start.text.vocabulary, "tokens", "distinct tokens of the text", start.text.source),
    }


def token_numbers(draft: Draft) -> dict[str, Traced]:
    """D, and D/N in the law's counting."""
    shape, steps = draft.shape, draft.steps
    return {
        "tokens": Traced(
            steps.tokens,
            "tokens",
            f"{steps.number:,} steps × {steps.batch:,}; {draft.why_tokens}",
            "C = 6·N·D (Kaplan et al. 2020, §2.1) with the real model's N",
        ),
        "tokens per parameter": Traced(
            steps.tokens / shape.parameters, "tokens", f"D/N, N {shape.counting}", "arithmetic"
        ),
    }


def compute_numbers(draft: Draft, model: Counts) -> dict[str, Traced]:
    """FLOPs as the papers count them, and every one of them."""
    compute, tokens = draft.compute, draft.steps.tokens
    each, exact = model.flops_per_token_training, model.compute(tokens)
    return {
        "compute": Traced(
            compute,
            "FLOP",
            f"6·N·D = 6 · {draft.shape.parameters:,} · {tokens:,}, N {draft.shape.counting}",
            "the papers' convention (Kaplan et al. 2020, §2.1)",
        ),
        "counted compute": Traced(
            exact,
            "FLOP",
            f"{each:,} FLOPs a token · D: all matrix products, the head's too; 6·N·D is {compute / exact:.2f} of it",
            "models/counting.flops_per_token, exactly",
        ),
    }


def warnings(draft: Draft, start: Start, numbers: Mapping[str, Traced]) -> Iterator[str]:
    """What to beware of in the model and its batch."""
    shape, law = draft.shape, start.law
    if abs(shape.deviation) > FAR:
        yield (
            f"The nearest real shape has {shape.deviation:+.0%} of the target's parameters: so near the smallest, or "
            "with so large a vocabulary, whole layers come no nearer."
        )
    for each in draft.outside(law):
        yield f"Outside the law's experiments: {each}"
    if numbers["batch"].value > numbers["critical batch"].value:
        yield "The batch is above Kaplan's critical batch: much of each update's compute is wasted."


def short_of_data(numbers: Mapping[str, Traced], found: Sequence[Opinion]) -> Iterator[str]:
    """Where the text is passed over more often than costs little, and what the law of repetition would rather do."""
    if "epochs" not in numbers or numbers["epochs"].value <= FEW_EPOCHS:
        return
    (rather,) = (each.parameters for each in found if each.law == REPEATED.name)
    assert rather is not None
    yield (
        f"The text runs short: {numbers['epochs'].value:,.0f} epochs; beyond {FEW_EPOCHS} repetition costs, and beyond "
        f"some 40 it gains nothing. {REPEATED.name} would take {large(rather)} parameters for this budget and text. "
        "More text helps, or a smaller budget."
    )
