"""What a study gives a claim's judge: the arms' losses at their own best learning rate, and at the baseline's.

    arms = tuned_arms(study)
    arms.losses["skip removed"]             fresh seeds, at this arm's own best rate
    arms.at_baseline_rate["skip removed"]   the same seeds, at the rate that is best for the baseline
    arms.rates                              the best rate of every arm
    arms.selection["skip removed"][1e-3]    the selection runs at one rate, by selection seed

A study that is not tuned gives the same: every arm has the one rate, and there is no selection.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from scipy import stats

from glassformer.claims.budget import LEARNING_RATE
from glassformer.claims.claim import Measurement, measurement
from glassformer.claims.judging import difference, diverged, mean_over_seeds
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE, arm_label
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome
from glassformer.studies.selection import selection_result


@dataclass(frozen=True)
class TunedArms:
    """The arms of a study, the baseline among them as ``BASE``.

    Attributes:
        losses: by arm and seed, each arm at its own best learning rate.
        rates: the best learning rate by arm.
        at_baseline_rate: by variant and seed, at the baseline's best rate; only of variants whose own is another.
        selection: by arm, rate and selection seed.
        notes: by arm: that its grid was extended, or that its best rate is still on the grid's edge.
    """

    losses: Mapping[str, Losses]
    rates: Mapping[str, float] = field(default_factory=dict)
    at_baseline_rate: Mapping[str, Losses] = field(default_factory=dict)
    selection: Mapping[str, Mapping[float, Losses]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def cost(self, variant: str, over: str = BASE) -> Measurement:
        """Variant less the baseline (or another arm), each at its own best rate, paired by seed."""
        return difference(self.losses[over], self.losses[variant])

    def cost_at_baseline_rate(self, variant: str, over: str = BASE) -> Measurement:
        """The same difference, both at the baseline's best rate."""
        lower, higher = (self.at_baseline_rate.get(arm, self.losses[arm]) for arm in (over, variant))
        return difference(lower, higher)

    def has_control(self, variant: str) -> bool:
        """Whether a tuned study knows the variant's loss at the baseline's best rate."""
        same = self.rates.get(variant) == self.rates.get(BASE)
        return bool(self.selection) and (same or variant in self.at_baseline_rate)

    def cost_by_rate(self, variant: str, over: str = BASE) -> dict[float, Measurement]:
        """The same difference at every rate that both were tried at, over the selection seeds."""
        lower, higher = self.selection.get(over, {}), self.selection.get(variant, {})
        return {rate: difference(lower[rate], higher[rate]) for rate in sorted(lower.keys() & higher.keys())}

    def mean_by_rate(self, arm: str) -> dict[float, float]:
        """Mean loss of an arm's selection runs at each rate; infinite where one diverged."""
        return {
            rate: math.inf if diverged(losses) else fmean(loss for loss in losses.values() if loss is not None)
            for rate, losses in self.selection.get(arm, {}).items()
            if losses
        }

    def numbers(self, prefix: str = "", *, by_rate: Collection[str] | None = None) -> dict[str, Measurement]:
        """The best rate of every arm, what each variant costs at its own and at the baseline's, and at each rate.

        Args:
            by_rate: the variants whose cost at each rate is wanted; all unless given.
        """
        before = f"{prefix}: " if prefix else ""
        found: dict[str, Measurement] = {}
        for arm, rate in self.rates.items():
            found[f"{before}{arm_label(arm)}, best learning rate"] = measurement(rate)
        for arm, losses in self.losses.items():
            found[f"{before}{arm_label(arm)}, loss"] = mean_over_seeds(losses.values())
            if lost := diverged(losses):
                found[f"{before}{arm_label(arm)}, runs that diverged"] = measurement(lost)
        for variant in (arm for arm in self.losses if arm != BASE):
            found[f"{before}{variant}, cost at its own best rate"] = self.cost(variant)
            if self.has_control(variant):
                found[f"{before}{variant}, cost at the baseline's rate"] = self.cost_at_baseline_rate(variant)
            if by_rate is not None and variant not in by_rate:
                continue
            for rate, cost in self.cost_by_rate(variant).items():
                found[f"{before}{variant}, cost at rate {rate:g} (selection runs)"] = cost
        return found


def tuned_arms(study: Study) -> TunedArms:
    """The arms of a study whose runs have ended, tuned or not."""
    losses, config = study.losses(), study.config
    arms = (BASE, *config.variants)
    own = {arm: losses[arm] for arm in arms}
    rates = {arm: config.arm(arm).training.optimizer.learning_rate for arm in arms}
    found = selection_result(study)
    if found is None:
        return TunedArms(own, rates)
    selection = {arm: {float(point.values[LEARNING_RATE]): point.losses for point in found.of(arm)} for arm in arms}
    controls = {variant: losses[control] for control, variant in config.controls.items()}
    return TunedArms(own, rates, controls, selection, found.notes)


def selection_runs(study: Study) -> dict[str, dict[float, list[RunOutcome]]]:
    """The selection runs of a tuned study by arm and learning rate; none of a study that is not tuned."""
    found, selection = selection_result(study), study.selection
    if found is None or selection is None:
        return {}
    runs: dict[str, dict[float, list[RunOutcome]]] = {}
    for name, point in zip(selection.config.arms, found.points, strict=True):
        ended = [outcome for outcome in selection.outcomes() if outcome.variant == name]
        runs.setdefault(point.arm, {})[float(point.values[LEARNING_RATE])] = ended
    return runs


def agreement(short: TunedArms, whole: TunedArms, prefix: str) -> dict[str, Measurement]:
    """Whether selection runs of few steps choose the learning rate that whole ones do, of every arm of both.

    The factor between the two rates (1: the same), and Spearman's correlation of the mean losses over the shared rates.
    """
    numbers = {}
    for arm in whole.rates:
        name = f"{prefix}: {arm_label(arm)}, short against whole selection runs"
        numbers[f"{name}, ratio of best rates"] = measurement(short.rates[arm] / whole.rates[arm])
        one, other = short.mean_by_rate(arm), whole.mean_by_rate(arm)
        shared = sorted(one.keys() & other.keys())
        if len(shared) > 2:  # 2 are always in perfect order or reversed
            rho = float(stats.spearmanr([one[rate] for rate in shared], [other[rate] for rate in shared]).statistic)
            numbers[f"{name}, Spearman's correlation"] = measurement(rho)
    return numbers
