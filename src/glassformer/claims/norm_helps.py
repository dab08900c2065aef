"""What the norm is worth, over depth; and whether any model reached the losses that the claim is about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import costs_more, diverged, mean_over_seeds, signed
from glassformer.claims.norm_study import BATCH, FULL, NAME, PRE, QUICK, VARIANTS, WITHOUT
from glassformer.claims.tuned import TunedArms, tuned_arms
from glassformer.studies.design import BASE
from glassformer.wording import counted, listed

BEFORE, AFTER = 1.8, 1.5
"""The notes' losses without the norm and with it, nats."""

REACHED = 0.05
"""A depth is in the regime of the claim where some arm's mean loss is at most this much above AFTER. What a norm does
for models that end near 2.0 is no evidence for or against a fall from 1.8 to 1.5."""

SHARE = 0.5
"""At a depth the norm saves as much as claimed if it is more than this share of BEFORE − AFTER, or if no run trains
without the norm."""

NORMS = {BASE: "post-norm", PRE: "pre-norm", BATCH: "BatchNorm"}
DECISIVE = (BASE, PRE)
"""The claim is about LayerNorm; BatchNorm is measured beside it."""


def judge(depths: Mapping[int, TunedArms], evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """At each depth and place of the norm: whether it lowers the loss at all, and by SHARE of what is claimed.

    Only the depths in the claim's regime count; where there is none, the claim is not tested, and the parts say what
    was found outside it.
    """
    numbers: dict[str, Measurement] = {}
    clauses: list[str] = []
    lowest: dict[int, float] = {}
    for depth, arms in depths.items():
        layers = counted(depth, "layer")
        found = {arm: mean_over_seeds(losses.values()) for arm, losses in arms.losses.items()}
        lowest[depth] = min((loss.value for loss in found.values() if loss.value is not None), default=math.inf)
        for arm, name in {WITHOUT: WITHOUT, **NORMS}.items():
            numbers[f"{layers}: {name}, loss"] = found[arm]
            if arm in arms.rates:
                numbers[f"{layers}: {name}, best learning rate"] = measurement(arms.rates[arm])
        lost = diverged(arms.losses[WITHOUT])
        numbers[f"{layers}: runs that diverged without it"] = measurement(lost)
        for arm, name in NORMS.items():
            saved = numbers[f"{layers}: what {name} saves"] = arms.cost(WITHOUT, over=arm)
            if arms.has_control(WITHOUT) and (arm == BASE or arms.has_control(arm)):
                at_one = arms.cost_at_baseline_rate(WITHOUT, over=arm)
                numbers[f"{layers}: what {name} saves at the rate that is best for post-norm"] = at_one
            for rate, cost in arms.cost_by_rate(WITHOUT, over=arm).items():
                numbers[f"{layers}: what {name} saves at rate {rate:g} (selection runs)"] = cost
            clauses.append(f"{name} at {layers} {signed(saved)}")
        if lost:
            clauses.append(f"at {layers} {lost} of {len(arms.losses[WITHOUT])} runs diverged without it")
    reached = [depth for depth, loss in lowest.items() if loss <= AFTER + REACHED]
    parts: dict[str, bool | None] = {}
    for depth in reached or depths:
        parts |= _parts(counted(depth, "layer"), depths[depth])
    return ClaimResult(
        parts,
        "Loss without the norm less loss with it, each arm at its own best learning rate: "
        f"{'; '.join(clauses)}. The notes' gain was {BEFORE - AFTER:.1f}.",
        "Torch's starting weights; measured after the budget's steps."
        + (
            f" Only {listed([str(depth) for depth in reached])} layers are in the regime of the claim."
            if reached
            else ""
        ),
        numbers,
        evidence,
        "" if reached else _not_tested(lowest),
    )


def _parts(layers: str, arms: TunedArms) -> dict[str, bool | None]:
    """Sign and size of what LayerNorm saves."""
    without = arms.losses[WITHOUT]
    none_trains = diverged(without) == len(without)
    found: dict[str, bool | None] = {}
    for arm in DECISIVE:
        saves = none_trains and not diverged(arms.losses[arm])
        share = SHARE * (BEFORE - AFTER)
        found[f"at {layers} {NORMS[arm]} lowers the loss"] = saves or costs_more(arms.losses[arm], without)
        found[f"at {layers} {NORMS[arm]} saves {share:.2f} nats or more"] = saves or costs_more(
            arms.losses[arm], without, share
        )
    return found


def _not_tested(lowest: Mapping[int, float]) -> str:
    """Why the regime was not reached."""
    depth = min(lowest, key=lowest.__getitem__)
    if lowest[depth] == math.inf:
        return "every run diverged."
    return (
        f"the claim is about losses from {BEFORE} to {AFTER}, and the lowest mean loss here is {lowest[depth]:.2f} "
        f"nats, at {counted(depth, 'layer')}. A loss of {AFTER} takes a model such as lecture-gpt, and a GPU."
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are depths."""
    studies = claim_studies.over_depth(NAME, VARIANTS, budget)
    return judge(
        {depth: tuned_arms(study) for depth, study in studies.items()}, tuple(study.path for study in studies.values())
    )


CLAIM = Claim(
    "norm-helps",
    "Adding the norm took the loss from 1.8 to 1.5.",
    NOTES,
    "study",
    "LayerNorm behind the sum, before the sublayer, BatchNorm, and none, over depth, every arm at its own best "
    "learning rate, paired by seed. Not tested where no arm comes near 1.5.",
    decide,
    quick=QUICK,
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        "The notes do not say which model went from 1.8 to 1.5, by which loss, or what else was changed.",
        "The rates are chosen on shorter runs; that whole runs would choose the same is checked for the residual only.",
        "What a norm is for, deep models and high learning rates, begins where these models end: at 8 layers.",
    ),
)
