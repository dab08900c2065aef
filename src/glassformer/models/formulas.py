"""Parameters and FLOPs by formula: nothing is built, and what is off counts nothing.

Legend: d = d_model, q = n_heads · d_head, g = n_kv_heads · d_head, f = d_ff, T = tokens in a sequence.
A model with parts of a user's own has no formulas: it is built on the meta device and counted (``counting.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from glassformer.models import counting
from glassformer.models.config import ModelConfig
from glassformer.registry import find


@dataclass(frozen=True)
class Parameters:
    """Parameters by group, each counted once: a tied head's matrix is the token embedding's."""

    token_embedding: int = 0
    position_embedding: int = 0
    attention: int = 0
    feedforward: int = 0
    norms: int = 0
    head: int = 0
    matrices: int = 0
    """Of attention and feed-forward, the elements of their two-dimensional weights. It is the non-embedding N of Kaplan
    et al. 2020, eq. 2.1: 2 · d · n_layers · (2 · d_attn + d_ff), which is 12 · n_layers · d² at q = d, f = 4 d."""

    @property
    def total(self) -> int:
        """All of them."""
        embeddings = self.token_embedding + self.position_embedding
        return embeddings + self.attention + self.feedforward + self.norms + self.head


@dataclass(frozen=True)
class Flops:
    """FLOPs for one token in a sequence of ``seq_len``: matrix products, 2 for a multiply-add.

    Attention counts every pair of tokens, the masked ones too, as in the model-FLOPs utilisation of PaLM (Chowdhery et
    al. 2022, appendix B, where it is the term 12 · L · H · Q · T of a training step). Norms, softmax, activations
    and the embedding's look-up are not counted.
    """

    attention_projections: int
    attention_scores: int
    """Q Kᵀ and weights · V."""
    feedforward: int
    head: int
    other: int = 0
    """Matrix products in a norm or a position encoding of the user's own; ours have none."""

    @property
    def forward(self) -> int:
        """One forward pass."""
        return self.attention_projections + self.attention_scores + self.feedforward + self.head + self.other

    @property
    def training(self) -> int:
        """Forward and backward, 3 × forward: each product has two of its size behind it (Kaplan et al. 2020, §2.1).

        Exact where the embedding is trained: unless the model has neither token nor learned position vectors.
        """
        return 3 * self.forward


def has_own_parts(config: ModelConfig) -> bool:
    """Whether a part that this model uses was registered outside ``glassformer.parts``."""
    used = [("positions", config.positions.kind), ("norm", config.norm.kind)]
    if config.has_attention:
        used += [("attention", config.attention.kind), ("norm", config.attention.qk_norm)]
    if config.has_feedforward:
        used += [("feedforward", config.feedforward.kind)]
    return any(not find(kind, name).__module__.startswith("glassformer.parts.") for kind, name in used)


# --- parameters -----------------------------------------------------------------------------------------------------


def parameters(config: ModelConfig) -> Parameters:
    """Parameters by group: a matrix d_in × d_out, and d_out more where it has a bias."""
    if has_own_parts(config):
        model = counting.build_on_meta(config)
        return Parameters(**counting.count_parameters(model), matrices=counting.count_matrices(model))
    d, layers, rows = config.d_model, config.n_layers, config.padded_vocab_size
    attention, feedforward = _attention_weights(config), _feedforward_weights(config)
    biases = _attention_biases(config) + _feedforward_biases(config)
    # a convolution of kernel size 1 holds the same numbers in three dimensions
    matrices = attention + (0 if config.feedforward.convolution else feedforward)
    return Parameters(
        token_embedding=rows * d if config.embedding.tokens else 0,
        position_embedding=config.max_seq_len * d if config.positions.kind == "learned" else 0,
        attention=layers * (attention + _attention_biases(config)),
        feedforward=layers * (feedforward + biases - _attention_biases(config)),
        norms=n_norms(config) * _norm_size(config.norm.kind, d, bias=config.norm.bias),
        head=(0 if config.head.tied else rows * d) + (rows if config.head.bias else 0),
        matrices=layers * matrices,
    )


def widths(config: ModelConfig) -> tuple[int, int]:
    """Q and g: all query heads, and all key (or value) heads, side by side."""
    return config.attention.n_heads * config.d_head, config.n_kv_heads * config.d_head


def projected(config: ModelConfig) -> int:
    """Features that the input projections of one attention layer make: q + 2 g, or q where one is used as all three."""
    q, g = widths(config)
    return q if config.attention.projection == "shared" else q + 2 * g


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
    """Norms in the residual stream: one for each sublayer, and the final one."""
    if config.norm.kind == "none":
        return 0
    inside = config.n_layers * (config.has_attention + config.has_feedforward) if config.norm.placement != "none" else 0
    return inside + (1 if config.norm.final else 0)


# --- FLOPs ----------------------------------------------------------------------------------------------------------


def flops_per_token(config: ModelConfig, seq_len: int) -> Flops:
    """2 for each weight of a matrix that a token meets, and 4 · T · q for its scores and weighted sum, per layer."""
    if has_own_parts(config):
        return Flops(**counting.count_flops_by_group(counting.build_on_meta(config), seq_len))
    layers = config.n_layers
    return Flops(
        attention_projections=2 * layers * _attention_weights(config),
        attention_scores=4 * layers * seq_len * widths(config)[0] if config.has_attention else 0,
        feedforward=2 * layers * _feedforward_weights(config),
        head=2 * config.padded_vocab_size * config.d_model,
    )
