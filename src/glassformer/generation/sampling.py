"""From logits to the next token. Shapes: B rows, V tokens of the vocabulary.

The order is the usual one, and each step is a function of its own:

    1. repetition penalty   tokens that occurred before become less probable
    2. temperature          flatter (> 1) or sharper (< 1)
    3. top-k                only the k most probable
    4. top-p                only the smallest set of tokens with total probability at least p (nucleus)
    5. min-p                only those with at least min_p times the largest probability
    6. draw                 one uniform number per row, through the inverse of the cumulative distribution

A token that is ruled out gets −∞, so its probability is exactly 0; the most probable is never ruled out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from glassformer.config import Config, Count, Seed
from glassformer.errors import GlassformerError


class SamplingConfig(Config):
    """How the next token is chosen."""

    max_new_tokens: Annotated[int, Field(ge=1, le=10_000_000)] = 256
    """Most tokens to generate for each prompt."""
    temperature: Annotated[float, Field(ge=0.0)] = 1.0
    """Divides the logits; 0 is greedy: always the most probable token, and nothing is drawn."""
    top_k: Count | None = None
    """Draw among the k most probable tokens only; none draws among all."""
    top_p: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Nucleus sampling: draw among the fewest tokens whose probabilities sum to at least this; none is off."""
    min_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Draw among the tokens with at least this many times the largest probability; none is off."""
    repetition_penalty: Annotated[float, Field(gt=0.0)] = 1.0
    """Above 1, tokens of the prompt and of the text so far become less probable; 1 is off."""
    seed: Seed = 0
    """Seed of the draws. A row's draws depend on this and on the row's number, never on the other rows."""

    @classmethod
    def subject(cls) -> str:
        return "sampling"

    def complaints(self) -> Iterator[str]:
        if self.greedy:
            for name in ("top_k", "top_p", "min_p"):
                if getattr(self, name) is not None:
                    yield (
                        f"{name} has no effect at temperature 0 (greedy), which draws nothing; "
                        f"set {name} to none, or the temperature above 0."
                    )

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0.0


def repetition_penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits [B, V] of the tokens in ``seen`` [B, V] divided by the penalty where positive, multiplied where not.

    Keskar et al. 2019 (CTRL, arXiv 1909.05858), §4.1, with the sign handled so that a penalty above 1 always lowers.
    """
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, lowered, logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """−∞ for all but the k largest of [B, V]; tokens equal to the k-th stay (Fan et al. 2018, arXiv 1805.04833)."""
    if k >= logits.shape[-1]:
        return logits
    smallest = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < smallest, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """−∞ for all but the shortest list of most probable tokens whose probabilities sum to at least p.

    The token that crosses p is kept, so there is always one (Holtzman et al. 2020, arXiv 1904.09751, §3.1).
    """
    probabilities, order = torch.softmax(logits, dim=-1).sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(dim=-1) - probabilities  # of the more probable ones
    beyond = before >= p
    beyond[..., 0] = False
    return logits.masked_fill(beyond.scatter(-1, order, beyond), float("-inf"))


def keep_min_p(logits: Tensor, min_p: float) -> Tensor:
    """−∞ where the probability is below min_p times the largest (Nguyen et al. 2024, arXiv 2407.01082, eq. 1–2)."""
    probabilities = torch.softmax(logits, dim=-1)
    least = min_p * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probabilities < least, float("-inf"))


def filtered(logits: Tensor, sampling: SamplingConfig, seen: Tensor | None = None) -> Tensor:
    """Steps 1 to 5: logits [B, V] whose softmax is what is drawn from; greedy takes their largest.

    Args:
        seen: bool [B, V], the tokens of each row's prompt and text so far; needed for the repetition penalty.
    """
    if sampling.repetition_penalty != 1.0:
        assert seen is not None
        logits = repetition_penalised(logits, seen, sampling.repetition_penalty)
    if sampling.greedy:
        return logits
    # in float64 and with the largest at 0, so that no temperature above 0 overflows
    logits = (logits.double() - logits.double().amax(dim=-1, keepdim=True)) / sampling.temperature
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = keep_min_p(logits, sampling.min_p)
    return logits


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """One token a row: the first whose cumulative probability is above the row's number in [0, 1).

    Logits [B, V] and numbers [B] → ids [B]. A token of probability 0 is never drawn.
    """
    cumulative = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    target = uniform.double()[:, None] * cumulative[:, -1:]  # rounding leaves the sum near 1
    tokens = torch.searchsorted(cumulative, target, right=True)[:, 0]
    # u·total can round up to the total itself; then it is the last token that has any probability
    last = (cumulative < cumulative[:, -1:]).sum(dim=-1)
    return torch.minimum(tokens, last)


class Sampler:
    """Chooses every row's next token, and remembers which tokens a row has.

    Args:
        prompts: the rows' tokens so far.
        vocab_size: V.
        rows: each row's number; its draws depend on the seed and on this alone.
    """

    def __init__(
        self, sampling: SamplingConfig, prompts: list[list[int]], vocab_size: int, rows: list[int], device: torch.device
    ) -> None:
        self.sampling = sampling
        self._random = [np.random.default_rng((sampling.seed, row)) for row in rows]
        self._seen: Tensor | None = None
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros(len(prompts), vocab_size, dtype=torch.bool, device=device)
            for row, prompt in enumerate(prompts):
                self._seen[row, prompt] = True

    def __call__(self, logits: Tensor) -> list[int]:
        """Logits [B, V] → each row's next token.

        Raises:
            GlassformerError: a logit is not finite.
        """
        if not bool(torch.isfinite(logits).all()):
            raise GlassformerError(
                "The model's logits are not finite, so no token can be chosen; its weights have diverged or "
                "are damaged. Use an earlier checkpoint."
            )
        logits = filtered(logits, self.sampling, self._seen)
        if self.sampling.greedy:
            tokens = logits.argmax(dim=-1)
        else:
            uniform = torch.tensor([random.random() for random in self._random], dtype=torch.float64)
            tokens = draw(logits, uniform.to(logits.device))
        if self._seen is not None:
            self._seen[torch.arange(len(tokens), device=tokens.device), tokens] = True
        chosen: list[int] = tokens.tolist()
        return chosen

    def keep(self, rows: list[int]) -> None:
        """Keep these rows only (indices among the present ones)."""
        self._random = [self._random[row] for row in rows]
        if self._seen is not None:
            self._seen = self._seen[rows]
