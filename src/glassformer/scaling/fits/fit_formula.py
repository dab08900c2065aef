"""A formula of a loss as a fitter needs it: which of its names are parameters, which of them enter linearly, in which
coordinates each is looked for, and its values and exact derivatives at points.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from glassformer.scaling.fits.points import Points
from glassformer.scaling.laws.formula import Array, Program, folded, names_in, read, substituted, symbolic
from glassformer.scaling.laws.law import optimum_scale

if TYPE_CHECKING:
    import sympy

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

Range = tuple[float, float]


def warranted_by(A: float, B: float, alpha: float, beta: float) -> tuple[float, float]:
    """G = (αA/βB)^(1/(α + β)) and β/α: N = G·(G·U)^(β/α) is compute-optimal for U tokens."""
    return optimum_scale(A, B, alpha, beta), beta / alpha


WARRANTED = warranted_by(521.0, 1488.0, 0.353, 0.353)
"""Of Muennighoff et al. 2023 for C4."""


@dataclass(frozen=True)
class Formula:
    """A formula of a loss. Values of parameters are arrays [..., p] in the order of ``names``; results are [..., n].

    Attributes:
        text: its right side, in Python's notation.
        limits: between which values a parameter must lie; (0, ∞) unless given.
        starts: between which values a shape is looked for.
        fixed: parameters that are constants, by name; they are not among ``names``.
        warranted: G and β/α of the law by which U_N is counted; only where the formula has it.
        order: of the shapes, where it is not that of their appearance.
    """

    text: str
    name: str = "own"
    limits: Mapping[str, Range] = field(default_factory=dict, hash=False)
    starts: Mapping[str, Range] = field(default_factory=dict, hash=False)
    fixed: Mapping[str, float] = field(default_factory=dict, hash=False)
    warranted: tuple[float, float] | None = None
    order: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """As the papers write it, with its constants: ``E + 521/N^α + B/D^β``."""

        def written(name: re.Match[str]) -> str:
            return f"{self.fixed[name[0]]:.6g}" if name[0] in self.fixed else GREEK.get(name[0], name[0])

        return re.sub(r"(?<![\w.])[^\W\d]\w*", written, self.text.replace("**", "^"))

    @cached_property
    def tree(self) -> ast.expr:
        """Read and checked, with the numbers of ``fixed`` in their places."""
        return folded(substituted(read(self.text), {name: ast.Constant(value) for name, value in self.fixed.items()}))

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Every name in it, in order: those of an exponent before those of its base."""
        return tuple(dict.fromkeys(names_in(self.tree)))

    @cached_property
    def variables(self) -> tuple[str, ...]:
        """Those of N, D, C, U, U_N that it depends on."""
        return tuple(name for name in self.symbols if name in VARIABLES)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Its parameters, linear ones first, in the order of their appearance."""
        found = [name for name in (*self.order, *self.symbols) if name in self.symbols and name not in VARIABLES]
        return tuple(dict.fromkeys([*self.linear, *found]))

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """Parameters in which, together, it is linear."""
        chosen: list[str] = []
        for name in self.symbols:
            slope = self.slope(name)
            if name not in VARIABLES and all(slope.diff(self.symbol(other)) == 0 for other in [*chosen, name]):
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
        return name in self.linear and any(self.slope(name).has(self.symbol(variable)) for variable in self.variables)

    def _scale(self, name: str) -> bool:
        """Whether a parameter is measured like a variable: N_c in (N_c/N)**α, R in exp(−D/R)."""
        inverted = any(
            isinstance(part, ast.BinOp)
            and (
                (isinstance(part.op, ast.Div) and {*names_in(part.right)} == {name})
                or (isinstance(part.op, ast.Pow) and not [*names_in(part.right)] and {*names_in(part.left)} == {name})
            )
            for part in ast.walk(self.tree)
        )
        return (
            name in self.shapes
            and name not in self._exponents
            and (inverted or any(name in base for base in self._bases))
        )

    @cached_property
    def _bases(self) -> list[set[str]]:
        """The names of what is raised to a power that is no constant, and of what a logarithm is taken of."""
        powers = [part.left for part in _powers(self.tree)]
        logs = [part.args[0] for part in _calls(self.tree, "log")]
        return [{*names_in(base)} for base in (*powers, *logs)]

    @cached_property
    def _exponents(self) -> set[str]:
        """Parameters in such a power: y in x**y, or in y·log(x)."""
        powers = [part.right for part in _powers(self.tree)]
        factors = [
            other
            for part in ast.walk(self.tree)
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mult)
            for one, other in ((part.left, part.right), (part.right, part.left))
            if isinstance(one, ast.Call) and one in _calls(self.tree, "log")
        ]
        return {name for part in (*powers, *factors) for name in names_in(part) if name not in VARIABLES}

    def limit(self, name: str) -> Range:
        """Between which values a parameter may lie."""
        return self.limits.get(name, (0.0, np.inf))

    def start(self, name: str, points: Points) -> Range:
        """Between which values a shape is looked for: as given, or by the variables that it is measured like."""
        if name in self.starts:
            return self.starts[name]
        columns = self.columns(points)
        if name in self._exponents:
            return EXPONENTS
        near = {other for base in self._bases if name in base for other in base}
        scales = [columns[other] for other in near if other in VARIABLES]
        if not scales:
            return EXPONENTS
        return min(float(s.min()) for s in scales) / 1e3, max(float(s.max()) for s in scales) * 1e6

    def columns(self, points: Points) -> dict[str, Array]:
        """The variables of the points, [n] each."""
        columns = {"N": points.n, "D": points.d, "C": points.c}
        if points.unique is not None:
            factor, ratio = self.warranted or WARRANTED
            columns["U"] = points.unique
            columns["U_N"] = np.minimum(points.n, factor * (points.unique * factor) ** ratio)
        return {name: columns[name] for name in self.variables}

    def value(self, values: Array, points: Points) -> Array:
        """The loss at each point: [..., p] → [..., n]."""
        return self._run(self._loss, self.names, values, self.columns(points))[0]

    def jacobian(self, values: Array, points: Points) -> Array:
        """Its derivative by each parameter: [..., p] → [..., n, p]."""
        return np.stack(self._run(self._slopes, self.names, values, self.columns(points)), axis=-1)

    def projected(self, shapes: Array, columns: Mapping[str, Array]) -> tuple[Array, Array]:
        """What the linear parameters multiply, for given shapes [..., q]: the rest [..., n] and factors [..., n, k]."""
        rest, *factors = self._run(self._projection, self.shapes, shapes, columns)
        return rest, np.stack(factors, axis=-1) if factors else np.empty((*rest.shape, 0))

    @staticmethod
    def _run(program: Program, names: tuple[str, ...], values: Array, columns: Mapping[str, Array]) -> list[Array]:
        """Each output of a program, broadcast to [..., n], at values [..., p]."""
        values = np.asarray(values, dtype=np.float64)
        env = {name: values[..., i, None] for i, name in enumerate(names)}
        shape = np.broadcast_shapes((*values.shape[:-1], 1), *(column.shape for column in columns.values()))
        return [np.broadcast_to(result, shape) for result in program.run(env | dict(columns))]

    # ------------------------------------------------------------------------------------------- as sympy has it

    def symbol(self, name: str) -> sympy.Symbol:
        """A name, known to be positive where it cannot be anything else."""
        import sympy

        positive = name in VARIABLES or self.limit(name)[0] >= 0
        return sympy.Symbol(name, positive=True) if positive else sympy.Symbol(name, real=True)

    @cached_property
    def expression(self) -> sympy.Expr:
        """The formula in sympy's algebra."""
        return symbolic(self.tree, {name: self.symbol(name) for name in self.symbols})

    def slope(self, name: str) -> sympy.Expr:
        """Its exact derivative by a name."""
        return self.expression.diff(self.symbol(name))

    def _program(self, *outputs: sympy.Expr) -> Program:
        return Program([self.symbol(name) for name in (*self.names, *self.variables)], outputs)

    @cached_property
    def _loss(self) -> Program:
        return self._program(self.expression)

    @cached_property
    def _slopes(self) -> Program:
        return self._program(*map(self.slope, self.names))

    @cached_property
    def _projection(self) -> Program:
        rest = self.expression.xreplace(dict.fromkeys(map(self.symbol, self.linear), 0))
        symbols = [self.symbol(name) for name in (*self.shapes, *self.variables)]
        return Program(symbols, [rest, *map(self.slope, self.linear)])

    @cached_property
    def working(self) -> Working:
        """The formula as the fitter sees it."""
        return Working(self)


