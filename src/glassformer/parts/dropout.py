"""Dropout that costs little on a CPU.

``F.dropout`` draws one Bernoulli number per element, one after the other, which on a CPU costs more than the layer it
regularises. Here a 64-bit random word makes four decisions of 16 bits each (eagerly), and inside a compiled graph a
counter-based hash makes one per element, fused with what surrounds it. The rate is p rounded to the nearest
1/65536, and kept values are scaled by the *rounded* rate, so the expectation is exact. Both draw from torch's
generator, so a seed and a saved generator state reproduce them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 1 << 16


class Dropout(nn.Module):
    """Zeroes each element with probability ``p`` in training and scales the rest by 1/(1−p); nothing in evaluation."""

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p, training=True)
        threshold = min(round(self.p * LEVELS), LEVELS - 1)
        scale = LEVELS / (LEVELS - threshold)
        if torch.compiler.is_compiling():
            return torch.where(_hashed_levels(x) >= threshold - LEVELS // 2, x * scale, 0.0)
        keep = (_drawn_levels(x) >= threshold - LEVELS // 2).to(x.dtype)  # to multiply with is faster than to select
        return x * keep.mul_(scale) if x.dtype == torch.float32 else x * keep * scale  # bf16 would round the scale

    def extra_repr(self) -> str:
        return f"p={self.p}"


def _drawn_levels(x: Tensor) -> Tensor:
    """int16, uniform on −32768 … 32767, in the shape of x: four from each random word."""
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    return words.view(torch.int16)[: x.numel()].view(x.shape)


def _hashed_levels(x: Tensor) -> Tensor:
    """int32, uniform on −32768 … 32767: a 32-bit avalanche hash of (element's index, two random keys)."""
    keys = torch.randint(-(1 << 31), (1 << 31) - 1, (2,), dtype=torch.int64).to(torch.int32)
    h = torch.arange(x.numel(), dtype=torch.int32).view(x.shape)
    h = (h ^ keys[0]) * 0x7FEB352D
    h = h ^ ((h >> 15) & 0x1FFFF) ^ keys[1]
    h = h * -0x7B935975
    h = h ^ ((h >> 16) & 0xFFFF)
    h = h * 0x2C1B3C6D
    return h >> 16
