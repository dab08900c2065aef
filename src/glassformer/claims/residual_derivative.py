"""The derivative of a block with its skip, 1 + f′(x): as a matrix, I + J, whose singular values are measured.

For numbers 1 + f′ is at least 1 where f′ ≥ 0. Nothing makes f′ so: f(x) = −x/2 has the derivative 1 + f′ = 1/2. What
the skip does is to move the singular values near 1, so that a product over many layers keeps its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, Measurement, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.exactness import random_tokens
from glassformer.inspection.depth import SMALL
from glassformer.inspection.jacobian import AS_BUILT, WITHOUT_SKIPS, jacobian_spectrum
from glassformer.models.decoder import Decoder

PLACEMENTS = {"none": "x + f(x)", "pre": "x + f(norm(x))", "post": "norm(x + f(x))"}

ROUNDING = 1e-3
"""A singular value counts as below 1 if it is below 1 − ROUNDING; float32 knows these values to about 1e-6."""


@dataclass(frozen=True)
class Stretching:
    """Singular values of the Jacobians of all blocks and seeds.

    Attributes:
        smallest, largest: with the skips.
        below: share of them below 1.
        median_without: the median with the skips taken away.
    """

    smallest: float
    largest: float
    below: float
    median_without: float


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
        spectrum = jacobian_spectrum(model.trace(random_tokens(config, seed, 32, rows=1)))
        for arm, found in spectrum.values.items():
            values[arm].append(found.flatten())
    whole = torch.cat(values[AS_BUILT])
    return Stretching(
        float(whole.min()),
        float(whole.max()),
        float((whole < 1 - ROUNDING).float().mean()),
        float(torch.cat(values[WITHOUT_SKIPS]).median()),
    )


def judge(found: Mapping[str, Stretching]) -> ClaimResult:
    """At least 1 means that no singular value is below 1 − ROUNDING."""
    numbers: dict[str, Measurement] = {}
    for placement, block in PLACEMENTS.items():
        each = found[placement]
        numbers |= {
            f"{block}: smallest singular value": measurement(each.smallest),
            f"{block}: largest": measurement(each.largest),
            f"{block}: share below 1": measurement(each.below),
            f"{block}: median without the skips": measurement(each.median_without),
        }
    plain = found["none"]
    return ClaimResult(
        {
            f"no direction is shortened by {block}": found[placement].smallest >= 1 - ROUNDING
            for placement, block in PLACEMENTS.items()
        },
        f"The singular values of x + f(x) go from {plain.smallest:.2g} to {plain.largest:.3g}, {plain.below:.0%} of "
        "them below 1: 1 + f′ is below 1 wherever f′ is negative, and for vectors it is a matrix. What the skip does "
        f"is to bring them near 1: without it their median is {plain.median_without:.2g}.",
        "At starting weights, at every block. A norm behind the sum (post-norm) removes two directions wholly, the "
        "mean and the length, skip or not.",
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
    "Singular values of the Jacobian of every block, with its skips and without them.",
    decide,
    quick=Budget(seeds=3, levels=(4,)),
    full=Budget(seeds=20, levels=(8,)),
)
