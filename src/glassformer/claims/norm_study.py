"""The study behind both claims about LayerNorm: behind the sum, before the sublayer, and none, over depth."""

from __future__ import annotations

from typing import Any

from glassformer.claims.budget import Budget
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.studies.folder import Study

WITHOUT = "without norm"
PRE = "pre-norm"
VARIANTS: dict[str, dict[str, Any]] = {
    WITHOUT: {"model.norm.placement": "none"},
    PRE: {"model.norm.placement": "pre", "model.norm.final": True},
}
"""The base is post-norm, as the paper is."""

QUICK = Budget(seeds=3, steps=600, levels=(1, 4))
FULL = Budget(seeds=8, steps=2_000, levels=(1, 4, 8))
"""``levels`` are depths."""


def norm_studies(budget: Budget, claim_studies: ClaimStudies) -> dict[int, Study]:
    """A study for each depth."""
    return {
        depth: claim_studies.study(
            f"claim-norm-{depth}-layer{'s' * (depth != 1)}",
            claim_studies.base(budget, {"model.n_layers": depth}),
            VARIANTS,
            budget,
        )
        for depth in budget.levels
    }
