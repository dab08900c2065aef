"""What an attention head does, in numbers: measures of its weights on a text.

Shapes: L layers, H heads, T queries, S keys. ``weights`` is [..., T, S], usually [L, H, T, S]: every row is a
distribution over the keys. A measure is one number a head, [...]: the mean over the queries for which it is defined,
and NaN if there are none. All are computed in float32 or better, on whatever device the weights are.

Sources: Clark et al. 2019 (arXiv 1906.04341, §3 and §6: entropy, the share on special tokens, divergence between
heads); Elhage et al. 2021 (*A Mathematical Framework for Transformer Circuits*: previous-token, duplicate-token and
induction heads); Olsson et al. 2022 (arXiv 2209.11895: the induction score on a repeated random sequence, which they
call prefix matching).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from glassformer.errors import ConfigError

# --- how widely a head attends ----------------------------------------------------------------------------------------


def entropy(weights: Tensor) -> Tensor:
    """−Σ_k w ln w in nats, averaged over queries: 0 if a head attends to one key only, ln S if to all S equally."""
    return _row_entropy(weights).mean(-1)


def normalised_entropy(weights: Tensor, visible: Tensor | None = None) -> Tensor:
    """Each query's entropy over the ln of how many keys it can see, averaged: 1 is uniform, whatever the position.

    A query that sees a single key has no choice (ln 1 = 0) and is left out of the mean.

    Args:
        weights: [..., T, S].
        visible: bool [T, S], True where a query sees a key. Without it, a key counts as seen by a query if any head of
            ``weights`` gives it more than 0.
    """
    entropies = _row_entropy(weights)
    seen = (visible_keys(weights) if visible is None else visible).sum(-1).to(entropies)  # [T]
    return _mean_over_queries(entropies / seen.clamp_min(2).log(), seen > 1)


def visible_keys(weights: Tensor) -> Tensor:
    """[T, S], bool: the keys that any head gives more than 0 to; a masked key's weight is exactly 0."""
    return (weights.flatten(0, -3) > 0).any(0) if weights.dim() > 2 else weights > 0


# --- where a head attends, in self-attention --------------------------------------------------------------------------


def mean_distance(weights: Tensor) -> Tensor:
    """Σ_k w |q − k| in tokens, averaged over queries; T = S."""
    index = torch.arange(weights.shape[-1], device=weights.device)
    return _weight_on(weights, (index[:, None] - index).abs()).mean(-1)


def first_token_share(weights: Tensor) -> Tensor:
    """Weight on the first key, averaged over queries: where a head with nothing to attend to rests (a sink)."""
    return _at_least_float32(weights)[..., 0].mean(-1)


def last_token_share(weights: Tensor) -> Tensor:
    """Weight on the last key, averaged over queries: in cross-attention often the end of the sentence."""
    return _at_least_float32(weights)[..., -1].mean(-1)


def previous_token_score(weights: Tensor) -> Tensor:
    """Weight on the key just before the query, averaged over all queries but the first; T = S."""
    index = torch.arange(weights.shape[-1], device=weights.device)
    return _score(weights, index[:, None] - index == 1)


def duplicate_token_score(weights: Tensor, tokens: Sequence[Hashable] | Tensor) -> Tensor:
    """Weight on the earlier occurrences of the query's own token, averaged over the queries that have one; T = S.

    Args:
        weights: [..., T, T].
        tokens: T ids or texts; two are the same token if they are equal.
    """
    return _score(weights, earlier_occurrences(tokens).to(weights.device))


def induction_score(weights: Tensor, tokens: Sequence[Hashable] | Tensor) -> Tensor:
    """Weight on the tokens that followed the earlier occurrences of the query's token; T = S.

    Averaged over the queries whose token occurred before. In "… A B … A" the last A should attend to B, which it
    predicts. A token that occurs twice in a row is followed by itself, and its weight on itself counts.

    Args:
        weights: [..., T, T].
        tokens: T ids or texts; two are the same token if they are equal.
    """
    followers = torch.nn.functional.pad(earlier_occurrences(tokens), (1, 0))[:, :-1]  # key k + 1 in the place of key k
    return _score(weights, followers.to(weights.device))


def earlier_occurrences(tokens: Sequence[Hashable] | Tensor) -> Tensor:
    """[T, T], bool: whether key k < q holds the same token as query q."""
    ids = token_ids(tokens)
    return (ids[:, None] == ids).tril(-1)


def token_ids(tokens: Sequence[Hashable] | Tensor) -> Tensor:
    """int64 [T]: equal for equal tokens, whether they are ids or texts."""
    if isinstance(tokens, Tensor):
        return tokens.cpu()
    numbers: dict[Hashable, int] = {}
    return torch.tensor([numbers.setdefault(token, len(numbers)) for token in tokens], dtype=torch.int64)


# --- where a head attends, in cross-attention -------------------------------------------------------------------------


def diagonal_distance(weights: Tensor) -> Tensor:
    """Σ_k w |(q + ½)/T − (k + ½)/S|, averaged over queries: how far from the line that joins the sentences' corners.

    0 is word by word in the same order, 1 the far end of the other sentence; a uniform head has about ⅓.
    """
    queries, keys = weights.shape[-2:]
    along = (torch.arange(queries, device=weights.device) + 0.5) / queries
    across = (torch.arange(keys, device=weights.device) + 0.5) / keys
    return _weight_on(weights, (along[:, None] - across).abs()).mean(-1)


