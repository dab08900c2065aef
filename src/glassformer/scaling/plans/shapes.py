"""From a number of parameters to a real model: whole layers, whole heads, and the exact count.

Kaplan's N = 12 · n_layers · d² leaves the shape open, and with it the vocabulary, the positions and the heads. Here
widths and depths are tried, every try is counted exactly (:mod:`glassformer.models.counting`), and the one whose count
comes nearest is taken, among shapes like those that people train:

- d_model a multiple of 8, sixteen widths to an octave;
- heads that divide d_model, of about 64 features (fewer in narrow models, 128 in very wide ones), each a multiple of 8;
- d_model / n_layers about 64, and at least four layers: within a factor of 2 of that depth, the loss hardly depends on
  the shape (Kaplan et al. 2020, fig. 5).

>>> shape = nearest_shape(preset("gpt2").model, 124_439_808)
>>> shape.model.d_model, shape.model.n_layers, shape.parameters
(768, 12, 124439808)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.models.family import family_of
from glassformer.scaling.laws.counting import counts
from glassformer.scaling.laws.law import Counting

ASPECT = 64
"""d_model / n_layers: GPT-2's 64; 64 to 128 in large models (Chinchilla's 102, GPT-3's 128)."""

LAYERS = 4
"""Of narrow models, whose aspect ratio would leave them one or two: nanoGPT's smallest has as many."""

SLACK = 2.0
"""By what factor the depth may leave the wanted one."""

CLOSE = 0.01
"""Counts this near the target, relatively, are as good as equal: among them the depth decides."""

HEADS = ((2048, 128), (256, 64), (64, 32), (32, 12), (0, 8))
"""From this width on, the wanted size of a head."""

NARROWEST = 16
"""The least d_model that is tried: two heads of eight."""

WIDTHS_PER_OCTAVE = 16


@dataclass(frozen=True)
class Shape:
    """A model whose exact count comes nearest to a target.

    Attributes:
        model: the base with this width, depth, heads and feed-forward width.
        parameters: of ``model``, in this counting.
        counting: what is counted: "total", or "non-embedding" (Kaplan's N).
        target: the number that was asked for.
        tried: how many shapes were counted.
    """

    model: ModelConfig
    parameters: int
    counting: Counting
    target: float
    tried: int

    @property
    def aspect(self) -> float:
        """d_model / n_layers."""
        return self.model.d_model / self.model.n_layers

    @property
    def deviation(self) -> float:
        """By what share the count is above (or, negative, below) the target."""
        return self.parameters / self.target - 1

    @property
    def words(self) -> str:
        """The shape in half a line."""
        model = self.model
        heads = f"{model.attention.n_heads} head{'s' * (model.attention.n_heads > 1)} of {model.d_head}"
        return f"{model.n_layers} layer{'s' * (model.n_layers > 1)} × width {model.d_model}, {heads}, FFN {model.d_ff}"


def nearest_shape(
    base: ModelConfig, target: float, *, counting: Counting = "total", aspect: float | None = None
) -> Shape:
    """The shape of ``base``'s architecture whose exact number of parameters is nearest to ``target``.

    Vocabulary, context, parts, and the ratios d_ff / d_model and n_kv_heads / n_heads are the base's.

    Args:
        aspect: the wanted d_model / n_layers; :data:`ASPECT`, with :data:`LAYERS` at least, unless given.

    Raises:
        ConfigError: the base has an encoder, or the target is below the smallest sensible model.
    """
    if (family := family_of(base)).name != "decoder":
        raise ConfigError(f"scaling laws are of decoder-only models, and this is {family.words}.", subject="shape")
    assert target > 0, target
    least = smallest(base, counting)
    if target < least:
        raise ConfigError(
            f"{target:,.0f} parameters ({counting}) are fewer than those of the smallest sensible model: one layer of "
            f"width {NARROWEST} has {least:,}, with a vocabulary of {base.vocab_size:,} and a context of "
            f"{base.max_seq_len:,}.",
            subject="shape",
        )
    tried = list(_candidates(base, target, counting, aspect))
    n, width, depth = min(tried, key=lambda each: _badness(each, target, aspect))
    model = _shaped(base, width, depth)
    assert n == counts(model).parameters(counting), "the count is not linear in the number of layers"
    return Shape(model, n, counting, target, len(tried))


