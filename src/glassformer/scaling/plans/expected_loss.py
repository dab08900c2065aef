"""The loss that a plan predicts: its interval, the effect of repeated data, and of halving or doubling N or D."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from glassformer.scaling.laws.counting import Counts
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, ParametricLoss
from glassformer.scaling.laws.repeated_data import EFFECTIVE_TOKENS
from glassformer.scaling.plans.allocation import budget_for
from glassformer.scaling.plans.numbers import SourcedValue, cited
from glassformer.scaling.plans.plan import WhatIf
from glassformer.scaling.plans.start import OwnFit
from glassformer.scaling.wording import Interval
from glassformer.statistics.prediction import from_slopes

GRID = 2001
"""Values of N, from the optimum on fresh tokens upwards, among which the least compute on a text is searched."""


def loss_numbers(
    law: ParametricLoss, own: OwnFit | None, model: Counts, tokens: float, effective: float, others: Sequence[float]
) -> dict[str, SourcedValue]:
    """The loss by the plan's law, its interval, and the range of all laws.

    Args:
        effective: the equivalent number of fresh tokens, where the data are repeated.
        others: the loss that each law predicts for this run.
    """
    n = float(model.parameters(law.counting or "total"))
    interval = own.interval(n, effective) if own else interval_of(law, n, effective)
    source = (
        "bootstrap and back-test of your runs"
        if own
        else "the law's standard errors, taken as independent: wider than it is"
    )
    data = f"D' = {effective:.4g} (effective)" if effective != tokens else f"D = {tokens:.4g}"
    numbers = {
        "loss": SourcedValue(
            float(law(N=n, D=effective)),
            "nats per token",
            f"{law.formula}, N = {n:.4g} ({law.counting}), {data}",
            cited(law),
            interval,
            f"95 %: {source}" if interval else "the law's standard errors are not published",
        )
    }
    if others:
        numbers["loss by other laws"] = SourcedValue(
            statistics.median(others),
            "nats per token",
            f"median of the {len(others)} laws of L(N, D), asked about this run; each one's own in the table",
            "every law of L(N, D)",
            (min(others), max(others)),
            "the range of the laws, not a confidence interval",
        )
    return numbers


def warnings(loss: float, own: OwnFit | None, vocabulary: int) -> Iterator[str]:
    """Limitations of the predicted loss."""
    guessing = math.log(vocabulary)
    if loss > guessing:
        yield (
            f"The law's loss, {loss:.3g}, is above ln({vocabulary:,}) = {guessing:.3g}, the loss of guessing: it is "
            "not a prediction here, and the law's N and D are an extrapolation."
        )
    if own is None:
        yield (
            "The loss is of the law's own text and tokenizer: nats per token there, not of your text. "
            "For that, fit your own runs: --fit RUNS."
        )


def interval_of(law: ParametricLoss, n: float, d: float) -> Interval | None:
    """95 % by the delta method, from standard errors taken as independent; None where one of them is not known."""
    errors = [law.constants[symbol].error for symbol in ("E", "A", "α", "B", "β")]
    if None in errors:
        return None
    scales = np.array([1.0, law.A, 1.0, law.B, 1.0])  # θ has ln A and ln B
    slopes = law.powers.slopes((n, d)) / scales
    found = from_slopes(float(law(N=n, D=d)), slopes, np.array(errors, dtype=np.float64))
    return max(law.E, found.low), found.high


# --- repeated data --------------------------------------------------------------------------------------------------


def repeated(
    tokens: float, unique: float | None, source: str, law: ParametricLoss, model: Counts
) -> dict[str, SourcedValue]:
    """Unique tokens, epochs, and the value and cost of repetition (Muennighoff et al. 2023)."""
    if unique is None:
        return {}
    epochs = tokens / unique
    found = {
        "unique tokens": SourcedValue(unique, "tokens", "different training tokens there are", source),
        "epochs": SourcedValue(epochs, "passes", f"D / U = {tokens:.4g} / {unique:.4g}", "arithmetic"),
    }
    if epochs <= 1:
        return found
    effective = float(EFFECTIVE_TOKENS(D=tokens, U=unique))
    n = float(model.parameters(law.counting or "total"))
    fresh, stale = float(law(N=n, D=tokens)), float(law(N=n, D=effective))
    return found | {
        "effective tokens": SourcedValue(
            effective,
            "tokens",
            f"{EFFECTIVE_TOKENS.formula}, D = {tokens:.4g}, U = {unique:.4g}",
            cited(EFFECTIVE_TOKENS),
            note="fresh tokens of the same value; R_D is nearly unidentified on the paper's runs",
        ),
        "value of a repeated token": SourcedValue(
            (effective - unique) / (tokens - unique),
            "fresh tokens",
            "(D' − U)/(D − U), in the mean",
            cited(EFFECTIVE_TOKENS),
        ),
        "cost of repetition": SourcedValue(
            stale - fresh,
            "nats per token",
            f"L(N, D') − L(N, D) = {stale:.4g} − {fresh:.4g}",
            f"{cited(law)}; D' by {EFFECTIVE_TOKENS.name}",
            note="N counts in full; by muennighoff, parameters beyond those that the unique tokens warrant count less",
        ),
    }


# --- halved and doubled ---------------------------------------------------------------------------------------------


def what_if(law: ParametricLoss, n: float, d: float, unique: float | None = None) -> tuple[WhatIf, ...]:
    """Half and twice the parameters at the same compute; half and twice the tokens, which halve and double it.

    With ``unique`` tokens, both the losses and the least compute they are compared with are of that text: repeated
    tokens count as in Muennighoff et al. 2023.
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
        needed = least_compute(law, loss, unique)
        found.append(WhatIf(what, parameters, tokens, loss, loss - best, max(0.0, 1 - needed / spent)))
    return tuple(found)


def least_compute(law: ParametricLoss, loss: float, unique: float | None) -> float:
    """FLOPs of the cheapest run that reaches a loss, on fresh tokens or on a text of ``unique`` tokens."""
    fresh = budget_for(law, lambda each: each.loss or 0.0, loss)
    if unique is None or fresh.tokens <= unique:
        return fresh.compute
    # D from L = E + A/N^α + B/D'^β and D' = U·[1 + R·(1 − e^(−(D/U − 1)/R))]; fewer tokens than fresh ones never do,
    # so N is larger than the optimum on fresh tokens
    n = fresh.parameters * np.geomspace(1, 1e4, GRID)
    left = loss - law.E - law.A / n**law.alpha
    repetitions = EFFECTIVE_TOKENS.constants["R_D"].value
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(left > 0, (law.B / left) ** (1 / law.beta), np.inf)
        repeated = unique * (1 - repetitions * np.log(1 - (effective / unique - 1) / repetitions))
    tokens = np.where(effective <= unique, effective, repeated)
    compute = FLOPS_PER_PARAMETER_AND_TOKEN * n * tokens
    return float(np.nanmin(np.where(np.isfinite(compute), compute, np.inf)))
