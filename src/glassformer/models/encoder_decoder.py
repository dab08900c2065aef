"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017): an encoder, and a decoder that looks at it.

source [B, S] → encoder: every token sees the whole sentence           → memory [B, S, d_model]
target [B, T] → decoder: every token sees those before, and the memory → logits [B, T, vocab_size]

What a token may look at, for a source of three tokens and a pad and a target of three:

    encoder                  decoder, itself       decoder, the memory
      s0 s1 s2 pad             t0 t1 t2              s0 s1 s2 pad
  s0  ■  ■  ■  ·           t0  ■  ·  ·           t0  ■  ■  ■  ·
  s1  ■  ■  ■  ·           t1  ■  ■  ·           t1  ■  ■  ■  ·
  s2  ■  ■  ■  ·           t2  ■  ■  ■           t2  ■  ■  ■  ·

A target's pads stand behind its tokens, where causality hides them already; they need no mask of their own.
"""

from __future__ import annotations

from torch import Tensor

from glassformer.models.config import ModelConfig
from glassformer.models.initialisation import draw_seed
from glassformer.models.stack import Stack
from glassformer.models.transformer import Transformer
from glassformer.parts.blocks import Block
from glassformer.parts.cache import KVCache
from glassformer.parts.cross_attention import CrossAttention, Memory


class EncoderDecoder(Transformer):
    """A translator, whatever its parts.

    Raises:
        ConfigError: a registered part refuses the options given for it.
    """

    def __init__(self, config: ModelConfig) -> None:
        assert config.n_encoder_layers is not None, f"a model of the family {config.family} has no two stacks"
        seed = draw_seed()  # before the parts, which draw too
        super().__init__()
        self.config = config
        self.encoder = Stack(
            config, rows=config.padded_source_vocab_size, n_layers=config.n_encoder_layers, causal=False
        )
        self.decoder = Stack(config, rows=config.padded_vocab_size, n_layers=config.n_layers, cross=True)
        self.add_head(seed)

    def forward(self, source: Tensor, target: Tensor, source_padding: Tensor | None = None) -> Tensor:
        """Source ids [B, S] and target ids [B, T] → logits [B, T, vocab_size] for the target token after each.

        Args:
            source_padding: bool [B, S], True where a source token is a pad (at either end).

        Raises:
            DataError: more tokens on a side than ``max_seq_len``.
        """
        return self.unembed(self.hidden(source, target, source_padding))

    def hidden(self, source: Tensor, target: Tensor, source_padding: Tensor | None = None) -> Tensor:
        """The same up to the head: [B, T, d_model]."""
        return self.decode(target, self.encode(source, source_padding))

    def encode(self, source: Tensor, source_padding: Tensor | None = None) -> Memory:
        """Source ids [B, S] → what the decoder looks at."""
        hidden = self.encoder.run_blocks(source, self.encoder.context(source, source_padding))
        return Memory.of(hidden, source_padding)

    def decode(self, target: Tensor, memory: Memory, cache: KVCache | None = None) -> Tensor:
        """Target ids [B, T] and the memory of the same B sentences → [B, T, d_model], before the head.

        With a cache (``model.decoder.make_cache``), the target continues what is in it.
        """
        if cache is None:
            return self.decoder.run_blocks(target, self.decoder.context(target), memory=memory)
        hidden = self.decoder.run_blocks(target, self.decoder.cached_context(target, cache), cache, memory)
        cache.length += target.shape[1]
        return hidden

    def project_memory(self, memory: Memory) -> Memory:
        """The memory with every layer's keys and values computed: once a sentence, not once a token."""
        layers = []
        for block in self.decoder.blocks:
            assert isinstance(block, Block)
            if block.has_cross_attention:
                assert isinstance(block.cross_attention, CrossAttention)
                layers.append(block.cross_attention.project(memory.hidden))
        return Memory(memory.hidden, memory.mask, tuple(layers))
