"""The scaling recipe of the study notes, each wrong formula as written there beside its right form; and two mixtures of
the paper's own constants, which are not in the notes.

for correction in CORRECTIONS:
    print(correction.wrong.formula, correction.wrong_value, correction.right_value)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from glassformer.scaling.laws import kaplan
from glassformer.scaling.laws.chinchilla import UNROUNDED, frontier_of
from glassformer.scaling.laws.explaining import in_numbers
from glassformer.scaling.laws.law import NATS, Constant, Law
from glassformer.scaling.laws.units import PF_DAY

SOURCE = "the study notes behind this project"
MIXED = f"{kaplan.PAPER}, constants of two of its fits put together"
HEAD_WIDTH = 64
"""Features of a head, in the notes and in GPT-2."""


def _mixed(name: str, title: str, formula: str, computed: str, *, right: str, **further: Any) -> Law:
    """Constants of two fits of the paper in one formula. The notes do not have it."""
    return Law(
        name=f"mixed-{name}",
        title=f"{title}, from constants that do not belong together",
        formula=formula,
        computed=computed,
        table=f"mixed, {title}",
        source=MIXED,
        refers_to=right,
        **further,
    )


def _written(name: str, title: str, formula: str, computed: str, *, right: str, **further: Any) -> Law:
    """A law as the notes write it."""
    return Law(
        name=f"notes-{name}",
        title=f"{title}, as the notes write it",
        formula=formula,
        computed=computed,
        table=f"the notes' recipe, {title}",
        source=SOURCE,
        refers_to=right,
        **further,
    )


CRITICAL_BATCH = _written(
    "critical-batch",
    "critical batch",
    "B_crit = B_star·L^4.8",
    "B_star·L^p",
    constants={"B_star": Constant(2.1e8, "tokens", "scale"), "p": Constant(4.8, "1", "exponent, with the wrong sign")},
    inputs={"L": kaplan.LOSS},
    output=("B_crit", "tokens"),
    right="kaplan-critical-batch",
    note="The sign of the exponent is wrong: at L = 3 it gives 4.1e10 tokens instead of 1.1e6. The same notes print "
    "the right one elsewhere.",
)

LOSS_OF_COMPUTE = _mixed(
    "loss-of-compute",
    "loss at the compute optimum",
    "L = (1.6e7/C)^0.050",
    "(C_c/C_min)^α_C",
    constants={
        "C_c": Constant(1.6e7, "PF-days", "scale of the naive law"),
        "α_C": Constant(0.050, "1", "exponent of the law of least compute"),
    },
    inputs={"C_min": kaplan.C_MIN},
    output=("L", NATS),
    right="kaplan-loss-of-least-compute",
    note=f"Two laws mixed: {kaplan.NAIVE_AGAINST_LEAST}",
)

TOKENS = _written(
    "tokens",
    "tokens at the compute optimum",
    "D = 4e10·C^0.26",
    "k·C_min^a",
    constants={
        "k": Constant(4e10, "tokens at 1 PF-day", "scale, as eq. 6.7 of Kaplan et al. prints it"),
        "a": Constant(0.26, "1", "exponent of C_min"),
    },
    inputs={"C_min": kaplan.C_MIN},
    output=("D", "tokens"),
    right="kaplan-optimal-tokens",
    note="It is eq. 6.7 of the paper as printed, which contradicts the paper: 2·C_min/(6·N) with N = 1.3e9 is 2.2e10 "
    "at 1 PF-day, and table 6 says 2e10·C^.27.",
)

STEPS = _written(
    "steps",
    "steps to run",
    "S = 5.4e3·C^0.03",
    "k·C_min^a",
    constants={"k": Constant(5.4e3, "steps at 1 PF-day", "scale"), "a": Constant(0.03, "1", "exponent of C_min")},
    inputs={"C_min": kaplan.C_MIN},
    output=("S", "steps"),
    right="steps-at-critical-batch",
    note="It is S_min, the bound for an endless batch. At the critical batch twice as many steps are run.",
)

STEPS_RIGHT = Law(
    name="steps-at-critical-batch",
    title="steps to run at the critical batch, at the optimum",
    formula="S = 2·k·C_min^a",
    constants=kaplan.OPTIMAL_STEPS.constants,
    inputs={"C_min": kaplan.C_MIN},
    output=("S", "steps"),
    table=kaplan.TABLE_6,
    source=f"{kaplan.PAPER}, table 6 and eq. 5.4",
    note="S = S_min·(1 + B_crit/B) at B = B_crit.",
    joins=frozenset({kaplan.EQ_5_3}),
)

STEPS_OF_FLOPS = _written(
    "steps-of-flops",
    "steps for a compute budget in FLOPs",
    "S_min = 5.4e3·C^0.03, C in FLOPs",
    "k·C^a",
    constants=kaplan.OPTIMAL_STEPS.constants,
    inputs={"C": "compute 6·N·B·S, FLOPs"},
    output=("S_min", "steps"),
    right="least-steps-of-flops",
    note="The notes' calculate_steps computes C = 6·N·B·S in FLOPs, with S = 5.4e3 and B = 2e8/L^(1/0.21), and puts it "
    "into a law of PF-days: at N = 1e9 and L = 3, 20,825 steps instead of 5,254 (its int() cuts them to 20,824 and "
    "5,253). The factor is 8.64e19^0.03 = 3.96 at every budget.",
)

STEPS_OF_FLOPS_RIGHT = Law(
    name="least-steps-of-flops",
    title="least steps at the optimum, for compute in FLOPs",
    formula="S_min = k·(C/PF_DAY)^a",
    constants={**kaplan.OPTIMAL_STEPS.constants, "PF_DAY": Constant(PF_DAY, "FLOP", "a PF-day")},
    inputs={"C": "compute, FLOPs"},
    output=("S_min", "steps"),
    table=kaplan.TABLE_6,
    source=f"{kaplan.PAPER}, table 6, its PF-days in FLOPs",
    note="A lower bound, as kaplan-optimal-steps.",
    joins=frozenset({kaplan.EQ_5_3}),
)

WIDTH = _written(
    "width",
    "width of a model of N parameters",
    "d_model = int((N/12)^0.5)",
    "floor((N/c)^0.5)",
    constants={"c": Constant(12, "parameters per layer and d_model²", "4 of attention and 8 of feed-forward")},
    inputs={"N": kaplan.N},
    output=("d_model", "features"),
    right="width-at-aspect-ratio",
    counting="non-embedding",
    note="N = 12·n_layers·d², so this is right for n_layers = 1 only, whatever the budget: 1.3e9 gives d_model 10,408 "
    f"with {10_408 // HEAD_WIDTH} heads of {HEAD_WIDTH}, in a single layer; and 10,408 does not divide into "
    f"{10_408 // HEAD_WIDTH} heads.",
)

WIDTH_RIGHT = Law(
    name="width-at-aspect-ratio",
    title="width of a model of N parameters at an aspect ratio",
    formula="d_model = (N·r/c)^(1/3)",
    constants=WIDTH.constants,
    inputs={"N": kaplan.N, "r": "aspect ratio d_model/n_layers"},
    output=("d_model", "features"),
    table="N = 12 · n_layers · d_model²",
    source=f"{kaplan.PAPER}, eq. 2.1, solved for d_model",
    counting="non-embedding",
    note="n_layers = d_model/r. Round to whole heads and layers, then count N exactly (scaling/laws/counting.py).",
)

LOSS_OF_PARAMETERS = _written(
    "loss-of-parameters",
    "loss at the compute optimum, from N",
    "L = (8.8e13/N)^0.076",
    "(N_c/N)^α_N",
    constants={
        "N_c": Constant(8.8e13, "parameters", "scale of the converged law"),
        "α_N": Constant(0.076, "1", "its exponent"),
    },
    inputs={"N": kaplan.N},
    output=("L", NATS),
    right="loss-at-optimum",
    counting="non-embedding",
    note="It is the loss after training to convergence. Kaplan's compute optimum stops about 10 % above it.",
)

LOSS_RIGHT = Law(
    name="loss-at-optimum",
    title="loss of a model of N parameters whose training stops at the compute optimum",
    formula="L = (1 + α_N/α_S)·(N_c/N)^α_N",
    constants={symbol: kaplan.OF_PARAMETERS_AND_STEPS.constants[symbol] for symbol in ("α_N", "α_S", "N_c")},
    inputs={"N": kaplan.N},
    output=("L", NATS),
    table=kaplan.TABLE_3,
    source=f"{kaplan.PAPER}, appendix B.1, with table 3",
    counting="non-embedding",
    fitted_range={"N": kaplan.PARAMETERS},
    joins=frozenset({kaplan.EQ_5_3}),
)

PARAMETERS = _written(
    "parameters",
    "parameters for a compute budget",
    "N = 1.3e9·C^0.73",
    f"k·(C/{PF_DAY!r})^a",
    constants=kaplan.OPTIMAL_PARAMETERS.constants,
    inputs={"C": "training compute, FLOPs (the notes divide it by 8.64e19)"},
    output=("N", "parameters without embeddings"),
    right="chinchilla",
    counting="non-embedding",
    note="Superseded: the optimum grows with about C^0.5 (chinchilla; porian-tuned; besiroglu). At Gopher's 5.76e23 "
    "FLOP it asks for 8e11 parameters, 20 times Chinchilla's.",
)

MIXED_TABLES = _mixed(
    "tables",
    "parameters beside the loss of table 3",
    "N = 1.3e9·C^0.73, trained along L(N, S_min) of table 3",
    "k·C_min^a",
    constants=kaplan.OPTIMAL_PARAMETERS.constants,
    inputs={"C_min": kaplan.C_MIN},
    output=("N", "parameters without embeddings"),
    right="kaplan-theory-parameters",
    counting="non-embedding",
    note=f"Two tables mixed: {kaplan.THEORY_AGAINST_TABLE_6}",
)


StandsIn = Literal["notes", "paper"]
"""Where a mistake stands: in the study notes; or nowhere in them, mixed from constants of Kaplan et al. 2020."""


@dataclass(frozen=True)
class Correction:
    """A wrong formula, the right one, and an example in which they differ.

    Attributes:
        number: 1 to 9; the notes' come first.
        at: inputs of the example, by symbol.
        right_only: inputs that only the right form has.
        fault: what is wrong, in a sentence.
        stands_in: where the wrong formula is from.
    """

    number: int
    wrong: Law
    right: Law
    at: Mapping[str, float]
    fault: str
    right_only: Mapping[str, float] | None = None
    stands_in: StandsIn = "notes"

    @property
    def wrong_value(self) -> float:
        """What the wrong formula gives."""
        return float(self.wrong(**self.at))

    @property
    def right_value(self) -> float:
        """What the right one gives."""
        return float(self.right(**self.at, **(self.right_only or {})))

    def __str__(self) -> str:
        at = ", ".join(f"{symbol} = {value:g}" for symbol, value in {**self.at, **(self.right_only or {})}.items())
        unit = self.right.output[1]
        where = "" if self.stands_in == "notes" else " Not in the notes: constants of the paper, mixed."
        return (
            f"{self.number}. {self.wrong.formula}: {self.fault} Right: {in_numbers(self.right)}. "
            f"At {at}: {self.wrong_value:.5g} instead of {self.right_value:.5g} {unit}.{where}"
        )


EXAMPLE_BATCH = 2e8 / 3 ** (1 / 0.21)
"""The notes' batch at a loss of 3, tokens: 1.07e6."""

