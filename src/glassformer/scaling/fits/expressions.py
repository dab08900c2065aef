"""A formula as an expression that can be differentiated exactly: what the fits' analytic gradients come from.

    parse("E + A/N**alpha + B/D**beta")      a safe reading of text: names, numbers, + - * / **, exp, log, sqrt
    derivative(expression, "alpha")          another expression: −A·log(N)·exp(−alpha·log(N))
    Program([value, slope, ...])             runs them over arrays, each shared part once

Nothing is evaluated as Python: the text is read into a tree, and what is not in the list above is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from glassformer.errors import ConfigError, nearest

Array = npt.NDArray[np.float64]

FUNCTIONS = ("exp", "log", "sqrt")
LONGEST = 500  # characters of a formula; a law that needs more is no law


@dataclass(frozen=True)
class Expression:
    """A node: a number, a name, or an operation on ``args``. ``value`` is the number, or the exponent of a power."""

    kind: Literal["number", "name", "add", "multiply", "power", "exp", "log"]
    args: tuple[Expression, ...] = ()
    value: float = 0.0
    name: str = ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name in it, in the order of their first appearance."""
        if self.kind == "name":
            return (self.name,)
        return tuple(dict.fromkeys(name for argument in self.args for name in argument.names))

    def parts(self) -> Iterator[Expression]:
        """Itself and everything within it."""
        yield self
        for argument in self.args:
            yield from argument.parts()


# ------------------------------------------------------------------------------------------------- building


def number(value: float) -> Expression:
    """A constant."""
    return Expression("number", value=value)


def symbol(name: str) -> Expression:
    """A parameter or a variable."""
    return Expression("name", name=name)


ZERO, ONE = number(0.0), number(1.0)


def add(a: Expression, b: Expression) -> Expression:
    """The sum a + b."""
    if a.kind == b.kind == "number":
        return number(a.value + b.value)
    if ZERO in {a, b}:
        return b if a == ZERO else a
    return Expression("add", (a, b))


def multiply(a: Expression, b: Expression) -> Expression:
    """The product a · b; a constant factor stands first."""
    if b.kind == "number":
        a, b = b, a
    if a.kind == b.kind == "number":
        return number(a.value * b.value)
    if a == ZERO:
        return ZERO
    if a == ONE:
        return b
    if a.kind == "number" and b.kind == "multiply" and b.args[0].kind == "number":
        return multiply(number(a.value * b.args[0].value), b.args[1])
    return Expression("multiply", (a, b))


def power(base: Expression, exponent: Expression) -> Expression:
    """``base ** exponent``; an exponent that is no constant makes it exp(exponent · log(base))."""
    if exponent.kind != "number":
        return exponential(multiply(exponent, logarithm(base)))
    if exponent.value in {0.0, 1.0}:
        return ONE if exponent.value == 0 else base
    if base.kind == "exp":
        return exponential(multiply(exponent, base.args[0]))
    if base.kind == "number" and (base.value > 0 or (exponent.value.is_integer() and base.value != 0)):
        return number(float(base.value**exponent.value))
    return Expression("power", (base,), value=exponent.value)


def exponential(a: Expression) -> Expression:
    """exp(a)."""
    return ONE if a == ZERO else Expression("exp", (a,))


def logarithm(a: Expression) -> Expression:
    """The natural logarithm of a."""
    if a.kind == "exp":
        return a.args[0]
    if a.kind == "number" and a.value > 0:
        return number(float(np.log(a.value)))
    return Expression("log", (a,))


def derivative(of: Expression, name: str) -> Expression:
    """The exact partial derivative by one name."""
    if name not in of.names:
        return ZERO
    if of.kind == "name":
        return ONE
    a, *rest = of.args
    slope = derivative(a, name)
    if of.kind == "add":
        return add(slope, derivative(rest[0], name))
    if of.kind == "multiply":
        return add(multiply(slope, rest[0]), multiply(a, derivative(rest[0], name)))
    if of.kind == "power":
        outer = multiply(number(of.value), power(a, number(of.value - 1)))
    elif of.kind == "exp":
        outer = of
    else:
        outer = power(a, number(-1.0))
    return multiply(outer, slope)


def substitute(into: Expression, replaced: Mapping[str, Expression]) -> Expression:
    """The expression with each name of ``replaced`` replaced."""
    if into.kind == "number":
        return into
    if into.kind == "name":
        return replaced.get(into.name, into)
    args = [substitute(argument, replaced) for argument in into.args]
    if into.kind == "add":
        return add(*args)
    if into.kind == "multiply":
        return multiply(*args)
    if into.kind == "power":
        return power(args[0], number(into.value))
    return exponential(args[0]) if into.kind == "exp" else logarithm(args[0])


