"""The study behind both claims about the residual in training: three arms, and only one of the two skips, over depth.

| arm | what is taken away |
|---|---|
| base | nothing |
| skip removed | both skips: x = sublayer(x) |
| attention removed | the whole sublayer |
| only attention's skip, only feed-forward's skip | the other one |
| feed-forward removed | the other sublayer |

Attention removed is what deleting the line ``x = x + output`` does, where ``output`` enters the network nowhere else.
The last three arms decide nothing, and are trained where a depth has ALL_ARMS_FROM seeds or more. Every arm has its own
best learning rate at every depth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from glassformer.claims.budget import Budget
from glassformer.claims.claim_studies import ClaimStudies, of_depth
from glassformer.studies.folder import Study

NAME = "claim-residual"
"""The name of the residual's studies; the depth is added."""

SKIP_REMOVED = "skip removed"
ATTENTION_REMOVED = "attention removed"
VARIANTS: dict[str, dict[str, Any]] = {
    SKIP_REMOVED: {"model.residual": "none"},
    ATTENTION_REMOVED: {"model.sublayers": "feedforward"},
}
PARTIAL: dict[str, dict[str, Any]] = {
    "only attention's skip": {"model.residual": "attention"},
    "only feed-forward's skip": {"model.residual": "feedforward"},
    "feed-forward removed": {"model.sublayers": "attention"},
}

ALL_ARMS_FROM = 5
"""Seeds of a depth from which on the arms of PARTIAL are trained there too."""

CHECKED_DEPTH = 4
"""Where a budget of ALL_ARMS_FROM seeds checks that short selection runs choose the same rates as whole ones."""

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Learning rates: from a third of the notes' 1e-3 to ten times it."""

QUICK = Budget(seeds=3, steps=1_200, levels=(1, 4), rates=RATES, selection_steps=600)
FULL = Budget(
    seeds=6,
    steps=1_200,
    levels=(1, 2, 4, 8, 16),
    rates=RATES,
    selection_steps=600,
    seeds_at={1: 8, 8: 4, 16: 3},
)
"""``levels`` are depths. Both claims have these budgets, and share their runs.

The steps are the same in both, so that the full budget reuses the runs of the quick one. It takes so many until
one layer's attention has learned something that could be lost.
"""


def residual_studies(budget: Budget, claim_studies: ClaimStudies) -> dict[int, Study]:
    """The study of each depth."""
    return {
        depth: claim_studies.study(
            of_depth(NAME, depth),
            claim_studies.base(budget, {"model.n_layers": depth}),
            VARIANTS | (PARTIAL if budget.seeds_for(depth) >= ALL_ARMS_FROM else {}),
            budget,
            level=depth,
        )
        for depth in budget.levels
    }


def whole_selection(budget: Budget, claim_studies: ClaimStudies) -> Study | None:
    """The study of CHECKED_DEPTH with the rates chosen on runs of all the steps; None where the budget has no check."""
    if CHECKED_DEPTH not in budget.levels or budget.seeds_for(CHECKED_DEPTH) < ALL_ARMS_FROM:
        return None
    if not budget.rates or budget.selection_steps is None:
        return None
    return claim_studies.study(
        of_depth(f"{NAME}-check", CHECKED_DEPTH),
        claim_studies.base(budget, {"model.n_layers": CHECKED_DEPTH}),
        VARIANTS,
        replace(budget, selection_steps=None, seeds=3, seeds_at={}),
    )
