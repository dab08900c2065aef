"""The notes' scaling recipe, formula by formula, beside the right forms: computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.scaling.laws.kaplan import CRITICAL_BATCH
from glassformer.scaling.laws.notes import CORRECTIONS, HEAD_WIDTH, Correction

WITHIN = 0.05
"""A formula is right if its value differs by less than this from the right form's: the constants have two digits."""

LOSSES = (2.0, 3.0, 4.0)
"""Nats per token, where the notes' second formula for the critical batch is compared."""


def off(correction: Correction) -> float:
    """How far the notes' formula is from the right one: 0.5 means that it gives half as much again."""
    return correction.wrong_value / correction.right_value - 1


def second_batch(loss: float) -> float:
    """The critical batch where the notes print it a second time, in tokens."""
    return float(2.1e8 * loss ** (-1 / 0.21))


def judge(corrections: Sequence[Correction], batch: Callable[[float], float] = second_batch) -> ClaimResult:
    """Each formula of the notes is right if it agrees with its right form in the example, within :data:`WITHIN`.

    Mixtures that do not stand in the notes are reported beside them and decide nothing.
    """
    notes = [each for each in corrections if each.stands_in == "notes"]
    mixed = [each for each in corrections if each.stands_in == "paper"]
    parts: dict[str, bool | None] = {
        f"{each.wrong.formula} ({each.number})": abs(off(each)) <= WITHIN for each in notes
    }
    parts["B_crit = 2.1e8·L^(−1/0.21), printed a second time"] = all(
        abs(batch(loss) / CRITICAL_BATCH(L=loss) - 1) <= WITHIN for loss in LOSSES
    )
    wrong = [each for each in notes if abs(off(each)) > WITHIN]
    worst = max(notes, key=lambda each: abs(off(each)))
    width = next(int(each.wrong_value) for each in notes if each.number == 5)
    numbers = {}
    for each in (*notes, *mixed):
        label = f"{each.number}{'' if each.stands_in == 'notes' else ' (not in the notes)'}"
        unit = each.right.output[1]
        numbers[f"{label}, as written"] = measurement(each.wrong_value, unit)
        numbers[f"{label}, right form"] = measurement(each.right_value, unit)
    return ClaimResult(
        parts,
        f"{len(wrong)} of {len(parts)} formulas of the notes are wrong as used. The worst, {worst.wrong.formula}, is "
        f"off by a factor of {worst.wrong_value / worst.right_value:,.0f}. The width {width:,} leaves one layer of "
        f"{width // HEAD_WIDTH} heads, into which it does not divide. "
        + " ".join(f"({each.number}) {each.fault}" for each in wrong)
        + (
            f" Not in the notes: {'; '.join(f'({each.number}) {each.wrong.formula}' for each in mixed)}."
            if mixed
            else ""
        ),
        "It depends on the formula. All of them, the right ones too, are of Kaplan's set-up: N without embeddings, "
        "compute in PF-days; for the size at a budget, later work has replaced them.",
        numbers,
    )


def decide(_budget: Budget, _claim_studies: ClaimStudies) -> ClaimResult:
    """Nothing is measured: both sides are computed."""
    return judge(CORRECTIONS)


CLAIM = Claim(
    "kaplan-numbers",
    "Kaplan's formulas, as the notes' recipe computes them, give the loss, the size, the tokens, the batch and the "
    "steps for a compute budget.",
    f"{NOTES}; Kaplan et al. 2020, §6 and tables 2 to 6",
    "exact",
    "Each formula of the notes as written, computed beside its right form; mixtures of the paper's constants that are "
    "not in the notes are listed apart.",
    decide,
    could_be_wrong=(
        (
            "Right is what Kaplan et al. 2020 print, and for the size at a budget what Hoffmann et al. 2022 do: both "
            "are fits, and later ones differ from them."
        ),
        "Each formula is compared at one example, where the factor of most of them changes with the budget.",
        "Only formulas that were found wrong or printed twice are listed; others of the notes were not looked for.",
    ),
)
