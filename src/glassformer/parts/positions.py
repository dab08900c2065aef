"""Where a token stands: learned, sinusoidal, rotary, ALiBi, or nothing.

A position encoding can act in three places, and each class overrides the one it uses: it can be *added* to the token
embedding, *rotate* queries and keys, or *bias* the attention scores.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from glassformer.registry import register


class PositionEncoding(nn.Module):
    """The interface, and the encoding that does nothing.

    Every subclass is given ``d_model``, ``max_seq_len``, ``n_heads``, ``d_head`` and ``theta``, the wavelengths' base.
    """

    def __init__(self, *, d_model: int, max_seq_len: int, n_heads: int, d_head: int, theta: float = 10_000.0) -> None:
        super().__init__()

    def embed(self, positions: Tensor) -> Tensor | None:
        """[..., sequence] positions → [..., sequence, d_model] to add to the embedding, or None."""
        return None

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """Queries or keys [batch, head, sequence, d_head] → the same, turned by their positions."""
        return x

    def bias(self, query: Tensor, key: Tensor) -> Tensor | None:
        """Positions [..., query] and [..., key] → [..., head, query, key] to add to the scores, or None."""
        return None


@register("positions", "none")
class NoPositions(PositionEncoding):
    """No positions: attention sees a set, ordered only by the causal mask."""


@register("positions", "learned")
class LearnedPositions(PositionEncoding):
    """A table of max_seq_len trained vectors (GPT-2).

    Args:
        rms: the vectors start as normal(0, rms) in every scheme; None: as the scheme starts embeddings.
    """

    def __init__(
        self,
        *,
        d_model: int,
        max_seq_len: int,
        n_heads: int,
        d_head: int,
        theta: float = 10_000.0,
        rms: float | None = None,
    ) -> None:
        super().__init__(d_model=d_model, max_seq_len=max_seq_len, n_heads=n_heads, d_head=d_head)
        _check_rms(rms)
        self.table = nn.Embedding(max_seq_len, d_model) if rms is None else NormalEmbedding(max_seq_len, d_model, rms)

    def embed(self, positions: Tensor) -> Tensor:
        vectors: Tensor = self.table(positions)
        return vectors


class NormalEmbedding(nn.Embedding):
    """Vectors that start as normal(0, std), whatever the model's scheme (:mod:`glassformer.models.initialisation`)."""

    def __init__(self, rows: int, width: int, std: float) -> None:
        super().__init__(rows, width)
        self.std = std


def _check_rms(rms: object) -> None:
    """Raise :class:`TypeError` unless it is None or a finite number above 0."""
    if rms is None:
        return
    if isinstance(rms, bool) or not isinstance(rms, int | float) or not 0 < rms < math.inf:
        raise TypeError(f"rms is {rms!r}; expected a finite number above 0")


def sinusoids(positions: Tensor, d_model: int, theta: float = 10_000.0, layout: str = "interleaved") -> Tensor:
    """PE(pos, 2i) = sin(pos / θ^(2i/d)), PE(pos, 2i+1) = cos(same): [sequence] → [sequence, d_model], ‖PE‖² = d/2.

    Vaswani et al. 2017, §3.5; d_model is even. The layout "halves" has all sines first and then all cosines, as
    tensor2tensor and Marian have them: the same numbers in another order.
    """
    steps = torch.arange(0, d_model, 2, dtype=torch.float64, device=positions.device)
    angles = positions[..., None] * torch.exp(steps * (-math.log(theta) / d_model))  # [sequence, d_model / 2]
    sines, cosines = angles.sin().float(), angles.cos().float()  # in float32 an angle of 500 is known to 5 digits only
    if layout == "halves":
        return torch.cat((sines, cosines), dim=-1)
    return torch.stack((sines, cosines), dim=-1).flatten(-2)


@register("positions", "sinusoidal")
class SinusoidalPositions(PositionEncoding):
    """The paper's fixed sines and cosines, "interleaved" as in the paper or in "halves" (:func:`sinusoids`).

    Args:
        rms: root mean square of the vectors; None: the sinusoids' own, √½ = 0.71.
    """

    def __init__(
        self,
        *,
        d_model: int,
        max_seq_len: int,
        n_heads: int,
        d_head: int,
        theta: float = 10_000.0,
        layout: Literal["interleaved", "halves"] = "interleaved",
        rms: float | None = None,
    ) -> None:
        super().__init__(d_model=d_model, max_seq_len=max_seq_len, n_heads=n_heads, d_head=d_head)
        _check_rms(rms)
        if layout not in ("interleaved", "halves"):
            raise TypeError(f"layout is {layout!r}; expected 'interleaved' or 'halves'")
        table = sinusoids(torch.arange(max_seq_len), d_model, theta, layout)
        if rms is not None:
            table = table * (rms * math.sqrt(2))
        self.register_buffer("table", table, persistent=False)
        self.table: Tensor

    def embed(self, positions: Tensor) -> Tensor:
        return self.table[positions]


@register("positions", "rotary")
class RotaryPositions(PositionEncoding):
    """Turns each pair of features of queries and keys by pos · θ^(−2i/d_head) (Su et al. 2021, arXiv 2104.09864).

    Pairs are (i, i + d_head/2), as in GPT-NeoX and Llama.
    """

    def __init__(self, *, d_model: int, max_seq_len: int, n_heads: int, d_head: int, theta: float = 10_000.0) -> None:
        super().__init__(d_model=d_model, max_seq_len=max_seq_len, n_heads=n_heads, d_head=d_head)
        frequencies = theta ** (-torch.arange(0, d_head, 2).float() / d_head)
        angles = torch.arange(max_seq_len).float()[:, None] * frequencies  # [max_seq_len, d_head / 2]
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.cos: Tensor
        self.sin: Tensor

    def rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        cos, sin = self.cos[positions].to(x.dtype), self.sin[positions].to(x.dtype)
        if positions.dim() > 1:  # [batch, sequence, half] → [batch, 1, sequence, half]
            cos, sin = cos.unsqueeze(-3), sin.unsqueeze(-3)
        first, second = x.chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


@register("positions", "alibi")
class ALiBiPositions(PositionEncoding):
    """−slope · distance added to the scores, one slope per head (Press et al. 2021, arXiv 2108.12409).

    For n heads a power of two the slopes are 2^(−8/n), 2^(−16/n), …; otherwise the paper's interleaving.
    """

    def __init__(self, *, d_model: int, max_seq_len: int, n_heads: int, d_head: int, theta: float = 10_000.0) -> None:
        super().__init__(d_model=d_model, max_seq_len=max_seq_len, n_heads=n_heads, d_head=d_head)
        self.register_buffer("slopes", alibi_slopes(n_heads), persistent=False)
        self.slopes: Tensor

    def bias(self, query: Tensor, key: Tensor) -> Tensor:
        distance = (query[..., :, None] - key[..., None, :]).abs()  # [..., query, key]
        return -self.slopes[:, None, None] * distance[..., None, :, :]


def alibi_slopes(n_heads: int) -> Tensor:
    """The heads' slopes [n_heads]."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    slopes += [2 ** (-4 * (2 * head + 1) / power) for head in range(n_heads - power)]
    return torch.tensor(slopes)
