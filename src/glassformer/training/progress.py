"""Where a training stands: the numbers that a checkpoint holds beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from glassformer.errors import CheckpointError, shown

LARGEST_COUNT, LARGEST_SUM = 2**63, 1e300


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: updates made.
        tokens: predicted in training so far.
        seconds: spent training, over all its sessions.
        nll_sum, objective_sum: nats, over every token of the steps since the last record.
        auxiliary_sums: the same of each auxiliary loss, by its name.
        token_sum: those tokens.
        best_loss: the lowest validation loss of trained weights so far (None before the first).
        since_best: validations since then.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    nll_sum: float = 0.0
    objective_sum: float = 0.0
    token_sum: int = 0
    best_loss: float | None = None
    since_best: int = 0
    auxiliary_sums: dict[str, float] = field(default_factory=dict)

    def add(self, n_tokens: int, nll: float, objective: float, auxiliary: Mapping[str, float]) -> None:
        """Take in a step's mean losses."""
        self.nll_sum += nll * n_tokens
        self.objective_sum += objective * n_tokens
        self.token_sum += n_tokens
        for name, loss in auxiliary.items():
            self.auxiliary_sums[name] = self.auxiliary_sums.get(name, 0.0) + loss * n_tokens

    def restart_sums(self) -> None:
        """Begin the sums anew, after a record."""
        self.nll_sum, self.objective_sum, self.token_sum, self.auxiliary_sums = 0.0, 0.0, 0, {}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; auxiliary losses where there are any."""
        return {name: value for name, value in vars(self).items() if name != "auxiliary_sums" or value}

    @classmethod
    def from_state(cls, state: Any, tokens_per_step: float) -> Self:
        """The progress that a checkpoint holds.

        Raises:
            CheckpointError: it is not what a checkpoint holds.
        """
        try:
            found = cls(**_by_tokens(dict(state), tokens_per_step))
            intact = isinstance(state, Mapping) and found._is_plausible()
        except (TypeError, ValueError, KeyError, OverflowError, AttributeError):  # of other names or types
            intact = False
        if not intact:
            raise CheckpointError(f"Where the training stood, its 'progress', is damaged: {shown(state)}.")
        return found

    def _is_plausible(self) -> bool:
        """Whether every number is of its type, and of a size that can be computed with."""
        counts = (self.step, self.tokens, self.token_sum, self.since_best)
        sums = (self.seconds, self.nll_sum, self.objective_sum, *([] if self.best_loss is None else [self.best_loss]))
        sums += tuple(self.auxiliary_sums.values())
        return all(type(each) is int and 0 <= each < LARGEST_COUNT for each in counts) and all(
            type(each) in (int, float) and abs(each) < LARGEST_SUM for each in sums
        )


def _by_tokens(state: dict[str, Any], tokens_per_step: float) -> dict[str, Any]:
    """Sums over tokens in place of the sums of the batches' means that checkpoints of earlier versions hold.

    Their tokens are not known one by one, so each batch counts as one of ``tokens_per_step`` tokens, which is exact
    where all batches are equal.
    """
    if "loss_count" not in state:
        return state
    nll_sum, count = state.pop("loss_sum"), state.pop("loss_count")
    return state | {
        "nll_sum": nll_sum * tokens_per_step,
        "objective_sum": state["objective_sum"] * tokens_per_step,
        "token_sum": round(count * tokens_per_step),
    }
