"""What a scaling law is: a formula, its constants, what its symbols mean, and where all of it is from.

A law is called by the names of its inputs, with numbers or with arrays:

    law("chinchilla")(N=70e9, D=1.4e12)                    1.92 nats per token
    law("kaplan-loss-of-parameters")(N=np.array([1e8, 1e9]))

It carries the unit of each symbol, whether N counts the embeddings, and the range of the experiments behind it, because
constants of one source mean something else in another. Constants of different tables are not combined:
``combining.py`` raises, and says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from glassformer.errors import ConfigError, nearest
from glassformer.scaling.laws.formula import evaluate, read_printed
from glassformer.scaling.laws.sum_of_powers import SumOfPowers

Counting = Literal["total", "non-embedding"]
"""Which parameters N counts: all of them, or all but token and position embeddings."""

FLOPS_PER_PARAMETER_AND_TOKEN = 6
"""C = 6·N·D: 2 FLOPs forward and 4 backward for each weight and token (Kaplan et al. 2020, §2.1)."""

NATS = "nats per token"


@dataclass(frozen=True)
class Constant:
    """A constant of a law.

    Attributes:
        value: unrounded where it is known.
        unit: "1" for a pure number.
        printed: as the source prints it, where the value is less rounded.
        error: its standard error, where the source gives one.
    """

    value: float
    unit: str
    meaning: str
    printed: str | None = None
    error: float | None = None


@dataclass(frozen=True)
class Allocation:
    """How a law spends a budget.

    Attributes:
        compute: FLOPs, 6 · parameters · tokens.
        loss: nats per token, None where the law says nothing of it.
        counting: what ``parameters`` counts; "unstated" if the source does not say.
        equation: how the numbers were computed.
    """

    law: str
    compute: float
    parameters: float
    tokens: float
    loss: float | None
    counting: str
    equation: str


@dataclass(frozen=True, eq=False)
class Law:
    """A formula with its constants.

    Attributes:
        name: what it is called on the command line, and its key among all laws.
        formula: in the symbols of ``constants`` and ``inputs``; what is computed, unless ``computed`` is given.
        inputs: what each symbol means, with its unit.
        output: the symbol and its unit.
        table: the constants that were fitted together; only laws of one table may be combined.
        source: paper, and table or equation.
        counting: what N counts, None where no N occurs.
        fitted_range: of the experiments behind it, in the inputs' units; from 0 where only the largest is known, and
            an input of which nothing is known is missing.
        note: corrections, and what to beware of.
        computed: the formula to compute, where ``formula`` is printed as its source has it.
        joins: other tables whose constants may be combined with these.
        mixing: what goes wrong if constants of another table are put beside these.
        refers_to: the law that is the right form of this one, or that replaces it.
    """

    name: str
    title: str
    formula: str
    inputs: Mapping[str, str]
    output: tuple[str, str]
    table: str
    source: str
    constants: Mapping[str, Constant] = field(default_factory=dict)
    counting: Counting | None = None
    fitted_range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    note: str = ""
    computed: str = field(default="", kw_only=True, repr=False)
    joins: frozenset[str] = field(default=frozenset(), kw_only=True)
    mixing: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    refers_to: str | None = field(default=None, kw_only=True)

    def __call__(self, **inputs: ArrayLike) -> Any:
        """The output: a float for numbers, a float64 array for arrays (broadcast against each other); infinite or NaN
        where the formula overflows or has no value.

        Raises:
            ConfigError: an input is unknown, missing, or not a finite number above 0.
        """
        given = self._checked(inputs)
        constants = {symbol: constant.value for symbol, constant in self.constants.items()}
        found = np.asarray(evaluate(read_printed(self.computed or self.formula), {**constants, **given}))
        return float(found) if found.ndim == 0 else found

    @np.errstate(over="ignore")
    def outside(self, **inputs: ArrayLike) -> list[str]:
        """A complaint for each input that leaves the range of the experiments; one without a known range has none."""
        complaints = []
        for symbol, values in self._checked(inputs, all_needed=False).items():
            if symbol not in self.fitted_range:
                continue
            low, high = self.fitted_range[symbol]
            if values.min() < low:
                complaints.append(
                    f"{symbol} = {values.min():.3g} is below {low:.3g}, the least behind {self.name} "
                    f"(by a factor of {low / values.min():.3g})."
                )
            if values.max() > high:
                complaints.append(
                    f"{symbol} = {values.max():.3g} is above {high:.3g}, the largest behind {self.name} "
                    f"(by a factor of {values.max() / high:.3g})."
                )
        return complaints

    def explain(self) -> str:
        """Everything about the law, in lines: formula, constants, symbols, counting, range, source, notes."""
        from glassformer.scaling.laws.explaining import explain

        return explain(self)

    def _checked(self, inputs: Mapping[str, ArrayLike], *, all_needed: bool = True) -> dict[str, Any]:
        """The inputs as float64 arrays; all complaints at once."""
        complaints = [
            f"{symbol!r} is no input of it. {nearest(symbol, self.inputs)}"
            for symbol in inputs
            if symbol not in self.inputs
        ]
        if all_needed:
            complaints += [
                f"{symbol} is missing: {meaning}." for symbol, meaning in self.inputs.items() if symbol not in inputs
            ]
        values = {}
        for symbol, value in inputs.items():
            try:
                values[symbol] = np.asarray(value, dtype=np.float64)
            except (TypeError, ValueError, OverflowError):
                complaints.append(f"{symbol} = {value!r} is no number.")
                continue
            if not (np.isfinite(values[symbol]).all() and (values[symbol] > 0).all()):
                complaints.append(f"{symbol} = {value!r} must be finite and above 0.")
        if complaints:
            raise ConfigError(complaints, subject=f"law '{self.name}'")
        return values


@dataclass(frozen=True, eq=False)
class ParametricLoss(Law):
    """L(N, D) = E + A/N^α + B/D^β (Hoffmann et al. 2022, eq. 2), with C = 6·N·D; a fit gives one too."""

    @classmethod
    def of(
        cls,
        *,
        E: float | Constant,
        A: float | Constant,
        B: float | Constant,
        alpha: float | Constant,
        beta: float | Constant,
        name: str = "fit",
        title: str = "a fit",
        table: str | None = None,
        counting: Counting | None = "total",
        **further: Any,
    ) -> ParametricLoss:
        """The law with these constants; ``table`` is its name unless given, ``further`` as of a :class:`Law`."""
        given = {"E": E, "A": A, "B": B, "α": alpha, "β": beta}
        constants = {
            symbol: value if isinstance(value, Constant) else additive_constant(symbol, float(value))
            for symbol, value in given.items()
        }
        counted = {None: "parameters", "total": "all parameters", "non-embedding": "parameters without embeddings"}
        return cls(
            name=name,
            title=title,
            formula="L(N, D) = E + A/N^α + B/D^β",
            constants=constants,
            inputs={"N": counted[counting], "D": "training tokens"},
            output=("L", NATS),
            table=table or name,
            counting=counting,
            **further,
        )

    @property
    def E(self) -> float:  # noqa: N802 - the paper's names
        """The irreducible loss, nats per token."""
        return self.constants["E"].value

    @property
    def A(self) -> float:  # noqa: N802
        """Of the term of the parameters."""
        return self.constants["A"].value

    @property
    def B(self) -> float:  # noqa: N802
        """Of the term of the tokens."""
        return self.constants["B"].value

    @property
    def alpha(self) -> float:
        """The exponent of the parameters."""
        return self.constants["α"].value

    @property
    def beta(self) -> float:
        """The exponent of the tokens."""
        return self.constants["β"].value

    @property
    def a(self) -> float:
        """N_opt ∝ C^a, a = β/(α + β) (eq. 4)."""
        return self.beta / (self.alpha + self.beta)

    @property
    def b(self) -> float:
        """D_opt ∝ C^b, b = α/(α + β) (eq. 4)."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def G(self) -> float:  # noqa: N802
        """(αA/βB)^(1/(α + β)) (eq. 4)."""
        return optimum_scale(self.A, self.B, self.alpha, self.beta)

    @property
    def powers(self) -> SumOfPowers:
        """Itself with its derivatives, of (N, D)."""
        return SumOfPowers((1.0, 1.0), (self.E, math.log(self.A), self.alpha, math.log(self.B), self.beta))

    def loss(self, n: ArrayLike, d: ArrayLike) -> Any:
        """L(N, D), as a call gives it."""
        return self(N=n, D=d)

    def optimum(self, compute: float) -> Allocation:
        """The N and D of least loss with 6·N·D = ``compute`` FLOPs: N = G·(C/6)^a, D = (C/6)^b / G.

        Raises:
            ConfigError: no finite compute above 0.
        """
        check_compute(compute, self.name)
        products = compute / FLOPS_PER_PARAMETER_AND_TOKEN
        n, d = self.G * products**self.a, products**self.b / self.G
        equation = f"N = G·(C/6)^a, G = (αA/βB)^(1/(α+β)) = {self.G:.4g}, a = β/(α+β) = {self.a:.4g}; D = C/(6·N)"
        return Allocation(self.name, compute, n, d, self.loss(n, d), self.counting or "unstated", equation)


