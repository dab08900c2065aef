"""Chinchilla's parametric loss (Hoffmann et al. 2022, approach 3), and what became of it when it was refitted.

L(N, D) = E + A/N^α + B/D^β with N all parameters and C = 6·N·D. The printed constants are rounded so far that they name
another optimum: at Gopher's 5.76e23 FLOP they give 32 billion parameters, the unrounded ones 40 billion, which is what
the paper says. Besiroglu et al. read the paper's points off its figure and found other constants.
"""

from __future__ import annotations

from glassformer.scaling.laws.law import (
    FLOPS_PER_PARAMETER_AND_TOKEN,
    Constant,
    Frontier,
    Law,
    ParametricLoss,
    additive_constant,
)

HOFFMANN = "Hoffmann et al. 2022, arXiv 2203.15556"
BESIROGLU = "Besiroglu et al. 2024, arXiv 2404.10102"

HOFFMANN_RANGE = {"N": (7e7, 1.6e10), "D": (5e9, 5e11)}
EXTRACTED_RANGE = {"N": (5.73e7, 1.62e10), "D": (2.45e8, 3.18e11)}

ROUNDING = (
    "the printed constants are too rounded: at 5.76e23 FLOP (Gopher's) they give 32 billion parameters, the unrounded "
    "ones 40.4 billion."
)
REFITTED = "they are two fits of nearly the same points; a constant of one makes no sense among those of the other."

TABLE_UNROUNDED, TABLE_PRINTED = "Chinchilla approach 3, unrounded", "Chinchilla approach 3, as printed"
TABLE_BESIROGLU, TABLE_EPOCH = "Besiroglu's fit", "the minimum over Epoch's 240 points"


UNROUNDED = ParametricLoss.of(
    name="chinchilla",
    title="Chinchilla's parametric loss, constants unrounded",
    E=additive_constant("E", 1.69337368, printed="1.69"),
    A=additive_constant("A", 406.401018, printed="406.4"),
    B=additive_constant("B", 410.722827, printed="410.7"),
    alpha=additive_constant("α", 0.33917084, printed="0.34"),
    beta=additive_constant("β", 0.2849083, printed="0.28"),
    table=TABLE_UNROUNDED,
    source=f"{HOFFMANN}, eqs. 2, 4 and 10 (approach 3), before rounding",
    fitted_range=HOFFMANN_RANGE,
    note=f"Rounding: {ROUNDING} The paper says 40 billion. The fit had not converged (Besiroglu et al. 2024).",
    mixing={TABLE_PRINTED: ROUNDING, TABLE_BESIROGLU: REFITTED, TABLE_EPOCH: REFITTED},
)

PRINTED = ParametricLoss.of(
    name="chinchilla-printed",
    title="Chinchilla's parametric loss, constants as printed",
    E=1.69,
    A=406.4,
    B=410.7,
    alpha=0.34,
    beta=0.28,
    table=TABLE_PRINTED,
    source=f"{HOFFMANN}, eq. 10 (approach 3)",
    fitted_range=HOFFMANN_RANGE,
    note=f"For comparison only: {ROUNDING}",
    mixing={TABLE_UNROUNDED: ROUNDING, TABLE_BESIROGLU: REFITTED, TABLE_EPOCH: REFITTED},
    refers_to="chinchilla",
)

BESIROGLU_FIT = ParametricLoss.of(
    name="besiroglu",
    title="Chinchilla's parametric loss, refitted to the points of its figure",
    E=additive_constant("E", 1.817, error=0.026),
    A=additive_constant("A", 482.01, error=124.5),
    B=additive_constant("B", 2085.43, error=1293),
    alpha=additive_constant("α", 0.3478, error=0.0154),
    beta=additive_constant("β", 0.3658, error=0.0206),
    table=TABLE_BESIROGLU,
    source=f"{BESIROGLU}, table 1 (240 of 245 points, standard errors by bootstrap)",
    fitted_range=EXTRACTED_RANGE,
    note="a = β/(α + β) = 0.513 ± 0.020. The five points of the highest losses were dropped.",
    mixing={TABLE_UNROUNDED: REFITTED, TABLE_PRINTED: REFITTED, TABLE_EPOCH: REFITTED},
)

EPOCH_MINIMUM = ParametricLoss.of(
    name="epoch-240",
    title="Chinchilla's parametric loss at the true minimum over Epoch's 240 points",
    E=1.81722,
    A=477.83,
    B=2143.4,
    alpha=0.34731,
    beta=0.36717,
    table=TABLE_EPOCH,
    source=f"the points of {BESIROGLU}, minimised further: Huber loss, δ = 1e-3, of ln L",
    fitted_range=EXTRACTED_RANGE,
    note="The minimum of the objective is 0.0010182740; Besiroglu's published constants are those of δ → 0.",
    mixing={TABLE_UNROUNDED: REFITTED, TABLE_PRINTED: REFITTED, TABLE_BESIROGLU: REFITTED},
)

CHINCHILLA: tuple[Law, ...] = (UNROUNDED, PRINTED, BESIROGLU_FIT, EPOCH_MINIMUM)


def frontier_of(law: ParametricLoss) -> Frontier:
    """N_opt(C) = G·(C/6)^a of a parametric loss, as a law of compute in FLOPs (Hoffmann et al. 2022, eq. 4)."""
    k = law.G / FLOPS_PER_PARAMETER_AND_TOKEN**law.a
    return Frontier(
        name=f"{law.name}-optimal-parameters",
        title=f"compute-optimal number of parameters: {law.title}",
        formula="N = k·C^a",
        constants={
            "k": Constant(k, "parameters · FLOP^-a", "G/6^a, G = (αA/βB)^(1/(α+β))"),
            "a": Constant(law.a, "1", "exponent of C, β/(α + β)"),
        },
        inputs={"C": "training compute 6·N·D, FLOPs"},
        output=("N", "parameters"),
        table=law.table,
        source=law.source,
        counting=law.counting,
        note=law.note,
    )