# --- all of them, by the names that the figures show -----------------------------------------------------------------


def self_attention_measures(
    weights: Tensor, tokens: Sequence[Hashable] | Tensor, visible: Tensor | None = None
) -> dict[str, Tensor]:
    """Every measure of self-attention by its name: [L, H, T, T], T tokens → [L, H] each."""
    return {
        "entropy (nats)": entropy(weights),
        "entropy (share of the largest)": normalised_entropy(weights, visible),
        "mean distance (tokens)": mean_distance(weights),
        "share on the first token": first_token_share(weights),
        "previous-token score": previous_token_score(weights),
        "duplicate-token score": duplicate_token_score(weights, tokens),
        "induction score": induction_score(weights, tokens),
    }


def cross_attention_measures(weights: Tensor, visible: Tensor | None = None) -> dict[str, Tensor]:
    """Every measure of cross-attention by its name: [L, H, T, S] → [L, H] each."""
    return {
        "entropy (nats)": entropy(weights),
        "entropy (share of the largest)": normalised_entropy(weights, visible),
        "share on the first source token": first_token_share(weights),
        "share on the last source token": last_token_share(weights),
        "distance from the diagonal": diagonal_distance(weights),
    }


# --- heads against heads ----------------------------------------------------------------------------------------------


def divergence(weights: Tensor, *, within_layers: bool = False) -> Tensor:
    """Jensen–Shannon divergence between the heads' rows in nats, averaged over queries: 0 if two heads attend alike.

    JS(p, q) = H((p + q)/2) − (H(p) + H(q))/2, at most ln 2 (Lin 1991; Clark et al. 2019, §6, add it up over tokens). A
    query that sees a single key adds 0, so that under a causal mask the mean stays below (T − 1)/T · ln 2.

    Args:
        weights: [L, H, T, S].
        within_layers: compare the heads of each layer with each other only, which costs L times less.

    Returns:
        Symmetric, zero on the diagonal: [L·H, L·H], layer by layer; or [L, H, H].
    """
    if within_layers:
        return torch.stack([divergence(layer[None]) for layer in weights])
    rows = _at_least_float32(weights).flatten(0, 1)  # [L·H, T, S]
    n_heads, queries = rows.shape[:2]
    entries = rows[:, visible_keys(rows)]  # what no head attends to adds nothing, and under a causal mask it is half
    own = torch.special.entr(entries).sum(-1)  # Σ over queries of the entropy
    result = entries.new_zeros(n_heads, n_heads)
    for head in range(n_heads - 1):
        others = slice(head + 1, None)
        middle = (entries[head] + entries[others]) / 2
        total = torch.special.entr(middle).sum(-1) - (own[head] + own[others]) / 2
        result[head, others] = result[others, head] = total.clamp_min(0) / queries
    return result


# --- the text to measure induction on ---------------------------------------------------------------------------------


def repeated_sequence(vocab_size: int, length: int, seed: int) -> Tensor:
    """``length`` random tokens, and then the same once more: int64 [1, 2 · length], ready for ``model.trace``.

    In such a text nothing but what came before predicts the second half, so that a head which helps there copies
    (Olsson et al. 2022). No token comes twice within a half, unless the vocabulary is smaller than the half.

    Raises:
        ConfigError: fewer than one token, or a vocabulary without tokens.
    """
    complaints = [
        f"{name} is {value}; expected at least 1."
        for name, value in (("vocab_size", vocab_size), ("length", length))
        if value < 1
    ]
    if complaints:
        raise ConfigError(complaints, subject="repeated sequence")
    generator = torch.Generator().manual_seed(seed)
    shuffles = [torch.randperm(vocab_size, generator=generator) for _ in range(-(-length // vocab_size))]
    return torch.cat(shuffles)[:length].repeat(2)[None]


# --- rows, and means over them ----------------------------------------------------------------------------------------


def _at_least_float32(weights: Tensor) -> Tensor:
    return weights.to(torch.promote_types(weights.dtype, torch.float32))


def _row_entropy(weights: Tensor) -> Tensor:
    """[..., T, S] → [..., T] in nats; 0 · ln 0 is 0."""
    return torch.special.entr(_at_least_float32(weights)).sum(-1).clamp_min(0)


def _weight_on(weights: Tensor, amounts: Tensor) -> Tensor:
    """Σ_k w · amount: [..., T, S] and [T, S] → [..., T]."""
    weights = _at_least_float32(weights)
    return (weights * amounts.to(weights.dtype)).sum(-1)


def _score(weights: Tensor, targets: Tensor) -> Tensor:
    """The weight on each query's targets, bool [T, T], averaged over the queries that have any."""
    return _mean_over_queries(_weight_on(weights, targets), targets.any(-1))


def _mean_over_queries(values: Tensor, defined: Tensor) -> Tensor:
    """The mean of [..., T] over the queries where ``defined``, bool [T]; NaN where there are none."""
    return values[..., defined.to(values.device)].mean(-1)
