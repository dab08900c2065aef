"""Points out of files: a table with columns of the usual names, or the folders of our own runs."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glassformer.errors import ConfigError, DataError, RunError, nearest
from glassformer.scaling.fits.points import MEANING, Points, join, refusal
from glassformer.scaling.laws.law import Counting
from glassformer.scaling.laws.units import NUMBER, UNITS

if TYPE_CHECKING:  # they bring torch, which a table needs not
    from glassformer.runs.folder import Run
    from glassformer.studies.outcomes import Outcome

Row = dict[str, str]

NAMES = {
    "n": "n params parameters model_size n_params num_params n_parameters num_parameters model_params "
    "model_parameters total_params",
    "non-embedding n": "non_embedding_params non_embedding_parameters n_non_embedding params_non_embedding",
    "d": "d tokens training_tokens train_tokens n_tokens num_tokens tokens_trained tokens_seen total_tokens",
    "c": "c flop flops compute training_flop training_flops train_flops total_flops training_compute",
    "loss": "l loss final_loss val_loss validation_loss final_val_loss final_validation_loss eval_loss test_loss",
    "run": "run run_id run_name",
    "unique": "u unique unique_tokens n_unique_tokens",
}
"""Names of columns by what they hold, in lower case with underscores."""
MANY = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12, "thousand": 1e3, "million": 1e6, "billion": 1e9}
MANY |= {"trillion": 1e12, "g": 1e9, "tokens": 1.0, "parameters": 1.0, "params": 1.0}
FACTORS = {
    "n": MANY,
    "d": MANY,
    "unique": MANY,
    "c": UNITS,
    "loss": {"": 1.0, "nats": 1.0, "nats/token": 1.0, "bits": math.log(2), "bits/token": math.log(2)},
}
"""What a unit is worth: in a column's name ("params (M)", "compute [PF-days]") or behind a number ("70M")."""

_NUMBER = re.compile(rf"{NUMBER}\s*(.*)", re.IGNORECASE)
KINDS = ("config", "configuration", "dataset", "experiment", "variant")
"""Columns that tell one sort of run from another, in lower case: what fits one sort need not fit all together."""
UTF8 = "Save the table as .csv, encoded in UTF-8."
FAR_FROM_6ND = 0.1
"""From this relative difference on, it is told that given FLOPs are not 6·N·D."""


# ------------------------------------------------------------------------------------------------- tables


@dataclass(frozen=True)
class Column:
    """A column of the file: its name there, and what its header says one of it is worth."""

    name: str
    factor: float = 1.0


def points_of_table(
    path: Path, *, columns: Mapping[str, str], where: Mapping[str, str], counting: Counting | None
) -> Points:
    """Points of a ``.csv`` or ``.tsv`` file, as :func:`glassformer.scaling.fits.points.read_points` says."""
    names, rows = _read_table(path)
    found, run_columns, complaints = _find_columns(names, columns, counting)
    for name in where:
        if name not in names:
            complaints.append(f"where names the column {name!r}, and there is none. {nearest(name, names)}")
    if complaints:
        raise DataError(refusal(str(path), complaints))
    chosen = {line: row for line, row in rows.items() if all(row[name] == text for name, text in where.items())}
    if not chosen:
        seen = "; ".join(f"{name} holds {_shown({row[name] for row in rows.values()})}" for name in where)
        raise DataError(refusal(str(path), [f"no row is left{': ' + seen if where else ', the file has none'}."]))
    values = {
        what: [_number(row[column.name], what, line, column, complaints) for line, row in chosen.items()]
        for what, column in found.items()
    }
    if complaints:
        raise DataError(refusal(str(path), complaints))
    non_embedding = "n" in found and _parted(found["n"].name)[0] in NAMES["non-embedding n"].split()
    return Points.of(
        **{what: values.get(what) for what in ("n", "d", "loss", "c", "unique")},
        run=[" · ".join(row[name] for name in run_columns) for row in chosen.values()] if run_columns else None,
        counting=counting or ("non-embedding" if non_embedding else "total"),
        source=str(path),
        rows=[f"line {line}" for line in chosen],
        notes=[*_notes_of_kinds(names, run_columns, chosen.values()), *_notes(values)],
    )


