"""Batch, steps and learning rate of a plan: what each law says, which one is taken, and why.

Batch and steps follow from the tokens alone; the critical batch is Kaplan's B_crit(L), at the loss that Kaplan's own
L(N, S_min) reaches in these steps (table 3 and eq. 5.3 belong together).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from glassformer.errors import ConfigError
from glassformer.scaling.laws.counting import Counts
from glassformer.scaling.laws.hyperparameters import (
    DEEPSEEK_BATCH,
    DEEPSEEK_LEARNING_RATE,
    STEP_BATCH,
    STEP_LEARNING_RATE,
)
from glassformer.scaling.laws.kaplan import CRITICAL_BATCH, LEAST_COMPUTE, LEAST_STEPS, OF_PARAMETERS_AND_STEPS
from glassformer.scaling.laws.law import Law
from glassformer.scaling.laws.units import PF_DAY
from glassformer.scaling.plans.plan import Traced

WARM_UP = 0.1
"""The most of a run that warms up: Porian et al. 2024 found that a longer one spoils small budgets."""

ROUNDS = 60
"""Of the search for the loss at which B_crit, S_min and L agree; each halves the interval that holds its logarithm."""


@dataclass(frozen=True)
class Steps:
    """How tokens become updates.

    Attributes:
        rows: sequences of an update.
        seq_len: tokens of a sequence.
        number: of updates.
    """

    rows: int
    seq_len: int
    number: int

    @property
    def batch(self) -> int:
        """Tokens of an update."""
        return self.rows * self.seq_len

    @property
    def tokens(self) -> int:
        """Trained on in all."""
        return self.batch * self.number


def steps_of(tokens: float, seq_len: int, rows: int | None) -> Steps:
    """The Step Law's batch in whole sequences, or the user's, and as many updates as come nearest to the tokens."""
    if rows is None:
        rows = max(1, round(STEP_BATCH(D=tokens) / seq_len))
    return Steps(rows, seq_len, max(1, round(tokens / (rows * seq_len))))


def batch_numbers(steps: Steps, model: Counts, compute: float, *, given: bool) -> dict[str, Traced]:
    """The batch that is taken and what others would take, the critical batch, the steps and what they could be."""
    size, tokens = steps.batch, steps.tokens
    loss, critical = critical_batch(steps, model.parameters("non-embedding"))
    rows = f"{steps.rows:,} sequence{'s' * (steps.rows > 1)} of {steps.seq_len:,}"
    least = LEAST_STEPS(S=steps.number, B=size, B_crit=critical)
    least_compute = LEAST_COMPUTE(C=compute / PF_DAY, B=size, B_crit=critical) * PF_DAY
    by_law = f"{STEP_BATCH.formula} = {STEP_BATCH(D=tokens):,.0f} at D = {tokens:.3g}, in whole sequences: {rows}"
    equation, source = (f"{rows}, as set", "--set training.batch_size") if given else (by_law, cited(STEP_BATCH))
    return {
        "batch": Traced(size, "tokens", equation, source),
        "batch by DeepSeek": _told(DEEPSEEK_BATCH, "tokens", C=compute),
        "critical batch": Traced(
            critical,
            "tokens",
            f"{CRITICAL_BATCH.formula}, at L = {loss:.3g}: {OF_PARAMETERS_AND_STEPS.formula}, S_min = S/(1 + B_crit/B)",
            cited(CRITICAL_BATCH),
            note=_outside(OF_PARAMETERS_AND_STEPS, N=model.parameters("non-embedding")),
        ),
        "steps": Traced(steps.number, "updates", f"D / B = {tokens:,} / {size:,}", "arithmetic"),
        "least steps": Traced(
            least,
            "updates",
            f"{LEAST_STEPS.formula} = {steps.number:,}/(1 + {critical:.3g}/{size:,})",
            cited(LEAST_STEPS),
            note="what a far larger batch would need; at the critical batch it is twice as many",
        ),
        "least compute": Traced(
            least_compute,
            "FLOP",
            f"{LEAST_COMPUTE.formula} = {compute:.3g}/(1 + {size:,}/{critical:.3g})",
            cited(LEAST_COMPUTE),
            note="what a far smaller batch would need; at the critical batch it is half as much",
        ),
    }


def critical_batch(steps: Steps, parameters: int) -> tuple[float, float]:
    """Kaplan's loss and critical batch (tokens) of a run: where B_crit(L), S_min(B_crit) and L(N, S_min) agree."""
    low, high = 1e-3, 1e3  # nats; the loss that follows from a supposed one falls as the supposed one rises
    for _ in range(ROUNDS):
        supposed = (low * high) ** 0.5
        least = LEAST_STEPS(S=steps.number, B=steps.batch, B_crit=CRITICAL_BATCH(L=supposed))
        if OF_PARAMETERS_AND_STEPS(N=parameters, S_min=least) > supposed:
            low = supposed
        else:
            high = supposed
    return high, CRITICAL_BATCH(L=high)


Rate = Literal["deepseek", "step-law", "preset"]
"""Where the learning rate is from."""


def rate_numbers(
    chosen: Rate, steps: Steps, model: Counts, compute: float, *, recipe: float, preset: str, given: float | None
) -> dict[str, Traced]:
    """The learning rate that is taken, and what the others say."""
    told = {
        "deepseek": _told(DEEPSEEK_LEARNING_RATE, "peak", C=compute),
        "step-law": _told(STEP_LEARNING_RATE, "peak", N=model.parameters("non-embedding"), D=steps.tokens),
        "preset": Traced(recipe, "peak", "as it stands in the recipe", f"preset {preset}"),
    }
    names = {"deepseek": "DeepSeek", "step-law": "the Step Law", "preset": "the preset"}
    others = {f"learning rate by {names[name]}": number for name, number in told.items() if given or name != chosen}
    if given is not None:
        taken = Traced(given, "peak", "as set", "--set training.optimizer.learning_rate")
    else:
        taken = told[chosen]
    return {"learning rate": taken, **others}


def rate_of(name: str) -> Rate:
    """Where the learning rate is from. Raises :class:`ConfigError` for an unknown name."""
    known = get_args(Rate)
    if name not in known:
        raise ConfigError(f"--rate is {name!r}; expected one of {', '.join(known)}.", subject="plan")
    return cast("Rate", name)


def warm_up(steps: Steps, recipe: int) -> Traced:
    """The preset's warm-up, and no more than a tenth of the run."""
    most = max(1, int(WARM_UP * steps.number))
    return Traced(
        min(recipe, most),
        "updates",
        f"min({recipe:,} of the preset, {WARM_UP:g} · {steps.number:,} steps)",
        "Porian et al. 2024, arXiv 2406.19146: a warm-up as long as the training spoils small budgets",
    )


def _told(law: Law, unit: str, **inputs: float) -> Traced:
    values = ", ".join(f"{symbol} = {value:.3g}" for symbol, value in inputs.items())
    return Traced(float(law(**inputs)), unit, f"{law.formula}, {values}", cited(law), note=_outside(law, **inputs))


def cited(law: Law) -> str:
    """A law's name and source."""
    return f"{law.name}: {law.source}"


def _outside(law: Law, **inputs: float) -> str:
    return " ".join(law.outside(**{symbol: value for symbol, value in inputs.items() if symbol in law.inputs}))
