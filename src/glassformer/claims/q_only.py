"""One projection used as queries, keys and values, against three; also with the parameters that it saves given back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import all_of, difference, diverged, falls_short, mean_over_seeds, signed, trains
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE

SHARED = "one projection"
VARIANTS = {SHARED: {"model.attention.projection": "shared"}}


def judge(
    base: Losses,
    shared: Losses,
    matched: Losses,
    entropies: Mapping[str, float],
    adjusted: str = "",
    evidence: tuple[Path, ...] = (),
) -> ClaimResult:
    """Training works (``judging.trains``); and the loss is below the bigram entropy, which takes attention that works.

    Args:
        entropies: "unigram" and "bigram", of the training text, nats per token.
    """
    bigram = entropies["bigram"]
    loss, cost, cost_matched = mean_over_seeds(shared.values()), difference(base, shared), difference(base, matched)
    works = not diverged(shared)
    return ClaimResult(
        {
            "with one projection training works": trains(shared, entropies["unigram"]),
            "with one projection attention learns": all_of([works, falls_short(loss, bigram)]),
        },
        f"With one projection the loss is {loss}; below the bigram entropy of {bigram:.3f} a model must look "
        f"further back than one token. It costs {signed(cost)} against three projections, "
        f"{signed(cost_matched)} at equal parameters.",
        "One layer. With queries that are keys the scores are symmetric, and a token's own is its squared length."
        f"{' At equal parameters: ' + adjusted + '.' if adjusted else ''}",
        {
            "loss, three projections": mean_over_seeds(base.values()),
            "loss, one projection": loss,
            "cost": cost,
            "cost at equal parameters": cost_matched,
            "bigram entropy of the text": measurement(bigram, "nats"),
        },
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """Two studies: as it is, and matched in parameters."""
    base = claim_studies.base(budget)
    plain = claim_studies.study("claim-q-only", base, VARIANTS, budget)
    matched = claim_studies.study("claim-q-only-matched", base, VARIANTS, budget, matched="parameters")
    losses = plain.losses()
    return judge(
        losses[BASE],
        losses[SHARED],
        matched.losses()[SHARED],
        claim_studies.entropies(plain),
        matched.config.adjusted.get(SHARED, ""),
        (plain.path, matched.path),
    )


CLAIM = Claim(
    "q-only",
    "In self-attention one projection, used as Q, K and V, is enough to train.",
    NOTES,
    "study",
    "One projection against three, paired by seed, as it is and at equal parameters.",
    decide,
    quick=Budget(seeds=4, steps=2_000),
    full=Budget(seeds=8, steps=4_000),
)
