"""Whether the rungs of a ladder learned: against the entropies of the text, and against each other.

A law through runs that learned nothing is a law of nothing. A rung that ends at or above the unigram entropy of its
text knows the frequencies of tokens and no more, and a longer run of the same size cannot end worse than a shorter one
unless its training is unstable: both are left out of the fit. A rung above the bigram entropy has not learned what a
table of pairs knows; it stays, with a warning. (Over a large vocabulary the counted bigram entropy is below the true
one, since most pairs are rare.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glassformer.scaling.ladders.ladder_rungs import LadderRun

TOLERANCE = 0.02
"""Relative difference in loss by which a longer run must be worse to count: four times the usual scatter of seeds."""


@dataclass(frozen=True)
class RungChecks:
    """The verdict on a ladder's rungs.

    Attributes:
        excluded: why a rung is in no fit, by its name.
        warnings: a sentence each.
        verdict: in one sentence.
    """

    excluded: Mapping[str, str]
    warnings: tuple[str, ...]
    verdict: str


def check_rungs(runs: Sequence[LadderRun], losses: Mapping[str, float], entropies: Mapping[str, float]) -> RungChecks:
    """Check the rungs that ended.

    Args:
        losses: mean final validation loss by a run's name, nats per token.
        entropies: "unigram" and "bigram" of the text; each check is left out where its entropy is unknown.
    """
    ended = [run for run in runs if run.name in losses]
    unigram, bigram = entropies.get("unigram"), entropies.get("bigram")
    excluded: dict[str, str] = {}
    for run in ended:
        if unigram is not None and losses[run.name] >= unigram:
            excluded[run.name] = (
                f"{run.name} ended at {losses[run.name]:.3f}, at or above the unigram entropy of {unigram:.3f}"
            )
    for run in ended:
        shorter = [
            other
            for other in ended
            if other.n == run.n and other.d < run.d and losses[run.name] > (1 + TOLERANCE) * losses[other.name]
        ]
        if shorter and run.name not in excluded:
            best = min(shorter, key=lambda other: losses[other.name])
            excluded[run.name] = (
                f"{run.name} ended at {losses[run.name]:.3f}, worse than {best.name} at {losses[best.name]:.3f}, a "
                "shorter run of the same size"
            )
    above = [run.name for run in ended if bigram is not None and bigram < losses[run.name] and run.name not in excluded]
    warnings = []
    if excluded:
        warnings.append(
            f"Excluded from the fit: {'; '.join(excluded.values())}. Their training failed: try another learning rate "
            "(--set training.optimizer.learning_rate)."
        )
    if above and bigram is not None:
        warnings.append(
            f"{', '.join(above)} ended above the bigram entropy of {bigram:.3f}: not yet better than a table of pairs."
        )
    return RungChecks(excluded, tuple(warnings), _verdict(len(ended), len(excluded), len(above), unigram, bigram))


def _verdict(ended: int, excluded: int, above: int, unigram: float | None, bigram: float | None) -> str:
    if unigram is None or bigram is None:
        known = "the entropies of the text are not recorded"
    else:
        known = f"unigram entropy {unigram:.3f}, bigram entropy {bigram:.3f} nats per token"
    if not excluded and not above:
        return f"All {ended} rungs learned, and no longer run ended worse than a shorter one ({known})."
    return f"{ended - excluded} of {ended} rungs are usable, {above} of them above the bigram entropy ({known})."
