"""A language model that is given positions and no tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import diverged, falls_short, mean_exceeds, mean_over_seeds
from glassformer.claims.trained import base_samples
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study
from glassformer.tasks.text import TextSamples

WITHOUT = "without tokens"
VARIANTS = {WITHOUT: {"model.embedding.tokens": False}}

NEAR = 0.05
"""Nats around the unigram loss within which the model has learned how often each token comes, and nothing else."""


def unigram_loss(study: Study) -> float:
    """Loss on the validation split of whoever knows the frequencies of the training split's tokens, in nats.

    It is the cross-entropy −Σ q ln p, and differs from the entropy of either split. A token of the training split's
    vocabulary that it does not hold would count as seen once.
    """
    samples = base_samples(study)
    assert isinstance(samples, TextSamples)
    size = samples.data.vocab_size
    counts = [np.zeros(size), np.zeros(size)]
    for count, tokens in zip(counts, (samples.data.train, samples.data.validation), strict=True):
        for ids in tokens.chunks(overlap=0):
            count += np.bincount(ids, minlength=size)
    p, q = np.maximum(counts[0], 1) / np.maximum(counts[0], 1).sum(), counts[1] / counts[1].sum()
    return float(-(q * np.log(p)).sum())


def judge(base: Losses, without: Losses, unigram: float, evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """Nothing is learned of the text's order if the loss stays above the unigram loss − NEAR."""
    loss, other = mean_over_seeds(base.values()), mean_over_seeds(without.values())
    floor = True if diverged(without) == len(without) else mean_exceeds(without, unigram - NEAR)
    at_floor = None if None in (floor, falls_short(other, unigram + NEAR)) else falls_short(other, unigram + NEAR)
    reached = " It stops there: what is learned is how often each token comes." if floor and at_floor else ""
    return ClaimResult(
        {f"no better, by {NEAR} nats or more, than knowing how often each token comes": floor},
        f"Without token embeddings the loss ends at {other}; knowing how often each token comes gives "
        f"{unigram:.3f} nats, and with them it ends at {loss}.{reached}",
        "Positions alone say nothing about the text. The frequencies of tokens are learned all the same, by the head's "
        "bias and from the positions' vectors.",
        {
            "loss, with tokens": loss,
            "loss, without": other,
            "unigram loss on the validation split": measurement(unigram, "nats"),
        },
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """A study of one variant."""
    study = claim_studies.study("claim-no-tokens", claim_studies.base(budget), VARIANTS, budget)
    losses = study.losses()
    return judge(losses[BASE], losses[WITHOUT], unigram_loss(study), (study.path,))


CLAIM = Claim(
    "no-token-embedding",
    "Without token embeddings nothing is learned.",
    NOTES,
    "study",
    "With token embeddings and without, paired by seed: whether the loss stops at that of the tokens' frequencies.",
    decide,
    quick=Budget(seeds=3, steps=600),
    full=Budget(seeds=8, steps=2_000),
)
