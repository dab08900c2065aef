"""``glassformer scale laws``: the published scaling laws, what each means, and what it gives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from glassformer.cli.terminal import emit
from glassformer.errors import ConfigError, shown
from glassformer.numbers import NumberError, read_number

if TYPE_CHECKING:
    from glassformer.scaling.laws.law import Law


def scale_laws(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Laws to explain; without any, all are listed.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="SYMBOL=VALUE", help="An input of the laws named, such as N=1e9; then each is computed."),
    ] = None,
    notes: Annotated[
        bool, typer.Option("--notes", help="The study notes' recipe: its wrong formulas beside their right forms.")
    ] = False,
) -> None:
    """List the published scaling laws, or explain one, or ask one."""
    from glassformer.scaling.laws.known import laws

    complaints = []
    if at and not names:
        complaints.append("--at is for laws that are named: glassformer scale laws chinchilla --at N=1e9 --at D=2e10.")
    if notes and (names or at):
        complaints.append("--notes lists the corrections; leave out the laws and --at.")
    if complaints:
        raise ConfigError(complaints, subject="command")
    if notes:
        _corrections()
    elif not names:
        _list()
    else:
        inputs = _inputs(at or [])
        found = laws(names)
        answers = [_answer(law, inputs) if inputs else "" for law in found]  # before a word is said
        emit("\n\n".join(law.explain() + answer for law, answer in zip(found, answers, strict=True)))


def _inputs(given: list[str]) -> dict[str, float]:
    """``["N=1e9"]`` as numbers; all complaints at once."""
    found: dict[str, float] = {}
    complaints = []
    for text in given:
        symbol, equals, value = text.partition("=")
        if symbol.strip() in found:
            complaints.append(f"--at {text}: {symbol.strip()} is given twice. Give one value.")
        try:
            found[symbol.strip()] = read_number(value)
        except NumberError as error:
            what = str(error) if equals else "it has no =."
            complaints.append(f"--at {shown(text)}: {what} Example: --at N=1e9.")
    if complaints:
        raise ConfigError(complaints, subject="command")
    return found


def _answer(law: Law, inputs: dict[str, float]) -> str:
    """The law's value, and where it leaves its range, below its explanation."""
    from glassformer.scaling.laws.explaining import number

    value = law(**inputs)
    at = ", ".join(f"{symbol} = {number(each)}" for symbol, each in inputs.items())
    if not math.isfinite(value):
        raise ConfigError(
            f"{law.name} gives no {law.output[0]} at {at}: its formula has no finite value.", subject="law"
        )
    listed = [f"{law.output[0]} = {value:.5g} {law.output[1]}   at {at}"]
    listed += [f"  extrapolated: {complaint}" for complaint in law.outside(**inputs)]
    return "\n\n" + "\n".join(listed)


def _list() -> None:
    """Two lines for each law: its name and formula, and what it says, for which N, from where."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from glassformer.cli.terminal import Terminal
    from glassformer.scaling.laws.explaining import in_numbers
    from glassformer.scaling.laws.known import GROUPS, LAWS

    console = Terminal()
    width = max(map(len, LAWS))
    for title, laws in GROUPS.items():
        console.print(Text(title, "bold"))
        table = Table.grid(padding=(0, 2))
        table.add_column(min_width=width, no_wrap=True)
        table.add_column()
        for law in laws:
            counted = f"; N is {law.counting}" if law.counting else ""
            table.add_row(Text(law.name), Text(in_numbers(law).partition(";")[0]))
            table.add_row("", Text(f"{law.title}{counted}", "dim"))
        console.print(Padding(table, (0, 0, 1, 2)))
    console.print("glassformer scale laws NAME explains one; --at N=1e9 computes it.", style="italic")


def _corrections() -> None:
    from glassformer.scaling.laws.notes import CORRECTIONS

    for correction in CORRECTIONS:
        emit(f"{correction}\n   glassformer scale laws {correction.wrong.name}")
