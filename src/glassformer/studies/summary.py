"""What a study found, from its outcomes: the numbers behind every table, and ``results.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from glassformer.statistics.comparison import Comparison, Difference, Losses, compare
from glassformer.statistics.sequential import decide
from glassformer.strict_json import finite
from glassformer.studies.adding_seeds import SequentialResult, sequential_results
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome, Status
from glassformer.studies.selection import SelectionResult, selection_result
from glassformer.studies.tuned_results import TunedResults, gather_tuned
from glassformer.studies.tuned_wording import basis, finding

FIXED = ("interval", "t", "p", "p_holm")
"""Fields of a comparison that are only valid for a number of seeds fixed beforehand."""

NOT_FIXED = (
    "Sequential design: seeds were added one at a time, with a look at the data after each. The intervals are valid "
    "at every look and simultaneously for all variants; fixed-sample t intervals and p values are omitted."
)


@dataclass(frozen=True)
class Arm:
    """The base or a variant, over its seeds. ``loss`` and ``accuracy`` are means over the runs that finished."""

    name: str
    outcomes: tuple[RunOutcome, ...]

    @property
    def finished(self) -> tuple[RunOutcome, ...]:
        """The runs that have a final loss."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "finished")

    def count(self, status: Status) -> int:
        """Runs that ended so."""
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def loss(self) -> float | None:
        """Mean final validation loss, nats per token; None where no run finished."""
        return _mean([outcome.loss for outcome in self.finished])

    @property
    def accuracy(self) -> float | None:
        """Mean final accuracy, where the data have exact answers."""
        return _mean([outcome.accuracy for outcome in self.finished])


@dataclass(frozen=True)
class Summary:
    """A study's arms, its controls last, and the comparison of its variants, paired by seed."""

    study: Study
    arms: tuple[Arm, ...]
    comparison: Comparison
    """Its intervals and p hold where the seeds were fixed beforehand, and are not shown where they were not."""
    sequential_results: tuple[SequentialResult, ...] = ()
    """Sequential results of every variant; empty where the seeds were fixed beforehand."""
    selection: SelectionResult | None = None
    """What each arm of a tuned study was found to be best at; None where nothing is tuned."""
    controls: tuple[Difference, ...] = ()
    """The cost of variants at the baseline's best values; ``variant`` is the control's name. Each stands alone: its
    interval and p are not adjusted for others."""

    def control(self, variant: str) -> Difference | None:
        """The control of a variant; None where there is none, as where its best values are the baseline's."""
        named = {of: name for name, of in self.study.config.controls.items()}
        return next((row for row in self.controls if row.variant == named.get(variant)), None)

    def sequential_result(self, variant: str) -> SequentialResult | None:
        """The sequential result of one variant; None where the seeds were fixed beforehand."""
        return next((each for each in self.sequential_results if each.decision.variant == variant), None)

    @cached_property
    def tuned(self) -> TunedResults | None:
        """What a tuned study found of each arm; None where nothing is tuned."""
        return gather_tuned(self.study, self.selection, self.comparison, self.sequential_results)

    @property
    def basis(self) -> str:
        """What the arms were trained at, and whether that was tuned."""
        return basis(self.study.config, self.tuned)

    def sentence(self, row: Difference) -> str:
        """What is found of a row's variant in plain words, with the runs that are in no pair."""
        if self.tuned is not None and self.tuned.rows:
            return finding(self.tuned, row.variant).text
        result = self.sequential_result(row.variant)
        if result is None:
            return row.sentence()
        excluded = row.exclusions(
            diverged=not result.decision.by_divergence
        )  # which the decision's own sentence counts
        return " ".join([result.sentence(), *excluded])

    def to_dict(self) -> dict[str, Any]:
        """What ``results.json`` holds; numbers that are not finite are None."""
        arms = [
            {
                "variant": arm.name,
                "n": len(arm.finished),
                "diverged": arm.count("diverged"),
                "failed": arm.count("failed"),
                "loss": arm.loss,
                "accuracy": arm.accuracy,
                "adjusted": self.study.config.adjusted.get(arm.name),
                "outcomes": [outcome.to_dict(self.study.path) for outcome in arm.outcomes],
            }
            for arm in self.arms
        ]
        comparison = asdict(self.comparison)
        decided: dict[str, Any] = {}
        if self.sequential_results:
            for row in comparison["rows"]:
                row.update(dict.fromkeys(FIXED))
            decided = {
                "decisions": [sequential_result.to_dict() for sequential_result in self.sequential_results],
                "note": NOT_FIXED,
            }
        tuned: dict[str, Any] = {}
        if self.selection is not None:
            controls = [asdict(row) | {"of": self.study.config.controls[row.variant]} for row in self.controls]
            tuned = {"selection": self.selection.to_dict(), "controls": controls}
            tuned["arms_at_best"] = [] if self.tuned is None else self.tuned.to_list()
        return finite({"study": self.study.config.to_dict(), "arms": arms, "comparison": comparison} | decided | tuned)


def summarise(study: Study) -> Summary:
    """The table of a study as far as its runs have ended. Failed runs say nothing of a variant: no pair has them."""
    outcomes = study.outcomes()
    arms = tuple(Arm(name, tuple(each for each in outcomes if each.variant == name)) for name in study.config.arms)
    losses = study.losses()
    base = losses[BASE]
    comparison = compare(base, {variant: losses[variant] for variant in study.config.variants})
    controls = tuple(_control(study, name, base, losses[name]) for name in study.config.controls)
    return Summary(study, arms, comparison, sequential_results(study), selection_result(study), controls)


def _control(study: Study, name: str, base: Losses, control: Losses) -> Difference:
    """A control's difference alone. Where seeds were added, its interval is one that holds at every look."""
    (row,) = compare(base, {name: control}).rows
    if study.config.until_decided is None:
        return row
    (decision,) = decide(base, {name: control}, seeds=study.config.seeds)
    return replace(row, interval=decision.interval, t=None, p=None, p_holm=None)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
