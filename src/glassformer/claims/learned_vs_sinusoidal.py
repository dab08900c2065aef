"""Learned against sinusoidal positions, with two scales as further factors: the positions' and the tokens'.

minGPT's tokens and learned positions start at a standard deviation of 0.02; sinusoids have a root mean square of 0.71,
and drown such tokens. The paper's tokens are multiplied by √d_model, and so as large as the sinusoids. Is the gap the
encoding's, or the scale's? Every combination of kind, scale of the positions and scale of the tokens is an arm: learned
positions that start at 0.71, and sinusoids of 0.02, among them. Each arm has its own best learning rate.

The notes compare learned positions at 0.02 with sinusoids at 0.71. That gap is the sum of what the scale makes and what
the kind makes, and each can be taken at either level of the other: the two shares are the means of both orders.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from glassformer.claims import one_layer
from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import costs_more, difference, diverged, exceeds, mean_over_seeds, signed
from glassformer.claims.tuned import TunedArms, tuned_arms
from glassformer.statistics.comparison import Losses
from glassformer.studies.curves import mean_loss, shared_steps
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study

WIDTH = 64
LEARNED, SINUSOIDAL = "learned", "sinusoidal"
SMALL, LARGE = 0.02, 0.5**0.5
"""Root mean squares of the position vectors: GPT-2's start, and the sinusoids' own, 0.71."""

GPT = {
    "model.norm.placement": "pre",
    "model.norm.final": True,
    "model.initialisation.scheme": "gpt2",
    "model.d_model": WIDTH,
}
PAPERS = {"model.embedding.scale": True, "model.initialisation.embedding_std": WIDTH**-0.5}
"""Vectors at d^−½, multiplied by √d: a standard deviation of 1."""

MINGPT, PAPER = "tokens at 0.02 (minGPT's)", "tokens at 1 (the paper's)"
KINDS: dict[str, dict[str, Any]] = {LEARNED: {}, SINUSOIDAL: {"model.positions.kind": "sinusoidal"}}
SCALES: dict[float, dict[str, Any]] = {scale: {"model.positions.options": {"rms": scale}} for scale in (SMALL, LARGE)}
SIZES: dict[str, dict[str, Any]] = {MINGPT: {}, PAPER: PAPERS}


def name_of(kind: str, scale: float, tokens: str) -> str:
    """What an arm of the study is called; minGPT's own is the baseline."""
    return BASE if (kind, scale, tokens) == (LEARNED, SMALL, MINGPT) else f"{kind} at {scale:.2f}, {tokens}"


CELLS = tuple(itertools.product(KINDS, SCALES, SIZES))
"""Kind, scale of the positions and size of the tokens of every arm, the baseline's first."""

VARIANTS: dict[str, dict[str, Any]] = {
    name_of(*cell): KINDS[cell[0]] | SCALES[cell[1]] | SIZES[cell[2]] for cell in CELLS if name_of(*cell) != BASE
}
"""The baseline has ``SCALES[SMALL]`` too, which GPT-2's start is."""

Contrast = Mapping[str, float]
"""Arms and what each counts for."""


def kind_share(tokens: str) -> Contrast:
    """Sinusoidal less learned, the mean of both scales."""
    return {
        name_of(kind, scale, tokens): sign / 2 for kind, sign in ((SINUSOIDAL, 1), (LEARNED, -1)) for scale in SCALES
    }


def scale_share(tokens: str) -> Contrast:
    """Positions of 0.71 less positions of 0.02, the mean of both kinds."""
    return {name_of(kind, scale, tokens): sign / 2 for scale, sign in ((LARGE, 1), (SMALL, -1)) for kind in KINDS}


def contrast(arms: Mapping[str, Losses], weights: Contrast) -> Measurement:
    """Σ weight · loss of each seed, with the interval of its mean; seeds at which a run diverged are left out."""
    by_seed = []
    for seed in arms[next(iter(weights))]:
        losses = [arms[name].get(seed) for name in weights]
        known = [loss for loss in losses if loss is not None]
        if len(known) == len(losses):
            by_seed.append(sum(weight * loss for weight, loss in zip(weights.values(), known, strict=True)))
    return mean_over_seeds(by_seed)


def best_cell(arms: TunedArms, kind: str) -> str | None:
    """The arm of this kind that was best on the selection seeds; None where there was no selection."""
    names = [name_of(*cell) for cell in CELLS if cell[0] == kind]
    means = {name: min(arms.mean_by_rate(name).values()) for name in names if arms.mean_by_rate(name)}
    return min(means, key=lambda name: means[name], default=None)


