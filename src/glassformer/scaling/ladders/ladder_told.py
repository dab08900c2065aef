"""What a ladder says, in sentences and in numbers: for the terminal, its page and ``learned.json``."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from glassformer.errors import DataError
from glassformer.scaling.ladders.comparing import Scaling
from glassformer.scaling.ladders.ladder import Ladder, Verified
from glassformer.scaling.ladders.ladder_fit import WORDS, Band, Learned
from glassformer.scaling.ladders.ladder_plan import Plan
from glassformer.scaling.ladders.ladder_rungs import Run, short
from glassformer.studies.wording import counted

Place = tuple[float, float, float]
"""N, D and C of a run."""

BIGGER = (2.0, 4.0)
"""Multiples of the largest rung's compute that are weighed as the next run."""


@dataclass(frozen=True)
class Told:
    """Everything a ladder has to say.

    Attributes:
        learned: None where too few rungs have ended with a loss; then ``missing`` says so.
        scalings: of each variant that could be compared.
        verified: empty until the verifying run has ended.
    """

    ladder: Ladder
    learned: Learned | None
    missing: tuple[str, ...]
    scalings: tuple[Scaling, ...]
    verified: tuple[Verified, ...]

    @property
    def plan(self) -> Plan:
        """Of the ladder."""
        return self.ladder.plan

    @property
    def band(self) -> Band | None:
        """The prediction at the target."""
        return None if self.learned is None else band_of(self.learned, self.plan.target)

    def answers(self) -> list[str]:
        """What was asked: the prediction, the truth where it is known, each variant."""
        told = [] if self.learned is None else [_prediction(self.plan, self.learned)]
        told += [each.sentence() for each in self.verified]
        return told + [sentence for scaling in self.scalings for sentence in scaling.sentences()]

    def trust(self) -> dict[str, str]:
        """How far to trust that: the law, what was promised, the back-test, what is open, what to run next."""
        told = {} if self.learned is None else _of_the_law(self.plan, self.learned)
        return told | ({"left out": " ".join(self.missing)} if self.missing else {})

    def sentences(self) -> list[str]:
        """All of it."""
        return [*self.answers(), *self.trust().values()]

    def to_dict(self) -> dict[str, Any]:
        """What ``learned.json`` holds."""
        learned = self.learned
        return {
            "rungs": [
                {**asdict(run), "loss": self.ladder.losses(run), "diverged": run.name in self.ladder.diverged}
                for run in self.plan.runs
            ],
            "law": None
            if learned is None
            else {
                "formula": WORDS[learned.formula],
                "parameters": {
                    name: {"value": value, "low": low, "high": high}
                    for name, (value, low, high) in learned.intervals().items()
                },
                "noise": learned.noise,
                "widened": learned.widened,
                "notes": list(learned.notes),
            },
            "target": asdict(self.plan.target),
            "prediction": None if self.band is None else asdict(self.band),
            "verification": asdict(self.plan.verification),
            "prediction of the verification": None
            if learned is None
            else asdict(band_of(learned, self.plan.verification)),
            "promised": self.plan.design.promise,
            "before": self.plan.design.before,
            "variants": [
                {"variant": each.variant, "at": [asdict(at) | {"verdict": at.verdict} for at in each.at]}
                for each in self.scalings
            ],
            "verified": [{"arm": each.arm, "loss": each.loss, "inside": _inside(each)} for each in self.verified],
            "sentences": self.sentences(),
        }


def tell(ladder: Ladder) -> Told:
    """What a ladder says, as far as its runs have ended."""
    missing = []
    learned = None
    try:
        learned = ladder.learned()
    except DataError as error:
        missing.append(str(error))
    if ladder.diverged:
        missing.append(f"Diverged, and in no fit: {', '.join(ladder.diverged)}.")
    scalings = []
    for variant in ladder.plan.request.vary:
        try:
            scalings.append(ladder.scaling(variant))
        except DataError as error:
            missing.append(str(error))
    verified = [] if learned is None else ladder.verified(learned)
    return Told(ladder, learned, tuple(missing), tuple(scalings), tuple(verified))


