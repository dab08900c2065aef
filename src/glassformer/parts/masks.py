"""Who may look at whom. True = may be attended; masks are [..., query, key].

causal (4 tokens)      padding (the last is a pad)     both
      k0 k1 k2 k3            k0 k1 k2 k3                    k0 k1 k2 k3
  q0   ■  ·  ·  ·        q0   ■  ■  ■  ·                q0   ■  ·  ·  ·
  q1   ■  ■  ·  ·        q1   ■  ■  ■  ·                q1   ■  ■  ·  ·
  q2   ■  ■  ■  ·        q2   ■  ■  ■  ·                q2   ■  ■  ■  ·
  q3   ■  ■  ■  ■        q3   ■  ■  ■  ■                q3   ■  ■  ■  ■

A pad may always look at itself: nobody reads what it computes, and no row of the softmax is ever empty (an empty row
is 0/0). What is masked gets −∞, never a large finite number, so its weight is exactly 0.

Cross-attention has the keys of another sequence, whose pads alone are hidden, and the same keys for every query; a
sentence of nothing but pads is looked at as it stands, for the same reason.
"""

from __future__ import annotations

import torch
from torch import Tensor


def causal_mask(query: Tensor, key: Tensor) -> Tensor:
    """A query sees the keys at its own index and before: indices [query], [key] → bool [query, key]."""
    return key[None, :] <= query[:, None]


def padded_mask(visible: Tensor, is_padding: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Take the pads away from what is visible, except from themselves.

    Args:
        visible: bool [query, key].
        is_padding: bool [batch, key], True where a key is a pad.
        query, key: the tokens' indices in the sequence, [query] and [key].

    Returns:
        bool [batch, query, key].
    """
    itself = query[:, None] == key[None, :]
    return (visible & ~is_padding[:, None, :]) | itself


def cross_mask(is_padding: Tensor) -> Tensor:
    """Which source tokens a target token sees: pads bool [batch, key] → bool [batch, 1, key].

    source k0 k1 k2 and one pad     k0 k1 k2 k3
                 every query        ■  ■  ■  ·
    """
    return (~is_padding | is_padding.all(-1, keepdim=True))[:, None]


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key may be attended, −∞ where not; added to the scores before the softmax."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
