"""How far a test set's score may be off: resampling its sentences.

A corpus score is a function of sums over sentences (matched n-grams, lengths, hits). So each sentence is counted
once, as a row of *sufficient statistics*, and a resampled test set is a sum of rows drawn with replacement:

    rows      [n, k]    one row per sentence
    sums      [B, k]    B resampled test sets of n sentences each
    scores    [B]       score(sums)

The sentences drawn are those that sacreBLEU draws with the same seed, so the interval is its too.
Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation".
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRAWS_AT_ONCE = 1 << 22
"""How many sentence numbers are drawn and counted at a time (32 MiB of them), to bound memory."""


def resampled_sums(rows: Floats, n_resamples: int, seed: int) -> Floats:
    """The summed statistics [n_resamples, k] of test sets drawn with replacement from ``rows`` [n, k]."""
    n = len(rows)
    assert n > 0, "there is nothing to draw from"
    assert n_resamples > 0, "no resample was asked for"
    rng = np.random.default_rng(seed)
    step = max(1, DRAWS_AT_ONCE // n)
    sums = [_draw(rng, rows, min(step, n_resamples - first)) for first in range(0, n_resamples, step)]
    return np.concatenate(sums)


def _draw(rng: np.random.Generator, rows: Floats, n_resamples: int) -> Floats:
    """Some of the resamples. A generator draws row by row, so the drawing does not depend on how it is divided."""
    n = len(rows)
    drawn = rng.integers(n, size=(n_resamples, n))  # which sentences
    own_range = drawn + n * np.arange(n_resamples)[:, None]  # resample b counts in b·n .. b·n + n - 1
    times = np.bincount(own_range.ravel(), minlength=n_resamples * n).reshape(n_resamples, n)  # how often each
    return times.astype(np.float64) @ rows


def percentile_interval(scores: Floats) -> tuple[float, float]:
    """The 95 % interval: what is left of the sorted ``scores`` [B] without the B // 40 at either end."""
    ordered = np.sort(scores)
    cut = len(ordered) // 40
    return float(ordered[cut]), float(ordered[len(ordered) - 1 - cut])


def two_sided_p(differences: Floats) -> float:
    """How often resampled ``differences`` [B] fall on the less frequent side of zero, times two.

    Half of it is Koehn's one-sided share of resamples in which the better system does not win. The observed test set
    counts as one more resample, so that p is never 0: 1,000 resamples cannot say less than 0.002.
    """
    less_frequent = min(int(np.sum(differences <= 0)), int(np.sum(differences >= 0)))
    return min(1.0, 2 * (less_frequent + 1) / (len(differences) + 1))


def wilson_interval(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, ``hits`` of ``n``, as two shares (Wilson 1927).

    For a share, resampling is no good near its ends: of 500 hits in 500 every resample has 500, and the interval
    would say that a miss is impossible. Wilson's says 0.992 to 1.

    >>> [round(end, 3) for end in wilson_interval(500, 500)]
    [0.992, 1.0]
    """
    assert 0 <= hits <= n, f"{hits} hits of {n}"
    assert n > 0, "a share of nothing"
    z = NormalDist().inv_cdf(0.975)
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
