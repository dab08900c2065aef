"""LayerNorm and BatchNorm on the same activations, and a model trained with each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.judging import difference, mean_over_seeds, signed
from glassformer.inspection.norm_comparison import BATCH_EVALUATION, BATCH_TRAINING, LAYER, compare_norms
from glassformer.parts.norms import LayerNorm, SequenceBatchNorm
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE

ROWS, TOKENS, WIDTH = 8, 32, 64
NORMAL = 1e-3
"""Largest deviation from mean 0 and deviation 1 of what is normalised (ε, inside the root, is 1e-5)."""


@dataclass(frozen=True)
class NormEffects:
    """What each norm makes of the same activations.

    Attributes:
        layer_tokens, batch_features: the largest distance from mean 0 and deviation 1, of LayerNorm's tokens and of
            BatchNorm's features.
        layer_moves, training_moves, evaluation_moves: share of the other tokens that change when one does.
        layer_statistics, batch_statistics: numbers that each keeps besides its parameters.
    """

    layer_tokens: float
    batch_features: float
    layer_moves: float
    training_moves: float
    evaluation_moves: float
    layer_statistics: int
    batch_statistics: int


def measure(seed: int) -> NormEffects:
    """On random activations [ROWS, TOKENS, WIDTH], every token and feature with a mean and a size of its own."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, TOKENS, WIDTH, generator=generator)
    x = x * (0.5 + torch.rand(ROWS, TOKENS, 1, generator=generator)) + torch.randn(WIDTH, generator=generator)
    found = compare_norms(x)
    layer, training, evaluation = (found.kinds.index(kind) for kind in (LAYER, BATCH_TRAINING, BATCH_EVALUATION))
    spread = found.spread

    def off(means: torch.Tensor, deviations: torch.Tensor) -> float:
        return max(float(means.abs().max()), float((deviations - 1).abs().max()))

    return NormEffects(
        off(spread.token_means[layer], spread.token_deviations[layer]),
        off(spread.feature_means[training], spread.feature_deviations[training]),
        float(found.others_changed[layer]),
        float(found.others_changed[training]),
        float(found.others_changed[evaluation]),
        sum(each.numel() for each in LayerNorm(WIDTH).buffers()),
        sum(each.numel() for each in SequenceBatchNorm(WIDTH).buffers()),
    )


def judge(
    found: NormEffects, base: Losses | None = None, batch: Losses | None = None, evidence: tuple[Path, ...] = ()
) -> ClaimResult:
    """By the statistics alone; the losses after training are reported beside them."""
    numbers = {
        "LayerNorm: tokens off mean 0, deviation 1 by at most": measurement(found.layer_tokens),
        "BatchNorm in training: features off mean 0, deviation 1 by at most": measurement(found.batch_features),
        "LayerNorm: other tokens that change when one does": measurement(found.layer_moves, "share"),
        "BatchNorm in training: other tokens that change": measurement(found.training_moves, "share"),
        "BatchNorm in evaluation: other tokens that change": measurement(found.evaluation_moves, "share"),
        "LayerNorm: numbers kept besides its parameters": measurement(found.layer_statistics),
        "BatchNorm: numbers kept besides its parameters": measurement(found.batch_statistics),
    }
    trained = ""
    if base is not None and batch is not None:
        numbers["loss, LayerNorm"] = mean_over_seeds(base.values())
        numbers["loss, BatchNorm"] = mean_over_seeds(batch.values())
        cost = numbers["loss, BatchNorm less LayerNorm"] = difference(base, batch)
        trained = f" Trained, BatchNorm ends {signed(cost)} from LayerNorm on the validation text."
    return ClaimResult(
        {
            "LayerNorm normalises each token": found.layer_tokens <= NORMAL and found.layer_moves == 0,
            "BatchNorm normalises features over the batch": found.batch_features <= NORMAL
            and found.training_moves > 0.5,
            "only BatchNorm needs running statistics": found.batch_statistics > 0 and found.layer_statistics == 0,
        },
        f"After LayerNorm every token has mean 0 and deviation 1 (off by {found.layer_tokens:.1e} at most), and "
        f"changing one token changes {found.layer_moves:.0%} of the others; after BatchNorm in training every feature "
        f"has (off by {found.batch_features:.1e}), and {found.training_moves:.0%} of the other tokens change, those of "
        f"other texts too. BatchNorm keeps {found.batch_statistics} numbers for evaluation, LayerNorm "
        f"{found.layer_statistics}." + trained,
        "In training BatchNorm's statistics mix the future into the past, so such a language model is causal in "
        f"evaluation only ({found.evaluation_moves:.0%} of the other tokens change there).",
        numbers,
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """The statistics on one draw of activations, and a study."""
    variants = {"batchnorm": {"model.norm.kind": "batchnorm"}}
    study = claim_studies.study("claim-batchnorm", claim_studies.base(budget), variants, budget)
    losses = study.losses()
    return judge(measure(0), losses[BASE], losses["batchnorm"], (study.path,))


CLAIM = Claim(
    "layer-vs-batch-norm",
    "BatchNorm normalises features over the batch, LayerNorm each token; only one needs running statistics.",
    NOTES,
    "study",
    "The same activations given to both; and a model trained with each, paired by seed.",
    decide,
    quick=Budget(seeds=3, steps=600),
    full=Budget(seeds=8, steps=2_000),
)
