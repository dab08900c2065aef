"""The budgets of the claims about one layer of the notes' model: the same, so that they share their baseline's runs."""

from __future__ import annotations

from glassformer.claims.budget import Budget

QUICK = Budget(seeds=3, steps=600, rates=(5e-3, 1e-2, 2e-2), selection_seeds=1, selection_steps=300)
FULL = Budget(seeds=8, steps=2_000, rates=(2e-3, 4e-3, 8e-3, 1.6e-2))
"""Rates are chosen on runs as long as those that are compared."""
