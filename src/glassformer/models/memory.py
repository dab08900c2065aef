"""Bytes by formula: optimizer state, activations kept for the backward pass, keys and values in a cache.

Legend: N = batch · T tokens (of a target; M = batch · S of its source), d = d_model, q and g = width of all query and
of all key heads, H = n_heads, f = d_ff, s = bytes of a value.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from glassformer.models import counting
from glassformer.models.config import ModelConfig
from glassformer.models.formulas import (
    Parameters,
    has_own_parts,
    keys_and_values,
    n_crosses,
    projected,
    widths,
)

Optimizer = Literal["adamw", "adam", "muon", "sgd"]
INDEX = 8  # bytes of a token id
STATISTIC = 4  # bytes of a log-sum-exp, which is fp32 in every precision


def optimizer_values(count: Parameters, optimizer: Optimizer, *, momentum: bool = False) -> int:
    """Values that an optimizer keeps beside the weights (a step counter per tensor left out).

    Adam and AdamW keep two moments; Muon one momentum for the blocks' matrices, with AdamW for everything else (Jordan
    et al. 2024); SGD one momentum or nothing.
    """
    if optimizer == "muon":
        return count.matrices + 2 * (count.total - count.matrices)
    if optimizer == "sgd":
        return count.total if momentum else 0
    return 2 * count.total


def kv_cache_bytes_per_token(config: ModelConfig, size: int) -> int:
    """A key and a value of width g in every layer (of the decoder, where there is an encoder): 2 · L · g · s."""
    return 2 * config.n_layers * widths(config)[1] * size if config.has_attention else 0


def cross_cache_bytes_per_token(config: ModelConfig, size: int) -> int:
    """The same for a source token, whose keys and values every layer of the decoder looks at; 0 without an encoder."""
    return 2 * n_crosses(config) * widths(config)[1] * size


def activation_bytes(
    config: ModelConfig,
    batch_size: int,
    seq_len: int,
    size: int,
    *,
    source_len: int | None = None,
    path: Literal["fused", "explicit"] = "fused",
) -> dict[str, int]:
    """Bytes that a training step's forward pass keeps for its backward pass, by part.

    Counted are the tensors that autograd saves, each storage once and weights not, on torch's eager path on a CPU with
    one dtype throughout, for sequences without pads. ``torch.compile`` keeps fewer; the backward pass itself needs a
    few tensors more at its peak. It comes within 10 % of counting, for presets within 2 % (two sequences and 16 tokens
    at least). A model without token vectors keeps a little less, since its sequences share their first tensor; batch
    normalisation of queries and keys differs by up to a fifth. The fused attention keeps no weights; but where torch
    has no fused kernel on a CPU it forms them all the same: with dropout on the weights. ALiBi's biases are one mask
    for all layers of a stack.

    A model with a part of the user's own is counted, on the explicit path, and all is under "total".

    Args:
        source_len: of an encoder-decoder's source; None means ``seq_len``.
    """
    if has_own_parts(config):
        model = counting.build_on_meta(config)
        counted = counting.count_activation_bytes(model, batch_size, seq_len, source_len)
        return {"total": counted * size // model.dtype.itemsize}
    n = batch_size * seq_len
    kept = Counter(_stack(config, config.n_layers, batch_size, seq_len, size, path))
    if config.n_encoder_layers is not None:
        source_len = source_len or seq_len
        kept.update(_stack(config, config.n_encoder_layers, batch_size, source_len, size, path))
        kept.update(_cross_attentions(config, batch_size, seq_len, source_len, size, path))
    kept["head"] = n * config.d_model * size
    kept["loss"] = n * config.vocab_size * size + n * INDEX  # the log-softmax and the targets
    return dict(kept)


def _stack(config: ModelConfig, layers: int, batch_size: int, length: int, size: int, path: str) -> dict[str, int]:
    """Embedding, blocks and final norm over one sequence, cross-attention left out."""
    n, d = batch_size * length, config.d_model
    sublayer_dropout = n * d * size if config.dropout else 0
    embedding = n * INDEX if config.embedding.tokens else 0
    attention = _attention(config, batch_size, length, size, path) + sublayer_dropout if config.has_attention else 0
    feedforward = _feedforward(config, n, size) + sublayer_dropout if config.has_feedforward else 0
    sublayers = layers * (config.has_attention + config.has_feedforward)
    norms = (sublayers if config.norm.placement != "none" else 0) + config.norm.final
    return {
        "embedding": embedding + sublayer_dropout,
        "attention": layers * attention + _mask(config, layers, length, size, path) + _copies(config, layers, n, size),
        "feedforward": layers * feedforward,
        "norms": norms * _norm(config.norm.kind, n, d, size),
    }


def _mask(config: ModelConfig, layers: int, length: int, size: int, path: str) -> int:
    """The mask with a bias per head, which fused attention keeps; all layers of a stack share it."""
    keeps = config.has_attention and layers > 0 and path == "fused" and not config.attention.dropout
    return config.attention.n_heads * length**2 * size if keeps and config.positions.kind == "alibi" else 0


def _copies(config: ModelConfig, layers: int, n: int, size: int) -> int:
    """Where a convolution's output, which is transposed, enters three projections as it is, each keeps a copy of it."""
    transposed = config.feedforward.convolution and config.has_feedforward and config.norm.placement == "none"
    enters = config.residual in ("attention", "none") and config.attention.projection == "separate"
    return 2 * max(0, layers - 1) * n * config.d_model * size if transposed and enters and config.has_attention else 0


