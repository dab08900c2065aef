"""The loss that a plan may expect: with what is known of its error, with repeated data, and off by two."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glassformer.errors import DataError
from glassformer.scaling.laws.counting import Counts
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, ParametricLoss
from glassformer.scaling.laws.repeated_data import EFFECTIVE_TOKENS
from glassformer.scaling.plans.allocating import budget_for
from glassformer.scaling.plans.plan import Off, Traced
from glassformer.scaling.plans.plan_settings import cited
from glassformer.scaling.wording import Interval

Z = 1.959964
"""95 % of a normal distribution, two-sided."""


@dataclass(frozen=True)
class OwnFit:
    """A law fitted to the user's own runs.

    Attributes:
        interval: of the loss of a new run at N and D, 95 %, widened by what a back-test found.
    """

    law: ParametricLoss
    interval: Callable[[float, float], Interval]


@dataclass(frozen=True)
class Expectation:
    """What is expected, and what to beware of."""

    numbers: dict[str, Traced]
    warnings: tuple[str, ...]


@np.errstate(all="ignore")
def own_fit(path: Path) -> OwnFit:
    """E + A/N^α + B/D^β fitted to a table or a folder of runs, or as ``glassformer scale fit`` saved it, with a
    bootstrap clustered by run and a back-test; of a saved fit, its own.

    Raises:
        DataError: the runs cannot be read, or do not fix the law's constants.
    """
    from glassformer.scaling.fits.bootstrap import DRAWS, bootstrap
    from glassformer.scaling.fits.fitting import fit
    from glassformer.scaling.fits.held_out_prediction import back_test, predict
    from glassformer.scaling.fits.points import read_points
    from glassformer.scaling.fits.saved_fit import read_fit

    if path.suffix == ".json":
        saved = read_fit(path)
        fitted, draws, seed = saved.fit, saved.draws, saved.seed
    else:
        fitted, draws, seed = fit(read_points(path)), DRAWS, 0
    law = fitted.law()
    if not all(fitted.parameters[name] > 0 for name in ("A", "B", "alpha", "beta")):
        listed = ", ".join(f"{name} = {value:.3g}" for name, value in fitted.parameters.items())
        raise DataError(f"The fit of {path} spends no budget ({listed}): its loss does not fall with both N and D.")
    trust, tested = bootstrap(fitted, draws=draws, seed=seed), back_test(fitted, seed=seed)

    def interval(n: float, d: float) -> Interval:
        low, high = predict(trust, n, d, back_test=tested).calibrated
        return float(low), float(high)

    return OwnFit(law, interval)


def expected_loss(
    law: ParametricLoss,
    own: OwnFit | None,
    model: Counts,
    tokens: float,
    effective: float,
    others: Sequence[float],
    vocabulary: int,
) -> Expectation:
    """The loss by the plan's law, its interval, and the range of all laws.

    Args:
        effective: fresh tokens that ``tokens`` are worth, where the data are repeated.
        others: the loss that each law expects of this run.
        vocabulary: ln of it is what guessing scores.
    """
    n = float(model.parameters(law.counting or "total"))
    loss = float(law(N=n, D=effective))
    interval = own.interval(n, effective) if own else interval_of(law, n, effective)
    told = (
        "bootstrap and back-test of your runs"
        if own
        else "the law's standard errors, taken as independent: wider than it is"
    )
    data = f"D' = {effective:.4g} (effective)" if effective != tokens else f"D = {tokens:.4g}"
    numbers = {
        "loss": Traced(
            loss,
            "nats per token",
            f"{law.formula}, N = {n:.4g} ({law.counting}), {data}",
            cited(law),
            interval,
            f"95 %: {told}" if interval else "the law's standard errors are not published",
        )
    }
    if others:
        numbers["loss by other laws"] = Traced(
            statistics.median(others),
            "nats per token",
            f"median of the {len(others)} laws of L(N, D), asked about this run; each one's own in the table",
            "every law of L(N, D)",
            (min(others), max(others)),
            "the range of the laws, which is no confidence interval",
        )
    return Expectation(numbers, tuple(_beware(loss, own, vocabulary)))


def _beware(loss: float, own: OwnFit | None, vocabulary: int) -> Iterator[str]:
    guessing = math.log(vocabulary)
    if loss > guessing:
        yield (
            f"The law's loss, {loss:.3g}, is above ln({vocabulary:,}) = {guessing:.3g}, what guessing scores: it is no "
            "prediction here, and the law's N and D are an extrapolation."
        )
    if own is None:
        yield (
            "The loss is of the law's own text and tokenizer: nats per token there, not of your text. "
            "For that, fit your own runs: --fit RUNS."
        )


def interval_of(law: ParametricLoss, n: float, d: float) -> Interval | None:
    """95 % by the delta method, from standard errors taken as independent; None where one of them is not known.

    ∂L/∂E = 1, ∂L/∂A = N^−α, ∂L/∂α = −A·ln N·N^−α, and the same for B, β and D.
    """
    errors = {symbol: constant.error for symbol, constant in law.constants.items()}
    if any(error is None for error in errors.values()):
        return None
    of_n, of_d = n**-law.alpha, d**-law.beta
    slopes = {
        "E": 1.0,
        "A": of_n,
        "α": law.A * math.log(n) * of_n,
        "B": of_d,
        "β": law.B * math.log(d) * of_d,
    }
    half = Z * math.sqrt(sum((slopes[symbol] * (errors[symbol] or 0.0)) ** 2 for symbol in slopes))
    loss = float(law(N=n, D=d))
    return max(law.E, loss - half), loss + half


# --- repeated data --------------------------------------------------------------------------------------------------


def repeated(tokens: float, unique: float | None, source: str, law: ParametricLoss, model: Counts) -> dict[str, Traced]:
    """Unique tokens, epochs, and what repetition is worth and costs (Muennighoff et al. 2023)."""
    if unique is None:
        return {}
    epochs = tokens / unique
    found = {
        "unique tokens": Traced(unique, "tokens", "different training tokens there are", source),
        "epochs": Traced(epochs, "passes", f"D / U = {tokens:.4g} / {unique:.4g}", "arithmetic"),
    }
    if epochs <= 1:
        return found
    effective = float(EFFECTIVE_TOKENS(D=tokens, U=unique))
    n = float(model.parameters(law.counting or "total"))
    fresh, stale = float(law(N=n, D=tokens)), float(law(N=n, D=effective))
    return found | {
        "effective tokens": Traced(
            effective,
            "tokens",
            f"{EFFECTIVE_TOKENS.formula}, D = {tokens:.4g}, U = {unique:.4g}",
            cited(EFFECTIVE_TOKENS),
            note="fresh tokens that would be worth as much; R_D is nearly unidentified on the paper's runs",
        ),
        "value of a repeated token": Traced(
            (effective - unique) / (tokens - unique),
            "fresh tokens",
            "(D' − U)/(D − U), in the mean",
            cited(EFFECTIVE_TOKENS),
        ),
        "cost of repetition": Traced(
            stale - fresh,
            "nats per token",
            f"L(N, D') − L(N, D) = {stale:.4g} − {fresh:.4g}",
            f"{cited(law)}; D' by {EFFECTIVE_TOKENS.name}",
            note="N counts in full; by muennighoff, parameters beyond those that the unique tokens warrant count less",
        ),
    }


# --- off by two -----------------------------------------------------------------------------------------------------


def off_by_two(law: ParametricLoss, n: float, d: float, unique: float | None = None) -> tuple[Off, ...]:
    """Half and twice the parameters at the same compute; half and twice the tokens, which halve and double it.

    With ``unique`` tokens, all that are seen again count as Muennighoff et al. 2023 have it.
    """

    def expected(parameters: float, tokens: float) -> float:
        effective = tokens if unique is None else EFFECTIVE_TOKENS(D=tokens, U=unique)
        return float(law(N=parameters, D=effective))

    best = expected(n, d)
    cases = {
        "N/2, same compute": (n / 2, 2 * d),
        "2·N, same compute": (2 * n, d / 2),
        "D/2, half the compute": (n, d / 2),
        "2·D, twice the compute": (n, 2 * d),
    }
    found = []
    for what, (parameters, tokens) in cases.items():
        loss = expected(parameters, tokens)
        spent = FLOPS_PER_PARAMETER_AND_TOKEN * parameters * tokens
        needed = budget_for(law, lambda each: each.loss or 0.0, loss).compute
        found.append(Off(what, parameters, tokens, loss, loss - best, max(0.0, 1 - needed / spent)))
    return tuple(found)
