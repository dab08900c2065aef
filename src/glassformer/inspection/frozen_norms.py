"""A norm is linear once its statistics are held at those of one forward pass: y = A x + b, another A for each token.

LayerNorm divides by a standard deviation that depends on x, so it is not linear; but *this* x has *this* deviation, and
with it frozen the map is a centring, a division and a weight. What a part of x contributes to y is then A times that
part, and the parts' contributions and b sum to y exactly (Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits", where the map is folded into the weights after it).

========================= ======================= ================================
norm                      A                       b
========================= ======================= ================================
layernorm                 w/σ · (x − mean(x))     bias
annotated-layernorm       w/(s + ε) · the same    bias; s is the unbiased deviation
rmsnorm                   w/rms · x               none
batchnorm, in evaluation  w/σ_running · x         bias − w/σ_running · μ_running
none                      x                       none
========================= ======================= ================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glassformer.errors import ConfigError
from glassformer.parts.norms import AnnotatedLayerNorm, SequenceBatchNorm


@dataclass(frozen=True)
class FrozenNorm:
    """x ↦ factor ⊙ centred(x) + bias.

    Attributes:
        factor: [T, d_model], or what broadcasts to it; None is 1.
        centred: whether the mean over features is removed from x first.
        bias: [d_model]; None is 0.
    """

    factor: Tensor | None = None
    centred: bool = False
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The norm of what it was frozen at, [T, d_model]."""
        carried = self.carry(x)
        return carried if self.bias is None else carried + self.bias

    def carry(self, part: Tensor) -> Tensor:
        """What becomes of a part of x, A · part: [..., T, d_model] → the same shape. The bias is no part's."""
        centred = part - part.mean(-1, keepdim=True) if self.centred else part
        return centred if self.factor is None else self.factor * centred

    def pull_back(self, direction: Tensor) -> Tensor:
        """Aᵀ · direction: the direction in x whose product with a part is that of ``direction`` with its image.

        [K, T, d_model] → the same shape. The centring is a symmetric matrix, so only the order is another.
        """
        scaled = direction if self.factor is None else self.factor * direction
        return scaled - scaled.mean(-1, keepdim=True) if self.centred else scaled


def freeze(norm: nn.Module, x: Tensor, *, name: str = "the norm") -> FrozenNorm:
    """The linear map that ``norm`` is for these x [T, d_model].

    A norm of a user's own is asked for it: a method ``frozen(x)`` that returns a :class:`FrozenNorm`.

    Args:
        name: where the norm stands, for the message.

    Raises:
        ConfigError: a norm that we do not know and that has no such method.
    """
    own = getattr(norm, "frozen", None)
    if callable(own):
        frozen = own(x)
        assert isinstance(frozen, FrozenNorm), f"{type(norm).__name__}.frozen returned {type(frozen).__name__}"
        return frozen
    for kind, known in _KNOWN.items():
        # a subclass that computes something else is a norm of the user's own
        if isinstance(norm, kind) and type(norm).forward is kind.forward:
            return known(norm, x)
    raise ConfigError(
        f"The norm {type(norm).__qualname__} ({name}) is not one of glassformer's, so its linear map is not "
        "known. Give its class a method frozen(x) that returns a "
        "glassformer.inspection.frozen_norms.FrozenNorm, the linear map that it is for these x.",
        subject="attribution",
    )


def _layer_norm(norm: nn.LayerNorm, x: Tensor) -> FrozenNorm:
    deviation = (x.var(-1, keepdim=True, correction=0) + norm.eps).sqrt()
    return FrozenNorm(_weighted(norm.weight, 1 / deviation), True, _value(norm.bias))


def _annotated_layer_norm(norm: AnnotatedLayerNorm, x: Tensor) -> FrozenNorm:
    return FrozenNorm(_weighted(norm.weight, 1 / (x.std(-1, keepdim=True) + norm.eps)), True, _value(norm.bias))


def _rms_norm(norm: nn.RMSNorm, x: Tensor) -> FrozenNorm:
    eps = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
    return FrozenNorm(_weighted(norm.weight, (x.square().mean(-1, keepdim=True) + eps).rsqrt()))


def _batch_norm(norm: SequenceBatchNorm, _: Tensor) -> FrozenNorm:
    features = norm.features
    assert features.running_mean is not None
    assert features.running_var is not None
    factor = _weighted(features.weight, (features.running_var + features.eps).rsqrt())  # [d_model]
    bias = -factor * features.running_mean
    own: Tensor | None = features.bias
    return FrozenNorm(factor, bias=bias if own is None else bias + own.detach())


def _identity(_norm: nn.Identity, _: Tensor) -> FrozenNorm:
    return FrozenNorm()


_KNOWN: dict[type[nn.Module], Callable[..., FrozenNorm]] = {
    nn.LayerNorm: _layer_norm,
    nn.RMSNorm: _rms_norm,
    AnnotatedLayerNorm: _annotated_layer_norm,
    SequenceBatchNorm: _batch_norm,
    nn.Identity: _identity,
}


def _weighted(weight: Tensor | None, factor: Tensor) -> Tensor:
    return factor if weight is None else factor * weight.detach()


def _value(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()
