"""The learning rate of a ladder's rungs, measured with its cheapest run.

The peak rate goes as 1/d_model over widths (:mod:`glassformer.scaling.ladders.ladder_rungs`); its factor, rate times
d_model, depends on the architecture and the text, and is measured: the cheapest run that the ladder may contain is
trained at each of :data:`FACTORS`, at its full length and with the seed 0, and the factor of the lowest final
validation loss is taken. These runs are a study of their own, and their cost is reserved in the ladder's budget.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from glassformer.scaling.ladders.ladder_rungs import RATE, LadderRun, rate_for
from glassformer.studies.checking import check
from glassformer.studies.design import BASE, StudyConfig
from glassformer.studies.folder import Study
from glassformer.studies.runner import StoppedError, StudyRunner, Watch, unobserved
from glassformer.tasks.run_config import RunConfig

FACTORS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
"""Peak learning rates times d_model that are tried; 0.5 is what GPT-3's sizes used, within a third."""


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
        ended = {factor: loss for factor, loss in self.losses.items() if loss is not None}
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
        end = " It is the end of the range: a rate beyond may be better." if self.best in _ends(self.losses) else ""
        return (
            f"Learning rate: {self.best:.3g} / d_model, the best of {len(self.losses)} on {self.run.name} (final "
            f"validation loss by rate: {tried}).{end}"
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


def run_sweep(
    sweep: RateSweep,
    base: RunConfig,
    name: str,
    *,
    workers: int | None = None,
    root: Path | None = None,
    watch: Watch = unobserved,
    fresh: bool = False,
) -> RateSweep:
    """Train the run at each rate, as the study ``name``; one that was stopped is resumed by the reuse of its runs.

    Args:
        base: the configuration of which ``sweep.run`` is a variation.
        workers, watch, fresh: as of :class:`~glassformer.studies.runner.StudyRunner`.
        root: folder for studies.

    Raises:
        StoppedError: a signal came.
        RunError: runs failed.
    """
    rates = {factor: rate_for(factor, sweep.width) for factor in FACTORS}
    arms = {factor: BASE if factor == FACTORS[0] else f"rate {rate:g}" for factor, rate in rates.items()}
    config = StudyConfig.build(
        {
            "name": name,
            "base": base.override({**sweep.run.changes, RATE: rates[FACTORS[0]]}).to_dict(),
            "variants": {arms[factor]: {RATE: rates[factor]} for factor in FACTORS[1:]},
            "seeds": [0],
        }
    )
    checked = check(config)
    study = Study.create(checked.config, data=checked.data, command=sys.argv, root=root)
    result = StudyRunner(workers, studies=study.path.parent, fresh=fresh, watch=watch).run(study, checked)
    if result.stopped is not None:
        raise StoppedError(result.stopped, study)
    losses = result.check().losses()
    return replace(sweep, losses={factor: losses[arm][0] for factor, arm in arms.items()})


def _ends(losses: Mapping[float, float | None]) -> set[float]:
    return {min(losses), max(losses)}
