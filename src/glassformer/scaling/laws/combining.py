"""Constants of several laws together, where they were fitted together; everything else is an error with the reason."""

from __future__ import annotations

from itertools import combinations

from glassformer.errors import ConfigError
from glassformer.scaling.laws.law import Constant, Law


def combine(*laws: Law) -> dict[str, Constant]:
    """The constants of these laws together, by symbol, if they were fitted together.

    Raises:
        ConfigError: laws of tables that do not belong together, each pair with what goes wrong; or one symbol with
            two values.
    """
    complaints = [_why_apart(one, other) for one, other in combinations(laws, 2) if not _belong_together(one, other)]
    found: dict[str, Constant] = {}
    for law in laws:
        for symbol, constant in law.constants.items():
            if not complaints and symbol in found and found[symbol].value != constant.value:
                complaints.append(f"{symbol} is {found[symbol].value:g} and, in '{law.name}', {constant.value:g}.")
            found[symbol] = constant
    if complaints:
        raise ConfigError(complaints, subject="combination of laws")
    return found


def _belong_together(one: Law, other: Law) -> bool:
    return one.table == other.table or other.table in one.joins or one.table in other.joins


def _why_apart(one: Law, other: Law) -> str:
    reason = one.mixing.get(other.table) or other.mixing.get(one.table) or "They were fitted separately."
    return f"'{one.name}' is of {one.table}, '{other.name}' of {other.table}: {reason} Take both from one table."
