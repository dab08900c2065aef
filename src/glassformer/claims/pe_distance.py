"""The distance of two sinusoidal position vectors by the gap between the positions.

‖PE(p) − PE(p + k)‖² = Σ_i 2 (1 − cos(k ω_i)), whatever p: it is a function of the gap alone, and it can be computed for
every gap. Whether it grows with the gap is the question.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.inspection.position_vectors import PositionVectors
from glassformer.parts.positions import sinusoids

WIDTHS = (64, 128, 512)


def grows_until(d_model: int, length: int) -> int:
    """The gap at which the distance first stops growing; length − 1 if it grows throughout."""
    return PositionVectors(sinusoids(torch.arange(length), d_model).double()).by_gap.grows_until


def judge(found: Mapping[int, int], length: int) -> ClaimResult:
    """For each width: whether the distance grows up to some gap (above 1), and whether up to the largest."""
    least = min(found.values())
    gaps = ", ".join(f"{gap} at d = {width}" for width, gap in found.items())
    whole = least >= length - 1
    return ClaimResult(
        {
            "the distance grows over the first gaps": least > 1,
            f"it grows up to the largest gap, {length - 1}": whole,
        },
        f"The distance grows with the gap until a gap of {gaps}; the largest gap is {length - 1}."
        + ("" if whole else " Beyond, it goes up and down: each pair of features repeats after its wavelength."),
        f"Up to {length} positions."
        if whole
        else "Among neighbours further apart is further apart; of distant positions the one further away may well have "
        "the nearer vector.",
        {f"grows until a gap of, at d = {width}": measurement(gap, "positions") for width, gap in found.items()},
    )


def decide(budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """``levels`` is how many positions."""
    (length,) = budget.levels
    return judge({width: grows_until(width, length) for width in WIDTHS}, length)


CLAIM = Claim(
    "pe-distance",
    "The further apart two positions, the further apart their (sinusoidal) vectors.",
    NOTES,
    "exact",
    "The distance for every gap, and until where it grows.",
    decide,
    quick=Budget(levels=(512,)),
    full=Budget(levels=(2_048,)),
    could_be_wrong=(
        (
            "Of the vectors themselves, with the base 10,000. What a trained projection makes of them may have another "
            "order."
        ),
        (
            "'Further apart' is read strictly, as growing with every step of the gap. On average distant vectors are "
            "further apart than near ones."
        ),
    ),
)
