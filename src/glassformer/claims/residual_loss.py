"""What the residual connection is worth, over depth; and what deleting the notes' line really takes away.

In the notes' code ``output`` enters the network in the line ``x = x + output`` alone. To delete it removes not the
skip but attention, and what is left sees one character at a time: a bigram model, whose entropy the loss then reaches.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import costs_more, diverged, exceeds, mean_exceeds, mean_over_seeds, signed, worded
from glassformer.claims.residual_study import (
    ATTENTION_REMOVED,
    CHECKED_DEPTH,
    FULL,
    QUICK,
    SKIP_REMOVED,
    residual_studies,
    whole_selection,
)
from glassformer.claims.tuned import TunedArms, agreement, tuned_arms
from glassformer.studies.design import BASE
from glassformer.wording import counted

CLAIMED = 2.47 - 1.70
"""The claimed cost of removing the residual at one layer, nats."""

SHARE = 0.5
"""The claim holds if removing the skips of one layer costs more than this share of what removing attention costs here.

Removing attention is what led to the notes' number, and both costs grow with training: so they are compared with each
other, after the same steps, and not with a number that 46,500 steps led to.
"""

WORSE = 0.05
"""Nats by which a deeper baseline may end above a shallower one. Beyond, or where a run of it diverged, the deeper one
was not trained as well as it can be, and what removing its skips costs says little."""


def judge(
    depths: Mapping[int, TunedArms],
    bigram: float | None = None,
    evidence: tuple[Path, ...] = (),
    checked: Mapping[str, Measurement] | None = None,
) -> ClaimResult:
    """The claim is about one layer: there the cost of the skip must be above SHARE × the cost of attention.

    It is not tested if attention has learned nothing that could be lost.

    Args:
        checked: how well the rates chosen on short runs agree with those chosen on whole ones.
    """
    numbers: dict[str, Measurement] = (
        {} if bigram is None else {"bigram entropy of the text": measurement(bigram, "nats")}
    )
    for depth, arms in depths.items():
        numbers |= arms.numbers(counted(depth, "layer"), by_rate=(SKIP_REMOVED, ATTENTION_REMOVED))
    first = min(depths)
    one = depths[first]
    beyond = {seed: _less(loss, SHARE, one, seed) for seed, loss in one.losses[SKIP_REMOVED].items()}
    excess = mean_over_seeds(beyond.values())
    numbers[f"{counted(first, 'layer')}: cost of the skip less {SHARE:g} × that of attention"] = excess
    failures = _failures(depths)
    cautions = [
        f"CAUTION: the baseline of {counted(depth, 'layer')} {what}, at its own best rate "
        f"{depths[depth].rates[BASE]:g}: what is measured against it says little. "
        for depth, what in failures.items()
    ]
    without_attention = mean_over_seeds(one.losses[ATTENTION_REMOVED].values())
    floor = "" if bigram is None else f", near the bigram entropy of {bigram:.2f}"
    claimed = f"at {first} layer removing the skips costs {SHARE:.0%} or more of what removing attention does"
    return ClaimResult(
        {claimed: mean_exceeds(beyond, 0.0)},
        "".join(cautions)
        + f"At {first} layer, each arm at its own best learning rate, removing the skips (x = sublayer(x)) costs "
        f"{signed(one.cost(SKIP_REMOVED))}. What costs {signed(one.cost(ATTENTION_REMOVED))} is removing attention, "
        "which is what deleting the line x = x + output does: what is left sees one character at a time, and ends at "
        f"{worded(without_attention, '.2f')} nats{floor}.",
        _over_depth(depths, failures) + _over_rates(depths),
        numbers | dict(checked or {}),
        evidence,
        "removing attention costs nothing here, so there is nothing to compare the skips with."
        if costs_more(one.losses[BASE], one.losses[ATTENTION_REMOVED]) is False
        else "",
    )


def _less(loss: float | None, share: float, arms: TunedArms, seed: int) -> float | None:
    """Cost of the skip less ``share`` times the cost of attention, of one seed."""
    base, attention = arms.losses[BASE].get(seed), arms.losses[ATTENTION_REMOVED].get(seed)
    if loss is None or base is None or attention is None:
        return None
    return (loss - base) - share * (attention - base)


def _failures(depths: Mapping[int, TunedArms]) -> dict[int, str]:
    """By depth, what is wrong with a baseline that diverged, or ends worse than a shallower one."""
    found: dict[int, str] = {}
    best: tuple[float, int] | None = None
    for depth in sorted(depths):
        losses = depths[depth].losses[BASE]
        mean = mean_over_seeds(losses.values()).value
        if lost := diverged(losses):
            found[depth] = f"diverged at {counted(lost, 'seed')}"
        elif best is not None and mean is not None and mean > best[0] + WORSE:
            found[depth] = f"ends at {mean:.3f} nats, above the {best[0]:.3f} of {counted(best[1], 'layer')}"
        elif mean is not None and (best is None or mean < best[0]):
            best = mean, depth
    return found


def _over_depth(depths: Mapping[int, TunedArms], failures: Collection[int]) -> str:
    costs = {depth: arms.cost(SKIP_REMOVED) for depth, arms in depths.items()}
    text = "What removing the skips costs depends on depth (layers: nats, each arm at its own best rate): "
    text += ", ".join(
        f"{depth}: {signed(cost)}" + (" of a baseline that failed" if depth in failures else "")
        for depth, cost in costs.items()
    )
    deepest = max(depths)
    if len(depths) > 1 and deepest not in failures and exceeds(costs[deepest], SHARE * CLAIMED):
        text += f". At {deepest} layers they cost more than {SHARE:.0%} of the claimed {CLAIMED:.2f} nats"
    return f"{text}."


def _over_rates(depths: Mapping[int, TunedArms]) -> str:
    """How the cost of the skips depends on the rate that both arms have, over depth."""
    clauses = []
    for depth, arms in depths.items():
        by_rate = {rate: cost.value for rate, cost in arms.cost_by_rate(SKIP_REMOVED).items()}
        known = [f"{rate:g}: {cost:+.2f}".replace(": -", ": −") for rate, cost in by_rate.items() if cost is not None]
        if known:
            clauses.append(f"{counted(depth, 'layer')} {', '.join(known)}")
    if not clauses:
        return ""
    return f" At one rate for both arms (selection runs, rate: nats): {'; '.join(clauses)}."


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` are depths."""
    studies = residual_studies(budget, claim_studies)
    bigram = claim_studies.entropies(next(iter(studies.values()))).get("bigram")
    depths = {depth: tuned_arms(study) for depth, study in studies.items()}
    evidence = tuple(study.path for study in studies.values())
    whole = whole_selection(budget, claim_studies)
    if whole is None:
        return judge(depths, bigram, evidence)
    checked = agreement(depths[CHECKED_DEPTH], tuned_arms(whole), counted(CHECKED_DEPTH, "layer"))
    return judge(depths, bigram, (*evidence, whole.path), checked)


CLAIM = Claim(
    "residual-loss",
    "Removing the residual, x = x + output, takes a one-layer model's loss from 1.70 to 2.47.",
    NOTES,
    "study",
    "Skips removed, attention removed, both kept, and only one of the two skips; over depth, every arm at its own best "
    "learning rate, paired by seed.",
    decide,
    quick=QUICK,
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        f"That short runs choose the rate that whole ones do is checked at {CHECKED_DEPTH} layers only.",
        "Warm-up, clipping and starting weights are not tuned: with others a deep stack may train without skips.",
        "The notes trained for 46,500 steps; what a skip is worth at one layer may be more, or less, by then.",
    ),
)
