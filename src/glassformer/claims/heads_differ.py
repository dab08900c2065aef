"""Whether eight heads look at different things than two: more than the heads of two seeds differ anyway.

Each head is compared with those of another model on the same texts, by the Jensen–Shannon divergence of their
attention, and the heads of an 8-head model are found to be some way from those of a 2-head model. Two controls show
what that is worth, for narrow heads differ from seed to seed, and of two heads the nearest is further than of eight:

- *counterparts*: how far an 8-head model's heads are from the most similar of a 2-head model's two, against how far
  they are from the most similar of two heads drawn from an 8-head model of another seed (the mean over all pairs);
- *populations*: the mean divergence between a head of 8 and a head of 2, less half the sum of those between two models
  of 8 and between two models of 2. JS is a squared distance in a Hilbert space (Fuglede & Topsøe 2004), so this is the
  squared distance between the mean heads of both kinds, and its expectation is 0 where both are drawn alike.

Eight heads of a model of the same width are also 4 times narrower. So both are measured at equal width of a head too.
Every statistic is a mean over ordered pairs of different seeds; ``between_seeds.py`` has the intervals.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer.claims.between_seeds import over_pairs
from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import difference, exceeds, mean_over_seeds, signed, worded
from glassformer.claims.one_layer import FULL, QUICK
from glassformer.claims.trained import trained_models, untrained_models, validation_tokens
from glassformer.claims.tuned import TunedArms, tuned_arms
from glassformer.inspection.attention_scores import divergence
from glassformer.models.decoder import Decoder
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE
from glassformer.tasks.run_config import RunConfig
from glassformer.wording import listed

EIGHT, EIGHT_WIDE, TWO_NARROW = "8 heads", "8 heads, each as wide as one of 2", "2 heads, each as narrow as one of 8"
ROWS = 8  # texts

SETTINGS = {
    "at equal width of the model": (EIGHT, BASE),
    "at equal width of a head (wide)": (EIGHT_WIDE, BASE),
    "at equal width of a head (narrow)": (EIGHT, TWO_NARROW),
}
"""In each: the arm of 8 heads, and the arm of 2."""

Heads = Mapping[int, Tensor]
"""The attention of an arm's models by seed, each [rows, heads, T, T], on the same texts."""


@dataclass(frozen=True)
class Comparison:
    """Divergences in nats between heads of 8-head and 2-head models, by seed; every model against other seeds.

    Attributes:
        to_two: from the heads of 8 to the most similar of 2.
        to_drawn: to the most similar of two heads of another 8-head model, the mean over all pairs of its heads.
        to_best: to the most similar of those two of its heads that suit best.
        to_eight: to the most similar of all its 8.
        to_own: to the most similar of 2, of the model of the same seed, which began with the same weights.
        two_to_two: from the heads of 2 to the most similar of 2.
        between: over all heads of 8 and all of 2.
        within: half the sum of the same between two models of 8, and between two of 2.
    """

    to_two: Losses
    to_drawn: Losses
    to_best: Losses
    to_eight: Losses
    to_own: Losses
    two_to_two: Losses
    between: Losses
    within: Losses

    @property
    def no_counterpart(self) -> Measurement:
        """How much further the heads of 8 are from 2 than from two heads of another 8-head model."""
        return difference(self.to_drawn, self.to_two)

    @property
    def populations(self) -> Measurement:
        """How much further the heads of 8 and of 2 are from each other than from their own kind."""
        return difference(self.within, self.between)

    def numbers(self, prefix: str) -> dict[str, Measurement]:
        """Everything, with the two differences that decide."""
        rows = {
            "8 heads to the most similar of 2": mean_over_seeds(self.to_two.values()),
            "8 heads to the most similar of two drawn from another 8": mean_over_seeds(self.to_drawn.values()),
            "8 heads to the most similar of the best two of another 8": mean_over_seeds(self.to_best.values()),
            "8 heads to the most similar of another 8": mean_over_seeds(self.to_eight.values()),
            "8 heads to the most similar of 2 of the same seed": mean_over_seeds(self.to_own.values()),
            "2 heads to the most similar of another 2": mean_over_seeds(self.two_to_two.values()),
            "to 2 less to two drawn from another 8": self.no_counterpart,
            "to 2 less to the best two of another 8": difference(self.to_best, self.to_two),
            "mean divergence of a head of 8 and one of 2": mean_over_seeds(self.between.values()),
            "half the sum of those within 8 and within 2": mean_over_seeds(self.within.values()),
            "between less within": self.populations,
        }
        return {f"{prefix}: {name}": row for name, row in rows.items()}


