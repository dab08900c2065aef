"""The formulas that can be fitted: text with parameters, and what a fitter must know of each parameter.

    chinchilla       L = E + A/N^α + B/D^β                   Hoffmann et al. 2022, eq. 2
    repeated-data    the same of N' and D', which count repetition for less: Muennighoff et al. 2023, eq. 5 and 6
    power            L = a/C^α
    power-floor      L = E + a/C^α
    own("...")       any other: names besides N, D, C, U and U_N are its parameters
    fix(formula, {"A": 521.0})                               the same formula with constants for some parameters

A parameter in which the formula is linear (E, A, B) has its best value for given others by linear algebra: only the
others, the shapes (α, β), need a grid of starts. That is variable projection (Golub & Pereyra 1973).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from glassformer.errors import ConfigError, nearest
from glassformer.scaling.fits.fit_formula import EXPONENT_LIMITS, Formula, Range, warranted_by

REPETITIONS = (0.1, 1000.0)
REPETITION_LIMITS = (1e-3, 1e6)

_SHAPES = {"alpha": EXPONENT_LIMITS, "beta": EXPONENT_LIMITS}

CHINCHILLA = Formula("E + A/N**alpha + B/D**beta", "chinchilla", limits=_SHAPES)


def power_law(of: str = "C", *, floor: bool = False) -> Formula:
    """L = a/x^α, or E + a/x^α with a floor; x is N, D or C.

    Raises:
        ConfigError: x is none of these.
    """
    if of not in {"N", "D", "C"}:
        raise ConfigError(f"a power law is of N, D or C, not of {of!r}.", subject="formula")
    text = f"a/{of}**alpha"
    name = f"power-floor of {of}" if floor else f"power of {of}"
    return Formula(f"E + {text}" if floor else text, name, _SHAPES)


def repeated_data(*, A: float = 521.0, B: float = 1488.0, alpha: float = 0.353, beta: float = 0.353) -> Formula:
    """L = E + A/N'^α + B/D'^β, where a repeated token, and a parameter beyond what the tokens warrant, counts for less.

    D' = U·(1 + R*_D·(1 − exp(−R_D/R*_D))) with R_D = D/U − 1 repetitions, and N' likewise of U_N = min(N, the
    compute-optimal N for U tokens) (Muennighoff et al. 2023, arXiv 2305.16264, eq. 5 and 6). The constants given here
    say what is compute-optimal, and nothing else; unless given they are that paper's own for C4 (its appendix).
    """
    tokens, parameters = _counted_for_less("D", "U", "R_D"), _counted_for_less("N", "U_N", "R_N")
    return Formula(
        f"E + A/{parameters}**alpha + B/{tokens}**beta",
        "repeated-data",
        limits=_SHAPES | {"R_D": REPETITION_LIMITS, "R_N": REPETITION_LIMITS},
        starts={"R_D": REPETITIONS, "R_N": REPETITIONS},
        warranted=warranted_by(A, B, alpha, beta),
        order=("alpha", "beta", "R_D", "R_N"),
    )


def _counted_for_less(x: str, unique: str, scale: str) -> str:
    return f"({unique}*(1 + {scale}*(1 - exp(-({x}/{unique} - 1)/{scale}))))"


def own(text: str, *, limits: Mapping[str, Range] | None = None, starts: Mapping[str, Range] | None = None) -> Formula:
    """A formula of your own: ``own("E + (N_c/N)**alpha")``.

    Args:
        text: + - * / **, exp, log, sqrt; N, D, C, U and U_N (the parameters that U warrants by the constants of
            Muennighoff et al. 2023) are the points', all other names are parameters.
        limits: between which values a parameter must lie. Without, it is 0 or above.
        starts: between which values a parameter that is not linear is looked for. Without, 0.02 to 3; or, where it
            divides or multiplies a variable that is raised to a power, far to both sides of that variable.

    Raises:
        ConfigError: it cannot be read, has no parameter or no variable, or limits or starts make no sense, all at once.
    """
    limits, starts = dict(limits or {}), dict(starts or {})
    formula = Formula(text.rsplit("=", 1)[-1].strip(), "own", limits, starts)
    complaints = []
    if not formula.variables:
        complaints.append("it depends on none of N, D, C and U.")
    if not formula.names:
        complaints.append("it has no parameter to fit.")
    for given in (limits, starts):
        for name, (low, high) in given.items():
            if name not in formula.names:
                complaints.append(f"it has no parameter {name!r}. {nearest(name, formula.names)}")
            elif not low < high:
                complaints.append(f"the range of {name} must ascend; it is {low:g} to {high:g}.")
    if complaints:
        raise ConfigError(complaints, subject=f"formula {text!r}")
    return formula


def fix(formula: Formula, constants: Mapping[str, float]) -> Formula:
    """The formula with constants in the place of some parameters; U_N follows A, B, α and β where all four are fixed.

    Raises:
        ConfigError: it has no such parameter, a constant is beyond its limits, or no parameter is left.
    """
    complaints = []
    for name, value in constants.items():
        low, high = formula.limit(name)
        if name not in formula.names:
            complaints.append(f"it has no parameter {name!r} to fix. {nearest(name, formula.names)}")
        elif not (np.isfinite(value) and low <= value <= high):
            complaints.append(f"{name} is fixed at {value:g}; expected a number from {low:g} to {high:g}.")
    if not complaints and {*constants} >= {*formula.names}:
        complaints.append("every parameter is fixed: there is none to fit.")
    if complaints:
        raise ConfigError(complaints, subject=f"formula {formula.text!r}")
    fixed = {**formula.fixed, **{name: float(value) for name, value in constants.items()}}
    if formula.warranted and {*_OF_LAW} <= {*fixed} and min(map(fixed.__getitem__, _OF_LAW)) > 0:
        formula = replace(formula, warranted=warranted_by(*(fixed[name] for name in _OF_LAW)))
    return replace(formula, fixed=fixed)


_OF_LAW = ("A", "B", "alpha", "beta")

FORMULAS = ("chinchilla", "repeated-data", "power", "power-floor")


def formula(named: str | Formula, fixed: Mapping[str, float] | None = None) -> Formula:
    """The formula of that name, or the one that the text states; with constants for the parameters of ``fixed``.

    Raises:
        ConfigError: it is neither, or cannot be fixed so.
    """
    if fixed:
        return fix(formula(named), fixed)
    if isinstance(named, Formula):
        return named
    if named == "chinchilla":
        return CHINCHILLA
    if named == "repeated-data":
        return repeated_data()
    if named in {"power", "power-floor"}:
        return power_law(floor=named == "power-floor")
    if named.replace("-", "").isalpha():
        hint = nearest(named, FORMULAS)
        raise ConfigError(f"there is no {named!r}. {hint} Or state your own: 'E + A/N**alpha'.", subject="formula")
    return own(named)
