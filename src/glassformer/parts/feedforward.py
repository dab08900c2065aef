"""The position-wise feed-forward layer, FFN(x) = W₂ · f(W₁ x + b₁) + b₂ (Vaswani et al. 2017, §3.3)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.parts.dropout import Dropout
from glassformer.parts.probes import Probe
from glassformer.registry import register

LinearFactory = Callable[..., nn.Module]


class PointwiseConvolution(nn.Conv1d):
    """A linear layer written as a convolution with kernel size 1 over the sequence: the same function.

    [batch, sequence, d_in] → [batch, sequence, d_out]; its weight has a third axis, of size 1.
    """

    def __init__(self, d_in: int, d_out: int, bias: bool = True) -> None:
        super().__init__(d_in, d_out, kernel_size=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(-1, -2)).transpose(-1, -2)


class FeedForward(nn.Module):
    """W₂ · dropout(f(W₁ x)). Subclasses choose f.

    ``linear(d_in, d_out, bias=…)`` makes the two projections; :class:`PointwiseConvolution` gives the same layer as a
    convolution.
    """

    def __init__(
        self, d_model: int, d_ff: int, *, bias: bool = True, dropout: float = 0.0, linear: LinearFactory = nn.Linear
    ) -> None:
        super().__init__()
        self.w_1 = linear(d_model, d_ff, bias=bias)
        self.w_2 = linear(d_ff, d_model, bias=bias)
        self.dropout = Dropout(dropout)
        self.hidden, self.output = Probe(), Probe()

    def activation(self, x: Tensor) -> Tensor:
        """The non-linearity f, element by element."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(self.activation(self.w_1(x)))  # [batch, sequence, d_ff]
        output: Tensor = self.output(self.w_2(self.dropout(hidden)))  # [batch, sequence, d_model]
        return output


@register("feedforward", "relu")
class ReLUFeedForward(FeedForward):
    """f(x) = max(0, x), as in the paper."""

    def activation(self, x: Tensor) -> Tensor:
        return torch.relu(x)


@register("feedforward", "gelu")
class GELUFeedForward(FeedForward):
    """f(x) = x · Φ(x), exact (Hendrycks & Gimpel 2016, arXiv 1606.08415)."""

    def activation(self, x: Tensor) -> Tensor:
        return F.gelu(x)


@register("feedforward", "gelu-tanh")
class TanhGELUFeedForward(FeedForward):
    """GELU by its tanh approximation, which is GPT-2's.

    ½ (1 + tanh u) = σ(2u), and a compiled CPU loop computes the right side in less than half the time of the left.
    """

    def activation(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() and x.device.type == "cpu":
            return x * torch.sigmoid(math.sqrt(8 / math.pi) * x * (1 + 0.044715 * x * x))
        return F.gelu(x, approximate="tanh")


@register("feedforward", "relu2")
class SquaredReLUFeedForward(FeedForward):
    """f(x) = max(0, x)² (So et al. 2021, Primer, arXiv 2109.08668)."""

    def activation(self, x: Tensor) -> Tensor:
        return torch.relu(x).square()


@register("feedforward", "silu")
class SiLUFeedForward(FeedForward):
    """f(x) = x · σ(x), also called swish (Ramachandran et al. 2017, arXiv 1710.05941), as Marian's opus-mt models."""

    def activation(self, x: Tensor) -> Tensor:
        return F.silu(x)


@register("feedforward", "swiglu")
class SwiGLUFeedForward(FeedForward):
    """W₂ · (swish(W_gate x) ⊙ W₁ x), three matrices (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(
        self, d_model: int, d_ff: int, *, bias: bool = True, dropout: float = 0.0, linear: LinearFactory = nn.Linear
    ) -> None:
        super().__init__(d_model, d_ff, bias=bias, dropout=dropout, linear=linear)
        self.w_gate = linear(d_model, d_ff, bias=bias)
        self.gate = Probe()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.hidden(self.gate(F.silu(self.w_gate(x))) * self.w_1(x))
        output: Tensor = self.output(self.w_2(self.dropout(hidden)))
        return output
