"""Points from a file or a folder.

read_points(Path("runs.csv"))                                   a table (``reading_points.py``)
read_points(Path("studies/ladder-20250131-235959"))             our own runs (``reading_runs.py``)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from glassformer.errors import DataError
from glassformer.numbers import Mark
from glassformer.scaling.fits.points import Points
from glassformer.scaling.fits.reading_points import points_of_table
from glassformer.scaling.fits.reading_runs import points_of_runs
from glassformer.scaling.laws.law import Counting


def read_points(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, str] | Sequence[str] | None = None,
    counting: Counting | None = None,
    curves: bool = False,
    decimal: Mark | None = None,
    implausible: bool = False,
) -> Points:
    """The points of a table or of our own runs.

    Args:
        path: a file: .csv, .tsv, .json (a list of objects) or .jsonl, gzipped or not; or a run's folder, a folder of
            runs, or a study's folder.
        columns: of a table, which column holds what: ``{"n": "Model Size", "loss": "val"}``; the others are recognised
            by their names. A unit may stand behind: ``{"n": "Model Size (M)"}``. Of ``run`` several may be named,
            separated by commas: rows that agree in all are one run.
        where: of a table, only rows that hold this text: ``{"config": "rw/base/long/kaplan/kaplan/train"}``; or that
            meet conditions: ``["N>1e7", "name!=x", "loss!="]`` (the last: whose loss is not missing).
        counting: what N counts: "total" unless given (of a table: or its column says "non-embedding").
        curves: of our runs, a row for each validation along the way too, under its run's label; as a scaling law's
            point only a run that has ended is what it seems, since its learning rate was to fall until then.
        decimal: of a table, its decimal mark; unless given it is found from the cells, and an error where they leave
            it open.
        implausible: of a table, take numbers that no training has, such as 18.79 parameters, for right.

    Rows that repeat another are left out, and a note says so.

    Raises:
        DataError: it cannot be read, a column is not recognised, or there is nothing to use, for every reason.
        RunError: a run's files are damaged.
    """
    path = Path(path)
    if not _is_folder(path):
        if curves:
            raise DataError(f"{path} is no folder of runs: curves=True has no effect on a table. Leave it out.")
        return points_of_table(
            path,
            columns=columns or {},
            where=where or (),
            counting=counting,
            decimal=decimal,
            implausible=implausible,
        )
    if columns or where or decimal or implausible:
        raise DataError(
            f"{path} is a folder of runs, with no columns to choose from. Leave columns, where, decimal and "
            "implausible out."
        )
    return points_of_runs(path, counting=counting or "total", curves=curves)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name too long, or with a NUL: whoever opens it says so
        return False