def judge(arms: TunedArms, means: Mapping[str, Losses], evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """Sinusoidal positions end at a higher loss than learned ones; so is its mean over training.

    So in the notes' comparison, at every scale of positions and tokens alike, and each kind at its own best scales.

    Args:
        arms: final losses of the baseline and VARIANTS.
        means: the loss averaged over the training, which is lower the faster it falls.
    """
    parts: dict[str, bool | None] = {}
    numbers: dict[str, Measurement] = {}
    pairs = {
        "as in the notes (learned at 0.02, sinusoidal at 0.71, tokens at 0.02)": (
            BASE,
            name_of(SINUSOIDAL, LARGE, MINGPT),
        )
    }
    for scale, tokens in itertools.product(SCALES, SIZES):
        pairs[f"both at {scale:.2f}, {tokens}"] = name_of(LEARNED, scale, tokens), name_of(SINUSOIDAL, scale, tokens)
    for where, (learned, sinusoidal) in pairs.items():
        parts[f"{where}: with learned positions the loss falls lower"] = costs_more(
            arms.losses[learned], arms.losses[sinusoidal]
        )
        parts[f"{where}: and faster"] = costs_more(means[learned], means[sinusoidal])
        numbers[f"{where}: gap of the final loss"] = difference(arms.losses[learned], arms.losses[sinusoidal])
        numbers[f"{where}: gap of the mean loss over training"] = difference(means[learned], means[sinusoidal])
    best = {kind: best_cell(arms, kind) for kind in KINDS}
    own = ""
    if (learned_best := best[LEARNED]) is not None and (sinusoidal_best := best[SINUSOIDAL]) is not None:
        where = "each at the scales that were best for it"
        at_best = arms.losses[learned_best], arms.losses[sinusoidal_best]
        parts[f"{where}: with learned positions the loss falls lower"] = costs_more(*at_best)
        gap = numbers[f"{where}: gap of the final loss"] = difference(*at_best)
        own = f" Each at the scales that were best for it on the selection seeds, the gap is {signed(gap)}."
    for cell in CELLS:
        losses, where = arms.losses[name_of(*cell)], f"{cell[0]} at {cell[1]:.2f}, {cell[2]}"
        numbers[f"{where}: loss"] = mean_over_seeds(losses.values())
        if lost := diverged(losses):
            numbers[f"{where}: runs that diverged"] = measurement(lost)
        if (rate := arms.rates.get(name_of(*cell))) is not None:
            numbers[f"{where}: best learning rate"] = measurement(rate)
    shares = {}
    for tokens in SIZES:
        kind, scale = (contrast(arms.losses, share(tokens)) for share in (kind_share, scale_share))
        shares[tokens] = kind, scale
        numbers[f"{tokens}: share of the kind in the gap"] = kind
        numbers[f"{tokens}: share of the positions' scale in the gap"] = scale
    notes = difference(arms.losses[BASE], arms.losses[name_of(SINUSOIDAL, LARGE, MINGPT)])
    kind, scale = shares[MINGPT]
    return ClaimResult(
        parts,
        f"Final loss of sinusoidal less learned positions, as in the notes: {signed(notes)}, of which the kind makes "
        f"{signed(kind)} and the positions' scale {signed(scale)}. With tokens at 1 the kind makes "
        f"{signed(shares[PAPER][0])} and the positions' scale {signed(shares[PAPER][1])}.{own}",
        f"{_whose(kind, scale)} Scales are those of the starting vectors, sinusoids keep theirs. One pre-norm layer, "
        "GPT-2's starting weights, every arm at its own best learning rate.",
        numbers,
        evidence,
    )


def _whose(kind: Measurement, scale: Measurement) -> str:
    """Whose the notes' gap is, as far as the shares' intervals tell."""
    signs = {"the kind": exceeds(kind, 0.0), "the positions' scale": exceeds(scale, 0.0)}
    clauses = [
        f"{what} {'makes sinusoidal positions worse' if sign else 'makes them better'}"
        for what, sign in signs.items()
        if sign is not None
    ]
    open_ = [what for what, sign in signs.items() if sign is None]
    said = f"In the notes' comparison {', and '.join(clauses)}." if clauses else ""
    left = f" What {' and '.join(open_)} {'makes' if len(open_) == 1 else 'make'} is inconclusive." if open_ else ""
    return (said + left).strip()


def over_training(study: Study) -> dict[str, Losses]:
    """Validation loss averaged over the steps that all runs cover, by arm and seed."""
    outcomes = study.outcomes()
    shared = shared_steps([each.curve.steps for each in outcomes if each.status == "finished"])
    found: dict[str, dict[int, float | None]] = {arm: {} for arm in study.config.arms}
    for each in outcomes:
        if shared is not None and each.status == "finished":
            found[each.variant][each.seed] = mean_loss(each.curve.steps, each.curve.losses, *shared)
        else:
            found[each.variant][each.seed] = None
    return dict(found)


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """A study of three factors."""
    base = claim_studies.base(budget, GPT | SCALES[SMALL])
    study = claim_studies.study("claim-positions", base, VARIANTS, budget)
    return judge(tuned_arms(study), over_training(study), (study.path,))


FULL = replace(one_layer.FULL, seeds=6, controls=False)

CLAIM = Claim(
    "learned-vs-sinusoidal",
    "With learned positions the loss falls faster and lower than with sinusoidal ones.",
    NOTES,
    "study",
    "Learned and sinusoidal positions × their scale × the tokens' scale, every arm at its own best learning rate, "
    "paired by seed.",
    decide,
    quick=replace(one_layer.QUICK, controls=False),
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        "Two scales of each factor: between and beyond them a kind may have a better one.",
        "Large tokens come with a head that starts larger too, since both are normal(0, d^−½).",
        (
            "A learned table of 64 positions is trained at the rate of all other weights, which moves small vectors "
            "faster."
        ),
        "The context is as long at validation as in training; positions beyond it are not asked for.",
    ),
)
