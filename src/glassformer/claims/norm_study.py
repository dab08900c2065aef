"""The study behind both claims about LayerNorm: behind the sum, before the sublayer, and none, over depth."""

from __future__ import annotations

from typing import Any

from glassformer.claims.budget import Budget

NAME = "claim-norm"
"""The name of the norm's studies; the depth is added."""

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
