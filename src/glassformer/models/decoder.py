"""The decoder-only Transformer: one stack of causal blocks, and a head.

tokens [B, T] → embedding [B, T, d_model] → n_layers × block → final norm → logits [B, T, vocab_size]
"""

from __future__ import annotations

from torch import Tensor

from glassformer.models.config import ModelConfig
from glassformer.models.initialisation import draw_seed
from glassformer.models.stack import Stack
from glassformer.models.transformer import Transformer
from glassformer.parts.cache import KVCache
from glassformer.parts.losses import Losses, settled


class Decoder(Stack, Transformer):
    """A GPT, whatever its parts.

    Raises:
        ConfigError: a registered part does not take the options given for it.
    """

    def __init__(self, config: ModelConfig) -> None:
        assert config.family == "decoder", f"a configuration of the family {config.family} makes no Decoder"
        seed = draw_seed()  # before the parts, which draw too: variants of one seed start from the same weights
        super().__init__(config, rows=config.padded_vocab_size, n_layers=config.n_layers)
        self.add_head(seed)

    def forward(
        self,
        tokens: Tensor,
        *,
        padding: Tensor | None = None,
        cache: KVCache | None = None,
        with_losses: bool = False,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Token ids [B, T] → logits [B, T, vocab_size] for the token after each.

        Args:
            padding: bool [B, T], True where a token is a pad (at either end); positions are counted without pads.
            cache: keys and values of the tokens before these; the new ones are added to it.
            with_losses: return ``(logits, losses)``, the auxiliary losses of the parts by their names.

        Raises:
            DataError: more tokens than ``max_seq_len`` (or than the cache has room for).
        """
        hidden, losses = self.hidden_with_losses(tokens, padding=padding, cache=cache)
        logits = self.unembed(hidden)
        return (logits, settled(losses)) if with_losses else logits

    def hidden_with_losses(
        self,
        tokens: Tensor,
        *,
        padding: Tensor | None = None,
        cache: KVCache | None = None,
        counted: Tensor | None = None,
    ) -> tuple[Tensor, Losses]:
        """Up to the head: [B, T, d_model] after the final norm, and the auxiliary losses.

        Args:
            counted: bool [B, T], the tokens that count where a part takes statistics; all but pads unless given.
        """
        if cache is None:
            return self.run_blocks_with_losses(tokens, self.context(tokens, padding, counted))
        found = self.run_blocks_with_losses(tokens, self.cached_context(tokens, cache), cache)
        cache.length += tokens.shape[1]
        return found
