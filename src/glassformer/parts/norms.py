"""Normalisation of activations [batch, sequence, d_model]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glassformer.registry import register


@register("norm", "layernorm")
class LayerNorm(nn.LayerNorm):
    """(x − mean) / √(biased variance + ε), per token, a weight, a bias (Ba et al. 2016, arXiv 1607.06450)."""

    def __init__(self, d_model: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__(d_model, eps=eps, bias=bias)


@register("norm", "annotated-layernorm")
class AnnotatedLayerNorm(nn.Module):
    """The Annotated Transformer's LayerNorm: the *unbiased* standard deviation, and ε *outside* the root.

    weight · (x − mean) / (std + ε) + bias. It is not ``nn.LayerNorm``: at d = 64 the unbiased deviation is larger by
    √(64/63), 0.8 %.
    """

    def __init__(self, d_model: int, *, eps: float = 1e-6, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        y = self.weight * centred / (x.std(-1, keepdim=True) + self.eps)
        return y if self.bias is None else y + self.bias


@register("norm", "rmsnorm")
class RMSNorm(nn.RMSNorm):
    """x / √(mean(x²) + ε), per token, times a weight; no mean is removed (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, d_model: int, *, eps: float = 1e-5, bias: bool = False) -> None:
        super().__init__(d_model, eps=eps)


@register("norm", "batchnorm")
class SequenceBatchNorm(nn.Module):
    """BatchNorm over sequences: each feature normalised over all tokens of the batch (Ioffe & Szegedy 2015).

    In training its statistics mix tokens and sentences, the future among them, so it is causal only in evaluation,
    where it uses running statistics. It is the one norm with state that is not a parameter.
    """

    uses_batch_statistics = True

    def __init__(self, d_model: int, *, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.features = nn.BatchNorm1d(d_model, eps=eps)
        if not bias:
            self.features.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.features(x.flatten(0, -2))  # [batch · sequence, d_model]
        return normalised.view_as(x)


@register("norm", "none")
class NoNorm(nn.Identity):
    """No normalisation: absent from the graph and from the parameter count."""

    def __init__(self, d_model: int, *, eps: float = 0.0, bias: bool = False) -> None:
        super().__init__()
