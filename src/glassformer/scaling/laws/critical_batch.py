"""The gradient noise scale and what a larger batch buys (McCandlish et al. 2018, arXiv 1812.06162)."""

from __future__ import annotations

from typing import Any

from glassformer.scaling.laws.law import Law

PAPER = "McCandlish et al. 2018, arXiv 1812.06162"
TABLE = "McCandlish, definitions"

CRITICAL = "critical batch size, the noise scale, in the unit of B"


def _definition(name: str, *, source: str, **further: Any) -> Law:
    return Law(name=f"mccandlish-{name}", table=TABLE, source=f"{PAPER}, {source}", **further)


NOISE_SCALE = _definition(
    "noise-scale",
    title="simple gradient noise scale: the batch at which noise and signal are equal",
    formula="B_simple = T/G2, T = tr Σ, G2 = |G|²",
    computed="T/G2",
    inputs={
        "T": "tr Σ: summed variance of the gradient of one example (or token) over examples",
        "G2": "|G|²: squared norm of the true gradient",
    },
    output=("B_simple", "examples, or tokens if Σ is of tokens"),
    source="eq. 2.9",
    note="|G|² of a batch is not the true one: it has tr Σ/B too much. Unbiased, from batches B_b > B_s: |G|² = "
    "(B_b|G_b|² − B_s|G_s|²)/(B_b − B_s), tr Σ = (|G_s|² − |G_b|²)/(1/B_s − 1/B_b); average each over steps, then "
    "divide (appendix A.1).",
)

STEPS = _definition(
    "steps",
    title="steps that a batch needs to a given loss",
    formula="S = S_min·(1 + B_crit/B)",
    inputs={"S_min": "steps that an endless batch needs", "B": "batch size", "B_crit": CRITICAL},
    output=("S", "steps"),
    source="§2.3, eq. 2.11",
    note="With S·B = E it is (S/S_min − 1)·(E/E_min − 1) = 1, E_min = B_crit·S_min.",
)

EXAMPLES = _definition(
    "examples",
    title="examples that a batch needs to a given loss",
    formula="E = E_min·(1 + B/B_crit)",
    inputs={"E_min": "examples (or tokens) that the smallest batch needs", "B": "batch size", "B_crit": CRITICAL},
    output=("E", "examples, or tokens"),
    source="§2.3, eq. 2.11",
    note="Compute is proportional to it: at B = B_crit it is twice the least.",
)

LEARNING_RATE = _definition(
    "learning-rate",
    title="best learning rate of plain gradient descent at a batch size",
    formula="lr = lr_max/(1 + B_noise/B)",
    inputs={"lr_max": "best learning rate of an endless batch", "B": "batch size", "B_noise": "noise scale"},
    output=("lr", "unit of lr_max"),
    source="§2.2",
    note="Derived for SGD. For Adam the best rate grows more slowly with the batch.",
)

CRITICAL_BATCH: tuple[Law, ...] = (NOISE_SCALE, STEPS, EXAMPLES, LEARNING_RATE)
