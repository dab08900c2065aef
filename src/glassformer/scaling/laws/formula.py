"""A formula: its text, its values, its exact derivatives. Every law and every fit is computed by one.

    read("E + A/N**alpha + B/D**beta")          of a fit: names, numbers, + - * / **, exp, log, sqrt
    read_printed("L(N) = (N_c/N)^α_N")          of a law, as it is printed
    evaluate(tree, {"N": 1e9, ...})             its value; arrays too
    symbolic(tree, symbols)                     for its derivatives

The text is read into a tree of which only that list is allowed; nothing is run as Python. Values of numbers and arrays
follow from the tree. Derivatives are sympy's, which is loaded when a fit first asks for them.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glassformer.errors import ConfigError, nearest

if TYPE_CHECKING:
    import sympy

Array = npt.NDArray[np.float64]

FUNCTIONS: dict[str, Callable[..., Any]] = {"exp": np.exp, "log": np.log, "sqrt": np.sqrt}
OF_LAWS: dict[str, Callable[..., Any]] = {**FUNCTIONS, "min": np.minimum, "floor": np.floor}
ARGUMENTS = {"min": 2}  # one unless stated
OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
LONGEST = 500  # characters of a formula; a law that needs more is no law
PRIME = "\N{MODIFIER LETTER PRIME}"  # which a name may hold
NOTATION = (("e^(", "exp("), ("^", "**"), ("·", "*"), ("−", "-"), ("[", "("), ("]", ")"), ("'", PRIME))


def evaluate(tree: ast.expr, names: Mapping[str, Any]) -> Any:
    """Of numbers or arrays, which broadcast; NaN or infinite where it is undefined."""
    with np.errstate(all="ignore"):
        return _evaluated(tree, names, OF_LAWS, float)


def _evaluated(
    node: ast.expr,
    names: Mapping[str, Any],
    functions: Mapping[str, Callable[..., Any]],
    number: Callable[[float], Any],
) -> Any:
    """A checked tree in whichever algebra ``names``, ``functions`` and ``number`` belong to: of arrays, or sympy's."""

    def of(inner: ast.expr) -> Any:
        return _evaluated(inner, names, functions, number)

    match node:
        case ast.Constant():
            return number(node.value)  # type: ignore[arg-type]  # checked
        case ast.Name():
            return names[node.id]
        case ast.BinOp():
            return OPERATIONS[type(node.op)](of(node.left), of(node.right))
        case ast.Call(func=ast.Name(id=name)):
            return functions[name](*map(of, node.args))
    raise AssertionError(ast.dump(node))


def names_in(node: ast.AST) -> Iterator[str]:
    """Every name, as often as it occurs."""
    match node:
        case ast.Name():
            yield node.id
        case ast.BinOp(op=ast.Pow()):
            yield from names_in(node.right)
            yield from names_in(node.left)
        case ast.BinOp():
            yield from names_in(node.left)
            yield from names_in(node.right)
        case ast.Call():
            for argument in node.args:
                yield from names_in(argument)


# ------------------------------------------------------------------------------------------------- reading


