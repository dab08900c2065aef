"""What a model can reach at best that sees no context, or one token of it: reference lines of a loss chart.

    unigram   H(X)     = -Σ_i p(i) ln p(i)
    bigram    H(X'|X)  = -Σ_ij p(i, j) ln p(j | i)

in nats per token, with p counted over the tokens themselves. A model whose training loss stands at the bigram
entropy looks at the current token and at nothing before it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from glassformer.data.token_files import CHUNK_TOKENS, TokenFile

DENSE_VOCABULARY = 2048
"""Up to here the pairs are counted in a table of vocab_size² numbers; beyond, only pairs that occur are kept."""

SPARSE_TOKENS = 1 << 26
"""Beyond :data:`DENSE_VOCABULARY`, this many tokens from the beginning are counted, to bound memory. With so many
possible pairs the counted entropy is below the true one anyway: most pairs are seen once or never."""

Counts = npt.NDArray[np.int64]


def unigram_entropy(tokens: TokenFile | npt.NDArray[np.integer], vocab_size: int) -> float:
    """Entropy of a token, in nats. ``tokens``: ids in ``range(vocab_size)``, at least one."""
    assert len(tokens) > 0, "an entropy needs tokens"
    counts = np.zeros(vocab_size, dtype=np.int64)
    for ids in _chunks(tokens, overlap=0):
        counts += np.bincount(ids, minlength=vocab_size)
    return _entropy(counts)


def bigram_entropy(tokens: TokenFile | npt.NDArray[np.integer], vocab_size: int) -> float:
    """Entropy of a token given the one before it, in nats. ``tokens``: at least two.

    H(next | current) = H(current, next) - H(current), both counted over the pairs.
    """
    assert len(tokens) > 1, "a bigram entropy needs two tokens"
    count = _count_pairs if vocab_size <= DENSE_VOCABULARY else _count_occurring_pairs
    codes, pairs = count(tokens, vocab_size)
    current = np.bincount(codes // vocab_size, weights=pairs, minlength=vocab_size)
    return _entropy(pairs) - _entropy(current)


def _count_pairs(tokens: TokenFile | npt.NDArray[np.integer], vocab_size: int) -> tuple[Counts, Counts]:
    """Every pair's code (current · vocab_size + next) and how often it occurs."""
    counts = np.zeros(vocab_size * vocab_size, dtype=np.int64)
    for ids in _chunks(tokens, overlap=1):
        counts += np.bincount(ids[:-1] * vocab_size + ids[1:], minlength=len(counts))
    codes = np.flatnonzero(counts)
    return codes, counts[codes]


def _count_occurring_pairs(tokens: TokenFile | npt.NDArray[np.integer], vocab_size: int) -> tuple[Counts, Counts]:
    """The same without a table: each chunk's distinct pairs are merged into those before."""
    codes, counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    seen = 0
    for ids in _chunks(tokens, overlap=1):
        ids = ids[: SPARSE_TOKENS - seen + 1]
        new_codes, new_counts = np.unique(ids[:-1] * vocab_size + ids[1:], return_counts=True)
        codes, places = np.unique(np.concatenate([codes, new_codes]), return_inverse=True)
        counts = np.bincount(places, weights=np.concatenate([counts, new_counts])).astype(np.int64)
        seen += len(ids) - 1
        if seen >= SPARSE_TOKENS:
            break
    return codes, counts


def _entropy(counts: npt.NDArray[np.int64] | npt.NDArray[np.float64]) -> float:
    occurring = counts[counts > 0].astype(np.float64)
    total = occurring.sum()
    return float(np.log(total) - (occurring * np.log(occurring)).sum() / total)


def _chunks(tokens: TokenFile | npt.NDArray[np.integer], overlap: int) -> Iterator[Counts]:
    if isinstance(tokens, TokenFile):
        yield from tokens.chunks(overlap=overlap)
        return
    for start in range(0, len(tokens) - overlap, CHUNK_TOKENS):
        yield tokens[start : start + CHUNK_TOKENS + overlap].astype(np.int64)
