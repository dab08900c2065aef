"""An alignment drawn in the terminal: source pieces across, target pieces down, a shade for each weight.

               ▁the  ▁small  ▁dog
    ▁der        ███   ·····   ···
    ▁kleine     ···   ▓▓▓▓▓   ░░░
    ▁Hund       ···   ·····   ███

Columns are measured in terminal cells, so that wide characters keep them straight. A grid wider than the terminal is
cut into several, one below the other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from torch import Tensor

SHADES = "·░▒▓█"
"""Weights around 0, 1/4, 1/2, 3/4 and 1."""

GAP = "  "
LEFT_TO_RIGHT_MARK = "\u200e"
NARROWEST = 3  # cells of a column, so that a shade is visible


def draw_alignment(alignment: Tensor, source: Sequence[str], target: Sequence[str], *, width: int = 80) -> str:
    """The grid as lines of text.

    Args:
        alignment: [T, S], weights from 0 to 1: how much target piece t looks at source piece s.
        source: S pieces; target: T pieces.
        width: cells of the terminal. A single column is drawn even where it does not fit.
    """
    assert alignment.shape == (len(target), len(source)), "a row for each target piece, a column for each source piece"
    across, down = [visible(piece) for piece in source], [visible(piece) for piece in target]
    margin = max([0, *map(cell_len, down)])
    grids = []
    for columns in _cut([max(NARROWEST, cell_len(piece)) for piece in across], width - margin):
        cells = [max(NARROWEST, cell_len(across[column])) for column in columns]
        heads = (_padded(across[column], room) for column, room in zip(columns, cells, strict=True))
        lines = [GAP.join([" " * margin, *_kept_in_order(heads)])]
        for piece, weights in zip(down, alignment[:, columns].tolist(), strict=True):
            shades = (_shade(weight) * room for weight, room in zip(weights, cells, strict=True))
            lines.append(GAP.join([*_kept_in_order([_padded(piece, margin)]), *shades]))
        grids.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(grids)


def pharaoh(alignment: Tensor) -> str:
    """The most probable source piece of each target piece as ``source-target`` pairs, counted from 0: ``0-0 2-1``."""
    if alignment.shape[1] == 0:
        return ""
    return " ".join(f"{source}-{target}" for target, source in enumerate(alignment.argmax(dim=1).tolist()))


def visible(piece: str) -> str:
    """A piece without what would move the cursor or show nothing at all."""
    shown = "".join(
        "�" if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") else character for character in piece
    )
    return shown if cell_len(shown) else f"U+{ord(shown[0]):04X}" if shown else "␣"


def _cut(widths: Sequence[int], room: int) -> list[list[int]]:
    """Column numbers in runs that fit beside each other, at least one column a run."""
    runs: list[list[int]] = [[]]
    used = 0
    for column, width in enumerate(widths):
        needed = len(GAP) + width
        if runs[-1] and used + needed > room:
            runs.append([])
            used = 0
        runs[-1].append(column)
        used += needed
    return runs


def _shade(weight: float) -> str:
    return SHADES[round(min(1.0, max(0.0, weight)) * (len(SHADES) - 1))]


def _padded(piece: str, width: int) -> str:
    return piece + " " * (width - cell_len(piece))


def _kept_in_order(pieces: Iterable[str]) -> list[str]:
    """The pieces, with marks around those that are written from right to left.

    A terminal that knows such scripts would otherwise turn several neighbours around as one text.
    """
    return [
        f"{LEFT_TO_RIGHT_MARK}{piece}{LEFT_TO_RIGHT_MARK}" if _is_right_to_left(piece) else piece for piece in pieces
    ]


def _is_right_to_left(piece: str) -> bool:
    return any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in piece)
