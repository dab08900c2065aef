"""N_total, N without embeddings and FLOPs per token of a real model, and the rule of thumb where there is no model.

A law means one of these counts and is wrong for the others. The embeddings are 32 % of GPT-2 small; 6·N·D leaves out
13 % of its training FLOPs with all parameters counted, and 40 % without embeddings. All counts come from
``models/counting.py``, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from glassformer.errors import ConfigError
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, Counting
from glassformer.scaling.laws.reconciling import EMBEDDINGS

if TYPE_CHECKING:
    from glassformer.models.config import ModelConfig
    from glassformer.models.cost_records import Flops


@dataclass(frozen=True)
class Counts:
    """A model's parameters under each convention, and the FLOPs of a token.

    Attributes:
        total: every parameter once; a matrix that head and embedding share is counted once.
        embedding: token and position tables.
        head: of the output layer, where it has a matrix or a bias of its own.
        non_embedding: total − embedding − head: attention, feed-forward and norms, with their biases.
        matrices: of these, the matrices alone: 12 · n_layers · d_model², as Kaplan's eq. 2.1 has it (0.1 % less than
            ``non_embedding`` in GPT-2 small).
        flops_per_token_forward: of one token in a sequence of ``seq_len``, all matrix products (the head's and
            attention's scores too).
        flops_per_token_training: 3 times that: forward and backward.
        seq_len: tokens.
        model: whose counts these are.
        idle: parameters of experts that a token is not given to: not in the N of any law.
    """

    total: int
    embedding: int
    head: int
    non_embedding: int
    matrices: int
    seq_len: int
    model: ModelConfig = field(repr=False)
    idle: int = 0

    @cached_property
    def flops_per_token_forward(self) -> int:
        """Counted when it is asked for: parameters take a tenth of the time, and a search asks for many models'."""
        return self._flops.forward

    @cached_property
    def flops_per_token_training(self) -> int:
        """3 × forward."""
        return self._flops.training

    @property
    def _flops(self) -> Flops:
        from glassformer.models.counting import flops_per_token

        return flops_per_token(self.model, self.seq_len)

    def parameters(self, counting: Counting) -> int:
        """N as a law of this convention means it, of the parameters that a token meets."""
        return (self.total if counting == "total" else self.non_embedding) - self.idle

    def rule_of_thumb(self, counting: Counting) -> float:
        """6·N over the exact training FLOPs of a token: 0.8 means that C = 6·N·D leaves out a fifth."""
        return FLOPS_PER_PARAMETER_AND_TOKEN * self.parameters(counting) / self.flops_per_token_training

    def compute(self, tokens: float) -> float:
        """Exact FLOPs of training on so many tokens."""
        return self.flops_per_token_training * tokens

    def tokens(self, compute: float) -> float:
        """How many tokens a budget of FLOPs pays for, exactly."""
        return compute / self.flops_per_token_training


def counts(model: ModelConfig, seq_len: int | None = None) -> Counts:
    """Counts of a model, at its context's length unless ``seq_len`` is given.

    Raises:
        ConfigError: the sequence is longer than the context, or has no token.
    """
    from glassformer.models.counting import active_parameters, parameters

    length = model.max_seq_len if seq_len is None else seq_len
    if not 1 <= length <= model.max_seq_len:
        raise ConfigError(
            f"a sequence of {length} tokens does not fit the model's context of {model.max_seq_len} (max_seq_len).",
            subject="count",
        )
    groups = parameters(model)
    embedding = groups.token_embedding + groups.position_embedding
    return Counts(
        total=groups.total,
        embedding=embedding,
        head=groups.head,
        non_embedding=groups.total - embedding - groups.head,
        matrices=groups.matrices,
        seq_len=length,
        model=model,
        idle=groups.total - active_parameters(model) if model.feedforward.experts else 0,
    )


def embeddings_per_width(vocab_size: int, aspect_ratio: float) -> float:
    """γ of N_total = N + γ·N^(1/3), for models of one vocabulary and one d_model/n_layers (Pearce & Song 2024).

    The embeddings are vocab_size · d_model, and d_model = (N·r/12)^(1/3).

    >>> round(embeddings_per_width(32_000, 39.2))
    47482
    """
    return float(vocab_size * (aspect_ratio / 12) ** (1 / 3))


def total_of_non_embedding(n: ArrayLike, gamma: float = EMBEDDINGS.value) -> Any:
    """N_total = N + γ·N^(1/3): the rule of thumb where there is no model to count (Pearce & Song 2024).

    Raises:
        ConfigError: not a finite number above 0.
    """
    values = _checked(n, gamma)
    return _plain(values + gamma * np.cbrt(values))


def non_embedding_of_total(total: ArrayLike, gamma: float = EMBEDDINGS.value) -> Any:
    """The inverse: x³ + γ·x = N_total for x = N^(1/3), whose one real root is 2·√(γ/3)·sinh(asinh(u)/3),
    u = (3·N_total/2γ)·√(3/γ).

    Raises:
        ConfigError: not a finite number above 0.
    """
    values = _checked(total, gamma)
    u = 1.5 * values / gamma * np.sqrt(3 / gamma)
    return _plain((2 * np.sqrt(gamma / 3) * np.sinh(np.arcsinh(u) / 3)) ** 3)


def _checked(values: ArrayLike, gamma: float) -> Any:
    found = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(found).all() and (found > 0).all() and np.isfinite(gamma) and gamma > 0):
        raise ConfigError(
            f"{values!r} parameters, {gamma!r} embeddings per width: both must be finite and above 0.", subject="count"
        )
    return found


def _plain(values: Any) -> Any:
    return float(values) if np.ndim(values) == 0 else values
