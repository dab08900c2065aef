"""Learned against sinusoidal positions, with the size of the token vectors as a second factor.

minGPT's tokens start at a standard deviation of 0.02; sinusoids have a root mean square of 0.71, and drown them. The
paper's tokens are multiplied by √d_model, and so as large as the sinusoids. Is the gap the encoding's, or the scale's?
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import costs_more, difference, exceeds, mean_over_seeds, signed
from glassformer.statistics.comparison import Losses
from glassformer.studies.curves import mean_loss, shared_steps
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study

WIDTH = 64
SMALL, LARGE = "tokens at 0.02 (minGPT's)", "tokens at 1 (the paper's)"
GPT = {
    "model.norm.placement": "pre",
    "model.norm.final": True,
    "model.initialisation.scheme": "gpt2",
    "model.d_model": WIDTH,
}
SINUSOIDAL = {"model.positions.kind": "sinusoidal"}
PAPERS = {"model.embedding.scale": True, "model.initialisation.embedding_std": WIDTH**-0.5}
"""Vectors at d^−½, multiplied by √d: a standard deviation of 1."""

VARIANTS = {
    "sinusoidal": SINUSOIDAL,
    "learned, large tokens": PAPERS,
    "sinusoidal, large tokens": SINUSOIDAL | PAPERS,
}


def judge(arms: Mapping[str, Losses], means: Mapping[str, Losses], evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """At each size of the tokens: sinusoidal positions end at a higher loss than learned ones; so is its mean.

    Args:
        arms: final losses of the base and VARIANTS.
        means: the loss averaged over the training, which is lower the faster it falls.
    """
    names = (BASE, *VARIANTS)
    learned, sinusoidal, learned_large, sinusoidal_large = (arms[name] for name in names)
    small, large = difference(learned, sinusoidal), difference(learned_large, sinusoidal_large)
    small_mean, large_mean = (difference(means[a], means[b]) for a, b in (names[:2], names[2:]))
    shrinks = difference(gaps(learned, sinusoidal), gaps(learned_large, sinusoidal_large))
    settings = [f"{kind}, {size}" for size in (SMALL, LARGE) for kind in ("learned", "sinusoidal")]
    numbers = {what: mean_over_seeds(arms[name].values()) for what, name in zip(settings, names, strict=True)}
    return ClaimResult(
        {
            f"with learned positions the loss falls lower, {SMALL}": costs_more(learned, sinusoidal),
            f"and faster, {SMALL}": costs_more(means[names[0]], means[names[1]]),
            f"it falls lower, {LARGE}": costs_more(learned_large, sinusoidal_large),
            f"and faster, {LARGE}": costs_more(means[names[2]], means[names[3]]),
        },
        f"Final loss of sinusoidal less learned positions: {signed(small)} with {SMALL}, {signed(large)} with {LARGE}. "
        f"The size of the tokens changes the gap by {signed(shrinks)}.",
        f"{_whose(small, large)} Learned vectors start at 0.02 and the sinusoids' rms is 0.71, whatever the tokens' "
        "size: small tokens are drowned by the sinusoids, and large ones drown the learned vectors. One pre-norm "
        "layer, GPT-2's starting weights.",
        numbers
        | {
            f"gap of the final loss, {SMALL}": small,
            f"gap of the final loss, {LARGE}": large,
            f"gap of the mean loss over training, {SMALL}": small_mean,
            f"gap of the mean loss over training, {LARGE}": large_mean,
            "what the size of the tokens changes of the gap": shrinks,
        },
        evidence,
    )


def _whose(small: Measurement, large: Measurement) -> str:
    """Whether the gap is the scale's or the encoding's, as far as the two sizes tell."""
    signs = exceeds(small, 0.0), exceeds(large, 0.0)
    if None in signs:
        return "Whether the gap is due to the scale or to the encoding is inconclusive."
    if signs[0] == signs[1]:
        return "The gap has the same sign at both sizes of the tokens, so it is not the scale's alone."
    return "The gap turns round with the size of the tokens: it is the scale's, not the encoding's."


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


def gaps(learned: Losses, sinusoidal: Losses) -> dict[int, float | None]:
    """Sinusoidal less learned, of each seed that both ended with a loss."""
    found: dict[int, float | None] = {}
    for seed, loss in sinusoidal.items():
        other = learned.get(seed)
        found[seed] = None if loss is None or other is None else loss - other
    return found


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """A study of two factors."""
    study = claim_studies.study("claim-positions", claim_studies.base(budget, GPT), VARIANTS, budget)
    return judge(study.losses(), over_training(study), (study.path,))


CLAIM = Claim(
    "learned-vs-sinusoidal",
    "With learned positions the loss falls faster and lower than with sinusoidal ones.",
    NOTES,
    "study",
    "Learned and sinusoidal positions × small and large token vectors, paired by seed.",
    decide,
    quick=Budget(seeds=3, steps=600),
    full=Budget(seeds=8, steps=2_000),
)