def _read_table(path: Path) -> tuple[list[str], dict[int, Row]]:
    """The names of the columns, and the rows by the number of their line in the file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=header.count))
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise DataError(f"{path} cannot be read as a table: {why}. Give a .csv file, or a folder of runs.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as a table: it is no text in UTF-8. {UTF8}") from error
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table: {error}. Give a .csv file, or a folder of runs.") from error
    if "\0" in header:
        raise DataError(f"{path} cannot be read as a table: it is a binary file. {UTF8}")
    if not lines:
        raise DataError(f"{path} is empty. Give a .csv file whose first line names the columns.")
    (_, names), *rows = lines
    complaints = [f"two columns are called {name!r}." for name in sorted({n for n in names if names.count(n) > 1})]
    for line, cells in rows:
        if len(cells) != len(names):
            complaints.append(f"line {line} has {len(cells)} cells, and there are {len(names)} columns.")
    if complaints:
        raise DataError(refusal(str(path), complaints))
    return names, {line: dict(zip(names, cells, strict=True)) for line, cells in rows}


def _find_columns(
    names: Sequence[str], columns: Mapping[str, str], counting: Counting | None
) -> tuple[dict[str, Column], list[str], list[str]]:
    """The column of each quantity, those that name the run, and what is wrong."""
    complaints: list[str] = []
    asked = {{"l": "loss"}.get(what.lower(), what.lower()): name for what, name in columns.items()}
    runs = [name.strip() for name in asked.pop("run", "").split(",") if name.strip()]
    complaints += [f"columns names {name!r}, and there is no such column. {nearest(name, names)}"
                   for name in [*asked.values(), *runs] if name not in names]  # fmt: skip
    complaints += [f"columns knows no {what!r}. {nearest(what, [*MEANING, 'run'])}"
                   for what in asked if what not in MEANING]  # fmt: skip
    chosen = {what: name for what, name in asked.items() if what in MEANING and name in names}
    order = sorted(NAMES, key=lambda what: what != "non-embedding n" if counting == "non-embedding" else False)
    for what in order:  # of two columns for N, the total unless the other is asked for
        quantity = what.removeprefix("non-embedding ")
        if quantity in chosen or quantity in asked or (quantity == "run" and runs):
            continue
        fitting = [name for name in names if _parted(name)[0] in NAMES[what].split()]
        if len(fitting) > 1:
            complaints.append(
                f"{_shown(fitting)} may each be {MEANING.get(quantity, 'the run')}: name one in columns "
                f"(--columns {quantity.upper() if quantity in 'ndc' else quantity}={fitting[0]})."
            )
        elif fitting and quantity == "run":
            runs = fitting
        elif fitting:
            chosen[quantity] = fitting[0]
    twice = {name: [what for what in chosen if chosen[what] == name] for name in chosen.values()}
    complaints += [f"{name!r} is taken for {' and for '.join(MEANING[what] for what in whats)}; it can be one of them."
                   for name, whats in twice.items() if len(whats) > 1]  # fmt: skip
    if not complaints and ("loss" not in chosen or len(chosen.keys() & {"n", "d", "c"}) < 2):
        missing = [MEANING[what] for what in ("n", "d", "c", "loss") if what not in chosen]
        complaints.append(
            f"no column is known to be {', '.join(missing)}; the loss and two of N, D and C are needed. "
            f"The columns are {_shown(names)}: say which is which in columns (--columns loss=NAME)."
        )
    return {what: _column(what, name, complaints) for what, name in chosen.items()}, runs, complaints


def _column(what: str, name: str, complaints: list[str]) -> Column:
    """A column with the unit that its name says in brackets; an unknown unit is complained of."""
    factor = _factor(_parted(name)[1], what)
    if factor is None:
        units = ", ".join(filter(None, FACTORS[what]))
        complaints.append(f"the unit in {name!r} is none of {MEANING[what]}. Known: {units}.")
    return Column(name, factor or 1.0)


def _parted(name: str) -> tuple[str, str]:
    """A column's plain name, and the unit in brackets behind it.

    >>> _parted("Model Size (M)")
    ('model_size', 'M')
    """
    matched = re.fullmatch(r"(.*?)\s*[\[(]([^\])]*)[\])]\s*", name)
    plain, unit = (matched[1], matched[2]) if matched else (name, "")
    return re.sub(r"[\s\-./]+", "_", plain.strip().casefold()), unit


def _factor(unit: str, quantity: str) -> float | None:
    """What one of a unit is worth; None if it is no unit of this quantity."""
    return FACTORS[quantity].get(unit.strip().casefold().replace(" ", "-" if quantity == "c" else ""))


def _number(text: str, what: str, line: int, column: Column, complaints: list[str]) -> float:
    """The number of a cell, which may have a unit behind it. What cannot be one is complained of."""
    matched = _NUMBER.fullmatch(text)
    factor = None if matched is None else _factor(matched[2], what)
    if matched is not None and factor is not None:
        return float(matched[1].replace(",", "").replace("_", "")) * factor * column.factor
    try:
        return float(text)  # "nan" and "inf" are numbers, if of no use: they are refused as such
    except ValueError:
        complaints.append(f"line {line}: {MEANING[what]} is {text!r}; expected a number.")
        return math.nan


def _notes_of_kinds(names: Sequence[str], run_columns: Sequence[str], rows: Collection[Row]) -> list[str]:
    """That several sorts of runs were read together."""
    kinds = {name: {row[name] for row in rows} for name in names if name.casefold() in KINDS}
    return [
        f"The column {name!r} holds {len(found)} different values, and all were read: choose one with where."
        for name, found in kinds.items()
        if len(found) > 1 and name not in run_columns
    ]


def _notes(numbers: Mapping[str, Sequence[float]]) -> list[str]:
    """What was assumed of a table."""
    if not numbers.keys() >= {"n", "d", "c"}:
        missing = next(what for what in "ndc" if what not in numbers).upper()
        return [f"{missing} is not in the table; it is computed by C = 6·N·D."]
    with np.errstate(all="ignore"):  # what is not above 0 is refused later
        ratio = np.array(numbers["c"]) / (6 * np.array(numbers["n"]) * np.array(numbers["d"]))
    if np.all(np.abs(ratio - 1) < FAR_FROM_6ND):
        return []
    return [f"The FLOPs of the table are {ratio.min():.3g} to {ratio.max():.3g} times 6·N·D."]


def _shown(names: Sequence[str] | set[str]) -> str:
    listed = [repr(name) for name in (sorted(names) if isinstance(names, set) else names)]
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")


# ------------------------------------------------------------------------------------------------- our runs


def points_of_runs(path: Path, *, counting: Counting, curves: bool) -> Points:
    """Points of a run, a folder of runs, a study, or a folder of studies, as ``read_points`` says.

    N is exact, of the model's configuration; D the tokens predicted in training; C the trainer's own count of training
    FLOPs, attention included, so that it is more than 6·N·D for a small model; the loss that of the last validation.
    """
    parts, left_out, data = [], [], set()
    for label, run, outcome in _endings(path):
        if run is None or outcome is None:
            left_out.append(f"{label} is left out: it has not ended.")
        elif outcome.status != "finished":
            reason = outcome.reason.split(". ")[0].removesuffix(".")  # what happened; what to do about it is behind
            left_out.append(f"{label} is left out: it {outcome.status} ({reason}).")
        else:
            parts.append(_points_of_run(run, label, outcome, counting, curves=curves))
            data.add(str(run.config["data"]))
    if not parts:
        what = left_out or ["there is no run in it; give a .csv file, a run's folder, a folder of runs or a study's."]
        raise DataError(refusal(str(path), what))
    if len(data) > 1:
        left_out.append(f"The runs have {len(data)} different settings of data, so their losses may not be comparable.")
    return join(parts, source=str(path), notes=left_out)


def _endings(path: Path) -> Iterator[tuple[str, Run | None, Outcome | None]]:
    """Every run in a folder: a label that no other has, its folder, and how it ended, if it did."""
    from glassformer.runs.folder import Run, list_runs
    from glassformer.runs.seal import CONFIG
    from glassformer.studies.folder import STUDY, Study, list_studies
    from glassformer.studies.outcomes import read_outcome

    if (path / STUDY).is_file():
        study = Study.open(path)
        for planned in study.plan:
            outcome = study.outcome(planned)
            run = Run.open(outcome.run) if outcome is not None and outcome.run is not None else None
            if outcome is not None and outcome.status == "finished" and run is None:
                raise RunError(f"The run {planned.slot} of {study.name} ended, and its folder is gone.")
            yield f"{planned.variant}, seed {planned.seed}", run, outcome
        return
    for folder in [path] if (path / CONFIG).is_file() else list_runs(path):
        run = Run.open(folder)
        seed = run.config.get("training", {}).get("seed", 0)
        yield f"{run.name}, seed {seed}", run, read_outcome(run, run.name, seed)
    for inner in list_studies(path):
        for label, of_study, outcome in _endings(inner):
            yield f"{inner.name}: {label}", of_study, outcome


def _points_of_run(run: Run, label: str, outcome: Outcome, counting: Counting, *, curves: bool) -> Points:
    """The end of a run as a point; with ``curves``, its validations before as well."""
    from glassformer.models.formulas import parameters
    from glassformer.training.session import run_config

    try:
        counts = parameters(run_config(run).model)
    except ConfigError as error:
        raise RunError(f"The configuration of {run.path} cannot be read: {error}") from error
    trained = [record for record in run.metrics() if record.get("kind") == "train"]
    validations = [(step, loss) for step, loss in zip(outcome.curve.steps, outcome.curve.losses, strict=True)
                   if step > 0 and loss is not None]  # fmt: skip
    if not trained or not validations:
        raise RunError(f"The run {run.path} kept no record of its training: it cannot be a point.")
    steps, losses = zip(*(validations if curves else validations[-1:]), strict=True)
    d = np.array([_tokens_at(step, trained) for step in steps])
    n = counts.total if counting == "total" else counts.matrices
    epoch = max((record["tokens"] / record["epoch"] for record in trained if record.get("epoch")), default=math.inf)
    return Points.of(
        n=np.full(len(d), float(n)),
        d=d,
        loss=losses,
        c=d * _flops_per_token(run, trained),
        run=[label] * len(d),
        unique=np.minimum(d, epoch) if d[-1] > epoch else None,
        counting=counting,
        source=str(run.path),
    )


def _tokens_at(step: int, trained: Sequence[Mapping[str, float]]) -> float:
    """Tokens predicted by a step: recorded, or on the line through the records beside it.

    That is exact where all batches are of one size, as those of a text are.
    """
    known = [(0.0, 0.0), *((record["step"], record["tokens"]) for record in trained)]
    lines = list(pairwise(known))
    (step_0, tokens_0), (step_1, tokens_1) = next((line for line in lines if step <= line[1][0]), lines[-1])
    return tokens_0 + (tokens_1 - tokens_0) * (step - step_0) / (step_1 - step_0)


def _flops_per_token(run: Run, trained: Sequence[Mapping[str, float]]) -> float:
    """Training FLOPs for a token predicted: of a text by formula, of other data as the trainer counted them."""
    from glassformer.data.config import DataConfig
    from glassformer.models.formulas import flops_per_token
    from glassformer.training.session import run_config

    config = run_config(run)
    if isinstance(config.data, DataConfig):
        return float(flops_per_token(config.model, config.seq_len).training)
    rates = [record["flops_per_second"] / record["tokens_per_second"] for record in trained
             if record["tokens_per_second"] > 0]  # fmt: skip
    if not rates:
        raise RunError(f"The run {run.path} kept no rates, from which its FLOPs would follow.")
    return rates[-1]
