"""What would another choice have said? The fit made again, with one choice changed at a time.

    objective   Huber with other δ, least absolute deviation, least squares, the asymmetric one of kyo-takano's package
    points      without those that move the fit most; without the cheapest quarter
    formula     every formula of N and D that has an optimum
    counting    N without the embeddings, by Pearce & Song 2024 (arXiv 2406.12907, eq. 2)
    method      the lowest points of IsoFLOP curves, and the power law through them

A result that moves little from row to row can be trusted further than its own interval says; one that moves a lot
cannot be trusted as far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from glassformer.errors import GlassformerError
from glassformer.scaling.fits.best_size import best_size, exponent
from glassformer.scaling.fits.points import Points
from glassformer.scaling.laws.law import FLOPS_PER_PARAMETER_AND_TOKEN
from glassformer.scaling.wording import large

if TYPE_CHECKING:
    from glassformer.scaling.fits.fit_formula import Formula
    from glassformer.scaling.fits.fitting import Fit
    from glassformer.scaling.fits.isoflop import IsoFlops
    from glassformer.scaling.fits.objectives import Objective

DELTAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
SMALLEST = 0.25
"""Of the points, by compute: a law that bends says something else without them."""

OTHER_FORMULAS = {"one exponent: E + A/N^α + B/D^α": "E + A/N**alpha + B/D**alpha"}
"""Formulas of N and D besides Hoffmann's. Those without a floor are not among them: the longer the runs, the worse they
fit, and what they say of large budgets is only that."""


@dataclass(frozen=True)
class Alternative:
    """One choice, and what it says of the target.

    Attributes:
        group: which choice was changed: objective, points, formula, counting, method; "as chosen" for none.
        made: whether it is the fit itself.
        parameters, tokens: the best N and D at the target; N counts all parameters. None where there is none.
        loss: expected there, nats per token.
        exponent: a of N ∝ C^a around the target.
        n_points: rows of the fit.
        missing: why there are no numbers.
    """

    group: str
    name: str
    made: bool = False
    parameters: float | None = None
    tokens: float | None = None
    loss: float | None = None
    exponent: float | None = None
    n_points: int = 0
    missing: str = ""

    @property
    def ratio(self) -> float | None:
        """Tokens for each parameter."""
        return None if self.parameters is None or self.tokens is None else self.tokens / self.parameters


@dataclass(frozen=True)
class Sensitivity:
    """The alternatives of a fit, the fit itself first."""

    target: float
    alternatives: tuple[Alternative, ...]

    @property
    def ratios(self) -> tuple[float, float] | None:
        """The least and the largest number of tokens for each parameter that any choice says."""
        found = [each.ratio for each in self.alternatives if each.ratio is not None]
        return (min(found), max(found)) if len(found) > 1 else None

    def alternative(self, name: str) -> Alternative:
        """The one of this name."""
        (found,) = (each for each in self.alternatives if each.name == name)
        return found

    def sentence(self) -> str:
        """How far the choices lie apart, and which says the least and the most."""
        found = [each for each in self.alternatives if each.ratio is not None]
        if len(found) < 2:
            return "No other choice has an optimum at the target."
        low, high = min(found, key=lambda each: each.ratio or 0), max(found, key=lambda each: each.ratio or 0)
        return (
            f"Over {len(found)} choices the best number of tokens for each parameter at the target runs from "
            f"{low.ratio:.3g} ({low.name}) to {high.ratio:.3g} ({high.name}), and the best model from "
            f"{large(min(each.parameters or np.inf for each in found))} to "
            f"{large(max(each.parameters or 0 for each in found))} parameters."
        )


def sensitivity(
    fit: Fit, target: float, *, influential: Sequence[int] = (), isoflop: IsoFlops | None = None
) -> Sensitivity:
    """Make the fit again with one choice changed at a time.

    Args:
        target: FLOPs at which the fits are compared.
        influential: rows to leave out in one of the alternatives.
        isoflop: the IsoFLOP minima of the points, if they have any.
    """
    found = [_predicted("as chosen", describe(fit), fit, target, made=True)]
    found += _objectives(fit, target)
    found += _subsets(fit, target, influential)
    found += _formulas(fit, target)
    found += _counting(fit, target)
    if isoflop is not None and isoflop.parameters_law is not None:
        found.append(_minima(isoflop, target))
    return Sensitivity(target, tuple(found))


def describe(fit: Fit) -> str:
    """The objective and the formula in a line."""
    return f"{fit.objective.describe()}, {fit.formula.name}"


def _predicted(group: str, name: str, fit: Fit, target: float, *, made: bool = False) -> Alternative:
    """What a fit says of the target."""
    best = best_size(fit.predict, target)
    said = Alternative(group, name, made, n_points=len(fit.points))
    if best is None:
        return replace(said, missing="it has no best size at the target")
    a = exponent(fit.predict, target)
    return replace(said, parameters=best.parameters, tokens=best.tokens, loss=best.loss, exponent=a)


def _try(group: str, name: str, make: Callable[[], Fit], target: float) -> Alternative:
    """An alternative; a fit that fails is one without numbers."""
    try:
        return _predicted(group, name, make(), target)
    except GlassformerError as error:
        return Alternative(group, name, missing=str(error).splitlines()[0])


def _objectives(fit: Fit, target: float) -> Iterator[Alternative]:
    from glassformer.scaling.fits.fitting import fit as fit_again
    from glassformer.scaling.fits.objectives import Absolute, Huber, Squares, asymmetric

    others: list[Objective] = [*(Huber(delta=delta) for delta in DELTAS), Absolute(), Squares(), asymmetric()]
    for objective in others:
        if objective != fit.objective:

            def make(objective: Objective = objective) -> Fit:
                return fit_again(fit.points, fit.formula, objective)

            yield _try("objective", objective.describe(), make, target)


def _subsets(fit: Fit, target: float, influential: Sequence[int]) -> Iterator[Alternative]:
    from glassformer.scaling.fits.fitting import fit as fit_again

    points = fit.points
    if len(influential):
        kept = np.setdiff1d(np.arange(len(points)), influential)
        name = f"without the {len(influential)} influential points"
        yield _try("points", name, lambda: fit_again(points[kept], fit.formula, fit.objective), target)
    larger = np.flatnonzero(points.c >= np.quantile(points.c, SMALLEST))
    if len(larger) < len(points):
        name = f"without the {100 * SMALLEST:g} % of the points with the least compute"
        yield _try("points", name, lambda: fit_again(points[larger], fit.formula, fit.objective), target)


def _formulas(fit: Fit, target: float) -> Iterator[Alternative]:
    from glassformer.scaling.fits.fitting import fit as fit_again
    from glassformer.scaling.fits.formulas import CHINCHILLA, own

    others: dict[str, Formula] = {"E + A/N^α + B/D^β": CHINCHILLA} if fit.formula != CHINCHILLA else {}
    others |= {name: own(text) for name, text in OTHER_FORMULAS.items() if text != fit.formula.text}
    for name, formula in others.items():

        def make(formula: Formula = formula) -> Fit:
            return fit_again(fit.points, formula, fit.objective)

        yield _try("formula", name, make, target)


def _counting(fit: Fit, target: float) -> Iterator[Alternative]:
    """N without embeddings, and C = 6·N·D of it; the best N is turned back, so that the rows can be compared.

    The target keeps its FLOPs, of which the embeddings' are then no part.
    """
    from glassformer.scaling.fits.fitting import fit as fit_again
    from glassformer.scaling.laws.counting import non_embedding_of_total, total_of_non_embedding

    points = fit.points
    if points.counting != "total":
        return
    fewer = non_embedding_of_total(points.n)

    def make() -> Fit:
        other = Points.of(fewer, points.d, points.loss, run=points.run, unique=points.unique, counting="non-embedding")
        return fit_again(other, fit.formula, fit.objective)

    said = _try("counting", "N without embeddings", make, target)
    if said.parameters is not None:
        said = replace(said, parameters=total_of_non_embedding(said.parameters))
    yield said


def _minima(isoflop: IsoFlops, target: float) -> Alternative:
    """The power law through the IsoFLOP minima; it says nothing of the loss."""
    law = isoflop.parameters_law
    assert law is not None
    n = law(target)
    name = f"IsoFLOP minima of {len(isoflop.minima)} budgets"
    rows = sum(len(each.used) for each in isoflop.minima)
    return Alternative("method", name, False, n, target / (FLOPS_PER_PARAMETER_AND_TOKEN * n), None, law.exponent, rows)
