"""Parameters and FLOPs by group."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Parameters:
    """Parameters by group, each counted once: a matrix that a head and an embedding share is the token embedding's.

    An encoder-decoder's are those of both stacks together. The norms of queries and keys belong to their attention.
    """

    token_embedding: int = 0
    position_embedding: int = 0
    attention: int = 0
    cross_attention: int = 0
    feedforward: int = 0
    norms: int = 0
    head: int = 0
    matrices: int = 0
    """Of the blocks, the elements of all two-dimensional weights. It is the non-embedding N of Kaplan et al. 2020,
    eq. 2.1: 2 · d · n_layers · (2 · d_attn + d_ff), which is 12 · n_layers · d² at d_attn = d, d_ff = 4 d (and 16 · d²
    in a decoder's layer that attends to an encoder)."""

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
    al. 2022, appendix B, where it is the term 12 · L · H · Q · T of a training step); of a sparse pattern, the pairs of
    the blocks that are gathered, where they are. Norms, softmax, activations
    and the embedding's look-up are not counted. Encoder and decoder are counted together.
    """

    attention_projections: int = 0
    attention_scores: int = 0
    """Q Kᵀ and weights · V: what an attention layer multiplies outside its own submodules."""
    feedforward: int = 0
    head: int = 0
    cross_attention_projections: int = 0
    cross_attention_scores: int = 0
    other: int = 0
    """Matrix products in a norm or a position encoding of the user's own; ours have none."""

    @property
    def forward(self) -> int:
        """One forward pass."""
        return sum(asdict(self).values())

    @property
    def training(self) -> int:
        """Forward and backward, 3 × forward: each product has two of its size behind it (Kaplan et al. 2020, §2.1).

        That gathered blocks compute their scores again for the backward pass is not counted.

        Exact where the embedding is trained: unless the model has neither token nor learned position vectors. (And
        unless it has an encoder at which nothing looks, since the decoder has no attention or no layers.)
        """
        return 3 * self.forward

    def per(self, tokens: int) -> Flops:
        """A token's share, rounded down where it is not an integer."""
        return Flops(**{name: count // tokens for name, count in asdict(self).items()})
