"""The results of a ladder in sentences and numbers: for the terminal, its page and ``learned.json``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from glassformer.errors import DataError
from glassformer.scaling.ladders.effect_vs_compute import EffectVsCompute
from glassformer.scaling.ladders.ladder import Ladder, Verified
from glassformer.scaling.ladders.ladder_fit import WORDS, LadderFit
from glassformer.scaling.ladders.ladder_plan import LadderPlan
from glassformer.scaling.ladders.ladder_rungs import LadderRun, short
from glassformer.scaling.ladders.rung_checks import RungChecks
from glassformer.statistics.prediction import Prediction, standard_errors
from glassformer.wording import counted

Place = tuple[float, float, float]
"""N, D and C of a run."""

BIGGER = (2.0, 4.0)
"""Multiples of the largest rung's compute considered for the next run."""


@dataclass(frozen=True)
class LadderSummary:
    """The results of a ladder, as far as its runs have ended.

    Attributes:
        fitted: None where too few rungs have ended with a loss; then ``missing`` says so.
        checks: whether the rungs learned.
        effects: of each variant that could be compared.
        verified: empty until the verifying run has ended.
    """

    ladder: Ladder
    fitted: LadderFit | None
    checks: RungChecks
    missing: tuple[str, ...]
    effects: tuple[EffectVsCompute, ...]
    verified: tuple[Verified, ...]

    @property
    def plan(self) -> LadderPlan:
        """Of the ladder."""
        return self.ladder.plan

    @property
    def prediction(self) -> Prediction | None:
        """At the target."""
        return None if self.fitted is None else predict_run(self.fitted, self.plan.target)

    def answers(self) -> list[str]:
        """The prediction, the measured loss where it is known, each variant; and what is wrong with the rungs."""
        found = [*self.checks.warnings]
        if self.fitted is not None:
            found.append(_prediction(self.plan, self.fitted))
        found += [each.sentence() for each in self.verified]
        return found + [sentence for effect in self.effects for sentence in effect.sentences()]

    def reliability(self) -> dict[str, str]:
        """The rungs, their learning rate, the law, its design, the back-test, what is not identified, the next run."""
        found = {"rungs": self.checks.verdict}
        if self.plan.sweep is not None:
            found["learning rate"] = self.plan.sweep.sentence
        if self.fitted is not None:
            found |= _of_the_law(self.plan, self.fitted)
        return found | ({"left out": " ".join(self.missing)} if self.missing else {})

    def sentences(self) -> list[str]:
        """All of it."""
        return [*self.answers(), *self.reliability().values()]

    def to_dict(self) -> dict[str, Any]:
        """What ``learned.json`` holds."""
        fitted = self.fitted
        return {
            "rungs": [
                {
                    **asdict(run),
                    "loss": self.ladder.losses(run),
                    "diverged": run.name in self.ladder.diverged,
                    "excluded": self.checks.excluded.get(run.name),
                }
                for run in self.plan.runs
            ],
            "law": None
            if fitted is None
            else {
                "formula": WORDS[fitted.formula],
                "parameters": {
                    name: {"value": value, "low": low, "high": high}
                    for name, (value, low, high) in fitted.intervals().items()
                },
                "noise": fitted.noise,
                "widened": fitted.widened,
                "notes": list(fitted.notes),
            },
            "checks": {"verdict": self.checks.verdict, "warnings": list(self.checks.warnings)},
            "entropies": dict(self.plan.entropies),
            "sweep": None if self.plan.sweep is None else self.plan.sweep.to_dict(),
            "target": asdict(self.plan.target),
            "prediction": None if self.prediction is None else _tree(self.prediction),
            "verification": asdict(self.plan.verification),
            "prediction of the verification": None
            if fitted is None
            else _tree(predict_run(fitted, self.plan.verification)),
            "promised": self.plan.design.expected_half_width,
            "before": self.plan.design.before,
            "variants": [{"variant": each.variant, "at": [at.to_dict() for at in each.at]} for each in self.effects],
            "verified": [{"arm": each.arm, "loss": each.loss, "inside": _inside(each)} for each in self.verified],
            "sentences": self.sentences(),
        }


def _tree(found: Prediction) -> dict[str, float]:
    """As ``learned.json`` holds it."""
    return {"loss": found.value, "low": float(found.low), "high": float(found.high), "confidence": found.level}


def summarize(ladder: Ladder) -> LadderSummary:
    """The results of a ladder, as far as its runs have ended."""
    missing = []
    fitted = None
    try:
        fitted = ladder.fitted()
    except DataError as error:
        missing.append(str(error))
    if ladder.diverged:
        missing.append(f"Diverged and excluded: {', '.join(ladder.diverged)}.")
    effects = []
    for variant in ladder.plan.request.vary:
        try:
            effects.append(ladder.effect(variant))
        except DataError as error:
            missing.append(str(error))
    verified = [] if fitted is None else ladder.verified(fitted)
    return LadderSummary(ladder, fitted, ladder.checks(), tuple(missing), tuple(effects), tuple(verified))


