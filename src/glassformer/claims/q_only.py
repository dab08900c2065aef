"""One projection used as queries, keys and values, against three; also with the parameters that it saves given back.

That attention learns something with it is shown by a third arm, which has no attention: it sees one character at a
time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glassformer.claims.budget import Budget
from glassformer.claims.claim import NOTES, Claim, ClaimResult, measurement
from glassformer.claims.claim_studies import ClaimStudies
from glassformer.claims.doubts import training_doubts
from glassformer.claims.judging import costs_more, difference, mean_over_seeds, signed, trains
from glassformer.claims.one_layer import FULL, QUICK
from glassformer.claims.tuned import TunedArms, tuned_arms

SHARED, WITHOUT = "one projection", "no attention"
VARIANTS = {SHARED: {"model.attention.projection": "shared"}}
CONTROL = {WITHOUT: {"model.sublayers": "feedforward"}}


def judge(
    plain: TunedArms,
    matched: TunedArms,
    entropies: Mapping[str, float],
    adjusted: str = "",
    evidence: tuple[Path, ...] = (),
) -> ClaimResult:
    """Training works (``judging.trains``), and the loss is below that of the model without attention.

    Both with one projection as it is, and with the parameters that it saves given back.

    Args:
        plain: with the arm without attention.
        matched: of equal parameters.
        entropies: "unigram" and "bigram", of the training text, nats per token.
    """
    without = plain.losses[WITHOUT]
    arms = {"as it is": plain, "at equal parameters": matched}
    parts: dict[str, bool | None] = {}
    for what, of in arms.items():
        parts[f"with one projection training works, {what}"] = trains(of.losses[SHARED], entropies["unigram"])
        parts[f"with one projection attention learns, {what}: without it the loss is higher"] = costs_more(
            of.losses[SHARED], without
        )
    loss, own = mean_over_seeds(plain.losses[SHARED].values()), difference(plain.losses[SHARED], without)
    return ClaimResult(
        parts,
        f"With one projection the loss is {loss}; without attention it is {signed(own)} from that. One projection "
        f"costs {signed(plain.cost(SHARED))} against three, {signed(matched.cost(SHARED))} at equal parameters, each "
        "at its own best learning rate.",
        "One layer. With queries that are keys the scores are symmetric, and a token's own is its squared length."
        f"{' At equal parameters: ' + adjusted + '.' if adjusted else ''}",
        plain.numbers()
        | {f"at equal parameters: {name}": each for name, each in matched.numbers().items() if SHARED in name}
        | {
            "no attention less one projection": own,
            "no attention less one projection, at equal parameters": difference(matched.losses[SHARED], without),
            "bigram entropy of the text": measurement(entropies["bigram"], "nats"),
        },
        evidence,
    )


def decide(budget: Budget, claim_studies: ClaimStudies) -> ClaimResult:
    """Two studies: as it is, and matched in parameters."""
    base = claim_studies.base(budget)
    plain = claim_studies.study("claim-q-only", base, VARIANTS | CONTROL, budget)
    matched = claim_studies.study("claim-q-only-matched", base, VARIANTS, budget, matched="parameters")
    return judge(
        tuned_arms(plain),
        tuned_arms(matched),
        claim_studies.entropies(plain),
        matched.config.adjusted.get(SHARED, ""),
        (plain.path, matched.path),
    )


CLAIM = Claim(
    "q-only",
    "In self-attention one projection, used as Q, K and V, is enough to train.",
    NOTES,
    "study",
    "One projection against three, as it is and at equal parameters, and against no attention, every arm at its own "
    "best learning rate, paired by seed.",
    decide,
    quick=QUICK,
    full=FULL,
    could_be_wrong=(
        *training_doubts(FULL),
        (
            "Enough to train is read as: it trains, and attention learns something. What it costs is given, and has no "
            "threshold."
        ),
        (
            "At equal parameters, the model with one projection is widened and the one without attention is not: part "
            "of what attention is credited with there is width."
        ),
        "One layer of 2 heads: with more layers symmetric scores may cost more.",
        "The saved parameters are given back in one way; in another they may be worth more.",
    ),
)
