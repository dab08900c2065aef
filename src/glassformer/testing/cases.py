"""What the models are given: a batch for any family, so that a promise is said once for all.

=================== ============================ ====================================
a batch has         for a decoder or an encoder  for an encoder-decoder
=================== ============================ ====================================
``tokens`` [B, T]   what it reads                the target, which it continues
``source`` [B, S]   None                         the source it attends to
``padding``         the pads among ``tokens``    the pads in ``source``
=================== ============================ ====================================

Pads of a target come at its end, where the causal mask hides them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.models.build import Model
from glassformer.models.config import ModelConfig
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.family import Family, family_of
from glassformer.parts.cache import KVCache
from glassformer.parts.patterns import Causal

LONGEST = 16  # tokens on a side, in a model with a context long enough


@dataclass(frozen=True)
class Case:
    """One batch; the table above says what its fields are."""

    tokens: Tensor
    source: Tensor | None = None
    padding: Tensor | None = None

    @property
    def arguments(self) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        """What the model is called with, by place and by name."""
        if self.source is None:
            return (self.tokens,), {"padding": self.padding}
        return (self.source, self.tokens), {"source_padding": self.padding}

    def run(self, model: Callable[..., Tensor]) -> Tensor:
        """The logits [B, T, vocab_size]."""
        args, options = self.arguments
        return model(*args, **options)

    def loss(self, logits: Tensor, read: slice = slice(None)) -> Tensor:
        """The cross-entropy of some target for every token that is read and no pad; ``logits`` are of those read."""
        kept = torch.ones_like(self.tokens, dtype=torch.bool)
        if self.source is None and self.padding is not None:
            kept = ~self.padding
        targets = (self.tokens * 7 + 3)[:, read] % logits.shape[-1]
        return F.cross_entropy(logits[kept[:, read]], targets[kept[:, read]])

    def row(self, index: int, *, start: int = 0) -> Case:
        """One sequence alone, without its source's pads, from the token ``start`` on."""
        tokens, source, padding = (
            None if x is None else x[index : index + 1] for x in (self.tokens, self.source, self.padding)
        )
        assert tokens is not None
        if source is not None and padding is not None:
            source, padding = source[:, ~padding[0]], None
        return Case(tokens[:, start:], source, padding)

    def with_tokens(self, tokens: Tensor) -> Case:
        """The same with other tokens to read (of a target, with the same source)."""
        return replace(self, tokens=tokens)

    @property
    def _padded_side(self) -> Tensor:
        return self.tokens if self.source is None else self.source

    def ragged(self, *, left: int = 0, right: int = 0) -> Case:
        """The last row (of sources, where there are any) has this many pads at its ends, as many as its length allows;
        the others have none.
        """
        if not left + right:
            return self
        padding = torch.zeros_like(self._padded_side, dtype=torch.bool)
        length = padding.shape[1]
        padding[-1, : min(left, length - 1)] = True
        padding[-1, length - min(right, length - 1) :] = True
        return replace(self, padding=padding)

    def ragged_source(self, *, left: int = 0, right: int = 0) -> Case:
        """The same for sources alone: a case without them stays as it is."""
        return self if self.source is None else self.ragged(left=left, right=right)

    def with_row_of_pads(self) -> Case:
        """The last row is all padding."""
        padding = torch.zeros_like(self._padded_side, dtype=torch.bool)
        padding[-1] = True
        return replace(self, padding=padding)

    def padded(self, side: str, count: int, content: int) -> tuple[Case, slice]:
        """The same with ``count`` pads more at one side of every row, and where the logits of the real tokens are."""
        ends = (count, 0) if side == "left" else (0, count)
        padding = F.pad(torch.zeros_like(self._padded_side, dtype=torch.bool), ends, value=True)
        longer = F.pad(self._padded_side, ends, value=content)
        if self.source is not None:
            return Case(self.tokens, longer, padding), slice(None)
        return Case(longer, None, padding), slice(ends[0], ends[0] + self.tokens.shape[1])

    def visible(self, name: str, family: Family) -> Tensor:
        """What the attention of this name may attend to: bool, broadcastable to [B, 1, query, key]."""
        stack, cross = family.stack_named(name), "cross_attention" in name
        keys = family.stacks[0] if cross else stack
        read = (self.tokens if self.source is None else self.source, self.tokens)[keys.reads]
        index = torch.arange(read.shape[1])
        everything = torch.ones(1, 1, 1, len(index), dtype=torch.bool)
        visible = Causal().dense(index, index) if stack.causal and not cross else everything
        if self.padding is not None and read is self._padded_side:
            visible = visible & ~self.padding[:, None, None, :]
            if not cross:
                visible = visible | (index[:, None] == index)  # a pad sees itself
        return visible


def random_case(config: ModelConfig, batch_size: int, length: int, source_length: int | None = None) -> Case:
    """Random tokens, the same each time for one shape and vocabulary; a source is two tokens longer unless given."""
    generator = torch.Generator().manual_seed(batch_size * 1000 + length)
    tokens = torch.randint(config.vocab_size, (batch_size, length), generator=generator)
    *sources, _ = family_of(config).inputs(config)
    shape = (batch_size, source_length or min(length + 2, config.max_seq_len))
    return Case(tokens, *(torch.randint(source.vocab_size, shape, generator=generator) for source in sources))


def longest(config: ModelConfig, at_most: int = LONGEST) -> int:
    """The length of a case: at most the context's."""
    return min(config.max_seq_len, at_most)


class Continuation:
    """Logits piece by piece through a cache; the memory of a translator is computed once, keys and values too."""

    def __init__(self, model: Model, case: Case, cache: KVCache) -> None:
        self._model, self._stack, self._cache = model, model.family.stack().module(model), cache
        self._memory = None
        if case.source is not None:
            translator = cast("EncoderDecoder", model)
            self._memory = translator.project_memory(translator.encode(case.source, case.padding))

    def read(self, tokens: Tensor) -> Tensor:
        """The next tokens [B, T] → logits [B, T, vocab_size], as a caller of the model has them."""
        if self._memory is None:
            logits: Tensor = self._model(tokens, cache=self._cache)
            return logits
        translator = cast("EncoderDecoder", self._model)
        return translator.unembed(translator.decode(tokens, self._memory, self._cache))

    def read_at(self, slot: int, tokens: Tensor) -> Tensor:
        """The same for tokens [B, 1] of a known slot, in a step whose shapes never change."""
        context = self._stack.slot_context(torch.tensor([slot]), self._cache.capacity, self._cache.starts)
        return self._model.unembed(self._stack.run_blocks(tokens, context, self._cache, self._memory))
