"""The effect of a variant at 10 or 100 times the compute.

Base and variant are trained on every rung of a ladder with the same seeds, and Δ, the variant's loss minus the base's,
is paired by rung and seed. Its extrapolation follows from the base's own law L = E + r(C), r(C) = a/C^α, in two forms:

    multiplier Δ(C) = r(C) · (b₀ + b₁ · ln(C/C₀))      a compute multiplier, constant or growing
    floor      Δ(C) = b₀ + b₁ · r(C)                   the change moves the floor, and the reducible loss in proportion

A variant of the same floor whose law differs in a, or in α, is of the first form (as long as Δ is small beside r);
one whose law differs in E and a is of the second. A line in ln C is of neither: it crosses zero for every change of
constant multiplier. The two are averaged, each weighted by its likelihood, RSS^(−n/2) (Raftery 1995, "Bayesian model
selection in social research", equation 26, for models of as many parameters). The interval is Student's, over rungs
(Δ is the mean of a rung's seeds, since what its seeds share counts once), and the base's law is drawn anew from its own
errors for each of the draws.

C is the base's compute. Where the variant's own differs, Δ at equal compute is reported too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from glassformer.errors import DataError
from glassformer.scaling.fits.fitting import fit
from glassformer.scaling.fits.points import Array, Points
from glassformer.scaling.ladders.ladder_fit import PATH_LAW
from glassformer.scaling.laws.sum_of_powers import SumOfPowers
from glassformer.statistics.prediction import percentiles

Verdict = Literal["helps", "harms", "inconclusive"]

JSON_NAMES = {"compute_multiplier": "worth", "multiplier_low": "worth_low", "multiplier_high": "worth_high"}

TIMES = (10.0, 100.0)
"""Multiples of the largest rung's compute at which is asked."""

FEWEST = 4
"""Rungs at which both sides have a loss: two parameters and two more."""

DRAWS = 2_000


@dataclass(frozen=True)
class PairedRung:
    """Base and variant at one rung.

    Attributes:
        name: of the rung.
        compute, variant_compute: training FLOPs of each side.
        losses: by seed: (base, variant); None where that run diverged.
    """

    name: str
    compute: float
    variant_compute: float
    losses: Mapping[int, tuple[float | None, float | None]]

    @property
    def differences(self) -> dict[int, float]:
        """Variant − base, nats per token, of every whole pair."""
        return {
            seed: variant - base
            for seed, (base, variant) in self.losses.items()
            if base is not None and variant is not None
        }

    @property
    def base_loss(self) -> float:
        """Mean over the base's seeds that have a loss."""
        return float(np.mean([base for base, _ in self.losses.values() if base is not None]))

    @property
    def diverged(self) -> int:
        """Runs of the variant without a loss."""
        return sum(variant is None for _, variant in self.losses.values())


@dataclass(frozen=True)
class AtCompute:
    """The difference at one compute.

    Attributes:
        compute: of the base, FLOPs.
        times: as a multiple of the largest rung's.
        difference, low, high: variant − base, nats per token.
        compute_multiplier: 2 means that the variant reaches with the compute C
            what the base reaches with 2·C. Infinite where it reaches what the base never does.
        multiplier_low, multiplier_high: the same of ``high`` and ``low``, by the base's fitted law.
    """

    compute: float
    times: float
    difference: float
    low: float
    high: float
    compute_multiplier: float
    multiplier_low: float
    multiplier_high: float

    @property
    def verdict(self) -> Verdict:
        """By the interval."""
        if self.high < 0:
            return "helps"
        return "harms" if self.low > 0 else "inconclusive"

    def to_dict(self) -> dict[str, Any]:
        """As ``learned.json`` holds it, where the multiplier is called "worth"."""
        tree = asdict(self)
        for name, written in JSON_NAMES.items():
            tree[written] = tree.pop(name)
        return tree | {"verdict": self.verdict}


