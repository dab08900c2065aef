"""One layer: attention, cross-attention in a decoder that has an encoder, feed-forward; each with norm and skip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from glassformer.parts.cache import LayerCache
from glassformer.parts.context import Context
from glassformer.parts.cross_attention import LayerMemory
from glassformer.parts.dropout import Dropout
from glassformer.parts.losses import Losses, add_losses, split_losses
from glassformer.parts.probes import Probe

Placement = Literal["pre", "post", "none"]


class Block(nn.Module):
    """A Transformer layer, [B, T, d_model] → [B, T, d_model]. The residual rule, said once:

    ========= ============================== =============================
    placement with the skip                  without
    ========= ============================== =============================
    post      norm(x + sublayer(x))          norm(sublayer(x))
    pre       x + sublayer(norm(x))          sublayer(norm(x))
    none      x + sublayer(x)                sublayer(x)
    ========= ============================== =============================

    The paper is post-norm (Vaswani et al. 2017, §3.1); GPT-2 and The Annotated Transformer's code are pre-norm. A
    sublayer's output passes dropout before it is added.

    Args:
        attention, cross_attention, feedforward: the sublayers; one that is None is absent, with its norm and skip. Each
            returns its output, or ``(output, losses)`` (:mod:`glassformer.parts.losses`).
        norm: makes a norm of width d_model.
        placement: where the norm stands (with "none" there is none).
        attention_skip, feedforward_skip: whether x is added to the sublayer's output (to both attentions').
    """

    def __init__(
        self,
        *,
        attention: nn.Module | None,
        cross_attention: nn.Module | None = None,
        feedforward: nn.Module | None,
        norm: Callable[[], nn.Module],
        placement: Placement,
        attention_skip: bool,
        feedforward_skip: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.placement = placement
        self.attention_skip, self.feedforward_skip = attention_skip, feedforward_skip
        self.dropout = Dropout(dropout)
        self.input = Probe()
        if attention is not None:
            self.attention_norm = norm() if placement != "none" else nn.Identity()
            self.attention = attention
            self.attention_input, self.after_attention = Probe(), Probe()
        if cross_attention is not None:
            self.cross_attention_norm = norm() if placement != "none" else nn.Identity()
            self.cross_attention = cross_attention
            self.cross_attention_input, self.after_cross_attention = Probe(), Probe()
        if feedforward is not None:
            self.feedforward_norm = norm() if placement != "none" else nn.Identity()
            self.feedforward = feedforward
            self.feedforward_input, self.after_feedforward = Probe(), Probe()
        self.has_attention, self.has_feedforward = attention is not None, feedforward is not None
        self.has_cross_attention = cross_attention is not None
        self.feedforward_takes_context = getattr(feedforward, "takes_context", False)

    def forward(
        self,
        x: Tensor,
        context: Context,
        cache: LayerCache | None = None,
        memory: LayerMemory | None = None,
        *,
        with_losses: bool = False,
    ) -> Tensor | tuple[Tensor, Losses]:
        """[B, T, d_model] → [B, T, d_model]; and, if asked, the sublayers' auxiliary losses."""
        losses: Losses = {}
        x = self.input(x)
        if self.has_attention:
            y, own = split_losses(
                self.attention(self.attention_input(self._before(x, self.attention_norm)), context, cache)
            )
            losses = add_losses(losses, own)
            x = self.after_attention(self._after(x, y, self.attention_norm, self.attention_skip))
        if self.has_cross_attention:
            y, own = split_losses(
                self.cross_attention(self.cross_attention_input(self._before(x, self.cross_attention_norm)), memory)
            )
            losses = add_losses(losses, own)
            x = self.after_cross_attention(self._after(x, y, self.cross_attention_norm, self.attention_skip))
        if self.has_feedforward:
            own_context = (context,) if self.feedforward_takes_context else ()
            y, own = split_losses(
                self.feedforward(self.feedforward_input(self._before(x, self.feedforward_norm)), *own_context)
            )
            losses = add_losses(losses, own)
            x = self.after_feedforward(self._after(x, y, self.feedforward_norm, self.feedforward_skip))
        return (x, losses) if with_losses else x

    def _before(self, x: Tensor, norm: nn.Module) -> Tensor:
        """What the sublayer is given."""
        before: Tensor = norm(x) if self.placement == "pre" else x
        return before

    def _after(self, x: Tensor, y: Tensor, norm: nn.Module, skip: bool) -> Tensor:
        """What the next sublayer is given, from this one's input x and output y."""
        y = self.dropout(y)
        if skip:
            y = x + y
        after: Tensor = norm(y) if self.placement == "post" else y
        return after
