"""The learning rate of a ladder's rungs, measured with its cheapest run.

The peak rate goes as 1/d_model over widths (:mod:`glassformer.scaling.ladders.ladder_rungs`); its factor, rate times
d_model, depends on the architecture and the text, and is measured: the cheapest run that the ladder may contain is
trained at each of :data:`FACTORS`, at its full length and with the seed 0, and the factor of the lowest final
validation loss is taken. If the best is the first or the last, the sweep goes on beyond it, :data:`FURTHER` times at
most. All of these runs are reserved in the ladder's budget. A rate that diverges counts as an infinite loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from glassformer.errors import GlassformerError, TrainingError
from glassformer.scaling.ladders.ladder_rungs import RATE, LadderRun, rate_for
from glassformer.studies.checking import torch_threads
from glassformer.studies.design import BASE
from glassformer.studies.outcomes import read_outcome
from glassformer.training.config import RunConfig
from glassformer.training.session import start

FACTORS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
"""Peak learning rates times d_model that are tried; 0.5 is what GPT-3's sizes used, within a third."""

FURTHER = 2
"""Runs at most beyond the end of that range."""

MOST_RATES = len(FACTORS) + FURTHER

Report = Callable[[float, float | None], None]
"""Called after each run with its learning rate and its loss."""


class SweepStoppedError(GlassformerError):
    """A signal ended the sweep; nothing of it is kept. ``signal`` names it."""

    def __init__(self, signal: str) -> None:
        self.signal = signal
        super().__init__(f"{signal} ended the sweep of learning rates; the same command begins it again.")


@dataclass(frozen=True)
class RateSweep:
    """The sweep of a ladder, before or after it is run.

    Attributes:
        run: what is trained.
        width: its d_model.
        cost: reserved in the budget, in its unit.
        losses: final validation loss by factor, None where it diverged; empty before the sweep.
    """

    run: LadderRun
    width: int
    cost: float
    losses: Mapping[float, float | None]

    @property
    def best(self) -> float | None:
        """The factor of the lowest loss; None before the sweep, or where every run diverged."""
        ended = {factor: loss for factor, loss in self.losses.items() if loss is not None and math.isfinite(loss)}
        return min(ended, key=lambda factor: ended[factor]) if ended else None

    @property
    def sentence(self) -> str:
        """What was measured."""
        tried = ", ".join(
            f"{rate_for(factor, self.width):.3g}: {'diverged' if loss is None else f'{loss:.4f}'}"
            for factor, loss in sorted(self.losses.items())
        )
        if self.best is None:
            return f"Learning rate: every one of the sweep diverged ({tried})."
        return (
            f"Learning rate: {self.best:.3g} / d_model, chosen by {len(self.losses)} runs of {self.run.name} "
            f"(rate: final validation loss, {tried})."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        losses = [{"factor": factor, "loss": loss} for factor, loss in self.losses.items()]
        return {"run": asdict(self.run), "width": self.width, "cost": self.cost, "losses": losses}

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> Self:
        """What :meth:`to_dict` gave."""
        losses = {each["factor"]: each["loss"] for each in tree["losses"]}
        return cls(LadderRun(**tree["run"]), tree["width"], tree["cost"], losses)


def run_sweep(sweep: RateSweep, base: RunConfig, *, threads: int | None, report: Report | None = None) -> RateSweep:
    """Train the run at each rate.

    Args:
        base: the configuration of which ``sweep.run`` is a variation.
        threads: of torch, as in the ladder's workers; None for torch's own.

    Raises:
        SweepStoppedError: a signal came.
        ConfigError: no rate trains.
    """
    losses: dict[float, float | None] = {}

    def measure(factor: float) -> None:
        rate = rate_for(factor, sweep.width)
        losses[factor] = _loss_at(base.override({**sweep.run.changes, RATE: rate, "training.seed": 0}))
        if report is not None:
            report(rate, losses[factor])

    with torch_threads(threads):
        for factor in FACTORS:
            measure(factor)
        for _ in range(FURTHER):
            best = replace(sweep, losses=losses).best
            if best not in {max(losses), min(losses)}:
                break
            measure(2 * best if best == max(losses) else best / 2)
    return replace(sweep, losses=losses)


def _loss_at(config: RunConfig) -> float | None:
    """Final validation loss of one training; None if it diverged."""
    with TemporaryDirectory() as folder:
        trainer = start(config, name="sweep", root=Path(folder))
        try:
            result = trainer.train()
        except TrainingError:  # not finite: the rate is too high
            return None
        if result.interrupted:
            raise SweepStoppedError(result.reason)
        outcome = read_outcome(trainer.run, BASE, 0)
        return None if outcome is None else outcome.loss
