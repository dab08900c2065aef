"""What a BERT does before its head: a dense layer, an activation and a norm (Devlin et al. 2019, the released code)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


class HeadTransform(nn.Module):
    """norm(gelu(W x + b)), of the width of the residual stream.

    Args:
        norm: makes the norm.
        bias: a bias in the dense layer.
    """

    def __init__(self, d_model: int, norm: Callable[[], nn.Module], *, bias: bool = True) -> None:
        super().__init__()
        self.dense = nn.Linear(d_model, d_model, bias=bias)
        self.norm = norm()

    def forward(self, x: Tensor) -> Tensor:
        """[..., d_model] → [..., d_model]."""
        transformed: Tensor = self.norm(F.gelu(self.dense(x)))
        return transformed