def band_of(learned: Learned, run: Run) -> Band:
    """The prediction for a run."""
    return learned.band(run.n, run.d, run.c)


def _prediction(plan: Plan, learned: Learned) -> str:
    target, found = plan.target, band_of(learned, plan.target)
    beyond = f"{target.c / plan.runs[0].c:.3g} times the largest rung"
    return (
        f"The target ({target.shape}; N = {short(target.n)}, D = {short(target.d)}, {target.c:.3g} FLOPs, {beyond}): "
        f"predicted {found.loss:.4f} nats per token, 95 % band {found.low:.4f} to {found.high:.4f}, "
        f"±{percent(found.half_width)}."
    )


def _of_the_law(plan: Plan, learned: Learned) -> dict[str, str]:
    design, width = plan.design, band_of(learned, plan.target).half_width
    parameters = ", ".join(
        f"{name} = {value:.4g} ({low:.3g} to {high:.3g})" for name, (value, low, high) in learned.intervals().items()
    )
    told = {
        "law": f"The law: {WORDS[learned.formula]} with {parameters}; the rungs scatter about it by "
        f"{percent(learned.noise)} (n = {counted(len(learned.fit.points), 'rung')}, 95 % intervals).",
        "design": f"Before any run the target was known to ±{percent(design.before)}; the design promised "
        f"±{percent(design.promise)} for runs that scatter by {percent(design.noise)}, and the runs give "
        f"±{percent(width)}.",
        "back-test": _back_test(learned),
    }
    if learned.notes:
        told["left open"] = " ".join(learned.notes)
    return told | {"next": _next(plan, learned)}


def percent(share: float) -> str:
    """A share in two figures or whole percents: 3.1 %, 34 %, 140 %."""
    return f"{100 * share:,.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _back_test(learned: Learned) -> str:
    if not learned.hidden:
        return "No rung can be hidden to test the law: too few would be left to fit it."
    errors = ", ".join(
        f"{each.run} by {100 * (each.band.loss / each.loss - 1):+.2g} % (band ±{percent(each.band.half_width)}, "
        f"{each.reach:.2g} times beyond)"
        for each in learned.hidden
    )
    after = (
        f"; the band is widened {learned.widened:.2f} times by what it missed"
        if learned.widened > 1
        else "; its bands held them all"
    )
    return f"Back-test: fitted without the largest rungs, the law misses {errors}{after}."


def _next(plan: Plan, learned: Learned) -> str:
    """The one further run that shrinks the band at the target most."""
    points = learned.fit.points
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
    now = band_of(learned, target).half_width
    seeds = plan.request.seeds
    after = [_half_width_with(learned, target, place, again, seeds) for _, place, again in places]
    best = int(np.argmin(after))
    name, (_, _, c), _ = places[best]
    return (
        f"Next: {name} ({c:.3g} FLOPs) would shrink the band at the target from ±{percent(now)} to "
        f"±{percent(after[best])}, if the law holds there."
    )


def _half_width_with(learned: Learned, target: Run, place: Place, again: int | None, seeds: int) -> float:
    """Relative half-width of the band at the target with one run more, of the same scatter: a new rung at ``place``, or
    one more seed of rung number ``again``, which makes its mean surer and the law no more of a line through points.
    """
    from scipy import stats

    from glassformer.scaling.fits.points import Points

    found = learned.fit

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
    spread = learned.noise * math.sqrt(1 + float(shares**2 @ variances))
    quantile = float(stats.t.isf(0.025, len(seen) - len(found.values)))
    return math.expm1(quantile * math.hypot(spread, learned.single) * learned.widened)


def _inside(each: Verified) -> bool | None:
    return None if each.band is None or each.loss is None else each.band.holds(each.loss)
