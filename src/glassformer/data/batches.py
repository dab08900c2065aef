"""What a training step is given, whatever the model: the model's arguments and the tokens to predict."""

from __future__ import annotations

from typing import Protocol, Self

from torch import Tensor

IGNORE = -1
"""A target that is not counted: it adds nothing to the loss, the gradient or the number of tokens."""


class Batch(Protocol):
    """Some samples: B rows, T positions to predict in each."""

    @property
    def arguments(self) -> tuple[Tensor | None, ...]:
        """What the model is called with: ``model(*arguments)`` gives logits [B, T, vocab_size]."""

    @property
    def targets(self) -> Tensor:
        """int64 [B, T]: the right tokens, :data:`IGNORE` where there is none."""

    @property
    def n_tokens(self) -> int:
        """Targets that count."""

    def rows(self, start: int, stop: int) -> Self:
        """The samples from ``start`` up to ``stop``."""

    def describe(self) -> str:
        """Where the samples are from, for a message: "The samples begin at tokens 17, 4031 … of the training text."."""
