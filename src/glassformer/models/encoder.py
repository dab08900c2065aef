"""The encoder-only Transformer (Devlin et al. 2019, BERT): one stack in which every token sees the whole sequence.

tokens [B, T] → embedding [B, T, d_model] → n_layers × block → final norm → logits [B, T, vocab_size]

The logits at a position are of the token at that position, as a model needs that is trained to fill in masked tokens.
It has no order of generation, so it generates nothing.
"""

from __future__ import annotations

from torch import Tensor

from glassformer.models.config import ModelConfig
from glassformer.models.initialisation import draw_seed
from glassformer.models.stack import Stack
from glassformer.models.transformer import Transformer
from glassformer.parts.losses import Losses, settled


class Encoder(Stack, Transformer):
    """A BERT, whatever its parts.

    Raises:
        ConfigError: a registered part does not take the options given for it.
    """

    def __init__(self, config: ModelConfig) -> None:
        assert config.family == "encoder", f"a configuration of the family {config.family} makes no Encoder"
        seed = draw_seed()  # before the parts, which draw too
        super().__init__(config, rows=config.padded_vocab_size, n_layers=config.n_layers, causal=False)
        self.add_head(seed)

    def forward(
        self, tokens: Tensor, *, padding: Tensor | None = None, with_losses: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Token ids [B, T] → logits [B, T, vocab_size] for the token at each position.

        Args:
            padding: bool [B, T], True where a token is a pad (at either end); positions are counted without pads.
            with_losses: return ``(logits, losses)``, the auxiliary losses of the parts by their names.

        Raises:
            DataError: more tokens than ``max_seq_len``.
        """
        hidden, losses = self.hidden_with_losses(tokens, padding=padding)
        logits = self.unembed(hidden)
        return (logits, settled(losses)) if with_losses else logits

    def hidden_with_losses(self, tokens: Tensor, *, padding: Tensor | None = None) -> tuple[Tensor, Losses]:
        """Up to the head: [B, T, d_model] after the final norm, and the auxiliary losses."""
        return self.run_blocks_with_losses(tokens, self.context(tokens, padding))
