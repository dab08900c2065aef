"""What the residual connection is worth, over depth; and what deleting the notes' line really takes away.

In the notes' code ``output`` enters the network in the line ``x = x + output`` alone. To delete it removes not the
skip but attention, and what is left sees one character at a time: a bigram model, whose entropy the loss then reaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import difference, diverged, exceeds, mean_exceeds, mean_over_seeds, signed, worded
from glassformer.claims.residual_study import ATTENTION_REMOVED, FULL, NAME, QUICK, SKIP_REMOVED, VARIANTS
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE
from glassformer.wording import counted

CLAIMED = 2.47 - 1.70
"""The claimed cost of removing the residual at one layer, nats."""

SHARE = 0.5
"""The claim holds if removing the skips of one layer costs more than this share of what removing attention costs here.

Removing attention is what led to the notes' number, and both costs grow with training: so they are compared with each
other, after the same steps, and not with a number that 46,500 steps led to.
"""

Arms = Mapping[str, Losses]
"""Losses of a depth's arms by name, the base among them."""


def judge(depths: Mapping[int, Arms], bigram: float | None = None, evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """The claim is about one layer: there the cost of the skip must be above SHARE × the cost of attention."""
    numbers: dict[str, Measurement] = (
        {} if bigram is None else {"bigram entropy of the text": measurement(bigram, "nats")}
    )
    costs: dict[int, Measurement] = {}
    for depth, arms in depths.items():
        layers = counted(depth, "layer")
        numbers[f"{layers}: base, loss"] = mean_over_seeds(arms[BASE].values())
        for arm in VARIANTS:
            numbers[f"{layers}: {arm}"] = difference(arms[BASE], arms[arm])
        costs[depth] = numbers[f"{layers}: {SKIP_REMOVED}"]
        if lost := diverged(arms[SKIP_REMOVED]):
            numbers[f"{layers}: {SKIP_REMOVED}, runs that diverged"] = measurement(lost)
    first = min(depths)
    one, attention = depths[first], numbers[f"{counted(first, 'layer')}: {ATTENTION_REMOVED}"]
    beyond = {seed: _less(loss, SHARE, one, seed) for seed, loss in one[SKIP_REMOVED].items()}
    excess = mean_over_seeds(beyond.values())
    numbers[f"{counted(first, 'layer')}: cost of the skip less {SHARE:g} × that of attention"] = excess
    deepest = max(depths)
    without_attention = mean_over_seeds(one[ATTENTION_REMOVED].values())
    over_depth = ", ".join(f"{depth}: {signed(cost)}" for depth, cost in costs.items())
    floor = "" if bigram is None else f", near the bigram entropy of {bigram:.2f}"
    claimed = f"at {first} layer removing the skips costs {SHARE:.0%} or more of what removing attention does"
    return ClaimResult(
        {claimed: mean_exceeds(beyond, 0.0)},
        f"At {first} layer, removing the skips (x = sublayer(x)) costs {signed(costs[first])}. What costs "
        f"{signed(attention)} is removing attention, which is what deleting the line x = x + output does: what is left "
        f"sees one character at a time, and ends at {worded(without_attention, '.2f')} nats{floor}.",
        f"What removing the skips costs depends on depth (layers: nats): {over_depth}."
        + (
            f" At {deepest} layers they cost more than {SHARE:.0%} of the claimed {CLAIMED:.2f} nats."
            if deepest != first and exceeds(costs[deepest], SHARE * CLAIMED)
            else ""
        ),
        numbers,
        evidence,
    )


def _less(loss: float | None, share: float, arms: Arms, seed: int) -> float | None:
    """Cost of the skip less ``share`` times the cost of attention, of one seed."""
    base, attention = arms[BASE].get(seed), arms[ATTENTION_REMOVED].get(seed)
    if loss is None or base is None or attention is None:
        return None
    return (loss - base) - share * (attention - base)


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are depths."""
    studies = claim_studies.over_depth(NAME, VARIANTS, budget)
    bigram = claim_studies.entropies(next(iter(studies.values()))).get("bigram")
    losses = {depth: study.losses() for depth, study in studies.items()}
    return judge(losses, bigram, tuple(study.path for study in studies.values()))


CLAIM = Claim(
    "residual-loss",
    "Removing the residual, x = x + output, takes a one-layer model's loss from 1.70 to 2.47.",
    NOTES,
    "study",
    "Skips removed, sublayers removed, both kept, and only one of the two skips; over depth, paired by seed.",
    decide,
    quick=QUICK,
    full=FULL,
)