def variants(base: RunConfig) -> dict[str, dict[str, Any]]:
    """8 heads of the model's width; and 2 and 8 heads, each as wide as a head of the other model."""
    heads, width = "model.attention.n_heads", "model.attention.d_head"
    return {
        EIGHT: {heads: 8},
        EIGHT_WIDE: {heads: 8, width: base.model.d_model // 2},
        TWO_NARROW: {heads: 2, width: base.model.d_model // 8},
    }


def attention(models: Mapping[int, Decoder], tokens: Tensor) -> dict[int, Tensor]:
    """The first layer's weights of every model, [rows, heads, T, T]."""
    name = "blocks.0.attention.weights"
    return {seed: model.trace(tokens, only=(name,))[name] for seed, model in models.items()}


def divergences(weights: Tensor, others: Tensor) -> Tensor:
    """[rows, H, T, T] and [rows, G, T, T] → the divergence of every pair of heads on every text, [rows, H, G]."""
    heads = weights.shape[1]
    pairs = zip(weights, others, strict=True)
    return torch.stack([divergence(torch.cat(pair)[None])[:heads, heads:] for pair in pairs])


def to_nearest(found: Tensor) -> float:
    """[rows, H, G] → how far a head is from the most similar one of the other model: the mean over heads and texts."""
    return float(found.min(-1).values.mean())


def to_nearest_of_two(found: Tensor) -> Tensor:
    """The same from the most similar of two of the other model's heads, for every pair of them, [pairs]."""
    pairs = itertools.combinations(range(found.shape[-1]), 2)
    return torch.stack([found[..., list(pair)].min(-1).values.mean() for pair in pairs])


def compare(eight: Heads, two: Heads) -> Comparison:
    """The seeds that both arms have a model of; empty where there are not two of them."""
    seeds = sorted(set(eight) & set(two))
    found: dict[str, dict[tuple[int, int], float]] = {}
    for one, other in itertools.permutations(seeds, 2):
        across, eights, twos = (divergences(a[one], b[other]) for a, b in ((eight, two), (eight, eight), (two, two)))
        of_two = to_nearest_of_two(eights)
        values: dict[str, float | Tensor] = {
            "to_two": to_nearest(across),
            "to_drawn": of_two.mean(),
            "to_best": of_two.min(),
            "to_eight": to_nearest(eights),
            "two_to_two": to_nearest(twos),
            "between": across.mean(),
            "within": (eights.mean() + twos.mean()) / 2,
        }
        for name, value in values.items():
            found.setdefault(name, {})[one, other] = float(value)
    own: Losses = {seed: to_nearest(divergences(eight[seed], two[seed])) for seed in seeds}
    names = [each.name for each in fields(Comparison) if each.name != "to_own"]
    return Comparison(to_own=own, **{name: over_pairs(found.get(name, {})) for name in names})


def judge(
    trained: Mapping[str, Comparison],
    untrained: Mapping[str, Comparison],
    arms: TunedArms | None = None,
    evidence: tuple[Path, ...] = (),
) -> ClaimResult:
    """In each of SETTINGS: the heads of both kinds differ as populations, and those of 8 have no counterpart among 2.

    Both more than models of the same kind and another seed do; the thresholds are 0.

    Args:
        trained, untrained: by setting, after training and at the starting weights.
    """
    numbers: dict[str, Measurement] = {}
    populations = {setting: exceeds(found.populations, 0.0) for setting, found in trained.items()}
    alone = {setting: exceeds(found.no_counterpart, 0.0) for setting, found in trained.items()}
    parts: dict[str, bool | None] = {}
    for setting, found in trained.items():
        parts[f"{setting}, heads of 8 and of 2 differ more than heads of two seeds do"] = populations[setting]
        parts[f"{setting}, heads of 8 are further from 2 than from two heads of another 8"] = alone[setting]
        numbers |= found.numbers(setting)
    for setting, found in untrained.items():
        numbers[f"{setting}, before training: to 2 less to two drawn from another 8"] = found.no_counterpart
        numbers[f"{setting}, before training: between less within"] = found.populations
    first = next(iter(trained.values()))
    two, drawn, own, twos = (
        worded(mean_over_seeds(each.values()))
        for each in (first.to_two, first.to_drawn, first.to_own, first.two_to_two)
    )
    differences = "; ".join(
        f"{setting} {signed(found.populations)} as populations, {signed(found.no_counterpart)} from the nearest"
        for setting, found in trained.items()
    )
    return ClaimResult(
        parts,
        f"Each arm at its own best learning rate, a head of an 8-head model is {two} nats (Jensen–Shannon, at most "
        f"0.693) from the most similar head of a 2-head model of another seed ({own} of the same seed), and {drawn} "
        "from the most similar of two heads of another 8-head model: that two 2-head models are nearer to each other "
        f"({twos}) is no evidence that 8 heads look at other things. What is beyond the difference between seeds: "
        f"{differences}.",
        f"That heads of 8 and of 2 differ on the average, more than heads of two seeds do, {_where(populations)}. That "
        f"heads of 8 have less of a counterpart among 2 than among two of another 8 {_where(alone)}. One layer.",
        numbers | (arms.numbers() if arms is not None else {}),
        evidence,
    )


def _where(found: Mapping[str, bool | None]) -> str:
    """In which settings something holds.

    >>> _where({"here": True, "there": None, "elsewhere": True})
    'holds here and elsewhere, is inconclusive there'
    """
    clauses = []
    for how, verb in ((True, "holds"), (False, "does not hold"), (None, "is inconclusive")):
        if settings := [setting for setting, held in found.items() if held is how]:
            clauses.append(f"{verb} {listed(settings)}")
    return ", ".join(clauses)


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """A study of 8 and 2 heads, wide and narrow, and the attention of its models on the same unseen texts."""
    base = claim_studies.base(budget)
    study = claim_studies.study("claim-heads", base, variants(base), budget)
    tokens = validation_tokens(study, ROWS)
    arms = (BASE, *study.config.variants)
    trained = {arm: attention(trained_models(study, arm), tokens) for arm in arms}
    untrained = {arm: attention(untrained_models(study, arm), tokens) for arm in arms}
    after, before = (
        {setting: compare(heads[eight], heads[two]) for setting, (eight, two) in SETTINGS.items()}
        for heads in (trained, untrained)
    )
    return judge(after, before, tuned_arms(study), (study.path,))


CLAIM = Claim(
    "heads-differ",
    "8 heads look at different things than 2.",
    NOTES,
    "study",
    "Jensen–Shannon divergence between the heads of trained models on the same texts, against that between seeds: of "
    "8-head and 2-head models at equal width of the model and of a head, every arm at its own best learning rate.",
    decide,
    quick=replace(QUICK, seeds=4, controls=False),
    full=replace(FULL, controls=False),
    could_be_wrong=(
        *training_doubts(FULL),
        (
            "Two heads drawn from 8 need not complement each other as the two of a 2-head model do, which makes that "
            "control larger. The best two of the 8 are the other extreme; both differences are given."
        ),
        "Every model is in several pairs. The intervals are the jackknife's over models, which is exact only for many.",
        "8 heads as wide as one of 2 have 4 times the attention parameters, and 2 narrow ones a quarter.",
        "How weights diverge is not what a head computes: heads may attend alike and copy different things.",
    ),
)
