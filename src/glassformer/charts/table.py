"""A table as a figure of the page: real HTML that a screen reader walks through, sorted by any column.

    Table(
        [Header("variant", align="left"), Header("difference")],
        [[Cell("residual=none", href="opened/residual.html"), Cell("+0.041", 0.0412)]],
        title="Paired differences",
    )

The same cells are written as Markdown, and drawn as a static picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from glassformer.charts.figures import Figure
from glassformer.charts.theme import find_theme

LETTER, LINE, GAP = 7.2, 26, 24  # CSS pixels of the static picture: a character's width, a row, between columns


@dataclass(frozen=True)
class Header:
    """The head of a column. Words stand at the left, numbers at the right."""

    text: str
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Cell:
    """What stands in a cell.

    Attributes:
        value: what the column is sorted by; the text unless given. Cells without a value among numbers come last.
        href: where the text leads to: a place beside the page, its path quoted.
    """

    text: str
    value: float | None = None
    href: str | None = None


class Table(Figure):
    """Rows of cells under headers; the first cell of a row names it.

    Args:
        headers: of the columns.
        rows: each with a cell for every column; a text is a cell that holds only it.
        title: the heading.
        sortable: whether the reader may order the rows by a column.
        description: one or two sentences that say what is in the table, for readers and screen readers.
        narrow: whether half the page's width is enough.
    """

    component: ClassVar[str] = "table"
    scripts: ClassVar[tuple[str, ...]] = ("table.js", "table.css")

    def __init__(
        self,
        headers: Sequence[Header],
        rows: Sequence[Sequence[Cell | str]],
        *,
        title: str,
        sortable: bool = False,
        description: str = "",
        narrow: bool = False,
    ) -> None:
        self.headers = list(headers)
        self.rows = [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        assert all(len(row) == len(self.headers) for row in self.rows), f"{title!r}: rows of {len(self.headers)} cells"
        assert all(_leads_beside(cell.href) for row in self.rows for cell in row), f"{title!r}: a link leads away"
        self.title, self.description = title, description
        self.sortable, self.narrow = sortable, narrow
        self.height = 60 + 38 * len(self.rows)

    def data(self) -> dict[str, Any]:
        """``headers``: [text, align]; ``rows``: cells [text, value, href]."""
        return {
            "headers": [[header.text, header.align] for header in self.headers],
            "rows": [[[cell.text, cell.value, cell.href] for cell in row] for row in self.rows],
            "sortable": self.sortable,
            "label": self.title,
        }

    def markdown(self) -> str:
        """The table in GitHub's Markdown, its links kept."""
        rules = ["---" if header.align == "left" else "---:" for header in self.headers]
        lines = [[escaped(header.text) for header in self.headers], rules]
        lines += [[_marked(cell) for cell in row] for row in self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def chart(self, *, theme: str = "light", frame: int = -1) -> Any:
        """The table as a picture: its words, and a rule under the head.

        Raises:
            ConfigError: there is no such theme.
        """
        import altair as alt

        look = find_theme(theme)
        words: dict[tuple[Literal["left", "right"], bool], list[dict[str, Any]]] = {}
        left = 0.0
        for index, header in enumerate(self.headers):
            column = [header.text, *(row[index].text for row in self.rows)]
            width = LETTER * max(map(len, column))
            at = left if header.align == "left" else left + width
            for line, text in enumerate(column):
                words.setdefault((header.align, line == 0), []).append(
                    {"x": at, "y": LINE * (line + 0.5), "text": text}
                )
            left += width + GAP
        width, height = left - GAP, LINE * (1 + len(self.rows))
        x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, width], nice=False))
        y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[height, 0], nice=False))
        layers = [
            alt.Chart({"values": values})
            .mark_text(
                align=align, fontSize=13, fontWeight=600 if head else 400, color=look.muted if head else look.text
            )
            .encode(x=x, y=y, text="text:N")
            for (align, head), values in words.items()
        ]
        rule = alt.Chart({"values": [{"y": LINE}]}).mark_rule(color=look.grid).encode(y=y)
        drawn = alt.layer(rule, *layers).properties(width=width, height=height, title=self.title)
        return drawn.configure(**look.config())


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a table's cell too."""
    for mark in ("\\", "|", "*", "_", "`", "[", "]", "<", ">", "#"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split("\n"))


def _marked(cell: Cell) -> str:
    text = escaped(cell.text)
    return text if cell.href is None else f"[{text}]({cell.href})"


def _leads_beside(href: str | None) -> bool:
    """A link within the page's own folder: without a scheme, a host or a way up."""
    return href is None or not (":" in href or href.startswith("/") or ".." in href.split("/"))
