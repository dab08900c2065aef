"""Training runs as a scaling law sees them: how large, how long, at what cost, and the loss at the end.

    Points.of(n=[1e6, 2e6], d=[2e7, 4e7], loss=[4.1, 3.8])          from numbers
    read_points(Path("runs.csv"))                                   from a table or our own runs (``reading.py``)

N, D and the training compute C are tied by C = 6·N·D (Kaplan et al. 2020, section 2.1), so two of them suffice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from glassformer.errors import DataError
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN, Counting

Array = npt.NDArray[np.float64]
Given = npt.ArrayLike | None
"""Numbers that may be left out."""
Labels = npt.NDArray[np.str_]

LISTED = 20
"""Complaints that a message lists; the rest are counted."""

LEAST, LARGEST = 1e-60, 1e60
"""Of any column: far from every training, and their products and powers are still numbers."""

MEANING = {
    "n": "parameters N",
    "d": "training tokens D",
    "c": "training FLOPs C",
    "loss": "the loss",
    "unique": "unique tokens U",
}


@dataclass(frozen=True, eq=False)
class Points:
    """Training runs as a scaling law sees them, one row each. All arrays are read-only, float64 [n].

    :meth:`of` makes and checks them. ``len(points)`` is the number of rows; ``points[mask]`` or ``points[indices]``
    are some of them, the same row as often as it is asked for.
    """

    n: Array
    """Parameters N, counted as ``counting`` says."""
    d: Array
    """Training tokens D, repeated ones included."""
    loss: Array
    """Nats per token."""
    c: Array
    """Training FLOPs; 6·N·D unless they were given."""
    run: Labels
    """[n] labels. Rows of one training run share theirs: they are not independent, and a bootstrap draws them together.
    """
    unique: Array | None = None
    """Unique tokens U of repeated data; None where no token was seen twice."""
    counting: Counting = "total"
    source: str = ""
    """Where the points are from: a file, a folder."""
    notes: tuple[str, ...] = ()
    """What a reader of a fit should know of its points, a sentence each: what was left out, what was assumed."""

    def __post_init__(self) -> None:
        for name in ("n", "d", "loss", "c", "run", "unique"):
            values = getattr(self, name)
            assert values is None or values.shape == (len(self.n),), f"{name} is shaped {values.shape}"
            if values is not None:
                values.flags.writeable = False

    @classmethod
    def of(
        cls,
        n: Given = None,
        d: Given = None,
        loss: Given = None,
        *,
        c: Given = None,
        run: Sequence[object] | npt.NDArray[Any] | None = None,
        unique: Given = None,
        counting: Counting = "total",
        source: str = "",
        notes: Sequence[str] = (),
        rows: Sequence[str] | None = None,
    ) -> Self:
        """Points from columns of numbers, checked.

        Args:
            n, d, c: two of them, or all three; the third from C = 6·N·D.
            loss: nats per token.
            run: labels of training runs; each distinct row is a run of its own unless given.
            unique: unique tokens, where data were repeated: at most D.
            rows: what complaints call the rows, "row 1" to "row n" unless given.

        Raises:
            DataError: with every complaint: a column is missing or of another length, there are no rows, a number is
                not finite or not above 0.
        """
        given = {"n": n, "d": d, "c": c, "loss": loss, "unique": unique}
        columns = {name: _column(values) for name, values in given.items() if values is not None}
        labels = None if run is None else np.array([str(label) for label in run], dtype=np.str_)
        complaints = _complaints_of_shape(columns, labels)
        if not complaints:
            length = len(columns["loss"])
            rows = [f"row {i + 1}" for i in range(length)] if rows is None else list(rows)
            assert len(rows) == length, f"{len(rows)} names for {length} rows"
            complaints = _complaints_of_values(columns, rows)
        if complaints:
            raise unusable(source, complaints)
        assert rows is not None
        _complete(columns)
        if labels is None:  # a row and its copies are one run
            same = equal_rows(list(columns.values()))
            labels = np.array(rows, dtype=np.str_)[np.unique(same, return_index=True)[1]][same]
        return cls(**columns, run=labels, counting=counting, source=source, notes=tuple(notes))

    def __len__(self) -> int:
        return len(self.n)

    def __getitem__(self, chosen: npt.ArrayLike | slice) -> Self:
        """Some of the rows: a mask [n], indices, or a slice. The notes stay."""
        at = chosen if isinstance(chosen, slice) else np.atleast_1d(np.asarray(chosen))
        arrays = {name: getattr(self, name)[at] for name in ("n", "d", "loss", "c", "run")}
        return replace(self, **arrays, unique=None if self.unique is None else self.unique[at])

    @property
    def clusters(self) -> npt.NDArray[np.intp]:
        """[n] the number of each row's run, 0 to (number of runs − 1), in the order in which runs first appear."""
        _, first, codes = np.unique(self.run, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[codes]

    def to_rows(self) -> list[dict[str, float | str]]:
        """A mapping for each row, as JSON or a CSV can hold it."""
        columns: dict[str, list[Any]] = {name: getattr(self, name).tolist() for name in ("run", "n", "d", "c", "loss")}
        if self.unique is not None:
            columns["unique"] = self.unique.tolist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def join(parts: Sequence[Points], *, source: str = "", notes: Sequence[str] = ()) -> Points:
    """The rows of all ``parts``, in order, and their notes, each once; ``notes`` come first.

    Raises:
        DataError: there are none, or they count parameters differently.
    """
    if not parts:
        raise unusable(source, ["there are none."])
    if len({part.counting for part in parts}) > 1:
        raise unusable(source, ["some count all parameters, some leave the embeddings out; recount one kind."])
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("n", "d", "loss", "c", "run")}
    repeated = any(part.unique is not None for part in parts)
    uniques = [part.d if part.unique is None else part.unique for part in parts]
    all_notes = dict.fromkeys([*notes, *(note for part in parts for note in part.notes)])
    return Points(
        **arrays,
        unique=np.concatenate(uniques) if repeated else None,
        counting=parts[0].counting,
        source=source,
        notes=tuple(all_notes),
    )