@dataclass(frozen=True)
class EffectVsCompute:
    """A variant against the base, over compute.

    Attributes:
        at: the answers, at each of the multiples.
        curve: the same along the ladder and beyond it, for a picture.
        cost: the variant's FLOPs by the base's, the mean of the rungs.
        equal_compute: the answers at equal compute; as ``at`` where the two cost the same.
    """

    variant: str
    rungs: tuple[PairedRung, ...]
    at: tuple[AtCompute, ...]
    curve: tuple[AtCompute, ...]
    cost: float
    equal_compute: tuple[AtCompute, ...]

    @property
    def n_pairs(self) -> int:
        """Whole pairs."""
        return sum(len(rung.differences) for rung in self.rungs)

    def sentences(self) -> list[str]:
        """A sentence for each multiple, and its limitations."""
        sentences = [self._sentence(each) for each in self.at]
        if abs(math.log(self.cost)) > 0.01:
            verdicts = ", ".join(f"{each.verdict} at {each.times:g}×" for each in self.equal_compute)
            sentences.append(
                f"At the same steps {self.variant} costs {self.cost:.2f} times the base's FLOPs; at equal compute: "
                f"{verdicts}."
            )
        diverged = sum(rung.diverged for rung in self.rungs)
        if diverged:
            sentences.append(f"{diverged} of its runs diverged and {'is' if diverged == 1 else 'are'} excluded.")
        return sentences

    def _sentence(self, at: AtCompute) -> str:
        which = {
            "helps": f"{self.variant} helps at {at.times:g}× the compute",
            "harms": f"{self.variant} harms at {at.times:g}× the compute",
            "inconclusive": f"whether {self.variant} helps at {at.times:g}× the compute is inconclusive",
        }[at.verdict]
        n = f"n = {self.n_pairs} pairs on {sum(bool(rung.differences) for rung in self.rungs)} rungs"
        return (
            f"{which}: it changes the loss by {at.difference:+.4f} nats (95 % interval {at.low:+.4f} to "
            f"{at.high:+.4f}, {n}), a compute multiplier of {_factor(at.compute_multiplier)} "
            f"({_factor(at.multiplier_low)} to {_factor(at.multiplier_high)})."
        )


def _factor(compute_multiplier: float) -> str:
    return "∞" if math.isinf(compute_multiplier) else f"{compute_multiplier:,.2f}"


def compare_over_compute(
    variant: str, rungs: Sequence[PairedRung], *, times: Sequence[float] = TIMES, seed: int = 0
) -> EffectVsCompute:
    """The paired difference, extrapolated over compute.

    Args:
        rungs: with at least one seed; those without a whole pair are only counted.
        seed: of the draws.

    Raises:
        DataError: fewer than four rungs have a whole pair, or their computes do not differ.
    """
    used = [rung for rung in sorted(rungs, key=lambda rung: rung.compute) if rung.differences]
    if len({rung.compute for rung in used}) < FEWEST:
        raise DataError(
            f"{variant} and the base have both ended on {len(used)} rungs, and {FEWEST} different ones are needed to "
            "extrapolate their difference: train more of them (a larger --budget)."
        )
    compute = np.array([rung.compute for rung in used])
    loss = np.array([rung.base_loss for rung in used])
    difference = np.array([np.mean([*rung.differences.values()]) for rung in used])
    cost = float(np.exp(np.mean(np.log([rung.variant_compute / rung.compute for rung in used]))))
    law = _base_draws(compute, loss, np.random.default_rng(seed))
    asked = compute[-1] * np.array(times)
    along = np.geomspace(compute[0], compute[-1] * max(times), 60)
    # what the base would gain by the variant's compute
    equal = difference + law.reducible(compute[:, None])[0] - law.reducible(cost * compute[:, None])[0]

    def answers(values: Array, places: Array) -> tuple[AtCompute, ...]:
        return _extrapolated(law, compute, values, places, np.random.default_rng(seed + 1))

    return EffectVsCompute(
        variant,
        tuple(rungs),
        answers(difference, asked),
        answers(difference, along),
        cost,
        answers(equal, asked) if abs(math.log(cost)) > 0.01 else answers(difference, asked),
    )


