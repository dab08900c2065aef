"""The interval of a proportion, from a count."""

from __future__ import annotations

from scipy import stats


def clopper_pearson(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a probability, of which ``count`` of ``n`` independent trials came true (Clopper & Pearson
    1934): it holds the probability with a chance of at least ``confidence``.

    >>> low, high = clopper_pearson(3, 3)
    >>> round(low, 3), high
    (0.292, 1.0)
    """
    assert 0 <= count <= n, f"{count} of {n}"
    assert n > 0, "no trial"
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, count, n - count + 1)) if count else 0.0
    high = float(stats.beta.isf(tail, count + 1, n - count)) if count < n else 1.0
    return low, high
