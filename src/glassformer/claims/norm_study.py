"""The study behind both claims about the norm: LayerNorm behind the sum, before the sublayer, BatchNorm, and none.

Over depth; every arm has its own best learning rate at every depth.
"""

from __future__ import annotations

from typing import Any

from glassformer.claims.budget import Budget

NAME = "claim-norm"
"""The name of the norm's studies; the depth is added."""

WITHOUT = "without norm"
PRE = "pre-norm"
BATCH = "BatchNorm"
VARIANTS: dict[str, dict[str, Any]] = {
    WITHOUT: {"model.norm.placement": "none"},
    PRE: {"model.norm.placement": "pre", "model.norm.final": True},
    BATCH: {"model.norm.kind": "batchnorm"},
}
"""The base is post-norm, as the paper is; BatchNorm stands where the base's LayerNorm does."""

RATES = (3e-4, 1e-3, 3e-3, 1e-2)

QUICK = Budget(seeds=3, steps=600, levels=(1, 4), rates=RATES, selection_steps=300)
FULL = Budget(
    seeds=5,
    steps=1_600,
    levels=(1, 4, 8),
    rates=RATES,
    selection_steps=600,
    seeds_at={1: 8, 8: 4},
)
"""``levels`` are depths. Both claims have these budgets, and share their runs."""