# ------------------------------------------------------------------------------------------------- checking


def _column(values: npt.ArrayLike) -> Array:
    return np.array(values, dtype=np.float64)  # a copy: it is made read-only


def _complaints_of_shape(columns: Mapping[str, Array], run: Labels | None) -> list[str]:
    """What is missing, and what does not fit together."""
    complaints = []
    if "loss" not in columns:
        complaints.append("the loss is missing.")
    missing = [name for name in ("n", "d", "c") if name not in columns]
    if len(missing) > 1:
        listed = " and ".join(MEANING[name] for name in missing)
        complaints.append(f"{listed} are missing: two of N, D and C are needed, the third follows from C = 6·N·D.")
    sizes = {name: values.shape for name, values in columns.items()} | ({} if run is None else {"run": run.shape})
    if len(set(sizes.values())) > 1 or any(len(shape) != 1 for shape in sizes.values()):
        listed = ", ".join(f"{name} {list(shape)}" for name, shape in sizes.items())
        complaints.append(f"the columns must all have one number a row; their shapes are {listed}.")
    elif set(sizes.values()) == {(0,)}:
        complaints.append("there are no rows.")
    return complaints


def _complaints_of_values(columns: Mapping[str, Array], rows: Sequence[str]) -> list[str]:
    """Numbers that no law can use, row by row."""
    complaints = []
    for i, row in enumerate(rows):
        for name, values in columns.items():
            if not (np.isfinite(values[i]) and values[i] > 0):
                complaints.append(f"{row}: {MEANING[name]} is {values[i]:g}; expected a finite number above 0.")
            elif not LEAST < values[i] < LARGEST:
                complaints.append(f"{row}: {MEANING[name]} is {values[i]:g}; no law can be computed with it.")
        if "unique" in columns and "d" in columns and columns["unique"][i] > columns["d"][i]:
            unique, d = columns["unique"][i], columns["d"][i]
            complaints.append(f"{row}: {unique:g} unique tokens are more than the {d:g} trained on.")
    return complaints


def equal_rows(columns: Sequence[Array]) -> npt.NDArray[np.intp]:
    """[n] a number from 0 for each row: the same for rows whose numbers agree in all columns, to nine digits."""
    parts = [part for values in columns for part in np.frexp(values)]
    rounded = np.round(np.stack([np.asarray(part, dtype=np.float64) for part in parts], axis=1), 9)
    return np.unique(rounded, axis=0, return_inverse=True)[1].ravel()


def _complete(columns: dict[str, Array]) -> None:
    """Put in the third of N, D and C."""
    if "c" not in columns:
        columns["c"] = FLOPS_PER_PARAMETER_AND_TOKEN * columns["n"] * columns["d"]
    elif "d" not in columns:
        columns["d"] = columns["c"] / (FLOPS_PER_PARAMETER_AND_TOKEN * columns["n"])
    elif "n" not in columns:
        columns["n"] = columns["c"] / (FLOPS_PER_PARAMETER_AND_TOKEN * columns["d"])


def unusable(source: str, complaints: Sequence[str]) -> DataError:
    """An error with every complaint, or with the first of them and how many more there are."""
    subject = f"The points of {source}" if source else "The points"
    if len(complaints) == 1:
        return DataError(f"{subject} cannot be used: {complaints[0]}")
    lines = [f"  - {complaint}" for complaint in complaints[:LISTED]]
    if len(complaints) > LISTED:
        lines.append(f"  - and {len(complaints) - LISTED} more.")
    return DataError(f"{subject} cannot be used, for {len(complaints)} reasons:\n" + "\n".join(lines))
