"""Rows that repeat another one: a run copied is one run, and an interval from its copies would be too narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from glassformer.scaling.fits.points import Points, equal_rows
from glassformer.wording import counted

CHANCE = 0.5
"""Of the rows that share their sizes with another, the part whose losses may be equal by chance: as many as losses of
three digits make equal among a few seeds. Where more are, they are copies."""


def without_repeats(points: Points, *, labels: Sequence[str] | None = None) -> Points:
    """The points, each once, and a note of how many were left out.

    Rows of equal N, D, C, loss and unique tokens are one run. Rows of equal N and D with different losses are different
    seeds, and stay. So do equal rows whose ``labels`` [n] (of a run, of a seed) differ, where chance explains them:
    rounded losses of some seeds may agree, but not those of all.
    """
    sizes = [points.n, points.d, points.c, *([] if points.unique is None else [points.unique])]
    setting, row = equal_rows(sizes), equal_rows([*sizes, points.loss])
    repeats, sharing = (len(points) - int(codes.max()) - 1 for codes in (row, setting))
    if not repeats:
        return points
    chance = labels is not None and repeats <= CHANCE * sharing
    if chance:
        of_label = np.unique(np.array(labels, dtype=np.str_), return_inverse=True)[1]
        kept = np.unique(np.stack([row, of_label], axis=1), axis=0, return_index=True)[1]
    else:
        kept = np.unique(row, return_index=True)[1]
    left = len(points) - len(kept)
    notes = list(points.notes)
    if left:
        most = int(np.unique(row, return_counts=True)[1].max())
        notes.append(
            f"{counted(left, 'row')} of {len(points):,} {'repeats' if left == 1 else 'repeat'} another (the same N, D, "
            f"C and loss; a run is there up to {most} times), so {'it is' if left == 1 else 'they are'} left out. "
            f"{counted(len(kept), 'distinct run')} are left, and every interval is by these."
        )
    if chance and left < repeats:
        notes.append(
            f"{counted(repeats - left, 'row')} of the same sizes and (rounded) loss as another have another label: "
            "different seeds, which stay."
        )
    return replace(points[np.sort(kept)], notes=tuple(notes))
