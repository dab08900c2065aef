"""Parameters and FLOPs by formula: nothing is built, and what is off counts nothing.

Legend: d = d_model, q = n_heads · d_head, g = n_kv_heads · d_head, f = d_ff, T = tokens in a sequence (of an
encoder-decoder's target), S = tokens in its source, L and E = layers of the decoder and of the encoder.
A model with parts of a user's own has no formulas: it is built on the meta device and counted (``counting.py``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from glassformer.models import counting
from glassformer.models.config import ModelConfig
from glassformer.registry import find


@dataclass(frozen=True)
class Parameters:
    """Parameters by group, each counted once: a matrix that a head and an embedding share is the token embedding's.

    An encoder-decoder's are those of both stacks together.
    """

    token_embedding: int = 0
    position_embedding: int = 0
    attention: int = 0
    cross_attention: int = 0
    feedforward: int = 0
    norms: int = 0
    head: int = 0
    matrices: int = 0
    """Of attention and feed-forward, the elements of their two-dimensional weights. It is the non-embedding N of Kaplan
    et al. 2020, eq. 2.1: 2 · d · n_layers · (2 · d_attn + d_ff), which is 12 · n_layers · d² at q = d, f = 4 d (and
    16 · d² in a decoder's layer that looks at an encoder)."""

    @property
    def total(self) -> int:
        """All of them."""
        embeddings = self.token_embedding + self.position_embedding
        attentions = self.attention + self.cross_attention
        return embeddings + attentions + self.feedforward + self.norms + self.head


@dataclass(frozen=True)
class Flops:
    """FLOPs of matrix products, 2 for a multiply-add: of a sequence, or (:meth:`per`) for one of its tokens.

    Attention counts every pair of tokens, the masked ones too, as in the model-FLOPs utilisation of PaLM (Chowdhery et
    al. 2022, appendix B, where it is the term 12 · L · H · Q · T of a training step). Norms, softmax, activations
    and the embedding's look-up are not counted. Encoder and decoder are counted together.
    """

    attention_projections: int
    attention_scores: int
    """Q Kᵀ and weights · V."""
    feedforward: int
    head: int
    cross_attention_projections: int = 0
    cross_attention_scores: int = 0
    other: int = 0
    """Matrix products in a norm or a position encoding of the user's own; ours have none."""

    @property
    def forward(self) -> int:
        """One forward pass."""
        attention = self.attention_projections + self.attention_scores
        cross = self.cross_attention_projections + self.cross_attention_scores
        return attention + cross + self.feedforward + self.head + self.other

    @property
    def training(self) -> int:
        """Forward and backward, 3 × forward: each product has two of its size behind it (Kaplan et al. 2020, §2.1).

        Exact where the embedding is trained: unless the model has neither token nor learned position vectors. (And
        unless it has an encoder at which nothing looks, since the decoder has no attention or no layers.)
        """
        return 3 * self.forward

    def per(self, tokens: int) -> Flops:
        """A token's share, rounded down where it is no whole number."""
        return Flops(**{name: count // tokens for name, count in asdict(self).items()})


def has_own_parts(config: ModelConfig) -> bool:
    """Whether a part that this model uses was registered outside ``glassformer.parts``."""
    used = [("positions", config.positions.kind), ("norm", config.norm.kind)]
    if config.has_attention:
        used += [("attention", config.attention.kind), ("norm", config.attention.qk_norm)]
        used += [("cross-attention", config.attention.cross)] if config.has_encoder else []
    if config.has_feedforward:
        used += [("feedforward", config.feedforward.kind)]
    return any(not find(kind, name).__module__.startswith("glassformer.parts.") for kind, name in used)


# --- parameters -----------------------------------------------------------------------------------------------------


def parameters(config: ModelConfig) -> Parameters:
    """Parameters by group: a matrix d_in × d_out, and d_out more where it has a bias."""
    if has_own_parts(config):
        model = counting.build_on_meta(config)
        return Parameters(**counting.count_parameters(model), matrices=counting.count_matrices(model))
    d, layers, rows = config.d_model, n_blocks(config), config.padded_vocab_size
    attention, feedforward = _attention_weights(config), _feedforward_weights(config)
    attention_biases, crosses = _attention_biases(config), n_crosses(config)
    # a convolution of kernel size 1 holds the same numbers in three dimensions
    matrices = attention + (0 if config.feedforward.convolution else feedforward)
    stacks = 2 if config.has_encoder else 1
    return Parameters(
        token_embedding=_token_rows(config) * d,
        position_embedding=stacks * config.max_seq_len * d if config.positions.kind == "learned" else 0,
        attention=layers * (attention + attention_biases),
        cross_attention=crosses * (attention + attention_biases),
        feedforward=layers * (feedforward + _feedforward_biases(config)),
        norms=n_norms(config) * _norm_size(config.norm.kind, d, bias=config.norm.bias),
        head=(rows * d if _has_own_head(config) else 0) + (rows if config.head.bias else 0),
        matrices=layers * matrices + crosses * attention,
    )


def n_blocks(config: ModelConfig) -> int:
    """Layers of both stacks, E + L."""
    return (config.n_encoder_layers or 0) + config.n_layers


def n_crosses(config: ModelConfig) -> int:
    """Cross-attention sublayers: one for each of the decoder's layers, L, where there is an encoder to look at."""
    return config.n_layers if config.has_encoder and config.has_attention else 0


def _token_rows(config: ModelConfig) -> int:
    """Rows of all token tables: the decoder's, and the encoder's unless it is the same."""
    if not config.embedding.tokens:
        return 0
    encoder = config.padded_source_vocab_size if config.has_encoder and config.embedding.source != "target" else 0
    return config.padded_vocab_size + encoder


def _has_own_head(config: ModelConfig) -> bool:
    """Whether the head's matrix is no token table too."""
    return not config.head.tied and not (config.embedding.tokens and config.embedding.source == "head")


def widths(config: ModelConfig) -> tuple[int, int]:
    """Q and g: all query heads, and all key (or value) heads, side by side."""
    return config.attention.n_heads * config.d_head, config.n_kv_heads * config.d_head


def projected(config: ModelConfig) -> int:
    """Features that the input projections of one attention layer make: q + 2 g, or q where one is used as all three."""
    return widths(config)[0] + (0 if config.attention.projection == "shared" else keys_and_values(config))


def keys_and_values(config: ModelConfig) -> int:
    """Features that the source is projected to for one cross-attention layer: 2 g, or q where one makes both."""
    q, g = widths(config)
    return q if config.attention.projection == "shared" else 2 * g


def _attention_weights(config: ModelConfig) -> int:
    """Matrices of one layer: d · (q + 2 g) in, q · d out."""
    if not config.has_attention:
        return 0
    return config.d_model * (projected(config) + widths(config)[0])


def _attention_biases(config: ModelConfig) -> int:
    """Biases of one layer, and the norms of its queries and keys."""
    if not config.has_attention:
        return 0
    chosen = config.attention
    output_bias = chosen.bias if chosen.output_bias is None else chosen.output_bias
    biases = (projected(config) if chosen.bias else 0) + (config.d_model if output_bias else 0)
    return biases + 2 * _norm_size(chosen.qk_norm, config.d_head, bias=True)


def _feedforward_weights(config: ModelConfig) -> int:
    """Matrices of one layer: d · f in and out, and d · f more for a gate."""
    if not config.has_feedforward:
        return 0
    return (3 if config.feedforward.kind == "swiglu" else 2) * config.d_model * config.d_ff


def _feedforward_biases(config: ModelConfig) -> int:
    if not (config.has_feedforward and config.feedforward.bias):
        return 0
    return (2 if config.feedforward.kind == "swiglu" else 1) * config.d_ff + config.d_model


def _norm_size(kind: str, width: int, *, bias: bool) -> int:
    """A weight per feature, and a bias beside it but in RMSNorm."""
    if kind == "none":
        return 0
    return width * (2 if bias and kind != "rmsnorm" else 1)


def n_norms(config: ModelConfig) -> int:
    """Norms in the residual stream: one for each sublayer, and each stack's final one."""
    if config.norm.kind == "none":
        return 0
    inside = n_blocks(config) * (config.has_attention + config.has_feedforward) + n_crosses(config)
    return (inside if config.norm.placement != "none" else 0) + config.norm.final * (2 if config.has_encoder else 1)


# --- FLOPs ----------------------------------------------------------------------------------------------------------


def flops_per_token(config: ModelConfig, seq_len: int, source_len: int | None = None) -> Flops:
    """For one token in a sequence of ``seq_len``: its share of :func:`flops_per_sequence`.

    An encoder-decoder's tokens are those of the target, and carry the encoder's work for the whole source.
    """
    return flops_per_sequence(config, seq_len, source_len).per(seq_len)


def flops_per_sequence(config: ModelConfig, seq_len: int, source_len: int | None = None) -> Flops:
    """2 for each weight of a matrix that a token meets, and 4 · q for the score and the weighted value of each pair.

    Pairs of tokens are T × T in the decoder, S × S in the encoder and T × S in cross-attention, whose keys and values
    are made of the S source tokens.

    Args:
        source_len: of an encoder-decoder's source; None means ``seq_len``.
    """
    if has_own_parts(config):
        return Flops(**counting.count_flops_by_group(counting.build_on_meta(config), seq_len, source_len))
    source_len = (source_len or seq_len) if config.has_encoder else 0
    layers, encoder_layers, crosses = config.n_layers, config.n_encoder_layers or 0, n_crosses(config)
    d, (q, _) = config.d_model, widths(config)
    passes = layers * seq_len + encoder_layers * source_len  # of a token through a block
    pairs = layers * seq_len**2 + encoder_layers * source_len**2
    return Flops(
        attention_projections=2 * passes * _attention_weights(config),
        attention_scores=4 * pairs * q if config.has_attention else 0,
        feedforward=2 * passes * _feedforward_weights(config),
        head=2 * seq_len * config.padded_vocab_size * d,
        cross_attention_projections=2 * crosses * d * (2 * q * seq_len + keys_and_values(config) * source_len),
        cross_attention_scores=4 * crosses * seq_len * source_len * q,
    )
