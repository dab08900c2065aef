"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017): an encoder, and a decoder that attends to it.

source [B, S] → encoder: every token sees the whole sentence           → memory [B, S, d_model]
target [B, T] → decoder: every token sees those before, and the memory → logits [B, T, vocab_size]

What a token may attend to, for a source of three tokens and a pad and a target of three:

    encoder                  decoder, itself       decoder, the memory
      s0 s1 s2 pad             t0 t1 t2              s0 s1 s2 pad
  s0  ■  ■  ■  ·           t0  ■  ·  ·           t0  ■  ■  ■  ·
  s1  ■  ■  ■  ·           t1  ■  ■  ·           t1  ■  ■  ■  ·
  s2  ■  ■  ■  ·           t2  ■  ■  ■           t2  ■  ■  ■  ·

A target's pads come after its tokens, where the causal mask already hides them.
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
from glassformer.parts.losses import Losses, add_losses, settled


class EncoderDecoder(Transformer):
    """A translator, whatever its parts.

    Raises:
        ConfigError: a registered part does not take the options given for it.
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

    def forward(
        self, source: Tensor, target: Tensor, source_padding: Tensor | None = None, *, with_losses: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Source ids [B, S] and target ids [B, T] → logits [B, T, vocab_size] for the target token after each.

        Args:
            source_padding: bool [B, S], True where a source token is a pad (at either end).
            with_losses: return ``(logits, losses)``, the auxiliary losses of the parts by their names.

        Raises:
            DataError: more tokens on a side than ``max_seq_len``.
        """
        hidden, losses = self.hidden_with_losses(source, target, source_padding)
        logits = self.unembed(hidden)
        return (logits, settled(losses)) if with_losses else logits

    def hidden_with_losses(
        self,
        source: Tensor,
        target: Tensor,
        source_padding: Tensor | None = None,
        *,
        counted: Tensor | None = None,
    ) -> tuple[Tensor, Losses]:
        """Up to the head: [B, T, d_model], and the auxiliary losses of both stacks.

        Args:
            counted: bool [B, T], the target's tokens that count where a part takes statistics; all unless given.
        """
        encoded, of_encoder = self._encode(source, source_padding)
        memory = Memory.of(encoded, source_padding)
        hidden, losses = self.decoder.run_blocks_with_losses(
            target, self.decoder.context(target, counted=counted), memory=memory
        )
        return hidden, add_losses(of_encoder, losses)

    def encode(self, source: Tensor, source_padding: Tensor | None = None) -> Memory:
        """Source ids [B, S] → what the decoder attends to."""
        return Memory.of(self._encode(source, source_padding)[0], source_padding)

    def _encode(self, source: Tensor, source_padding: Tensor | None) -> tuple[Tensor, Losses]:
        return self.encoder.run_blocks_with_losses(source, self.encoder.context(source, source_padding))

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