CORRECTIONS: tuple[Correction, ...] = (
    Correction(1, CRITICAL_BATCH, kaplan.CRITICAL_BATCH, {"L": 3}, "the sign of the exponent is wrong."),
    Correction(
        2, TOKENS, kaplan.OPTIMAL_TOKENS, {"C_min": 1}, "eq. 6.7 of the paper, which contradicts its own table 6."
    ),
    Correction(3, STEPS, STEPS_RIGHT, {"C_min": 1}, "a lower bound, taken for the number to run."),
    Correction(
        4,
        STEPS_OF_FLOPS,
        STEPS_OF_FLOPS_RIGHT,
        {"C": 6 * 1e9 * EXAMPLE_BATCH * 5.4e3},
        "FLOPs put into a law of PF-days.",
    ),
    Correction(5, WIDTH, WIDTH_RIGHT, {"N": 1.3e9}, "it leaves one layer for every budget.", {"r": 64}),
    Correction(6, LOSS_OF_PARAMETERS, LOSS_RIGHT, {"N": 1.3e9}, "the converged loss, not that of the optimum."),
    Correction(7, PARAMETERS, frontier_of(UNROUNDED), {"C": 5.76e23}, "an exponent that later work has replaced."),
    Correction(
        8,
        LOSS_OF_COMPUTE,
        kaplan.OF_LEAST_COMPUTE,
        {"C_min": 1},
        "the scale of one law with another's exponent.",
        stands_in="paper",
    ),
    Correction(
        9,
        MIXED_TABLES,
        kaplan.THEORY_PARAMETERS,
        {"C_min": 1},
        "two tables that do not agree, used as one.",
        stands_in="paper",
    ),
)
"""The seven mistakes of the notes, and two that mix constants of the paper."""

NOTES: tuple[Law, ...] = (
    *(correction.wrong for correction in CORRECTIONS),
    STEPS_RIGHT,
    STEPS_OF_FLOPS_RIGHT,
    WIDTH_RIGHT,
    LOSS_RIGHT,
)
