"""From logits to the most probable continuations, without computing what is not read.

A log-probability is a logit less log Σ exp of all logits, so one number a hypothesis replaces a table of
log-probabilities. And the largest of many numbers are found in two rounds: each chunk of the vocabulary stands for its
largest logit, and only the best chunks are searched.

What is forbidden gets −∞ as a continuation and still counts in the sum: forbidding a token makes no other more
probable. Shapes: N sentences, W hypotheses, V tokens, C chunks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from glassformer.errors import GlassformerError

CHUNK = 64
NEVER = float("-inf")


class Continuations:
    """What may follow some hypotheses.

    Args:
        logits: [N, W, V]; they are changed here.
        forbidden: ids [F] that must not follow, each once.

    Attributes:
        normaliser: log Σ exp of all logits, [N, W].

    Raises:
        GlassformerError: the logits are not finite.
    """

    def __init__(self, logits: Tensor, forbidden: Tensor) -> None:
        self.logits = logits
        forbidden_logits = logits.index_select(-1, forbidden)
        logits.index_fill_(-1, forbidden, NEVER)
        self._maxima = _chunk_maxima(logits)
        largest = torch.cat((self._maxima, forbidden_logits), -1).amax(-1, keepdim=True)
        total = (logits - largest).exp_().sum(-1) + (forbidden_logits - largest).exp_().sum(-1)
        self.normaliser = largest[..., 0] + total.log()
        if not bool(self.normaliser.isfinite().all()):
            raise GlassformerError(
                "The model's logits are not finite, so no token can be chosen; its weights have diverged or "
                "are damaged. Use an earlier checkpoint."
            )

    def forbid_repeats(self, paths: Tensor, n: int) -> None:
        """Forbid what would make the last n tokens of a path [N, W, T] the same as some n tokens before."""
        if paths.shape[-1] < n:
            return
        ngrams = paths.unfold(-1, n, 1)  # [N, W, T − n + 1, n]
        beginning = paths[..., paths.shape[-1] - n + 1 :]  # [N, W, n − 1]
        repeats = (ngrams[..., :-1] == beginning[:, :, None]).all(-1)  # [N, W, T − n + 1]
        sentence, hypothesis, place = repeats.nonzero(as_tuple=True)
        self.logits[sentence, hypothesis, ngrams[sentence, hypothesis, place, -1]] = NEVER
        self._maxima = _chunk_maxima(self.logits)

    def best(self, before: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """The k most probable continuations of each sentence, best first (fewer where W · V is less), [N, k] each.

        Args:
            before: the hypotheses' own log-probabilities [N, W].

        Returns:
            log-probabilities of the whole, which hypothesis is continued, and by which token.
        """
        n_sentences, _, vocab_size = self.logits.shape
        offsets = (before - self.normaliser)[..., None]
        n_chunks = self._maxima.shape[-1]  # the last may be shorter, or empty
        chunk = (self._maxima + offsets).flatten(1)
        chunk = chunk.topk(min(k, chunk.shape[1])).indices  # [N, k], of W · C
        parent, first = chunk // n_chunks, chunk % n_chunks * CHUNK
        tokens = first[..., None] + torch.arange(CHUNK, device=chunk.device)  # [N, k, CHUNK]
        beyond = tokens >= vocab_size
        tokens.clamp_(max=vocab_size - 1)
        sentence = torch.arange(n_sentences, device=chunk.device)[:, None, None]
        members = self.logits[sentence, parent[..., None], tokens]
        totals = (members + offsets[..., 0].gather(1, parent)[..., None]).masked_fill_(beyond, NEVER).flatten(1)
        totals, place = totals.topk(min(k, self.logits[0].numel()))
        return totals, parent.gather(1, place // CHUNK), tokens.flatten(1).gather(1, place)


def _chunk_maxima(logits: Tensor) -> Tensor:
    """The largest logit of each chunk of the vocabulary, [N, W, V] → [N, W, ⌈V / CHUNK⌉]."""
    whole = logits.shape[-1] // CHUNK * CHUNK
    maxima = logits[..., :whole].reshape(*logits.shape[:-1], -1, CHUNK).amax(-1)
    if whole == logits.shape[-1]:
        return maxima
    return torch.cat((maxima, logits[..., whole:].amax(-1, keepdim=True)), -1)