def linear_together(expression: Expression, names: Sequence[str]) -> bool:
    """Whether, all other names fixed, the expression is linear in ``names`` taken together."""
    return all(derivative(derivative(expression, first), second) == ZERO for first in names for second in names)


# ------------------------------------------------------------------------------------------------- running


class Program:
    """Several expressions, made ready to be evaluated together: each part that they share is computed once."""

    def __init__(self, outputs: Sequence[Expression]) -> None:
        self._slots: dict[Expression, int] = {}
        self._steps: list[tuple[Expression, tuple[int, ...]]] = []
        self._outputs = [self._slot(output) for output in outputs]

    def _slot(self, node: Expression) -> int:
        if node not in self._slots:
            inputs = tuple(self._slot(argument) for argument in node.args)
            self._slots[node] = len(self._steps)
            self._steps.append((node, inputs))
        return self._slots[node]

    def run(self, values: Mapping[str, Array]) -> list[Array]:
        """The value of each expression; arrays broadcast. Where one is undefined it is NaN or infinite."""
        done: list[Array] = []
        with np.errstate(all="ignore"):
            for node, inputs in self._steps:
                done.append(_result(node, [done[i] for i in inputs], values))
        return [done[i] for i in self._outputs]


def _result(node: Expression, args: list[Array], values: Mapping[str, Array]) -> Array:
    """One step of a program."""
    if node.kind == "number":
        return np.asarray(node.value)
    if node.kind == "name":
        return values[node.name]
    if node.kind == "add":
        return np.asarray(args[0] + args[1])
    if node.kind == "multiply":
        return np.asarray(args[0] * args[1])
    if node.kind == "power":
        return np.asarray(1.0 / args[0] if node.value == -1 else args[0] ** node.value)
    return np.asarray(np.exp(args[0]) if node.kind == "exp" else np.log(args[0]))


# ------------------------------------------------------------------------------------------------- reading


def parse(text: str) -> Expression:
    """Read a formula such as ``L = E + A/N**alpha``; what stands before an equals sign is its name and is left out.

    Raises:
        ConfigError: with every part that is no formula.
    """
    right = text.rsplit("=", 1)[-1].strip()
    if len(right) > LONGEST:
        raise ConfigError(f"it has {len(right)} characters; at most {LONGEST} make one.", subject="formula")
    try:
        tree = ast.parse(right, mode="eval").body
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigError(
            f"{text!r} cannot be read ({reason}); expected one such as 'E + A/N**alpha'.", subject="formula"
        ) from None
    complaints: list[str] = []
    try:
        expression = _read(tree, complaints)
    except OverflowError:
        complaints.append("it holds a number that is too large to compute with.")
    if complaints:
        raise ConfigError(dict.fromkeys(complaints), subject=f"formula {text!r}")
    return expression


def _read(node: ast.expr, complaints: list[str]) -> Expression:
    """A node of Python's tree as an expression; what has no meaning here is added to ``complaints``."""
    if isinstance(node, ast.Constant) and type(node.value) in {int, float}:
        return number(float(node.value))  # type: ignore[arg-type]
    if isinstance(node, ast.Name) and node.id not in FUNCTIONS:
        return symbol(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _read(node.operand, complaints)
        return multiply(number(-1.0), inner) if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp):
        return _operation(node, complaints)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node, node.func.id, complaints)
    complaints.append(
        f"{ast.unparse(node)!r} has no meaning in a formula: it may hold names, numbers, + - * / **, exp, log and sqrt."
    )
    return ONE


def _operation(node: ast.BinOp, complaints: list[str]) -> Expression:
    """``a + b`` and the like."""
    a, b = _read(node.left, complaints), _read(node.right, complaints)
    if isinstance(node.op, ast.Add):
        return add(a, b)
    if isinstance(node.op, ast.Sub):
        return add(a, multiply(number(-1.0), b))
    if isinstance(node.op, ast.Mult):
        return multiply(a, b)
    if isinstance(node.op, ast.Div):
        return multiply(a, power(b, number(-1.0)))
    if isinstance(node.op, ast.Pow):
        return power(a, b)
    sign = " Write a power as **." if isinstance(node.op, ast.BitXor) else ""
    complaints.append(f"{ast.unparse(node)!r} has no meaning in a formula: the operations are + - * / **.{sign}")
    return ONE


def _call(node: ast.Call, name: str, complaints: list[str]) -> Expression:
    """``log(a)`` and the like."""
    if name not in FUNCTIONS:
        complaints.append(f"there is no function {name!r}. {nearest(name, FUNCTIONS)}")
        return ONE
    if len(node.args) != 1 or node.keywords:
        complaints.append(f"{name} takes one argument: {ast.unparse(node)!r}.")
        return ONE
    inner = _read(node.args[0], complaints)
    if name == "sqrt":
        return power(inner, number(0.5))
    return exponential(inner) if name == "exp" else logarithm(inner)
