"""A plan in words: its headline, and the trace of every number."""

from __future__ import annotations

import textwrap

from glassformer.scaling.plans.plan import Plan, Traced
from glassformer.scaling.wording import budget, digits, large, to

WIDTH = 120
LABELS = 12  # columns


def headline(plan: Plan) -> str:
    """The budget and what becomes of it."""
    compute, n, d = (plan[name].value for name in ("compute", "parameters", "tokens"))
    return f"{budget(compute)} FLOP  →  {large(n)} parameters × {large(d)} tokens"


def explained(plan: Plan) -> str:
    """Every number with its equation and its source, a paragraph each."""
    paragraphs = []
    for name, number in plan.numbers.items():
        interval = f", {to(number.interval)}" if number.interval else ""
        lines = [f"{name} = {exact(number)} {number.unit}{interval}"]
        for label, text in (("equation", number.equation), ("source", number.source), ("note", number.note)):
            if text:
                lead = f"  {label}".ljust(LABELS)
                lines += textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=" " * (LABELS + 2))
        paragraphs.append("\n".join(lines))
    return "\n".join(paragraphs)


def exact(number: Traced) -> str:
    """Whole numbers in full up to a quadrillion, others in four digits."""
    if number.value == int(number.value) and number.value < 1e15:
        return f"{number.value:,.0f}"
    return digits(number.value, 4)
