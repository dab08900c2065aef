"""The norms of sinusoidal position vectors, computed exactly: sin² + cos² = 1, d/2 times."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.parts.positions import sinusoids

D_MODEL = 512
CLAIMED, CLAIMED_SPREAD = 256.25, 1.35
"""What the source prints as the norm, at d = 512."""

OTHER_WIDTHS, OTHER_BASES = (2, 6, 64), (100.0, 10_000.0)

SAME = 1e-5
"""Relative spread of norms that are the same: the vectors are float32, with a rounding of 6e-8."""


@dataclass(frozen=True)
class NormSpread:
    """Over all positions: mean and standard deviation of the norm, and of its square.

    ``others`` is the largest relative distance of a norm from √(d/2), over other widths and bases.
    """

    norm: float
    norm_spread: float
    square: float
    square_spread: float
    others: float = 0.0


def measure(length: int) -> NormSpread:
    """Positions 0 to length − 1, at d = 512."""
    squares = sinusoids(torch.arange(length), D_MODEL).double().square().sum(1)
    norms = squares.sqrt()
    others = [
        float((sinusoids(torch.arange(length), d, theta).double().norm(dim=1) / math.sqrt(d / 2) - 1).abs().max())
        for d in OTHER_WIDTHS
        for theta in OTHER_BASES
    ]
    return NormSpread(
        float(norms.mean()),
        float(norms.std(correction=0)),
        float(squares.mean()),
        float(squares.std(correction=0)),
        max(others),
    )


def judge(found: NormSpread) -> ClaimResult:
    """The norms are the same if they spread by less than SAME; the printed numbers are right to their last digit."""
    printed = abs(found.norm - CLAIMED) < 0.005 and abs(found.norm_spread - CLAIMED_SPREAD) < 0.005
    return ClaimResult(
        {
            "all position vectors have the same norm": found.norm_spread <= SAME * found.norm,
            f"which is {CLAIMED} ± {CLAIMED_SPREAD} at d = {D_MODEL}": printed,
        },
        f"The norm is √(d/2) = {math.sqrt(D_MODEL / 2):g} at d = {D_MODEL}, the same for every position (measured "
        f"{found.norm:.6f} ± {found.norm_spread:.1e}). Its square is d/2 = {D_MODEL // 2} (measured "
        f"{found.square:.4f} ± {found.square_spread:.1e}): the source's {CLAIMED} ± {CLAIMED_SPREAD} is near the "
        f"square, and should be {D_MODEL // 2} ± 0.",
        "So for every even d and every base of the wavelengths, since each pair gives sin² + cos² = 1 (measured: off "
        f"by {found.others:.1e} of √(d/2) at most, at d = {', '.join(map(str, OTHER_WIDTHS))}).",
        {
            "mean norm": measurement(found.norm),
            "standard deviation of the norm": measurement(found.norm_spread),
            "mean squared norm": measurement(found.square),
            "standard deviation of the squared norm": measurement(found.square_spread),
            "other widths and bases: largest distance from √(d/2)": measurement(found.others, "of it"),
        },
    )


def decide(budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` is how many positions."""
    return judge(measure(budget.levels[0]))


CLAIM = Claim(
    "pe-norm",
    f"Sinusoidal position vectors all have (nearly) the same norm, {CLAIMED} ± {CLAIMED_SPREAD} at d = {D_MODEL}.",
    f"{NOTES}; formula of Vaswani et al. 2017, §3.5",
    "exact",
    "The norms of all position vectors.",
    decide,
    quick=Budget(levels=(1_000,)),
    full=Budget(levels=(100_000,)),
    could_be_wrong=(
        (
            "How the source came to 256.25 ± 1.35 is not known: a table computed in low precision, or another table, "
            "would explain the spread, and neither was reproduced."
        ),
        "'Nearly' the same is read as the same to rounding, and the printed numbers to their last digit.",
    ),
)
