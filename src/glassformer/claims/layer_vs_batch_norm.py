"""LayerNorm and BatchNorm on the same activations, and a model trained with each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.exactness import DIFFERENT, relative, relative_measurement
from glassformer.claims.judging import signed
from glassformer.claims.one_layer import FULL, QUICK
from glassformer.claims.tuned import TunedArms, tuned_arms
from glassformer.inspection.norm_comparison import BATCH_EVALUATION, BATCH_TRAINING, LAYER, compare_norms
from glassformer.parts.norms import LayerNorm, SequenceBatchNorm

BATCH = "batchnorm"
VARIANTS = {BATCH: {"model.norm.kind": "batchnorm"}}

ROWS, TOKENS, WIDTH = 8, 32, 64
NORMAL = 1e-3
"""Largest deviation from mean 0 and deviation 1 of what is normalised (ε, inside the root, is 1e-5)."""

ROUNDING = 1e-5
"""Largest relative difference of outputs that are equal: they are float32."""


@dataclass(frozen=True)
class NormEffects:
    """What each norm makes of the same activations.

    Attributes:
        layer_tokens, batch_features: the largest distance from mean 0 and deviation 1, of LayerNorm's tokens and of
            BatchNorm's features.
        layer_moves, training_moves, evaluation_moves: share of the other tokens that change when one does.
        layer_statistics, batch_statistics: numbers that each keeps besides its parameters.
        layer_alone, training_alone, evaluation_alone: how far a text's output alone is from that in its batch, relative
            to the largest number: what has to be 0 for a model to be used without its company.
    """

    layer_tokens: float
    batch_features: float
    layer_moves: float
    training_moves: float
    evaluation_moves: float
    layer_statistics: int
    batch_statistics: int
    layer_alone: float
    training_alone: float
    evaluation_alone: float


LEAST = ("training_moves", "batch_statistics", "training_alone")
"""Of these the smallest of all seeds counts, of the others the largest."""


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
        alone(LayerNorm(WIDTH), x),
        alone(SequenceBatchNorm(WIDTH), x),
        alone(SequenceBatchNorm(WIDTH).eval(), x),
    )


def alone(norm: nn.Module, x: torch.Tensor) -> float:
    """How far the first text's output alone is from its output in the batch, relative to the largest number."""
    with torch.no_grad():
        return relative(norm(x[:1]), norm(x)[:1])


def worst(found: Sequence[NormEffects]) -> NormEffects:
    """Over several draws."""
    return NormEffects(
        **{
            each.name: (min if each.name in LEAST else max)(getattr(one, each.name) for one in found)
            for each in fields(NormEffects)
        }
    )


def judge(found: NormEffects, arms: TunedArms | None = None, evidence: tuple[Path, ...] = ()) -> ClaimResult:
    """By the statistics alone: the claim says nothing of losses, which are reported beside them.

    Running statistics are needed where a text's output depends on the batch that it is in, unless they are kept.
    """
    numbers = {
        "LayerNorm: tokens off mean 0, deviation 1 by at most": measurement(found.layer_tokens),
        "BatchNorm in training: features off mean 0, deviation 1 by at most": measurement(found.batch_features),
        "LayerNorm: other tokens that change when one does": measurement(found.layer_moves, "share"),
        "BatchNorm in training: other tokens that change": measurement(found.training_moves, "share"),
        "BatchNorm in evaluation: other tokens that change": measurement(found.evaluation_moves, "share"),
        "LayerNorm: numbers kept besides its parameters": measurement(found.layer_statistics),
        "BatchNorm: numbers kept besides its parameters": measurement(found.batch_statistics),
        "LayerNorm: a text alone, from the same in its batch": relative_measurement(found.layer_alone),
        "BatchNorm in training: a text alone": relative_measurement(found.training_alone),
        "BatchNorm in evaluation: a text alone": relative_measurement(found.evaluation_alone),
    }
    trained = ""
    if arms is not None:
        numbers |= arms.numbers()
        trained = (
            f" Trained, each at its own best learning rate, BatchNorm ends {signed(arms.cost(BATCH))} from LayerNorm "
            "on the validation text, which decides no part."
        )
    return ClaimResult(
        {
            "LayerNorm normalises each token": found.layer_tokens <= NORMAL and found.layer_moves == 0,
            "BatchNorm normalises features over the batch": found.batch_features <= NORMAL
            and found.training_moves > 0.5,
            "only BatchNorm needs running statistics": found.layer_alone <= ROUNDING < DIFFERENT <= found.training_alone
            and found.layer_statistics == 0 < found.batch_statistics,
        },
        f"After LayerNorm every token has mean 0 and deviation 1 (off by {found.layer_tokens:.1e} at most), and "
        f"changing one token changes {found.layer_moves:.0%} of the others; after BatchNorm in training every feature "
        f"has (off by {found.batch_features:.1e}), and {found.training_moves:.0%} of the other tokens change, those of "
        f"other texts too. So a text alone is given another output by BatchNorm's batch statistics than in company (by "
        f"{found.training_alone:.2g} of the largest number), and {found.batch_statistics} numbers are kept for "
        f"evaluation, where it is the same to {found.evaluation_alone:.1g}; LayerNorm needs none (kept: "
        f"{found.layer_statistics}, difference {found.layer_alone:.1g})." + trained,
        "In training BatchNorm's statistics mix the future into the past, so such a language model is causal in "
        f"evaluation only ({found.evaluation_moves:.0%} of the other tokens change there).",
        numbers,
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """The statistics on a draw of activations for each seed, the worst of them; and a study."""
    study = claim_studies.study("claim-batchnorm", claim_studies.base(budget), VARIANTS, budget)
    return judge(worst([measure(seed) for seed in range(budget.seeds)]), tuned_arms(study), (study.path,))


CLAIM = Claim(
    "layer-vs-batch-norm",
    "BatchNorm normalises features over the batch, LayerNorm each token; only one needs running statistics.",
    NOTES,
    "study",
    "The same activations given to both, whole batches and single texts. Beside them, deciding nothing, a model "
    "trained with each, paired by seed.",
    decide,
    quick=QUICK,
    full=FULL,
    could_be_wrong=(
        (
            "BatchNorm over sequences, as here, takes all tokens of a batch together; one that keeps positions apart "
            "has other statistics."
        ),
        (
            "Random activations and batches of 8 texts: with very large batches the batch's own statistics come near "
            "the running ones."
        ),
        "The difference in loss is of one post-norm layer at short training, on one text; no part rests on it.",
    ),
)
