"""The derivative of a block with its skip, 1 + f′(x): as a matrix, I + J, whose singular values are measured.

The statement has two parts. The formula: the derivative of x + f(x) is 1 + f′(x). The bound: so it is at least 1. For
numbers that takes f′ ≥ 0, and nothing makes f′ so: f(x) = −x/2 has the derivative 1 + f′ = 1/2. What the skip does is
to move the singular values near 1, so that a product over many layers keeps its size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.exactness import random_tokens, relative
from glassformer.claims.judging import all_of
from glassformer.inspection.depth import SMALL
from glassformer.inspection.jacobian import (
    AS_BUILT,
    WITHOUT_SKIPS,
    block_jacobian,
    jacobian_spectrum,
    without_skips,
)
from glassformer.models.decoder import Decoder
from glassformer.parts.blocks import Block

PLACEMENTS = {"none": "x + f(x)", "pre": "x + f(norm(x))", "post": "norm(x + f(x))"}

SUMS = ("none", "pre")
"""Placements whose blocks are a sum of x and something: what the statement is about."""

ROUNDING = 1e-3
"""A singular value counts as below 1 if it is below 1 − ROUNDING; float32 knows these values to about 1e-6."""

SAME = 1e-6
"""Largest difference of derivatives that are equal: central differences in float64 know them to about 1e-9."""

STEP = 1e-5
"""Of the central differences."""

TOKENS = 32


@dataclass(frozen=True)
class Stretching:
    """Singular values of the Jacobians of all blocks and seeds.

    Attributes:
        smallest, largest: with the skips.
        below: share of them below 1.
        median_without: the median with the skips taken away.
        off_formula: how far the derivative of a sublayer with its skip, by central differences, is from 1 + f′, by
            differentiation without the skip; the largest relative difference.
    """

    smallest: float
    largest: float
    below: float
    median_without: float
    off_formula: float


def off_formula(placement: str, seed: int) -> float:
    """The largest relative difference between ∂(x + f(x))/∂x and I + ∂f/∂x, over both kinds of sublayer, at one token.

    The left side is measured by central differences, the right side is differentiated, in float64.
    """
    found = []
    for sublayer in ("attention", "feedforward"):
        changes = {"n_layers": 1, "sublayers": sublayer, "norm.placement": placement, "norm.final": False}
        config = SMALL.override(changes | {"initialisation.scheme": "torch", "feedforward.kind": "gelu"})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Decoder(config).double().eval()
        tokens = random_tokens(config, seed, TOKENS, rows=1)
        with torch.no_grad():
            x = model.trace(tokens, only=("blocks.0.input",))["blocks.0.input"][0]
        block, context = model.blocks[0], model.context(tokens)
        assert isinstance(block, Block)
        derivative = block_jacobian(without_skips(block), x, context, position=TOKENS - 1)

        differences = central_differences(partial(block, context=context), x)
        found.append(relative(differences, torch.eye(len(derivative)) + derivative))
    return max(found)


def central_differences(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """∂f(x)[last token]/∂x[last token], [d, d] (row by output), of f on sequences [B, T, d], at x [T, d]."""
    around = torch.zeros(x.shape[1], *x.shape, dtype=x.dtype)
    around[:, -1] = STEP * torch.eye(x.shape[1], dtype=x.dtype)
    with torch.no_grad():
        return ((f(x + around) - f(x - around))[:, -1] / (2 * STEP)).T


def measure(placement: str, n_layers: int, seeds: int) -> Stretching:
    """Small models at torch's usual starting weights, at random texts, one token at a time."""
    changes = {
        "n_layers": n_layers,
        "norm.placement": placement,
        "norm.final": placement == "pre",
        "initialisation.scheme": "torch",
    }
    config = SMALL.override(changes)
    values: dict[str, list[torch.Tensor]] = {AS_BUILT: [], WITHOUT_SKIPS: []}
    for seed in range(seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Decoder(config)
        spectrum = jacobian_spectrum(model.trace(random_tokens(config, seed, TOKENS, rows=1)))
        for arm, found in spectrum.values.items():
            values[arm].append(found.flatten())
    whole = torch.cat(values[AS_BUILT])
    return Stretching(
        float(whole.min()),
        float(whole.max()),
        float((whole < 1 - ROUNDING).float().mean()),
        float(torch.cat(values[WITHOUT_SKIPS]).median()),
        max(off_formula(placement, seed) for seed in range(seeds)),
    )


def judge(found: Mapping[str, Stretching]) -> ClaimResult:
    """The formula holds within SAME; at least 1 means that no singular value is below 1 − ROUNDING. Both of x + f(x)
    and x + f(norm(x)): behind a norm of the sum stands the norm's derivative too, and that is reported beside them.
    """
    numbers: dict[str, Measurement] = {}
    for placement, block in PLACEMENTS.items():
        each = found[placement]
        numbers |= {
            f"{block}: distance of the derivative from 1 + f′": measurement(each.off_formula, "of the largest"),
            f"{block}: smallest singular value": measurement(each.smallest),
            f"{block}: largest": measurement(each.largest),
            f"{block}: share below 1": measurement(each.below),
            f"{block}: median without the skips": measurement(each.median_without),
        }
    plain, off = found["none"], max(found[placement].off_formula for placement in SUMS)
    return ClaimResult(
        {
            "the derivative of x + f(x) is 1 + f′(x)": off <= SAME,
            "it is at least 1: no direction is shortened": all_of(
                [found[placement].smallest >= 1 - ROUNDING for placement in SUMS]
            ),
        },
        f"The derivative, by central differences, is 1 + f′(x) (largest relative difference {off:.1e}). It is not at "
        f"least 1 for that: the singular values of x + f(x) go from {plain.smallest:.2g} to {plain.largest:.3g}, "
        f"{plain.below:.0%} of them below 1, for 1 + f′ is below 1 wherever f′ is negative, and for vectors it is a "
        f"matrix. What the skip does is to bring them near 1: without it their median is {plain.median_without:.2g}.",
        "At starting weights, at every block. With a norm behind the sum (post-norm, as in the notes' model) the "
        f"derivative is not 1 + f′ (off by {found['post'].off_formula:.2g} of the largest): the norm's own derivative "
        "is a factor of it, and removes two directions wholly, the mean and the length, skip or not.",
        numbers,
    )


def decide(budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` is the number of layers."""
    (n_layers,) = budget.levels
    return judge({placement: measure(placement, n_layers, budget.seeds) for placement in PLACEMENTS})


CLAIM = Claim(
    "residual-derivative",
    "With the residual the derivative is 1 + f′(x), so at least 1.",
    NOTES,
    "measured",
    "The derivative of each sublayer with its skip, by central differences, beside 1 + f′; and the singular values of "
    "the Jacobian of every block, with its skips and without them.",
    decide,
    quick=Budget(seeds=2, levels=(4,)),
    full=Budget(seeds=20, levels=(8,)),
    could_be_wrong=(
        (
            "Small models of width 64 at torch's starting weights; after training the singular values are others, and "
            "they may lie above 1."
        ),
        "One token's output by its own input; of the whole sequence the Jacobian is larger.",
        (
            "The bound is read as one on every direction. On average a block may well lengthen: the median and the "
            "largest singular value are given beside the smallest."
        ),
    ),
)
