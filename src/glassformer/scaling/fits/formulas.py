"""The formulas that can be fitted: text with parameters, and what a fitter must know of each parameter.

    chinchilla       L = E + A/N^α + B/D^β                   Hoffmann et al. 2022, eq. 2
    repeated-data    the same of N' and D', which count repetition for less: Muennighoff et al. 2023, eq. 5 and 6
    power            L = a/C^α
    power-floor      L = E + a/C^α
    own("...")       any other: names besides N, D, C and U are its parameters

A parameter in which the formula is linear (E, A, B) has its best value for given others by linear algebra: only the
others, the shapes (α, β), need a grid of starts. That is variable projection (Golub & Pereyra 1973).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from glassformer.errors import ConfigError, nearest
from glassformer.scaling.fits.expressions import (
    ZERO,
    Array,
    Expression,
    Program,
    derivative,
    exponential,
    linear_together,
    parse,
    substitute,
    symbol,
)
from glassformer.scaling.fits.points import Points

VARIABLES = {
    "N": "parameters",
    "D": "training tokens",
    "C": "training FLOPs",
    "U": "unique tokens",
    "U_N": "parameters that the unique tokens warrant",
}
GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "R_D": "R*_D", "R_N": "R*_N"}

EXPONENTS = (0.02, 3.0)
"""Where exponents are looked for first. The fit may leave this range for EXPONENT_LIMITS, not those."""
EXPONENT_LIMITS = (0.0, 10.0)
REPETITIONS = (0.1, 1000.0)
REPETITION_LIMITS = (1e-3, 1e6)

Range = tuple[float, float]


@dataclass(frozen=True)
class Formula:
    """A formula of a loss. Values of parameters are arrays [..., p] in the order of ``names``; results are [..., n].

    Attributes:
        text: its right side, in Python's notation.
        limits: between which values a parameter must lie; (0, ∞) unless given.
        starts: between which values a shape is looked for.
        warranted: G and β/α of the law by which U_N is counted; only where the formula has it.
        order: of the shapes, where it is not that of their appearance.
    """

    name: str
    text: str
    limits: Mapping[str, Range] = field(default_factory=dict, hash=False)
    starts: Mapping[str, Range] = field(default_factory=dict, hash=False)
    warranted: tuple[float, float] | None = None
    order: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """As the papers write it: ``E + A/N^α + B/D^β``."""
        return re.sub(r"[A-Za-z_]+", lambda name: GREEK.get(name[0], name[0]), self.text.replace("**", "^"))

    @cached_property
    def expression(self) -> Expression:
        """The formula itself."""
        return parse(self.text)

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Those of N, D, C, U that it depends on."""
        return tuple(name for name in self.expression.names if name in VARIABLES)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Its parameters, linear ones first, in the order of their appearance."""
        found = [*self.order, *(name for name in self.expression.names if name not in VARIABLES)]
        return tuple(dict.fromkeys([*self.linear, *found]))

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """Parameters in which, together, it is linear."""
        chosen: list[str] = []
        for name in self.expression.names:
            if name not in VARIABLES and linear_together(self.expression, [*chosen, name]):
                chosen.append(name)
        return tuple(chosen)

    @property
    def shapes(self) -> tuple[str, ...]:
        """The other parameters."""
        return self.names[len(self.linear) :]

    @cached_property
    def logged(self) -> tuple[bool, ...]:
        """[p] whether the fitter works with a parameter's logarithm: a factor or a scale, but no floor or exponent."""
        return tuple(self.limit(name)[0] >= 0 and (self._factor(name) or self._scale(name)) for name in self.names)

    def _factor(self, name: str) -> bool:
        slope = derivative(self.expression, name)
        return name in self.linear and any(variable in slope.names for variable in self.variables)

    def _scale(self, name: str) -> bool:
        """Whether a parameter is measured like a variable: N_c in (N_c/N)**α, R in exp(−D/R)."""
        inverted = any(part.kind == "power" and part.args[0].names == (name,) for part in self.expression.parts())
        return (
            name in self.shapes
            and name not in _exponents(self.expression)
            and (inverted or any(name in base.names for base in _bases(self.expression)))
        )

    def limit(self, name: str) -> Range:
        """Between which values a parameter may lie."""
        return self.limits.get(name, (0.0, np.inf))

    def start(self, name: str, points: Points) -> Range:
        """Between which values a shape is looked for: as given, or by the variables that it is measured like."""
        if name in self.starts:
            return self.starts[name]
        columns = self.columns(points)
        if name in _exponents(self.expression):
            return EXPONENTS
        near = [v for base in _bases(self.expression) if name in base.names for v in base.names]
        scales = [columns[v] for v in near if v in VARIABLES]
        if not scales:
            return EXPONENTS
        return min(float(s.min()) for s in scales) / 1e3, max(float(s.max()) for s in scales) * 1e6

    def columns(self, points: Points) -> dict[str, Array]:
        """The variables of the points, [n] each."""
        columns = {"N": points.n, "D": points.d, "C": points.c}
        if points.unique is not None:
            columns["U"] = points.unique
            if self.warranted is not None:
                factor, ratio = self.warranted
                columns["U_N"] = np.minimum(points.n, factor * (points.unique * factor) ** ratio)
        return {name: columns[name] for name in self.variables}

    def value(self, values: Array, points: Points) -> Array:
        """The loss at each point: [..., p] → [..., n]."""
        return self.evaluate(values, self.columns(points))[0]

    def jacobian(self, values: Array, points: Points) -> Array:
        """Its derivative by each parameter: [..., p] → [..., n, p]."""
        return np.stack(self.evaluate(values, self.columns(points))[1:], axis=-1)

    def evaluate(self, values: Array, columns: Mapping[str, Array]) -> list[Array]:
        """The loss and its derivative by each parameter, [..., n] each."""
        values = np.asarray(values, dtype=np.float64)
        env = {name: values[..., i, None] for i, name in enumerate(self.names)}
        shape = np.broadcast_shapes((*values.shape[:-1], 1), *(column.shape for column in columns.values()))
        return [np.broadcast_to(result, shape) for result in self._natural.run(env | dict(columns))]

    @cached_property
    def _natural(self) -> Program:
        return Program([self.expression, *(derivative(self.expression, name) for name in self.names)])

    @cached_property
    def working(self) -> Working:
        """The formula as the fitter sees it."""
        return Working(self)

    def projected(self, shapes: Array, columns: Mapping[str, Array]) -> tuple[Array, Array]:
        """What the linear parameters multiply, for given shapes [..., q]: the rest [..., n] and factors [..., n, k]."""
        env = {name: shapes[..., i, None] for i, name in enumerate(self.shapes)}
        shape = np.broadcast_shapes((*shapes.shape[:-1], 1), *(column.shape for column in columns.values()))
        rest, *factors = (np.broadcast_to(result, shape) for result in self._projection.run(env | dict(columns)))
        return rest, np.stack(factors, axis=-1) if factors else np.empty((*shape, 0))

    @cached_property
    def _projection(self) -> Program:
        rest = substitute(self.expression, dict.fromkeys(self.linear, ZERO))
        return Program([rest, *(derivative(self.expression, name) for name in self.linear)])