def _norm(kind: str, vectors: int, width: int, size: int) -> int:
    """The input, and what each norm adds to it."""
    whole, each = vectors * width * size, vectors * size
    return {
        "none": 0,
        "layernorm": whole + 2 * each,  # mean and 1/deviation
        "rmsnorm": 2 * whole + each,  # the normalised values, 1/root
        "annotated-layernorm": 3 * whole + 2 * each,  # centred; scaled; deviation, and with ε
        "batchnorm": whole + 4 * width * size,  # mean and 1/deviation, of the batch and running
    }[kind]


def _feedforward(config: ModelConfig, n: int, size: int) -> int:
    """One layer: its input, and tensors of width f."""
    inner = n * config.d_ff * size
    relu_once = config.feedforward.kind == "relu" and not config.feedforward.dropout  # its output is W₂'s input
    tensors = {"relu": 2 - relu_once, "gelu": 2, "gelu-tanh": 2, "relu2": 2, "silu": 2, "swiglu": 4}[
        config.feedforward.kind
    ]
    dropped = n * config.d_ff * size if config.feedforward.dropout else 0
    return n * config.d_model * size + tensors * inner + dropped


def _attention(config: ModelConfig, batch_size: int, length: int, size: int, path: str) -> int:
    """One layer: its input, queries, keys, values, the heads before W^O; and the weights where they are formed."""
    chosen, n = config.attention, batch_size * length
    q, g = widths(config)
    turned, normed = config.positions.kind == "rotary", chosen.qk_norm != "none"
    total = n * (config.d_model + q) * size  # the input, and W^O's
    if turned:
        total += 2 * length * config.d_head * size  # sines and cosines, for queries and for keys
    if normed:
        heads = config.attention.n_heads + config.n_kv_heads
        total += _norm(chosen.qk_norm, n * heads, config.d_head, size) - n * heads * config.d_head * size
    if _forms_weights(config, path):
        total += 3 * n * q * size  # contiguous copies for the products, keys and values repeated for their queries
        total += _raw_projections(config, n, size) if normed else 0
        return total + _weights(config, n * length, size)
    total += n * chosen.n_heads * STATISTIC
    if not (turned or normed):
        return total + n * projected(config) * size
    values = n * projected(config) * size if chosen.projection != "separate" else n * g * size
    before_norm = n * (q + g) * size if chosen.projection == "separate" and normed else 0
    entering = n * (q + g) * size  # queries and keys as they are multiplied
    keeps_layout = chosen.qk_norm == "annotated-layernorm" and not turned
    heads = 0 if keeps_layout else n * q * size  # in the layout of the queries, and once more in that of W^O's input
    return total + values + before_norm + entering + heads


def _forms_weights(config: ModelConfig, path: str) -> bool:
    """Whether softmax's output is a tensor of its own."""
    return path == "explicit" or config.attention.dropout > 0


def _weights(config: ModelConfig, pairs: int, size: int) -> int:
    """One layer's weights, a value per head and pair of tokens; dropout keeps its factors, and what is left."""
    weights, dropped = pairs * config.attention.n_heads, config.attention.dropout > 0
    return weights * size + (2 * weights * size if dropped else 0)


def _raw_projections(config: ModelConfig, n: int, size: int) -> int:
    """What the norms of queries and keys keep as their input: views, which hold all that was projected with them."""
    q, g = widths(config)
    return n * (q + g if config.attention.projection == "separate" else projected(config)) * size


def _cross_attentions(
    config: ModelConfig, batch_size: int, seq_len: int, source_len: int, size: int, path: str
) -> dict[str, int]:
    """All layers': what attention keeps, but of two sequences; the encoder's output is kept once, for all of them."""
    layers = n_crosses(config)
    if not layers:
        return {}
    n, m, d = batch_size * seq_len, batch_size * source_len, config.d_model
    q, g = widths(config)
    chosen = config.attention
    normed = chosen.qk_norm != "none"
    total = n * (d + q) * size  # the input, and W^O's
    if normed:
        for vectors, heads in ((n, chosen.n_heads), (m, config.n_kv_heads)):
            own = vectors * heads * config.d_head * size
            total += _norm(chosen.qk_norm, vectors * heads, config.d_head, size) - own
    raw = n * q + m * (g if chosen.projection == "separate" else keys_and_values(config))  # that the norms read
    if _forms_weights(config, path):
        total += (n + 2 * m) * q * size + (raw * size if normed else 0)
        total += _weights(config, n * source_len, size)
    else:
        total += n * chosen.n_heads * STATISTIC
        total += (n * q + m * keys_and_values(config)) * size
        if normed:  # queries and keys as they are multiplied, and the heads in the layout of the queries
            total += (n * q + m * g) * size + (0 if chosen.qk_norm == "annotated-layernorm" else n * q * size)
    total += n * d * size if config.dropout else 0
    return {
        "cross_attention": layers * total + m * d * size,
        "norms": layers * _norm(config.norm.kind, n, d, size) if config.norm.placement != "none" else 0,
    }
