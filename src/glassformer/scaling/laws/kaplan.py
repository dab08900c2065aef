"""Kaplan et al. 2020 (arXiv 2001.08361), every law of the paper with its own constants.

N counts no token and no position embeddings: N = 12 · n_layers · d_model². Compute is C = 6·N·B·S, in PF-days; a batch
B is in tokens, a loss in nats per token. One-layer models were left out of the fits. The constants of different fits of
this one paper do not agree with each other, so each fit is a table of its own here, and they are not mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassformer.scaling.laws.combining import combine
from glassformer.scaling.laws.law import NATS, Constant, Frontier, Law
from glassformer.scaling.laws.units import PF_DAY

PAPER = "Kaplan et al. 2020, arXiv 2001.08361"

N = "parameters without token and position embeddings, 12 · n_layers · d_model²"
D = "training tokens"
C = "training compute 6·N·B·S, PF-days (8.64e19 FLOP)"
C_MIN = "least training compute, as if the batch were far below the critical one, PF-days (8.64e19 FLOP)"
B = "batch size, tokens"
B_CRIT = "critical batch size, tokens"
S = "optimizer steps"
S_MIN = "least optimizer steps, as if the batch were far above the critical one"
LOSS = f"loss, {NATS}"

PARAMETERS = (768.0, 1.5e9)
TOKENS = (2.2e7, 2.3e10)

EQ_1_1, EQ_1_2, EQ_1_3 = "Kaplan eq. 1.1, L(N)", "Kaplan eq. 1.2, L(D)", "Kaplan eq. 1.3, L(C_min)"
NAIVE, TABLE_2, TABLE_3 = "Kaplan L(C), naive", "Kaplan table 2, L(N, D)", "Kaplan table 3, L(N, S_min)"
TABLE_6, EQ_5_3, DEFINITIONS = "Kaplan table 6", "Kaplan eq. 5.3, B_crit(L)", "Kaplan eqs. 5.4 and 5.5"
EQ_4_4, THEORY = "Kaplan eq. 4.4", "Kaplan appendix B.1, from table 3"

THEORY_AGAINST_TABLE_6 = (
    "Kaplan's own theory with the constants of table 3 gives N(1 PF-day) = 5.8e8, and table 6, a fit to the optimal "
    "runs, 1.3e9."
)
NAIVE_AGAINST_LEAST = (
    "the exponent 0.050 belongs with 3.1e8 PF-days (least compute) and 0.057 with 1.6e7 PF-days (fixed batch). Mixed "
    "(1.6e7 with 0.050), 1 PF-day gives 2.29 nats instead of 2.66."
)
ALONE_AGAINST_JOINT = "the exponents and scales of fits in one variable are not those of the joint fit."


def exponent(value: float, of: str) -> Constant:
    """A pure number."""
    return Constant(value, "1", f"exponent of {of}")


def _law(name: str, title: str, formula: str, *, inputs: Mapping[str, str], source: str, **further: Any) -> Law:
    """A law of the paper, of the loss unless ``further`` says otherwise."""
    ranges = {"N": PARAMETERS, "D": TOKENS}
    return Law(
        name=f"kaplan-{name}",
        title=title,
        formula=formula,
        inputs=inputs,
        source=f"{PAPER}, {source}",
        fitted_range={symbol: ranges[symbol] for symbol in inputs if symbol in ranges},
        **{"output": ("L", NATS), "counting": "non-embedding" if "N" in inputs else None} | further,
    )


OF_PARAMETERS = _law(
    "loss-of-parameters",
    "loss of a model trained to convergence on enough data",
    "L(N) = (N_c/N)^α_N",
    constants={
        "N_c": Constant(8.8e13, "parameters", "scale; it depends on the tokenization"),
        "α_N": exponent(0.076, "N"),
    },
    inputs={"N": N},
    table=EQ_1_1,
    source="eq. 1.1, table 5",
    note="The converged loss. A compute-optimal training stops about 10 % above it (appendix B.1).",
    mixing={TABLE_2: ALONE_AGAINST_JOINT, TABLE_3: ALONE_AGAINST_JOINT},
)

OF_TOKENS = _law(
    "loss-of-tokens",
    "loss of a large model stopped early on limited data",
    "L(D) = (D_c/D)^α_D",
    constants={
        "D_c": Constant(5.4e13, "tokens", "scale; it depends on the tokenization"),
        "α_D": exponent(0.095, "D"),
    },
    inputs={"D": D},
    table=EQ_1_2,
    source="eq. 1.2, table 5",
    mixing={TABLE_2: ALONE_AGAINST_JOINT},
)

OF_COMPUTE = _law(
    "loss-of-compute",
    "loss of the best model at a fixed, not tuned batch",
    "L(C) = (C_c/C)^α_C",
    constants={"C_c": Constant(1.6e7, "PF-days", "scale"), "α_C": exponent(0.057, "C")},
    inputs={"C": C},
    table=NAIVE,
    source="§3.3 (figure 1, naive fit), table 5",
    note="All runs at one batch size: not what compute can give at best. For that, kaplan-loss-of-least-compute.",
    mixing={EQ_1_3: NAIVE_AGAINST_LEAST},
)

OF_LEAST_COMPUTE = _law(
    "loss-of-least-compute",
    "loss of the best model, for compute adjusted to a small batch",
    "L(C_min) = (C_c/C_min)^α_C",
    constants={"C_c": Constant(3.1e8, "PF-days", "scale"), "α_C": exponent(0.050, "C_min")},
    inputs={"C_min": C_MIN},
    table=EQ_1_3,
    source="eq. 1.3, table 5",
    mixing={NAIVE: NAIVE_AGAINST_LEAST},
)

OF_PARAMETERS_AND_TOKENS = _law(
    "loss-of-parameters-and-tokens",
    "loss of a model of N parameters stopped early on D tokens",
    "L(N, D) = [(N_c/N)^(α_N/α_D) + D_c/D]^α_D",
    constants={
        "α_N": exponent(0.076, "N"),
        "α_D": exponent(0.103, "D"),
        "N_c": Constant(6.4e13, "parameters", "scale"),
        "D_c": Constant(1.8e13, "tokens", "scale"),
    },
    inputs={"N": N, "D": D},
    table=TABLE_2,
    source="eq. 1.5, table 2",
    note="D is the size of the data set, which may be passed over several times; it is not compute-optimal training.",
    mixing={EQ_1_1: ALONE_AGAINST_JOINT, EQ_1_2: ALONE_AGAINST_JOINT},
)

OF_PARAMETERS_AND_STEPS = _law(
    "loss-of-parameters-and-steps",
    "loss of a model of N parameters after S_min steps, on enough data",
    "L(N, S_min) = (N_c/N)^α_N + (S_c/S_min)^α_S",
    constants={
        "α_N": exponent(0.077, "N"),
        "α_S": exponent(0.76, "S_min"),
        "N_c": Constant(6.5e13, "parameters", "scale"),
        "S_c": Constant(2.1e3, "steps", "scale"),
    },
    inputs={"N": N, "S_min": S_MIN},
    table=TABLE_3,
    source="eq. 1.6, table 3",
    joins=frozenset({EQ_5_3}),
    mixing={TABLE_6: THEORY_AGAINST_TABLE_6, EQ_1_1: ALONE_AGAINST_JOINT},
)

CRITICAL_BATCH = _law(
    "critical-batch",
    "batch at which time and compute are traded evenly",
    "B_crit(L) = B_star/L^(1/α_B)",
    constants={
        "B_star": Constant(2.1e8, "tokens · nats^(1/α_B)", "scale; the text rounds it to 2e8"),
        "α_B": exponent(0.21, "L, inverted"),
    },
    inputs={"L": LOSS},
    output=("B_crit", "tokens"),
    table=EQ_5_3,
    source="eqs. 1.4 and 5.3, table 5",
    joins=frozenset({TABLE_3, TABLE_6, DEFINITIONS}),
    note="It depends on the loss alone, not on the model, and grows as the loss falls.",
)

LEAST_STEPS = _law(
    "least-steps",
    "steps that a far larger batch would have needed",
    "S_min = S/(1 + B_crit/B)",
    inputs={"S": S, "B": B, "B_crit": B_CRIT},
    output=("S_min", "steps"),
    table=DEFINITIONS,
    source="eq. 5.4",
    joins=frozenset({EQ_5_3}),
    note="At B = B_crit twice as many steps are run as at least: S = 2·S_min.",
)

LEAST_COMPUTE = _law(
    "least-compute",
    "compute that a far smaller batch would have needed",
    "C_min = C/(1 + B/B_crit)",
    inputs={"C": C, "B": B, "B_crit": B_CRIT},
    output=("C_min", "PF-days"),
    table=DEFINITIONS,
    source="eq. 5.5",
    joins=frozenset({EQ_5_3}),
    note="At B = B_crit twice as much compute is spent as at least: C = 2·C_min.",
)


def _optimal(name: str, title: str, k: float, unit: str, a: float, symbol: str, note: str = "") -> Law:
    """A row of table 6."""
    return _law(
        f"optimal-{name}",
        title,
        f"{symbol} = k·C_min^a",
        constants={"k": Constant(k, f"{unit} at 1 PF-day", "scale"), "a": exponent(a, "C_min")},
        inputs={"C_min": C_MIN},
        output=(symbol, unit),
        table=TABLE_6,
        source="table 6",
        joins=frozenset({EQ_5_3}),
        note=note,
        mixing={TABLE_3: THEORY_AGAINST_TABLE_6, THEORY: THEORY_AGAINST_TABLE_6},
    )


def _frontier(name: str, title: str, k: float, a: float, *, table: str, source: str, **further: Any) -> Frontier:
    return Frontier(
        name=f"kaplan-{name}",
        title=title,
        formula="N = k·C_min^a",
        constants={"k": Constant(k, "parameters at 1 PF-day", "scale"), "a": exponent(a, "C_min")},
        inputs={"C_min": C_MIN},
        output=("N", "parameters without embeddings"),
        table=table,
        source=f"{PAPER}, {source}",
        counting="non-embedding",
        compute_unit=PF_DAY,
        **further,
    )


OPTIMAL_PARAMETERS = _frontier(
    "optimal-parameters",
    "compute-optimal number of parameters",
    1.3e9,
    0.73,
    table=TABLE_6,
    source="table 6",
    joins=frozenset({EQ_5_3}),
    note="Superseded: the exponent 0.73 comes from leaving the embeddings and the last layer out at small scale, from "
    "warm-up too long for small models and from hyperparameters that were not tuned (Porian et al. 2024, Pearce & Song "
    "2024); Chinchilla's is near 0.5. Tokens here are C/(6·N), at a batch far below the critical one; at the critical "
    "batch twice as many are needed, and compute is twice C_min.",
    mixing={TABLE_3: THEORY_AGAINST_TABLE_6, THEORY: THEORY_AGAINST_TABLE_6},
    refers_to="chinchilla",
)

OPTIMAL_BATCH = _optimal("batch", "critical batch at the optimum", 2.0e6, "tokens", 0.24, "B_crit")
OPTIMAL_STEPS = _optimal(
    "steps",
    "least steps at the optimum",
    5.4e3,
    "steps",
    0.03,
    "S_min",
    "A lower bound, reached with a batch far above the critical one; at the critical batch twice as many are run.",
)
OPTIMAL_TOKENS = _optimal(
    "tokens",
    "training tokens at the optimum, at the critical batch",
    2e10,
    "tokens",
    0.27,
    "D",
    "2·C_min/(6·N) with N = 1.3e9·C_min^.73 gives 2.2e10·C_min^.27. Eq. 6.7 prints 4e10·C_min^.26, which contradicts "
    "both.",
)

AGAINST_OVERFITTING = _law(
    "tokens-against-overfitting",
    "tokens from which a model of N parameters does not overfit",
    "D = k·N^a",
    constants={"k": Constant(5e3, "tokens per parameter^a", "scale"), "a": exponent(0.74, "N")},
    inputs={"N": N},
    output=("D", "tokens"),
    table=EQ_4_4,
    source="eq. 4.4",
    note="A lower bound for a loss within 0.02 of that on endless data, D ≳ 5e3·N^.74. It is not compute-optimal.",
)


def allocation(loss: Law, critical_batch: Law) -> Frontier:
    """N_opt(C_min) that follows from L(N, S_min) and B_crit(L) (appendix B.1).

    With C_min = 6·N·B_crit(L)·S_min the loss is least, at given compute, where it is 1 + α_N/α_S times the converged
    one:

        α_C = 1/(1/α_N + 1/α_S + 1/α_B)
        C_c = 6·N_c·B_star·S_c · (1 + α_N/α_S)^(1/α_S + 1/α_N) · (α_S/α_N)^(1/α_S)
        N   = N_c · (C_min/C_c)^(α_C/α_N) · (1 + α_N/α_S)^(1/α_N)

    Raises:
        ConfigError: the laws are of tables that do not belong together.
    """
    k = {symbol: constant.value for symbol, constant in combine(loss, critical_batch).items()}
    n, s, b = k["α_N"], k["α_S"], k["α_B"]
    above = 1 + n / s  # the optimum's loss over the converged one
    exponent_of_loss = 1 / (1 / n + 1 / s + 1 / b)
    scale = 6 * k["N_c"] * k["B_star"] * k["S_c"] * above ** (1 / s + 1 / n) * (s / n) ** (1 / s)  # FLOPs
    a = exponent_of_loss / n
    return _frontier(
        "theory-parameters",
        "compute-optimal number of parameters that follows from table 3",
        float(k["N_c"] * (PF_DAY / scale) ** a * above ** (1 / n)),
        a,
        table=THEORY,
        source="appendix B.1 with the constants of table 3 and of eq. 5.3",
        note="What the paper's own formulas give, less than half of what its table 6 says at 1 PF-day.",
        mixing={TABLE_6: THEORY_AGAINST_TABLE_6},
        refers_to="chinchilla",
    )


THEORY_PARAMETERS = allocation(OF_PARAMETERS_AND_STEPS, CRITICAL_BATCH)

KAPLAN: tuple[Law, ...] = (
    *(OF_PARAMETERS, OF_TOKENS, OF_COMPUTE, OF_LEAST_COMPUTE, OF_PARAMETERS_AND_TOKENS, OF_PARAMETERS_AND_STEPS),
    *(CRITICAL_BATCH, LEAST_STEPS, LEAST_COMPUTE),
    *(OPTIMAL_PARAMETERS, OPTIMAL_BATCH, OPTIMAL_STEPS, OPTIMAL_TOKENS, AGAINST_OVERFITTING, THEORY_PARAMETERS),
)