def read(text: str, functions: Sequence[str] = tuple(FUNCTIONS)) -> ast.expr:
    """The tree of a formula such as ``L = E + A/N**alpha``; what stands before an equals sign is its name.

    Raises:
        ConfigError: with every part that does not belong in a formula.
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
    checked = _checked(tree, complaints, functions)
    if complaints:
        raise ConfigError(dict.fromkeys(complaints), subject=f"formula {text!r}")
    return checked


def folded(tree: ast.expr) -> ast.expr:
    """A tree whose constant parts are numbers.

    Raises:
        ConfigError: one of them is not a finite number.
    """
    complaints: list[str] = []
    checked = _checked(tree, complaints, tuple(FUNCTIONS))
    if complaints:
        raise ConfigError(dict.fromkeys(complaints), subject="formula")
    return checked


@lru_cache(maxsize=256)
def read_printed(text: str) -> ast.expr:
    """The tree of a law as it is printed: ``L(N) = A/N'^α; N' = min(N, U)``, where definitions follow semicolons."""
    for printed, python in NOTATION:
        text = text.replace(printed, python)
    law, *definitions = text.split(";")
    tree = read(law, tuple(OF_LAWS))
    for definition in definitions:
        name, _, right = definition.partition("=")
        tree = substituted(tree, {name.strip(): read(right, tuple(OF_LAWS))})
    return tree


def substituted(node: ast.expr, replaced: Mapping[str, ast.expr]) -> ast.expr:
    """The tree with each name of ``replaced`` replaced."""
    match node:
        case ast.Name():
            return replaced.get(node.id, node)
        case ast.BinOp():
            return ast.BinOp(substituted(node.left, replaced), node.op, substituted(node.right, replaced))
        case ast.Call():
            return ast.Call(node.func, [substituted(argument, replaced) for argument in node.args], [])
    return node


def _checked(node: ast.expr, complaints: list[str], functions: Sequence[str]) -> ast.expr:
    """A node of Python's tree with its constant parts computed; what does not belong is added to ``complaints``."""
    nothing = ast.Constant(1.0)
    match node:
        case ast.Constant() if type(node.value) in {int, float}:
            return _computed(lambda: float(node.value), node, complaints)  # type: ignore[arg-type]
        case ast.Name() if node.id not in functions:
            return node
        case ast.UnaryOp(op=ast.UAdd()):
            return _checked(node.operand, complaints, functions)
        case ast.UnaryOp(op=ast.USub()):
            minus = ast.BinOp(ast.Constant(-1.0), ast.Mult(), node.operand)
            return _checked(minus, complaints, functions)
        case ast.BinOp():
            left, right = (_checked(side, complaints, functions) for side in (node.left, node.right))
            if type(node.op) not in OPERATIONS:
                hint = " Write a power as **." if isinstance(node.op, ast.BitXor) else ""
                complaints.append(
                    f"{ast.unparse(node)!r} has no meaning in a formula: the operations are + - * / **.{hint}"
                )
                return nothing
            if isinstance(left, ast.Constant) and isinstance(right, ast.Constant):
                return _computed(lambda: OPERATIONS[type(node.op)](left.value, right.value), node, complaints)
            return ast.BinOp(left, node.op, right)
        case ast.Call(func=ast.Name(id=name)) if name not in functions:
            complaints.append(f"there is no function {name!r}. {nearest(name, functions)}")
            return nothing
        case ast.Call(func=ast.Name(id=name)):
            count = ARGUMENTS.get(name, 1)
            if len(node.args) != count or node.keywords:
                number = {1: "one argument", 2: "two arguments"}[count]
                complaints.append(f"{name} takes {number}: {ast.unparse(node)!r}.")
                return nothing
            inner = [_checked(argument, complaints, functions) for argument in node.args]
            if all(isinstance(each, ast.Constant) for each in inner):
                numbers = [each.value for each in inner if isinstance(each, ast.Constant)]
                return _computed(lambda: float(OF_LAWS[name](*numbers)), node, complaints)
            return ast.Call(node.func, inner, [])
    complaints.append(
        f"{ast.unparse(node)!r} has no meaning in a formula: it may hold names, numbers, + - * / **, "
        f"{', '.join(functions[:-1])} and {functions[-1]}."
    )
    return nothing


def _computed(number: Callable[[], Any], node: ast.expr, complaints: list[str]) -> ast.expr:
    """A constant part as a number; one that is none, or too large, is added to ``complaints``."""
    try:
        with np.errstate(all="ignore"):
            found = number()
        if isinstance(found, float) and np.isfinite(found):
            return ast.Constant(found)
        complaints.append(f"{ast.unparse(node)!r} is not a finite number.")
    except OverflowError:
        complaints.append("it holds a number that is too large to compute with.")
    except ZeroDivisionError:
        complaints.append(f"{ast.unparse(node)!r} divides by zero.")
    return ast.Constant(1.0)


# ------------------------------------------------------------------------------------------------- derivatives


def symbolic(tree: ast.expr, names: Mapping[str, sympy.Expr]) -> sympy.Expr:
    """The tree in sympy's algebra, with every power x**y of a varying y as exp(y·log(x))."""
    import sympy

    def number(value: float) -> sympy.Expr:
        return sympy.Integer(int(value)) if value.is_integer() and abs(value) < 1e15 else sympy.Float(value)

    functions = {"exp": sympy.exp, "log": sympy.log, "sqrt": sympy.sqrt}
    expression = sympy.sympify(_evaluated(tree, names, functions, number))
    return expression.replace(
        lambda part: part.is_Pow and part.base != sympy.E and not part.exp.is_number,
        lambda part: sympy.exp(part.exp * sympy.expand_log(sympy.log(part.base))),
    )


class Program:
    """Several expressions compiled together: each part that they share is computed once."""

    def __init__(self, symbols: Sequence[sympy.Symbol], outputs: Sequence[sympy.Expr]) -> None:
        import sympy

        self._names = [symbol.name for symbol in symbols]
        self._run = sympy.lambdify(symbols, list(outputs), modules="numpy", cse=True, dummify=True)

    def run(self, values: Mapping[str, Array]) -> list[Array]:
        """The value of each expression; arrays broadcast. Where one is undefined it is NaN or infinite."""
        with np.errstate(all="ignore"):
            return [np.asarray(each) for each in self._run(*(values[name] for name in self._names))]