def optimum_scale(A: float, B: float, alpha: float, beta: float) -> float:
    """G = (αA/βB)^(1/(α + β)): N = G·(C/6)^(β/(α + β)) is compute-optimal (Hoffmann et al. 2022, eq. 4)."""
    return float((alpha * A / (beta * B)) ** (1 / (alpha + beta)))


_MEANINGS = {
    "E": (NATS, "irreducible loss, the entropy of the text"),
    "A": (f"{NATS} · parameters^α", "what too few parameters cost"),
    "B": (f"{NATS} · tokens^β", "what too few tokens cost"),
    "α": ("1", "exponent of the parameters"),
    "β": ("1", "exponent of the tokens"),
}


def additive_constant(symbol: str, value: float, *, printed: str | None = None, error: float | None = None) -> Constant:
    """E, A, B, α or β with its unit and meaning."""
    unit, meaning = _MEANINGS[symbol]
    return Constant(value, unit, meaning, printed, error)


@dataclass(frozen=True, eq=False)
class Frontier(Law):
    """N_opt(C) = k·C^a, given directly; C in units of ``compute_unit`` FLOPs, as the source has it."""

    compute_unit: float = field(default=1.0, kw_only=True)

    @property
    def a(self) -> float:
        """The exponent."""
        return self.constants["a"].value

    def optimum(self, compute: float) -> Allocation:
        """N from the law, D = C/(6·N); ``compute`` in FLOPs.

        Raises:
            ConfigError: no finite compute above 0.
        """
        check_compute(compute, self.name)
        n = self(**dict.fromkeys(self.inputs, compute / self.compute_unit))
        d = compute / (FLOPS_PER_PARAMETER_AND_TOKEN * n)
        unit = "" if self.compute_unit == 1 else f", C in units of {self.compute_unit:.4g} FLOP"
        equation = f"N = k·C^a, k = {self.constants['k'].value:.4g}, a = {self.a:.4g}{unit}; D = C/(6·N)"
        return Allocation(self.name, compute, n, d, None, self.counting or "unstated", equation)


def check_compute(compute: float, name: str) -> None:
    """Raise :class:`ConfigError` unless it is a finite number above 0."""
    if not (np.isfinite(compute) and compute > 0):
        raise ConfigError(f"{compute} FLOP is no budget; it must be finite and above 0.", subject=f"law '{name}'")
