"""A copy of a model for decoding, its matrices stored in fewer bytes.

Decoding one token reads every weight once and does two operations with it, so its speed is that of memory: half the
bytes, half the time. Only matrices are stored differently; activations stay float32, and so do norms and embeddings.

===== ====================================================================== ===============
store what is kept                                                           bytes a weight
===== ====================================================================== ===============
fp32  the model's own weights (shared, not copied)                           4
bf16  the weights rounded to bfloat16                                        2
int8  round(w / s) with one s = max|w| / 127 per output channel, symmetric   1
===== ====================================================================== ===============
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.models.decoder import Decoder
from glassformer.models.transformer import Transformer
from glassformer.parts.experts import layers_of_experts
from glassformer.parts.feedforward import PointwiseConvolution
from glassformer.parts.probes import Probe
from glassformer.parts.routers import Router

Store = Literal["fp32", "bf16", "int8"]
Model = TypeVar("Model", bound=Transformer)

FEW_ROWS = 8  # up to here, widening the int8 weights first would cost more than the product


def quantize_channels(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix [out, in] → int8 [out, in] and scales [out]; |w − s·q| ≤ s/2. A channel of zeros has scale 1."""
    largest = weight.abs().amax(dim=1)
    scale = torch.where(largest > 0, largest / 127, 1.0).to(torch.float32)
    return (weight / scale[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def finished(x: Tensor) -> Tensor:
    """The same x, which a compiler has to have written to memory by then.

    Without it, whatever computes x (a norm, a GELU, a division) is fused into the loop that reads x, and done again
    for every row of the matrix there, which more than doubles the time of a step.
    """
    x = x.contiguous()
    return x.as_strided(x.shape, x.stride())


class FinishedProbe(Probe):
    """In the place of a probe: the identity that keeps what comes before out of the loop that comes after."""

    def forward(self, x: Tensor) -> Tensor:
        return finished(x)


class DecodeLinear(nn.Module):
    """y = W x + b for decoding, [..., in] → [..., out] in the type of x.

    A single vector in a compiled graph is a multiply and a sum, which the compiler makes one loop that reads each
    weight once and widens it in a register. Several rows are an ordinary matrix product; with bf16 and
    int8 the activations are rounded to bfloat16 for it, and the products are summed in float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, store: Store) -> None:
        super().__init__()
        scale = None
        if store == "int8":
            weight, scale = quantize_channels(weight)
        elif store == "bf16":
            weight = weight.to(torch.bfloat16)
        self.scale = None if scale is None else nn.Parameter(scale, requires_grad=False)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        one_vector = x.numel() == x.shape[-1]
        if one_vector and x.device.type == "cpu" and torch.compiler.is_compiling():
            y = self._vector_product(x)
        elif self.weight.dtype == x.dtype:
            return F.linear(x, self.weight, self.bias)
        else:
            y = self._matrix_product(x)
        if self.scale is not None:
            y = y * self.scale
        return y if self.bias is None else y + self.bias

    def _vector_product(self, x: Tensor) -> Tensor:
        vector = finished(x.reshape(1, -1))
        # Widening int8 leaves the loop waiting for its one sum: adding four products first shortens that chain.
        parts = 4 if self.scale is not None and x.shape[-1] % 64 == 0 else 1
        weights, vectors = self.weight.chunk(parts, dim=1), vector.chunk(parts, dim=1)
        products = [w.to(x.dtype) * v for w, v in zip(weights, vectors, strict=True)]
        total = products[0]
        for product in products[1:]:
            total = total + product
        return total.sum(dim=-1).view(*x.shape[:-1], -1)

    def _matrix_product(self, x: Tensor) -> Tensor:
        rounded = x.to(torch.bfloat16)
        if self.scale is None:
            return F.linear(rounded, self.weight).to(x.dtype)
        rows = rounded.flatten(0, -2)
        if len(rows) <= FEW_ROWS and x.device.type == "cpu" and not torch.compiler.is_compiling():
            # torch's own kernel reads the int8 weights as they are
            ones = torch.ones_like(self.scale, dtype=torch.bfloat16)  # our scales come after, in float32
            return torch._weight_int8pack_mm(rows, self.weight, ones).view(*x.shape[:-1], -1).to(x.dtype)  # noqa: SLF001
        return F.linear(rounded, self.weight.to(torch.bfloat16)).to(x.dtype)


def decoding_copy(model: Model, store: Store = "fp32") -> Model:
    """The same model in evaluation mode with every linear layer a :class:`DecodeLinear`; ``model`` is not changed.

    Routers stay as they are: rounding would send tokens to other experts; and so do experts' weights.

    Whatever is not stored differently shares memory with ``model``. A tied head's stored matrix is its own, and the
    embedding stays the table it was. Recorders attached to ``model`` are not carried over.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, memo=dict(shared)).eval()
    for parent in twin.modules():
        parent._forward_hooks.clear()  # noqa: SLF001 (torch offers no public way to take off another's hooks)
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear | PointwiseConvolution) and not isinstance(parent, Router):
                weight = child.weight.detach().flatten(1)  # a kernel-1 convolution's last axis has size 1
                bias = None if child.bias is None else child.bias.detach()
                setattr(parent, name, DecodeLinear(weight, bias, store))
    return twin


def weight_bytes_per_token(model: nn.Module) -> int:
    """Bytes of weights that decoding one token reads: every parameter, but of an embedding table one row, and of
    experts those that a token is given to.
    """
    total = 0
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            total += parameter.nbytes // (parameter.shape[0] if isinstance(module, nn.Embedding) else 1)
    for layer in layers_of_experts(model).values():
        idle = layer.router.n_experts - layer.router.n_active
        total -= sum(parameter.nbytes for parameter in layer.experts.parameters()) * idle // layer.router.n_experts
    return total


@dataclass(frozen=True)
class QuantizationLoss:
    """What storing the weights in fewer bytes costs, in nats per token over ``n_tokens`` predictions."""

    before: float
    after: float
    n_tokens: int

    @property
    def difference(self) -> float:
        """After minus before: positive where the copy predicts worse."""
        return self.after - self.before


@torch.no_grad()
def quantization_loss(model: Decoder, tokens: Tensor, store: Store, *, batch_size: int = 8) -> QuantizationLoss:
    """The mean negative log-likelihood of real tokens [N, T], as the model is and with its weights stored as asked.

    Each row's tokens after the first are predicted from those before; T ≤ max_seq_len.
    """
    totals = []
    for each in (decoding_copy(model), decoding_copy(model, store)):
        total = 0.0
        for first in range(0, len(tokens), batch_size):
            rows = tokens[first : first + batch_size]
            logits = each(rows[:, :-1])
            total += F.cross_entropy(logits.flatten(0, 1).double(), rows[:, 1:].flatten(), reduction="sum").item()
        totals.append(total)
    n_tokens = tokens[:, 1:].numel()
    return QuantizationLoss(before=totals[0] / n_tokens, after=totals[1] / n_tokens, n_tokens=n_tokens)
