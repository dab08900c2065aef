"""Whether eight heads look at different things than two.

Heads of any two trained models differ, so the divergence between the heads of an 8-head and a 2-head model is compared
with that between two 2-head models of different seeds. Each head is compared with the most similar head of the other
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import difference, exceeds, mean_over_seeds, signed, worded
from glassformer.claims.trained import trained_models, validation_tokens
from glassformer.inspection.attention_scores import divergence
from glassformer.models.decoder import Decoder
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE

EIGHT = "8 heads"
VARIANTS = {EIGHT: {"model.attention.n_heads": 8}}
ROWS = 8  # texts


def attention(model: Decoder, tokens: Tensor) -> Tensor:
    """The first layer's weights, [rows, heads, T, T]."""
    name = "blocks.0.attention.weights"
    return model.trace(tokens, only=(name,))[name]


def nearest_divergence(weights: Tensor, others: Tensor) -> float:
    """How far the heads of one model are from the most similar ones of another, in nats: the mean over heads and texts.

    Args:
        weights, others: [rows, H, T, T] and [rows, G, T, T], on the same texts.
    """
    found = [
        divergence(torch.cat(pair)[None])[: len(pair[0]), len(pair[0]) :].min(1).values.mean()
        for pair in zip(weights, others, strict=True)
    ]
    return float(torch.stack(found).mean())


def within(weights: Tensor) -> float:
    """How far the heads of one model are from each other, in nats: the mean over pairs and texts."""
    heads = weights.shape[1]
    found = [divergence(each[None]).sum() / (heads * (heads - 1)) for each in weights]
    return float(torch.stack(found).mean())


def measure(two: Mapping[int, Tensor], eight: Mapping[int, Tensor]) -> tuple[Losses, Losses]:
    """By seed: 2-head models against the 2-head model of the next seed, and 8-head models against the same one.

    Nothing, where there is no second model to compare with.
    """
    seeds: Sequence[int] = sorted(set(two) & set(eight))
    same: dict[int, float | None] = {}
    other: dict[int, float | None] = {}
    if len(seeds) < 2:
        return same, other
    for index, seed in enumerate(seeds):
        model = two[seeds[(index + 1) % len(seeds)]]
        same[seed], other[seed] = nearest_divergence(two[seed], model), nearest_divergence(eight[seed], model)
    return same, other


def judge(
    same: Losses, other: Losses, within_two: Losses, within_eight: Losses, evidence: tuple[Path, ...] = ()
) -> ClaimResult:
    """8 heads are further from 2 than 2 heads from those of another seed."""
    more = difference(same, other)
    spread = difference(within_two, within_eight)
    two, eight = mean_over_seeds(within_two.values()), mean_over_seeds(within_eight.values())
    reference, found = mean_over_seeds(same.values()), mean_over_seeds(other.values())
    return ClaimResult(
        {"8 heads look at different things than 2, more than 2 heads of another seed do": exceeds(more, 0.0)},
        f"A head of an 8-head model is {worded(found)} nats (Jensen–Shannon, at most 0.693) from the most "
        f"similar head of a 2-head model, one of another 2-head model {worded(reference)}: {signed(more)}. "
        f"Within a model, 8 heads differ from each other by {worded(eight)} nats, 2 by {worded(two)}: "
        f"{signed(spread)}.",
        "One layer of the same width, so that 8 heads are 4 times narrower. Heads of two seeds differ too, which is "
        "what the difference is measured against.",
        {
            "8 heads to the most similar of 2": found,
            "2 heads to the most similar of 2 of another seed": reference,
            "difference": more,
            "between the heads of an 8-head model": eight,
            "between the heads of a 2-head model": two,
        },
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """A study of one variant, and the attention of its models on the same unseen texts."""
    study = claim_studies.study("claim-heads", claim_studies.base(budget), VARIANTS, budget)
    tokens = validation_tokens(study, ROWS)
    two, eight = (
        {seed: attention(model, tokens) for seed, model in trained_models(study, arm).items()} for arm in (BASE, EIGHT)
    )
    within_two: Losses = {seed: within(weights) for seed, weights in two.items()}
    within_eight: Losses = {seed: within(weights) for seed, weights in eight.items()}
    return judge(*measure(two, eight), within_two, within_eight, (study.path,))


CLAIM = Claim(
    "heads-differ",
    "8 heads look at different things than 2.",
    NOTES,
    "study",
    "Jensen–Shannon divergence between the heads of trained models on the same texts, against that between seeds.",
    decide,
    quick=Budget(seeds=3, steps=600),
    full=Budget(seeds=8, steps=2_000),
)
