"""Translations against their references: a number, how sure it is, and exactly what was measured.

    name                         what                                               sacreBLEU's command line
    BLEU                         13a tokens, cased, smoothed (Post 2018)            sacrebleu
    BLEU, tokenised lowercase    lowercased, not smoothed, as multi-bleu.perl       sacrebleu -lc --smooth-method none
    chrF                         character n-grams up to 6, β = 2 (Popović 2015)    sacrebleu -m chrf
    exact match                  the share of sentences that equal their reference

Papers on Multi30k report tokenised lowercase BLEU, a different number from sacreBLEU's. It depends on the tokens, and
so its signature says whose they are. From text they are sacreBLEU's 13a, which needs no other package; in Multi30k's
test set of 2016 these are Moses' tokens in 99.6 % of the German and 98 % of the English sentences (Moses also splits
``man's``), and the two scores of a damaged copy (BLEU 55) differed by 0.1. Tokens split at hyphens, as spaCy's English
ones, scored 0.2 to 0.3 higher. To compare with a figure of other tokens, score those tokens: ``tokenised_by``.

The value is always the one that sacreBLEU itself computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from glassformer.errors import DataError, nearest
from glassformer.scoring.bootstrap import Floats, percentile_interval, resampled_sums, two_sided_p, wilson_interval
from glassformer.scoring.counting import (
    CHRF_BETA,
    CHRF_ORDER,
    bleu_of_sums,
    bleu_rows,
    chrf_of_sums,
    chrf_rows,
    share_of_sums,
    unsmoothed_bleu_of_sums,
)

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

MetricName = Literal["bleu", "tokenised-bleu", "chrf", "exact-match"]
METRICS: tuple[MetricName, ...] = get_args(MetricName)

OF_TOKENS: tuple[MetricName, ...] = ("tokenised-bleu", "exact-match")
"""What can be measured on tokens. The other two are defined on text as it is read: of tokens they are other numbers."""


@dataclass(frozen=True)
class Score:
    """One measure of ``n`` translations, from 0 to 100, with its 95 % interval.

    The interval is a bootstrap's over the sentences, but Wilson's for exact match. It says how much another test set
    like this one would change the score; it says nothing about another seed of training.
    """

    name: str
    value: float
    low: float
    high: float
    signature: str
    n: int

    def __str__(self) -> str:
        return f"{self.name} = {self.value:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n} ({self.signature})"


@dataclass(frozen=True)
class Difference:
    """``value`` = score of a − score of b on the same ``n`` sentences, in points, with its 95 % interval.

    ``p`` is two-sided: how easily resampling the sentences turns the difference around.
    """

    name: str
    value: float
    low: float
    high: float
    p: float
    signature: str
    n: int

    def __str__(self) -> str:
        interval = f"[{self.low:+.2f}, {self.high:+.2f}]"
        return f"{self.name}: {self.value:+.2f} {interval}, p = {self.p:.3f}, n = {self.n} ({self.signature})"


@dataclass(frozen=True)
class _Measurement:
    """A corpus score, and what it is made of: ``score(rows.sum(0)) == value``."""

    name: str
    value: float
    signature: str
    rows: Floats  # [n, k], a sentence's statistics
    score: Callable[[Floats], Floats]  # [B, k] summed statistics -> [B] scores, 0 to 100


def score_translations(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    n_resamples: int = 1000,
    seed: int = 12345,
    metrics: Sequence[str] | None = None,
    tokenised_by: str | None = None,
) -> list[Score]:
    """Every measure of ``metrics`` (default: all that apply) of sentences against one reference each, in order.

    ``tokenised_by`` says that both sides are tokens joined by spaces already, and names whose: it becomes a part of
    the signature. Then only the measures of tokens apply (:data:`OF_TOKENS`).
    Raises :class:`DataError` with everything that is wrong.
    """
    chosen = _checked({"hypotheses": hypotheses}, references, metrics, tokenised_by)
    scores = []
    for metric in chosen:
        measured = _measure(metric, hypotheses, references, tokenised_by, (n_resamples, seed))
        signature = measured.signature
        if metric == "exact-match":
            hits = int(measured.rows.sum(axis=0)[0])
            low, high = (100 * share for share in wilson_interval(hits, len(references)))
            signature = _exact_match_signature("interval:wilson", tokenised_by)
        else:
            low, high = percentile_interval(measured.score(resampled_sums(measured.rows, n_resamples, seed)))
        scores.append(Score(measured.name, measured.value, low, high, signature, len(references)))
    return scores


def paired_difference(
    hypotheses_a: Sequence[str],
    hypotheses_b: Sequence[str],
    references: Sequence[str],
    *,
    n_resamples: int = 1000,
    seed: int = 12345,
    metrics: Sequence[str] | None = None,
    tokenised_by: str | None = None,
) -> list[Difference]:
    """Two systems' translations of the same sentences: a − b, by paired bootstrap (Koehn 2004).

    Both systems are scored on the same resampled sentences, so what is hard for both does not blur the difference.
    Arguments and errors as of :func:`score_translations`.
    """
    systems = {"hypotheses of a": hypotheses_a, "hypotheses of b": hypotheses_b}
    differences = []
    for metric in _checked(systems, references, metrics, tokenised_by):
        a, b = (_measure(metric, lines, references, tokenised_by, (n_resamples, seed)) for lines in systems.values())
        sums_a, sums_b = np.split(resampled_sums(np.hstack([a.rows, b.rows]), n_resamples, seed), 2, axis=1)
        resampled = a.score(sums_a) - b.score(sums_b)
        low, high = percentile_interval(resampled)
        p = two_sided_p(resampled)
        differences.append(Difference(a.name, a.value - b.value, low, high, p, a.signature, len(references)))
    return differences


def _checked(
    systems: dict[str, Sequence[str]],
    references: Sequence[str],
    metrics: Sequence[str] | None,
    tokenised_by: str | None,
) -> list[MetricName]:
    """The measures to take, or every complaint at once."""
    complaints = []
    for what, lines in {**systems, "references": references}.items():
        assert not isinstance(lines, str), f"{what} must be a list of sentences, not one string"
        if not lines:
            complaints.append(f"There are no {what}: a score needs at least one sentence.")
    for what, lines in systems.items():
        if len(lines) != len(references):
            complaints.append(
                f"The {what} have {len(lines):,} lines, the references {len(references):,}: line i of one must "
                "translate line i of the other. Keep an empty line for an empty translation."
            )
    if tokenised_by is not None and (not tokenised_by.strip() or set(tokenised_by) & set("|:\n")):
        complaints.append(f"tokenised_by is {tokenised_by!r}; it must name the tokens, without '|', ':' or line ends.")
    applicable = METRICS if tokenised_by is None else OF_TOKENS
    for metric in metrics or ():
        if metric not in METRICS:
            complaints.append(f"There is no metric named '{metric}'. {nearest(metric, METRICS)}")
        elif metric not in applicable:
            complaints.append(f"The metric '{metric}' is defined on text, not on tokens: detokenise both sides for it.")
    if metrics is not None and not metrics:
        complaints.append(f"No metric is asked for; choose from {', '.join(METRICS)}.")
    if complaints:
        raise DataError("\n".join(complaints))
    return [name for name in METRICS if name in (metrics or applicable)]


def _measure(
    metric: MetricName,
    hypotheses: Sequence[str],
    references: Sequence[str],
    tokenised_by: str | None,
    resampling: tuple[int, int],
) -> _Measurement:
    """One corpus score. ``resampling`` = (resamples, seed), for the signature."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if metric == "exact-match":
        rows = np.array(
            [[hyp.strip() == ref.strip(), 1] for hyp, ref in zip(hypotheses, references, strict=True)], float
        )
        value = 100 * float(rows[:, 0].mean())
        exact = _exact_match_signature("bs:{}|seed:{}".format(*resampling), tokenised_by)
        return _Measurement("exact match", value, exact, rows, share_of_sums)

    # force: sacreBLEU is not to write to the terminal that text looks tokenised; the signature says what it is
    scorer: BLEU | CHRF
    if metric == "chrf":
        name, scorer = "chrF", CHRF(char_order=CHRF_ORDER, beta=CHRF_BETA)
        rows, score = chrf_rows(hypotheses, references), chrf_of_sums
    elif metric == "bleu":
        name, scorer = "BLEU", BLEU(tokenize="13a", force=True)
        rows, score = bleu_rows(hypotheses, references, "13a", lowercase=False), bleu_of_sums
    else:
        tokenize = "13a" if tokenised_by is None else "none"
        name = "BLEU, tokenised lowercase"
        scorer = BLEU(tokenize=tokenize, lowercase=True, smooth_method="none", force=True)
        rows, score = bleu_rows(hypotheses, references, tokenize, lowercase=True), unsmoothed_bleu_of_sums

    value = min(100.0, float(scorer.corpus_score(list(hypotheses), [list(references)]).score))  # not 100.00000000000004
    ours = float(score(rows.sum(axis=0, keepdims=True))[0])
    assert abs(ours - value) < 1e-6, f"sacreBLEU's {name} is {value}, and of our counts {ours}: its definition changed"

    signature = scorer.get_signature()
    for key, said in zip(("bs", "seed"), resampling, strict=True):
        signature.update(key, said)
    if tokenised_by is not None:
        signature.update("tokens", tokenised_by)
    return _Measurement(name, value, signature.format(), rows, score)


def _exact_match_signature(interval: str, tokenised_by: str | None) -> str:
    """In sacreBLEU's manner, and no version: no other package has a part in it."""
    tokens = "" if tokenised_by is None else f"|tokens:{tokenised_by}"
    return f"nrefs:1|{interval}|case:mixed|strip:yes{tokens}"
