"""Attention with its scores divided by √d_k and without, over d_k; and how sharp the softmax is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import (
    all_of,
    costs_more,
    difference,
    exceeds,
    falls_short,
    mean_over_seeds,
    signed,
    trains,
    worded,
)
from glassformer.claims.trained import trained_models, untrained_models, validation_tokens
from glassformer.inspection.attention_scores import normalised_entropy
from glassformer.models.decoder import Decoder
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study

UNSCALED = "without 1/√d_k"
SATURATED = 0.5
"""Share of the largest entropy below which the softmax is saturated: 256 keys are looked at as if they were 16. That
scores √d_k times larger give *some* less entropy is sure beforehand, and decides nothing."""

ROWS = 8  # texts on which the entropy is measured


@dataclass(frozen=True)
class Width:
    """One d_k, by arm and seed: final losses; attention's entropy at start and end, as a share of the largest."""

    losses: Mapping[str, Losses]
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
        numbers[f"d_k {d_k}: loss, scaled"] = mean_over_seeds(width.losses[BASE].values())
        numbers[f"d_k {d_k}: loss, unscaled less scaled"] = difference(width.losses[BASE], width.losses[UNSCALED])
        for when, shares in (("start", width.start), ("end", width.end)):
            for arm, name in ((BASE, "scaled"), (UNSCALED, "unscaled")):
                numbers[f"d_k {d_k}: entropy at the {when}, {name}"] = mean_over_seeds(shares[arm].values(), "share")
    largest = max(widths)
    with_it, without = (numbers[f"d_k {largest}: entropy at the start, {name}"] for name in ("scaled", "unscaled"))
    costs = ", ".join(f"d_k {d_k}: {signed(numbers[f'd_k {d_k}: loss, unscaled less scaled'])}" for d_k in widths)
    return ClaimResult(
        {
            "training works without 1/√d_k": all_of(
                [trains(width.losses[UNSCALED], unigram) for width in widths.values()]
            ),
            f"at d_k = {largest} scaling gives the lower loss": costs_more(
                widths[largest].losses[BASE], widths[largest].losses[UNSCALED]
            ),
            f"at d_k = {largest} the softmax starts saturated without it, and not with it": all_of(
                [falls_short(without, SATURATED), exceeds(with_it, SATURATED)]
            ),
        },
        f"Loss without the scaling less loss with it: {costs}. At d_k = {largest} the untrained heads' entropy is "
        f"{worded(without, '.0%')} of the largest possible without scaling, and {worded(with_it, '.0%')} with it "
        f"(saturated: below {SATURATED:.0%}).",
        "One layer, two heads, torch's starting weights. Training can shrink queries and keys, and so learn the "
        "scaling itself.",
        numbers,
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are widths of a head."""
    widths, studies = {}, []
    for d_k in budget.levels:
        base = claim_studies.base(budget, {"model.attention.d_head": d_k})
        study = claim_studies.study(f"claim-scale-{d_k}", base, {UNSCALED: {"model.attention.scale": False}}, budget)
        start = {arm: entropies(untrained_models(study, arm), study) for arm in (BASE, UNSCALED)}
        end = {arm: entropies(trained_models(study, arm), study) for arm in (BASE, UNSCALED)}
        widths[d_k] = Width(study.losses(), start, end)
        studies.append(study)
    unigram = claim_studies.entropies(studies[0])["unigram"]
    return judge(widths, unigram, tuple(study.path for study in studies))


CLAIM = Claim(
    "scale-sqrt-dk",
    "Training works without 1/√d_k; at large d_k scaling is better, because the softmax saturates.",
    f"{NOTES}; Vaswani et al. 2017, §3.2.1",
    "study",
    "With the scaling and without, over d_k, paired by seed; the entropy of attention before and after training.",
    decide,
    quick=Budget(seeds=3, steps=600, levels=(8, 64, 256)),
    full=Budget(seeds=8, steps=2_000, levels=(8, 32, 128, 512)),
)
