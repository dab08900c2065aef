"""``fit.json``: a fit that other commands and other people's programs can read.

It holds the points, the formula, the objective and the seed, from which the fit and its bootstrap are made again to the
last digit; and beside them the results themselves, with their circumstances. :func:`read_fit` makes the fit again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glassformer.charts.export import write
from glassformer.errors import DataError
from glassformer.scaling.fits.best_size import exponent
from glassformer.scaling.fits.findings import AtBudget, Findings
from glassformer.scaling.fits.fit_formula import Formula
from glassformer.scaling.fits.fitting import Fit
from glassformer.scaling.fits.fitting import fit as fit_points
from glassformer.scaling.fits.formulas import FORMULAS
from glassformer.scaling.fits.formulas import formula as formula_of
from glassformer.scaling.fits.objectives import Absolute, Huber, Objective, Squares
from glassformer.scaling.fits.points import Points

KIND = "glassformer fit"
ADVICE = "Give the .json file that glassformer scale fit writes."
OBJECTIVES: dict[str, type[Objective]] = {kind.name: kind for kind in (Huber, Absolute, Squares)}


@dataclass(frozen=True, eq=False)
class SavedFit:
    """A fit made again from its file.

    Attributes:
        draws, seed: of its bootstrap: ``bootstrap(saved.fit, draws=saved.draws, seed=saved.seed)`` is the same.
        target: FLOPs that it was extrapolated to.
    """

    fit: Fit
    draws: int
    seed: int
    target: float


def write_fit(found: Findings, path: Path, *, draws: int, facts: Mapping[str, str]) -> Path:
    """Write the file and return its path.

    Raises:
        DataError: the place cannot be written to.
    """
    text = json.dumps(to_dict(found, draws=draws, facts=facts), indent=1, ensure_ascii=False, allow_nan=False)
    return write(path, f"{text}\n".encode(), what="fit")


def read_fit(path: Path) -> SavedFit:
    """The fit of a file, made again.

    Raises:
        DataError: it cannot be read, or is no fit.
    """
    if path.exists() and not path.is_file():  # a pipe may never end
        raise DataError(f"{path} is not a regular file. {ADVICE}")
    try:
        return _saved_fit(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. {ADVICE}") from error
    except DataError as error:
        raise DataError(f"{path} is no fit of glassformer: {error} {ADVICE}") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path} is no fit of glassformer ({type(error).__name__}: {error}). {ADVICE}") from error


def _saved_fit(tree: Any) -> SavedFit:
    """The fit that a file's JSON holds. Raises what Python raises where something else is there."""
    if isinstance(tree, list):
        raise DataError("it is a list, as a table of runs is: glassformer scale fit makes one of it.")
    if tree["kind"] != KIND:
        raise DataError(f"it is {tree['kind']!r}, not {KIND!r}.")
    rows, objective = tree["points"]["rows"], dict(tree["objective"])
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    points = Points.of(**columns, counting=tree["points"]["counting"], source=tree["points"]["source"])
    kind = OBJECTIVES[objective.pop("name")]
    fitted = fit_points(points, _formula(tree["formula"]), kind(**objective))
    draws, seed = int(tree["bootstrap"]["draws"]), int(tree["bootstrap"]["seed"])
    return SavedFit(fitted, draws, seed, float(tree["target"]))


@np.errstate(all="ignore")
def to_dict(found: Findings, *, draws: int, facts: Mapping[str, str]) -> dict[str, Any]:
    """Everything that was found, as JSON holds it: intervals as [low, high], 95 %; losses in nats per token; what is
    not finite as None.
    """
    fit, resampled = found.fit, found.bootstrap
    errors = resampled.standard_errors
    tree = {
        "kind": KIND,
        "formula": {"name": fit.formula.name, "text": fit.formula.text, "fixed": {**fit.formula.fixed}},
        "objective": {"name": fit.objective.name, **asdict(fit.objective)},
        "parameters": {
            name: {"value": value, "standard_error": errors[name], "interval": [*resampled.interval(name)]}
            for name, value in fit.parameters.items()
        },
        "minimum": {
            "objective": fit.minimum,
            "mean": fit.mean,
            "gradient_norm": fit.gradient_norm,
            "starts": fit.starts.tried,
            "agreeing": fit.starts.agreeing,
            "second_best": fit.starts.second_best,
            "condition": float(fit.condition),
        },
        "unidentified": [direction.sentence for direction in resampled.unidentified],
        "target": found.target,
        "best": _at(found.best)
        | {"exponent": None if found.best.ratio is None else exponent(fit.predict, found.target)},
        "back_test": {
            "sentence": found.back_test.sentence(),
            "slope": found.back_test.slope,
            "covered": found.back_test.covered if found.back_test.steps else None,
            "horizon": found.back_test.horizon,
        },
        "influential": [
            {"row": i, "run": str(fit.points.run[i]), "loss": float(fit.points.loss[i])} for i in found.influential
        ],
        "dropped": [*found.dropped],
        "isoflop": None
        if found.isoflop is None
        else {
            "minima": [
                {"compute": each.compute, "parameters": each.parameters, "loss": each.loss, "error": each.error}
                for each in found.isoflop.minima
            ],
            "exponent": None if found.isoflop.parameters_law is None else found.isoflop.parameters_law.exponent,
            "notes": [*found.isoflop.notes],
        },
        "sensitivity": []
        if found.sensitivity is None
        else [asdict(each) | {"ratio": each.ratio} for each in found.sensitivity.alternatives],
        "bootstrap": {
            "draws": draws,
            "used": len(resampled.parameters),
            "runs": resampled.runs,
            "seed": resampled.seed,
        },
        "points": {
            "counting": fit.points.counting,
            "source": fit.points.source,
            "notes": [*fit.points.notes],
            "rows": fit.points.to_rows(),
        },
        "circumstances": dict(facts),
    }
    return {name: _finite(branch) for name, branch in tree.items()}


def _finite(tree: Any) -> Any:
    """The same with None for each number that JSON has no word for, as the condition of a fit that leaves one open."""
    if isinstance(tree, Mapping):
        return {name: _finite(branch) for name, branch in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(branch) for branch in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _at(at: AtBudget) -> dict[str, Any]:
    return asdict(at) | {"ratio": at.ratio}


def _formula(saved: Mapping[str, Any]) -> Formula:
    """By its name where that is one of ours, else as it was stated; older files have no constants."""
    return formula_of(saved["name"] if saved["name"] in FORMULAS else saved["text"], saved.get("fixed"))
