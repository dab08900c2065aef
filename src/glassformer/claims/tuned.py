"""What a study gives a claim's judge: the arms' losses at their own best learning rate, and at the baseline's.

    arms = tuned_arms(study)
    arms.losses["skip removed"]             fresh seeds, at this arm's own best rate
    arms.at_baseline_rate["skip removed"]   the same seeds, at the rate that is best for the baseline
    arms.rates                              the best rate of every arm
    arms.selection["skip removed"][1e-3]    the selection runs at one rate, by selection seed

A study that is not tuned gives the same: every arm has the one rate, and there is no selection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from glassformer.claims.budget import LEARNING_RATE
from glassformer.claims.claim import Measurement, measurement
from glassformer.claims.judging import difference, diverged, mean_over_seeds
from glassformer.statistics.comparison import Losses
from glassformer.studies.design import BASE, arm_label
from glassformer.studies.folder import Study


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

    def cost(self, variant: str) -> Measurement:
        """Variant − baseline, each at its own best rate, paired by seed."""
        return difference(self.losses[BASE], self.losses[variant])

    def cost_at_baseline_rate(self, variant: str) -> Measurement:
        """Variant − baseline, both at the baseline's best rate, paired by seed."""
        return difference(self.losses[BASE], self.at_baseline_rate.get(variant, self.losses[variant]))

    def cost_by_rate(self, variant: str) -> dict[float, Measurement]:
        """Variant − baseline at every rate that both were tried at, over the selection seeds."""
        base, other = self.selection.get(BASE, {}), self.selection.get(variant, {})
        return {rate: difference(base[rate], other[rate]) for rate in sorted(base.keys() & other.keys())}

    def numbers(self, prefix: str = "") -> dict[str, Measurement]:
        """The best rate of every arm, what each variant costs at its own and at the baseline's, and at each rate."""
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
            if self.selection:
                found[f"{before}{variant}, cost at the baseline's rate"] = self.cost_at_baseline_rate(variant)
            for rate, cost in self.cost_by_rate(variant).items():
                found[f"{before}{variant}, cost at rate {rate:g} (selection runs)"] = cost
        return found


def tuned_arms(study: Study) -> TunedArms:
    """The arms of a study whose runs have ended, tuned or not."""
    losses, config = study.losses(), study.config
    arms = (BASE, *config.variants)
    own = {arm: losses[arm] for arm in arms}
    rates = {arm: config.arm(arm).training.optimizer.learning_rate for arm in arms}
    if getattr(study, "selection", None) is None:
        return TunedArms(own, rates)
    from glassformer.studies.tuning import selection_result

    result = selection_result(study)
    assert result is not None
    selection: dict[str, dict[float, Losses]] = {arm: {} for arm in arms}
    for point in result.points:
        selection[point.arm][float(point.values[LEARNING_RATE])] = point.losses
    controls = {variant: losses[control] for control, variant in config.controls.items()}
    return TunedArms(own, rates, controls, selection, result.notes)
