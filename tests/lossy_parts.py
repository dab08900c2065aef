"""A part that has a loss of its own, as an expert's load balance is one."""

from __future__ import annotations

from torch import nn

from glassformer.registry import register

WEIGHT = 0.1


@register("feedforward", "test-lossy")
class Lossy(nn.Module):
    """A feed-forward layer that wants its hidden activations to be small: a mean over tokens."""

    def __init__(self, d_model, d_ff, *, bias=True, dropout=0.0, linear=nn.Linear):
        super().__init__()
        self.w_1, self.w_2 = linear(d_model, d_ff, bias=bias), linear(d_ff, d_model, bias=bias)

    def forward(self, x):
        hidden = self.w_1(x).relu()
        return self.w_2(hidden), {"smallness": WEIGHT * hidden.square().mean()}