def _bases(expression: Expression) -> list[Expression]:
    """What is raised to a power that is no constant: x in x**y, which is kept as exp(y · log x)."""
    return [part.args[0] for part in expression.parts() if part.kind == "log"]


def _exponents(expression: Expression) -> set[str]:
    """Names in such a power: y in x**y."""
    products = [part for part in expression.parts() if part.kind == "multiply"]
    beside = [other for part in products for at, other in enumerate(part.args) if part.args[1 - at].kind == "log"]
    return {name for part in beside for name in part.names if name not in VARIABLES}


class Working:
    """A formula in the fitter's coordinates θ: the logarithm of a parameter that is ``logged``, else the parameter.

    ``program`` gives the loss, its p first derivatives by θ, and the second ones of ``pairs``; others are zero.
    """

    def __init__(self, formula: Formula) -> None:
        self.logged = np.array(formula.logged)
        names = formula.names
        expression = substitute(
            formula.expression,
            {name: exponential(symbol(name)) for name, logged in zip(names, formula.logged, strict=True) if logged},
        )
        first = [derivative(expression, name) for name in names]
        second = {(i, j): derivative(first[i], names[j]) for i in range(len(names)) for j in range(i + 1)}
        self.names = names
        self.pairs = [pair for pair, curvature in second.items() if curvature != ZERO]
        self.program = Program([expression, *first, *(second[pair] for pair in self.pairs)])
        limits = np.array([formula.limit(name) for name in names]).reshape(-1, 2)
        self.lower, self.upper = self.of(limits[:, 0]), self.of(limits[:, 1])

    def of(self, values: Array) -> Array:
        """θ of parameters [..., p]; the logarithm of 0 is taken at 1e−300, where nothing is left of a term."""
        return np.where(self.logged, np.log(np.maximum(values, 1e-300)), values)

    def values(self, theta: Array) -> Array:
        """Parameters of θ [..., p]."""
        with np.errstate(over="ignore"):
            return np.where(self.logged, np.exp(theta), theta)