def by_width(base: ModelConfig, counting: Counting = "total") -> Iterator[Shape]:
    """``base``'s shapes from the narrowest up, without end, each as deep as its width asks for."""
    for width in _widths():
        model = _shaped(base, width, round(_depth(width, None)))
        count = counts(model).parameters(counting)
        yield Shape(model, count, counting, target=count, tried=1)


def smallest(base: ModelConfig, counting: Counting) -> int:
    """Parameters of the smallest sensible model of this architecture: one layer of width :data:`NARROWEST`."""
    return counts(_shaped(base, NARROWEST, 1)).parameters(counting)


def _candidates(
    base: ModelConfig, target: float, counting: Counting, aspect: float | None
) -> Iterator[tuple[int, int, int]]:
    """(parameters, width, depth) of every shape that may be meant: at each width the depths around the target."""
    for width in _widths():
        one, two = (counts(_shaped(base, width, depth)).parameters(counting) for depth in (1, 2))
        wanted = _depth(width, aspect)
        low, high = max(1, math.ceil(wanted / SLACK)), max(1, math.floor(wanted * SLACK))
        exact = 1 + (target - one) / (two - one)
        depths = {min(high, max(low, depth)) for depth in (math.floor(exact), math.ceil(exact))}
        depths |= {1} if width == NARROWEST else set()  # so that the smallest model is among them
        for depth in sorted(depths):
            yield one + (depth - 1) * (two - one), width, depth
        if one + (low - 1) * (two - one) > target:  # the shallowest allowed is too large, and wider ones are larger
            return


def _badness(candidate: tuple[int, int, int], target: float, aspect: float | None) -> tuple[float, float]:
    n, width, depth = candidate
    return max(CLOSE, abs(math.log(n / target))), abs(math.log(depth / _depth(width, aspect)))


def _depth(width: int, aspect: float | None) -> float:
    """The wanted number of layers."""
    return max(LAYERS, width / ASPECT) if aspect is None else max(1.0, width / aspect)


def _widths() -> Iterator[int]:
    """16, 24, 32, ..., 128, 136, ..., 256, 272, ...: multiples of 8 that whole heads fill, without end."""
    width = NARROWEST
    while True:
        if _head(width) is not None:
            yield width
        width += max(8, 2 ** (width.bit_length() - 1) // WIDTHS_PER_OCTAVE)


def _head(width: int) -> int | None:
    """The size of a head, a multiple of 8 that divides the width, nearest to the wanted one; None if none is near."""
    wanted = next(size for least, size in HEADS if width >= least)
    fitting = [size for size in range(8, 2 * wanted, 8) if width % size == 0 and 2 * size > wanted]
    return min(fitting, key=lambda size: abs(math.log(size / wanted)), default=None)


def _shaped(base: ModelConfig, width: int, depth: int) -> ModelConfig:
    """The base with another width and depth, and what follows from them."""
    head = _head(width)
    assert head is not None, width
    n_heads = width // head
    changes: dict[str, int | None] = {
        "d_model": width,
        "n_layers": depth,
        "attention.n_heads": n_heads,
        "attention.d_head": None,
    }
    if base.attention.n_kv_heads is not None:
        wanted = n_heads * base.attention.n_kv_heads / base.attention.n_heads
        divisors = [kv for kv in range(1, n_heads + 1) if n_heads % kv == 0]
        changes["attention.n_kv_heads"] = min(divisors, key=lambda kv: abs(math.log(kv / wanted)))
    if base.feedforward.d_ff is not None:
        changes["feedforward.d_ff"] = max(8, 8 * round(width * base.d_ff / base.d_model / 8))
    if base.feedforward.experts is not None and (d_ff := base.feedforward.experts.d_ff) is not None:
        changes["feedforward.experts.d_ff"] = max(8, 8 * round(width * d_ff / base.d_model / 8))
    return base.override(changes)