def predict_run(fitted: LadderFit, run: LadderRun) -> Prediction:
    """The prediction for a run."""
    return fitted.predict(run.n, run.d, run.c)


def _prediction(plan: LadderPlan, fitted: LadderFit) -> str:
    target, found = plan.target, predict_run(fitted, plan.target)
    beyond = f"{target.c / plan.runs[0].c:.3g} times the largest rung"
    return (
        f"The target ({target.shape}; N = {short(target.n)}, D = {short(target.d)}, {target.c:.3g} FLOPs, {beyond}): "
        f"predicted {found.value:.4f} nats per token, 95 % prediction interval {found.low:.4f} to {found.high:.4f}, "
        f"±{percent(found.half_width)}."
    )


def _of_the_law(plan: LadderPlan, fitted: LadderFit) -> dict[str, str]:
    design, width = plan.design, predict_run(fitted, plan.target).half_width
    parameters = ", ".join(
        f"{name} = {value:.4g} ({low:.3g} to {high:.3g})" for name, (value, low, high) in fitted.intervals().items()
    )
    found = {
        "law": f"The law: {WORDS[fitted.formula]} with {parameters}; the rungs scatter about it by "
        f"{percent(fitted.noise)} (n = {counted(len(fitted.fit.points), 'rung')}, 95 % intervals).",
        "design": f"Before any run the target's loss was known to ±{percent(design.before)}. Expected of the design: "
        f"±{percent(design.expected_half_width)}, for runs that scatter by {percent(design.noise)}. Measured: "
        f"±{percent(width)}.",
        "back-test": _back_test(fitted),
    }
    if fitted.notes:
        found["not identified"] = " ".join(fitted.notes)
    return found | {"next run": _next(plan, fitted)}


def percent(share: float) -> str:
    """A share in two figures or whole percents: 3.1 %, 34 %, 140 %."""
    return f"{100 * share:,.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _back_test(fitted: LadderFit) -> str:
    if not fitted.held_out:
        return "Too few rungs for a back-test."
    errors = ", ".join(
        f"{each.run} by {100 * (each.predicted.value / each.loss - 1):+.2g} % (interval "
        f"±{percent(each.predicted.half_width)}, {each.reach:.2g} times the compute)"
        for each in fitted.held_out
    )
    after = (
        f"; the prediction interval is widened {fitted.widened:.2f} times accordingly"
        if fitted.widened > 1
        else "; all inside their intervals"
    )
    return f"Back-test: fitted without the largest rungs, the law is off for {errors}{after}."


def _next(plan: LadderPlan, fitted: LadderFit) -> str:
    """The one further run that shrinks the prediction interval at the target most."""
    points = fitted.fit.points
    target = plan.target
    ended = points.run.tolist()
    places: list[tuple[str, Place, int | None]] = [
        (f"{run.name} again, with another seed", (run.n, run.d, run.c), ended.index(run.name))
        for run in plan.runs
        if run.name in ended
    ]
    for times in BIGGER:
        c = times * float(points.c.max())
        share = math.sqrt(c / target.c)
        if share < 1:
            n, d = target.n * share, target.d * share
            places.append((f"N = {short(n)}, D = {short(d)}", (n, d, c), None))
    now = predict_run(fitted, target).half_width
    seeds = plan.request.seeds
    after = [_half_width_with(fitted, target, place, again, seeds) for _, place, again in places]
    best = int(np.argmin(after))
    name, (_, _, c), _ = places[best]
    return (
        f"Next run: {name} ({c:.3g} FLOPs) would shrink the prediction interval at the target from ±{percent(now)} to "
        f"±{percent(after[best])}, if the law holds there."
    )


def _half_width_with(fitted: LadderFit, target: LadderRun, place: Place, again: int | None, seeds: int) -> float:
    """Relative half-width of the interval at the target with one more run, of the same scatter: a new rung at
    ``place``, or one more seed of rung number ``again``, which adds no degree of freedom to the law.
    """
    from glassformer.scaling.fits.points import Points

    found = fitted.fit

    def rows(n: Any, d: Any, c: Any) -> Any:
        at = Points.of(n, d, np.ones(len(n)), c=c)
        return found.formula.jacobian(found.values, at) / found.formula.value(found.values, at)[:, None]

    points = found.points
    new = [] if again is not None else [place]
    seen = rows(*(np.append(column, [at[i] for at in new]) for i, column in enumerate((points.n, points.d, points.c))))
    variances = np.ones(len(seen))  # in noise²
    if again is not None:
        variances[again] = seeds / (seeds + 1)
    size = np.linalg.norm(seen, axis=0)
    aim = rows([target.n], [target.d], [target.c])[0] / size
    shares = aim @ np.linalg.pinv(seen / size)  # of each rung's error, in that of the prediction
    spread = fitted.noise * math.sqrt(1 + float(shares**2 @ variances))
    reach = standard_errors(degrees=len(seen) - len(found.values))
    return math.expm1(reach * math.hypot(spread, fitted.single) * fitted.widened)


def _inside(each: Verified) -> bool | None:
    return None if each.predicted is None or each.loss is None else each.predicted.holds(each.loss)
