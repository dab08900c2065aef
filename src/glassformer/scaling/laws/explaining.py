"""A law in words: everything that a reader needs before using a number of it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glassformer.scaling.laws.law import Constant, Law

WIDTH = 120
MARGIN = 12  # columns of the labels at the left

COUNTINGS = {
    "total": "N counts all parameters, the embeddings too",
    "non-embedding": "N counts no token and no position embeddings",
    None: "the law has no N",
}


def explain(law: Law) -> str:
    """Formula, constants with units, symbols, counting, fitted range, source, table and notes, a paragraph each."""
    symbol, unit = law.output
    lines = [
        *textwrap.wrap(f"{law.name}: {law.title}", WIDTH),
        *_labelled("formula", [f"{law.formula}   [{symbol}: {unit}]"]),
    ]
    lines += _labelled("numbers", [in_numbers(law)] if law.constants else [])
    lines += _labelled("inputs", [f"{name}: {meaning}" for name, meaning in law.inputs.items()])
    constants = [constant_in_words(name, each) for name, each in law.constants.items()]
    lines += _labelled("constants", constants or ["none: it is a definition"])
    lines += _labelled("counting", [COUNTINGS[law.counting]])
    lines += _labelled("fitted", [_range(law, name) for name in law.inputs])
    lines += _labelled("source", [law.source])
    joined = f"; goes with {', '.join(sorted(law.joins))}" if law.joins else ""
    lines += _labelled("table", [f"{law.table}{joined}"])
    lines += _labelled("not with", [f"{table}: {reason}" for table, reason in law.mixing.items()])
    lines += _labelled("instead", [law.refers_to] if law.refers_to else [])
    lines += _labelled("note", [law.note] if law.note else [])
    return "\n".join(lines)


def constant_in_words(symbol: str, constant: Constant) -> str:
    """``A = 406.401018 nats per token · parameters^α (printed 406.4): what too few parameters cost``."""
    unit = "" if constant.unit == "1" else f" {constant.unit}"
    error = "" if constant.error is None else f" ± {constant.error:g} (standard error)"
    printed = "" if constant.printed is None else f" (printed {constant.printed})"
    return f"{symbol} = {number(constant.value)}{error}{unit}{printed}: {constant.meaning}"


def in_numbers(law: Law) -> str:
    """The formula with its constants put in, to four digits: ``L(N) = (8.8e13/N)^0.076``."""
    formula = law.formula
    for symbol in sorted(law.constants, key=len, reverse=True):
        short = float(f"{law.constants[symbol].value:.4g}")
        formula = re.sub(rf"(?<!\w){re.escape(symbol)}(?!\w)", number(short), formula)
    return formula


def number(value: float) -> str:
    """To ten digits, with a power of ten where that is shorter: ``6.4e13``, ``406.401018``."""
    plain = f"{value:.10g}".replace("e+", "e")
    mantissa, _, power = f"{value:.9e}".partition("e")
    scientific = f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return min(plain, scientific, key=len)


def _range(law: Law, symbol: str) -> str:
    if symbol not in law.fitted_range:
        return f"{symbol}: no range is given"
    low, high = law.fitted_range[symbol]
    if low == 0:
        return f"{symbol} up to {high:.4g}"
    return f"{symbol} from {low:.4g} to {high:.4g}"


def _labelled(label: str, paragraphs: Iterable[str]) -> list[str]:
    """Paragraphs with a label before the first, all wrapped to the right of the labels."""
    lines: list[str] = []
    for paragraph in paragraphs:
        lead = f"  {label}".ljust(MARGIN) if not lines else " " * MARGIN
        hanging = " " * (MARGIN + 2)
        lines += textwrap.wrap(paragraph, WIDTH, initial_indent=lead, subsequent_indent=hanging)
    return lines