def _powers(tree: ast.expr) -> Iterator[ast.BinOp]:
    """The powers in it whose exponents are no constants."""
    for part in ast.walk(tree):
        if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Pow) and not isinstance(part.right, ast.Constant):
            yield part


def _calls(tree: ast.expr, function: str) -> list[ast.Call]:
    return [
        part
        for part in ast.walk(tree)
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == function
    ]


class Working:
    """A formula in the fitter's coordinates θ: the logarithm of a parameter that is ``logged``, else the parameter.

    ``program`` gives the loss, its p first derivatives by θ, and the second ones of ``pairs``; others are zero.
    """

    def __init__(self, formula: Formula) -> None:
        import sympy

        self.names, self.logged = formula.names, np.array(formula.logged)
        theta = [sympy.Symbol(name, real=True) for name in self.names]
        coordinates = zip(self.names, theta, formula.logged, strict=True)
        replaced = {formula.symbol(name): sympy.exp(t) if logged else t for name, t, logged in coordinates}
        expression = formula.expression.xreplace(replaced)
        first = [expression.diff(t) for t in theta]
        second = {(i, j): first[i].diff(theta[j]) for i in range(len(theta)) for j in range(i + 1)}
        self.pairs = [pair for pair, curvature in second.items() if curvature != 0]
        symbols = [*theta, *map(formula.symbol, formula.variables)]
        self.loss = Program(symbols, [expression])
        self.slopes = Program(symbols, [expression, *first])
        self.program = Program(symbols, [expression, *first, *(second[pair] for pair in self.pairs)])
        limits = np.array([formula.limit(name) for name in self.names]).reshape(-1, 2)
        self.lower, self.upper = self.of(limits[:, 0]), self.of(limits[:, 1])

    def run(self, program: Program, theta: Array, columns: Mapping[str, Array]) -> list[Array]:
        """One of its programs at θ [B, p]: outputs that broadcast to [B, n]."""
        return program.run({name: theta[:, i, None] for i, name in enumerate(self.names)} | dict(columns))

    def of(self, values: Array) -> Array:
        """θ of parameters [..., p]; the logarithm of 0 is taken at 1e−300, where nothing is left of a term."""
        return np.where(self.logged, np.log(np.maximum(values, 1e-300)), values)

    def values(self, theta: Array) -> Array:
        """Parameters of θ [..., p]."""
        with np.errstate(over="ignore"):
            return np.where(self.logged, np.exp(theta), theta)