def _base_draws(compute: Array, loss: Array, draw: np.random.Generator) -> SumOfPowers:
    """The base's law and, after it, draws of it from its linearised errors, kept where a law can be.

    θ is [1 + draws, 1, 3]; the anchor C₀ is the middle of the rungs.
    """
    middle = float(np.exp(np.log(compute).mean()))
    points = Points.of(compute, np.ones_like(compute), loss, c=compute)
    found = fit(points, PATH_LAW, "squares")
    values = found.parameters
    # drawn are E, a·C₀^−α and α
    centre = np.array([values["E"], values["a"] * middle ** -values["alpha"], values["alpha"]])
    fitted = SumOfPowers((middle,), (centre[0], math.log(centre[1]), centre[2]))
    rows = fitted.jacobian(compute[:, None]) / np.array([1.0, centre[1], 1.0])
    spare = len(compute) - 3
    noise = math.sqrt(float(np.sum(found.residuals**2)) / spare)
    # a weak prior keeps draws of an open direction finite: a floor within the loss, an exponent within its own size
    prior = np.diag([1 / loss.min(), 1 / centre[1], 1 / max(centre[2], 0.05)]) ** 2
    covariance = np.linalg.inv(rows.T @ rows / max(noise, 1e-9) ** 2 + prior)
    errors = draw.multivariate_normal(np.zeros(3), covariance, size=DRAWS, method="svd")
    errors *= np.sqrt(spare / draw.chisquare(spare, size=DRAWS))[:, None]
    draws = centre + errors
    draws[:, 0] = np.clip(draws[:, 0], 0, 0.95 * loss.min())
    draws[:, 2] = np.clip(draws[:, 2], 0.01, 3.0)
    draws[:, 1] = np.maximum(draws[:, 1], 0.01 * centre[1])
    theta = np.concatenate([centre[None], draws])
    theta[:, 1] = np.log(theta[:, 1])
    return SumOfPowers((middle,), theta[:, None])


def _compute_multiplier(law: SumOfPowers, compute: Array, difference: Array) -> Array:
    """The factor f [n] with r(f·C) = r(C) + Δ, by the fitted law; infinite where Δ takes more than r(C)."""
    left = np.maximum(1 + difference / law.reducible(compute[:, None])[0], 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(left ** (-1 / np.asarray(law.theta)[0, 0, 2]), dtype=np.float64)


def _extrapolated(
    law: SumOfPowers, compute: Array, difference: Array, places: Array, draw: np.random.Generator
) -> tuple[AtCompute, ...]:
    """Δ at ``places``, averaged over both forms and over the draws of the base's law."""
    fitted = [
        _least_squares(form(law, compute), difference, form(law, places), draw)
        for form in (_multiplier_form, _floor_form)
    ]
    # with as many parameters, the likelihoods go as RSS^(−n/2); a misfit of rounding size is as good as none
    least = (1e-6 * np.abs(difference).max() + 1e-12) ** 2 * len(compute)
    evidence = np.array([-len(compute) / 2 * math.log(max(rss, least)) for _, _, rss in fitted])
    shares = np.exp(evidence - evidence.max()) / np.exp(evidence - evidence.max()).sum()
    mean = np.asarray(sum(share * values for share, (values, _, _) in zip(shares, fitted, strict=True)))
    from_first = draw.random(DRAWS) < shares[0]
    values = np.where(from_first[:, None], fitted[0][1], fitted[1][1])
    low, high = percentiles(values)
    compute_multiplier = [_compute_multiplier(law, places, each) for each in (mean, high, low)]
    columns = np.stack([places, places / compute[-1], mean, low, high, *compute_multiplier])
    return tuple(AtCompute(*column) for column in columns.T.tolist())


def _least_squares(
    rows: Array, difference: Array, there: Array, draw: np.random.Generator
) -> tuple[Array, Array, float]:
    """Of Δ [n] on ``rows`` [1 + draws, n, 2].

    Returns the prediction of the first draw [m], one of each other draw with an error of its own [draws, m], and the
    first's residual sum of squares.
    """
    gram = np.linalg.inv(rows.transpose(0, 2, 1) @ rows)
    found = gram @ (rows.transpose(0, 2, 1) @ difference[:, None])  # [1 + draws, 2, 1]
    rss = ((difference - (rows @ found)[..., 0]) ** 2).sum(axis=1)
    spare = len(difference) - 2
    means = (there @ found)[..., 0]
    errors = np.sqrt(rss[:, None] / spare * ((there @ gram) * there).sum(axis=-1))
    values = means[1:] + errors[1:] * draw.standard_t(spare, size=(len(means) - 1, 1))
    return means[0], values, float(rss[0])


def _multiplier_form(law: SumOfPowers, compute: Array) -> Array:
    """[1 + draws, n, 2]: r(C), and r(C)·ln(C/C₀)."""
    reducible = law.reducible(compute[:, None])
    return np.stack([reducible, reducible * np.log(compute / law.anchor[0])], axis=-1)


def _floor_form(law: SumOfPowers, compute: Array) -> Array:
    """[1 + draws, n, 2]: 1, and r(C)."""
    reducible = law.reducible(compute[:, None])
    return np.stack([np.ones_like(reducible), reducible], axis=-1)