# ------------------------------------------------------------------------------------------------- the formulas

_SHAPES = {"alpha": EXPONENT_LIMITS, "beta": EXPONENT_LIMITS}

CHINCHILLA = Formula("chinchilla", "E + A/N**alpha + B/D**beta", limits=_SHAPES)


def power_law(of: str = "C", *, floor: bool = False) -> Formula:
    """L = a/x^α, or E + a/x^α with a floor; x is N, D or C.

    Raises:
        ConfigError: x is none of these.
    """
    if of not in {"N", "D", "C"}:
        raise ConfigError(f"a power law is of N, D or C, not of {of!r}.", subject="formula")
    text = f"a/{of}**alpha"
    return Formula(f"power-floor of {of}" if floor else f"power of {of}", f"E + {text}" if floor else text, _SHAPES)


def repeated_data(*, A: float = 521.0, B: float = 1488.0, alpha: float = 0.353, beta: float = 0.353) -> Formula:
    """L = E + A/N'^α + B/D'^β, where a repeated token, and a parameter beyond what the tokens warrant, counts for less.

    D' = U·(1 + R*_D·(1 − exp(−R_D/R*_D))) with R_D = D/U − 1 repetitions, and N' likewise of U_N = min(N, the
    compute-optimal N for U tokens) (Muennighoff et al. 2023, arXiv 2305.16264, eq. 5 and 6). The constants given here
    say what is compute-optimal, and nothing else; unless given they are that paper's own for C4 (its appendix).
    """
    factor = float((alpha * A / (beta * B)) ** (1 / (alpha + beta)))
    tokens, parameters = _counted_for_less("D", "U", "R_D"), _counted_for_less("N", "U_N", "R_N")
    return Formula(
        "repeated-data",
        f"E + A/{parameters}**alpha + B/{tokens}**beta",
        limits=_SHAPES | {"R_D": REPETITION_LIMITS, "R_N": REPETITION_LIMITS},
        starts={"R_D": REPETITIONS, "R_N": REPETITIONS},
        warranted=(factor, beta / alpha),
        order=("alpha", "beta", "R_D", "R_N"),
    )


def _counted_for_less(x: str, unique: str, scale: str) -> str:
    return f"({unique}*(1 + {scale}*(1 - exp(-({x}/{unique} - 1)/{scale}))))"


def own(text: str, *, limits: Mapping[str, Range] | None = None, starts: Mapping[str, Range] | None = None) -> Formula:
    """A formula of your own: ``own("E + (N_c/N)**alpha")``.

    Args:
        text: + - * / **, exp, log, sqrt; N, D, C and U are the points', all other names are parameters.
        limits: between which values a parameter must lie. Without, it is 0 or above.
        starts: between which values a parameter that is not linear is looked for. Without, 0.02 to 3; or, where it
            divides or multiplies a variable that is raised to a power, far to both sides of that variable.

    Raises:
        ConfigError: it cannot be read, has no parameter or no variable, or limits or starts make no sense, all at once.
    """
    limits, starts = dict(limits or {}), dict(starts or {})
    formula = Formula("own", text.rsplit("=", 1)[-1].strip(), limits, starts)
    complaints = []
    if not formula.variables:
        complaints.append("it depends on none of N, D, C and U.")
    if not formula.names:
        complaints.append("it has no parameter to fit.")
    for given in (limits, starts):
        for name, (low, high) in given.items():
            if name not in formula.names:
                complaints.append(f"it has no parameter {name!r}. {nearest(name, formula.names)}")
            elif not low < high:
                complaints.append(f"the range of {name} must ascend; it is {low:g} to {high:g}.")
    if complaints:
        raise ConfigError(complaints, subject=f"formula {text!r}")
    return formula


FORMULAS = ("chinchilla", "repeated-data", "power", "power-floor")


def formula(named: str | Formula) -> Formula:
    """The formula of that name, or the one that the text states.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(named, Formula):
        return named
    if named == "chinchilla":
        return CHINCHILLA
    if named == "repeated-data":
        return repeated_data()
    if named in {"power", "power-floor"}:
        return power_law(floor=named == "power-floor")
    if named.replace("-", "").isalpha():
        hint = nearest(named, FORMULAS)
        raise ConfigError(f"there is no {named!r}. {hint} Or state your own: 'E + A/N**alpha'.", subject="formula")
    return own(named)
