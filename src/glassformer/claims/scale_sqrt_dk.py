"""Attention with its scores divided by √d_k and without, over d_k; and how sharp the softmax is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import (
    all_of,
    costs_more,
    exceeds,
    falls_short,
    mean_over_seeds,
    signed,
    trains,
    worded,
)
from glassformer.claims.trained import trained_models, untrained_models, validation_tokens
from glassformer.claims.tuned import TunedArms, tuned_arms
from glassformer.inspection.attention_scores import normalised_entropy
from glassformer.models.decoder import Decoder
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study

UNSCALED = "without 1/√d_k"
VARIANTS = {UNSCALED: {"model.attention.scale": False}}
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
SATURATED = 0.5
"""Share of the largest entropy below which the softmax is saturated: 256 keys are looked at as if they were 16. That
scores √d_k times larger give *some* less entropy is sure beforehand, and decides nothing."""

ROWS = 8  # texts on which the entropy is measured


@dataclass(frozen=True)
class Width:
    """One d_k: the arms at their own best rates; attention's entropy at start and end, as a share of the largest."""

    arms: TunedArms
    start: Mapping[str, Losses]
    end: Mapping[str, Losses]


def entropies(models: Mapping[int, Decoder], study: Study) -> Losses:
    """The mean over heads, queries and texts, by seed: 1 looks at all keys alike, 0 at one."""
    tokens = validation_tokens(study, ROWS)
    found: dict[int, float | None] = {}
    for seed, model in models.items():
        weights = model.trace(tokens, only=("blocks.*.attention.weights",))["blocks.0.attention.weights"]
        found[seed] = float(normalised_entropy(weights).mean())
    return found


def judge(widths: Mapping[int, Width], unigram: float, evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """Training works at every d_k; at the largest, scaling gives the lower loss, and only without it does the softmax
    start saturated.
    """
    numbers: dict[str, Measurement] = {"unigram entropy of the text": measurement(unigram, "nats")}
    for d_k, width in widths.items():
        numbers |= width.arms.numbers(f"d_k {d_k}")
        for when, shares in (("start", width.start), ("end", width.end)):
            for arm, name in ((BASE, "scaled"), (UNSCALED, "unscaled")):
                numbers[f"d_k {d_k}: entropy at the {when}, {name}"] = mean_over_seeds(shares[arm].values(), "share")
    largest = max(widths)
    with_it, without = (numbers[f"d_k {largest}: entropy at the start, {name}"] for name in ("scaled", "unscaled"))
    costs = ", ".join(f"d_k {d_k}: {signed(width.arms.cost(UNSCALED))}" for d_k, width in widths.items())
    at_one = ", ".join(
        f"d_k {d_k}: {signed(width.arms.cost_at_baseline_rate(UNSCALED))}" for d_k, width in widths.items()
    )
    losses = widths[largest].arms.losses
    return ClaimResult(
        {
            "training works without 1/√d_k": all_of(
                [trains(width.arms.losses[UNSCALED], unigram) for width in widths.values()]
            ),
            f"at d_k = {largest} scaling gives the lower loss": costs_more(losses[BASE], losses[UNSCALED]),
            f"at d_k = {largest} the softmax starts saturated without it, and not with it": all_of(
                [falls_short(without, SATURATED), exceeds(with_it, SATURATED)]
            ),
        },
        f"Loss without the scaling less loss with it, each at its own best learning rate: {costs}. At d_k = {largest} "
        f"the untrained heads' entropy is {worded(without, '.0%')} of the largest possible without scaling, and "
        f"{worded(with_it, '.0%')} with it "
        f"(saturated: below {SATURATED:.0%}).",
        f"One layer, two heads, torch's starting weights. Both at the rate that is best with the scaling: {at_one}. "
        "Training can shrink queries and keys, and so learn the scaling itself.",
        numbers,
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are widths of a head."""
    widths, studies = {}, []
    for d_k in budget.levels:
        base = claim_studies.base(budget, {"model.attention.d_head": d_k})
        study = claim_studies.study(f"claim-scale-{d_k}", base, VARIANTS, budget, level=d_k)
        start = {arm: entropies(untrained_models(study, arm), study) for arm in (BASE, UNSCALED)}
        end = {arm: entropies(trained_models(study, arm), study) for arm in (BASE, UNSCALED)}
        widths[d_k] = Width(tuned_arms(study), start, end)
        studies.append(study)
    unigram = claim_studies.entropies(studies[0])["unigram"]
    return judge(widths, unigram, tuple(study.path for study in studies))


QUICK = Budget(seeds=3, steps=600, levels=(8, 64, 256), rates=RATES, selection_steps=300)
FULL = Budget(
    seeds=8, steps=1_200, levels=(8, 32, 128, 512), rates=RATES, selection_steps=600, seeds_at={128: 6, 512: 4}
)

CLAIM = Claim(
    "scale-sqrt-dk",
    "Training works without 1/√d_k; at large d_k scaling is better, because the softmax saturates.",
    f"{NOTES}; Vaswani et al. 2017, §3.2.1",
    "study",
    "With the scaling and without, over d_k, each at its own best learning rate, paired by seed; the entropy of "
    "attention before and after training.",
    decide,
    quick=QUICK,
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        "Starting weights are torch's: with larger ones, or larger inputs, the softmax saturates at another d_k.",
        f"Saturated means less than {SATURATED:.0%} of the largest entropy, a threshold of ours, as a mean over heads.",
        (
            "Saturation and the difference in loss are shown at the same d_k; that one causes the other is not, since "
            "nothing else was made to saturate the softmax, or kept it from that."
        ),
        "Parameters grow with d_k; a comparison at one d_k is between equals, one over d_k is not.",
        "One layer: whether a saturated softmax stops deeper ones from training is not measured.",
    ),
)
