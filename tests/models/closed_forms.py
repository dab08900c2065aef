"""What the papers say a Transformer costs, in closed form: what counting is checked against.

Legend: d = d_model, f = d_ff, L and E = layers of the decoder and of the encoder, H · Q = all query heads side by side,
T = tokens in a sequence (of an encoder-decoder's target), S = tokens in its source, V = vocabulary.
"""

from __future__ import annotations

from glassformer.models.config import ModelConfig


def kaplan_parameters(config: ModelConfig) -> int:
    """N = 2 · d · L · (2 · d_attn + f), 12 · L · d² in the usual shape (Kaplan et al. 2020, eq. 2.1)."""
    attention = config.attention.n_heads * config.d_head
    return 2 * config.d_model * config.n_layers * (2 * attention + config.d_ff)


def palm_flops_per_token(config: ModelConfig, seq_len: int) -> int:
    """6 N + 12 · L · H · Q · T of a training step (Chowdhery et al. 2022, appendix B); N with the head, no look-ups."""
    n = kaplan_parameters(config) + config.vocab_size * config.d_model
    return 6 * n + 12 * config.n_layers * config.attention.n_heads * config.d_head * seq_len


def encoder_decoder_parameters(config: ModelConfig) -> int:
    """The original Transformer's (Vaswani et al. 2017): a layer norm after each sublayer, biases in the feed-forward.

    An encoder's layer has 4 d² of attention, a decoder's 8 d²; one matrix V · d is both embeddings and the head.
    """
    d, f = config.d_model, config.d_ff
    attention, feedforward, norm = 4 * d * d, 2 * d * f + f + d, 2 * d
    encoder = (config.n_encoder_layers or 0) * (attention + feedforward + 2 * norm)
    decoder = config.n_layers * (2 * attention + feedforward + 3 * norm)
    return encoder + decoder + config.vocab_size * d


def encoder_decoder_flops(config: ModelConfig, seq_len: int, source_len: int) -> int:
    """Of a forward pass: 2 for each weight a token meets, 4 · d for each pair of tokens, and the head."""
    d, f, T, S = config.d_model, config.d_ff, seq_len, source_len
    encoder = (config.n_encoder_layers or 0) * (S * (8 * d * d + 4 * d * f) + 4 * S * S * d)
    own = T * (8 * d * d + 4 * d * f) + 4 * T * T * d
    cross = T * 4 * d * d + S * 4 * d * d + 4 * T * S * d
    return encoder + config.n_layers * (own + cross) + 2 * T * config.vocab_size * d
