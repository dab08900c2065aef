"""What BLEU and chrF count in a sentence, and the score that sums of these counts make.

Every score here is a function of sums over the sentences: a row of counts is taken once for each sentence, and any
test set made of these sentences is scored from the sum of its rows. sacreBLEU keeps its own counts of chrF to itself
and scores one sum at a time; ``translations`` checks that both ways give the same number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from glassformer.scoring.bootstrap import Floats

BLEU_ORDER = 4
CHRF_ORDER = 6
CHRF_BETA = 2


def share_of_sums(sums: Floats) -> Floats:
    """Percent of hits; ``sums`` [B, 2]: hits, sentences."""
    return 100 * sums[:, 0] / sums[:, 1]


def bleu_rows(hypotheses: Sequence[str], references: Sequence[str], tokenize: str, *, lowercase: bool) -> Floats:
    """[n, 2 + 4 + 4]: lengths of hypothesis and reference, matched n-grams of each order, the hypothesis' n-grams.

    sacreBLEU counts them; ``effective_order`` changes a sentence's score, which is not used, and no count.
    """
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(tokenize=tokenize, lowercase=lowercase, force=True, effective_order=True)
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        counted = scorer.sentence_score(hypothesis, [reference])
        rows.append([counted.sys_len, counted.ref_len, *counted.counts, *counted.totals])
    return np.array(rows, dtype=np.float64)


def bleu_of_sums(sums: Floats) -> Floats:
    """BLEU = BP · exp(¼ Σ ln p_n), and the k-th order without a match counts 1/2^k of one (smooth:exp)."""
    matched, total = sums[:, 2 : 2 + BLEU_ORDER], sums[:, 2 + BLEU_ORDER :]
    some = matched.sum(axis=1, keepdims=True) > 0  # without a single match the score is 0
    halvings = np.cumsum(matched == 0, axis=1)
    return _bleu(sums, np.where(some & (matched == 0), 0.5**halvings, matched), total)


def unsmoothed_bleu_of_sums(sums: Floats) -> Floats:
    """BLEU = BP · exp(¼ Σ ln p_n), 0 when an order has no match (Papineni et al. 2002, §2.3; multi-bleu.perl)."""
    return _bleu(sums, sums[:, 2 : 2 + BLEU_ORDER], sums[:, 2 + BLEU_ORDER :])


def _bleu(sums: Floats, matched: Floats, total: Floats) -> Floats:
    """[B] from the lengths in ``sums`` and the counts [B, 4]; 0 where a precision is 0 or has no n-gram to count."""
    length, reference_length = sums[:, 0], sums[:, 1]
    defined = np.minimum(matched, total).min(axis=1, keepdims=True) > 0  # [B, 1]
    precision = np.where(defined, matched, 1.0) / np.where(defined, total, 1.0)
    brevity = np.exp(np.minimum(0.0, 1 - reference_length / np.maximum(length, 1.0)))
    return np.where(defined[:, 0], 100 * brevity * np.exp(np.log(precision).mean(axis=1)), 0.0)


def chrf_rows(hypotheses: Sequence[str], references: Sequence[str]) -> Floats:
    """[n, 6 · 3]: for each order the hypothesis' n-grams, the reference's, and those in both; blanks do not count."""
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        row: list[int] = []
        for order in range(1, CHRF_ORDER + 1):
            of_hypothesis, of_reference = _character_ngrams(hypothesis, order), _character_ngrams(reference, order)
            matched = sum(min(count, of_reference[ngram]) for ngram, count in of_hypothesis.items())
            # sacreBLEU's rule: where the reference is too short for an order, the hypothesis is not charged for its own
            row += [of_hypothesis.total() if of_reference else 0, of_reference.total(), matched]
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def _character_ngrams(text: str, order: int) -> Counter[str]:
    characters = "".join(text.split())
    return Counter(characters[start : start + order] for start in range(len(characters) - order + 1))


def chrf_of_sums(sums: Floats) -> Floats:
    """The score chrF = (1 + β²) P R / (β² P + R); P and R are means over the orders both sides have."""
    of_hypothesis, of_reference, matched = np.moveaxis(sums.reshape(len(sums), CHRF_ORDER, 3), 2, 0)
    counts = (of_hypothesis > 0) & (of_reference > 0)  # [B, 6]
    orders = np.maximum(counts.sum(axis=1), 1)
    precision = np.where(counts, matched / np.maximum(of_hypothesis, 1), 0.0).sum(axis=1) / orders
    recall = np.where(counts, matched / np.maximum(of_reference, 1), 0.0).sum(axis=1) / orders
    weighted = CHRF_BETA**2 * precision + recall
    return 100 * (1 + CHRF_BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1.0)
