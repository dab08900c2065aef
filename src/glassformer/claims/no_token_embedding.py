"""A language model that is given positions and no tokens."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import diverged, falls_short, mean_exceeds, mean_over_seeds
from glassformer.claims.one_layer import FULL, QUICK
from glassformer.claims.trained import base_samples
from glassformer.claims.tuned import TunedArms, tuned_arms
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study
from glassformer.tasks.text import TextSamples

WITHOUT = "without tokens"
VARIANTS = {WITHOUT: {"model.embedding.tokens": False}}

NEAR = 0.05
"""Nats around the unigram loss within which the model has learned how often each token comes, and nothing else."""


def known_losses(study: Study) -> tuple[float, float]:
    """Loss on the validation split of a uniform guess, and of whoever knows the training split's frequencies, in nats.

    The second is the cross-entropy −Σ q ln p, and differs from the entropy of either split. A token of the training
    split's vocabulary that it does not hold would count as seen once.
    """
    samples = base_samples(study)
    assert isinstance(samples, TextSamples)
    size = samples.data.vocab_size
    counts = [np.zeros(size), np.zeros(size)]
    for count, tokens in zip(counts, (samples.data.train, samples.data.validation), strict=True):
        for ids in tokens.chunks(overlap=0):
            count += np.bincount(ids, minlength=size)
    p, q = np.maximum(counts[0], 1) / np.maximum(counts[0], 1).sum(), counts[1] / counts[1].sum()
    return math.log(size), float(-(q * np.log(p)).sum())


def judge(arms: TunedArms, uniform: float, unigram: float, evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """Nothing at all is learned if the loss stays above that of a uniform guess − NEAR; nothing of the order if it
    stays above the unigram loss − NEAR.
    """
    without = arms.losses[WITHOUT]
    loss, other = mean_over_seeds(arms.losses[BASE].values()), mean_over_seeds(without.values())
    stays, floor = (
        True if diverged(without) == len(without) else mean_exceeds(without, known - NEAR)
        for known in (uniform, unigram)
    )
    at_floor = None if None in (floor, falls_short(other, unigram + NEAR)) else falls_short(other, unigram + NEAR)
    reached = " It stops there: what is learned is how often each token comes." if floor and at_floor else ""
    return ClaimResult(
        {
            f"nothing at all: no better, by {NEAR} nats or more, than a uniform guess": stays,
            f"nothing of the order: no better, by {NEAR} nats or more, than knowing how often each token comes": floor,
        },
        f"Without token embeddings, at its own best learning rate, the loss ends at {other}; a uniform guess gives "
        f"{uniform:.3f} nats, knowing how often each token comes {unigram:.3f}, and with token embeddings it ends at "
        f"{loss}.{reached}",
        "Positions alone say nothing about the text. The frequencies of tokens are learned all the same, by the head's "
        "bias and from the positions' vectors.",
        arms.numbers()
        | {
            "loss of a uniform guess": measurement(uniform, "nats"),
            "unigram loss on the validation split": measurement(unigram, "nats"),
        },
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """A study of one variant."""
    study = claim_studies.study("claim-no-tokens", claim_studies.base(budget), VARIANTS, budget)
    return judge(tuned_arms(study), *known_losses(study), (study.path,))


CLAIM = Claim(
    "no-token-embedding",
    "Without token embeddings nothing is learned.",
    NOTES,
    "study",
    "With token embeddings and without, each at its own best learning rate, paired by seed: whether the loss stays at "
    "that of a uniform guess, or stops at that of the tokens' frequencies.",
    decide,
    quick=QUICK,
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        (
            "No training can get below the tokens' frequencies by position: the model is given the same input for "
            "every text. That it does not is no finding about training, and a lower loss would be an error of ours."
        ),
        "Of the model's own tokens only. With the head's matrix tied there would be no tokens in the head either.",
    ),
)
