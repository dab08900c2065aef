"""The study behind both claims about the residual in training: three arms, and only one of the two skips, over depth.

| arm | what is taken away |
|---|---|
| base | nothing |
| skip removed | both skips: x = sublayer(x) |
| only attention's skip, only feed-forward's skip | the other one |
| attention removed | the whole sublayer |
| feed-forward removed | the other sublayer |

Attention removed is what deleting the line ``x = x + output`` does, where ``output`` enters the network nowhere else.
"""

from __future__ import annotations

from glassformer.claims.budget import Budget
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.studies.folder import Study

SKIP_REMOVED = "skip removed"
ATTENTION_REMOVED = "attention removed"
VARIANTS = {
    SKIP_REMOVED: {"model.residual": "none"},
    "only attention's skip": {"model.residual": "attention"},
    "only feed-forward's skip": {"model.residual": "feedforward"},
    ATTENTION_REMOVED: {"model.sublayers": "feedforward"},
    "feed-forward removed": {"model.sublayers": "attention"},
}

QUICK = Budget(seeds=3, steps=1_200, levels=(1, 4))
FULL = Budget(seeds=8, steps=1_200, levels=(1, 2, 4, 8, 16))
"""``levels`` are depths. Both claims have these budgets, and share their runs.

The steps are the same in both, so that the full budget goes on from the runs of the quick one. It takes so many until
one layer's attention has learned something that could be lost: after 600 it is worth 0.33 nats, after 1,200 it is 0.47.
"""


def residual_studies(budget: Budget, claim_studies: ClaimStudies) -> dict[int, Study]:
    """A study for each depth: the base of a pair has its variant's depth."""
    return {
        depth: claim_studies.study(
            f"claim-residual-{depth}-layer{'s' * (depth != 1)}",
            claim_studies.base(budget, {"model.n_layers": depth}),
            VARIANTS,
            budget,
        )
        for depth in budget.levels
    }
