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

NAME = "claim-residual"
"""The name of the residual's studies; the depth is added."""

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

The steps are the same in both, so that the full budget reuses the runs of the quick one. It takes so many until
one layer's attention has learned something that could be lost: after 600 it is worth 0.33 nats, after 1,200 it is 0.47.
"""
