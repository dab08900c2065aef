"""Means over pairs of models of different seeds, with what an interval over seeds needs.

A mean over all ordered pairs of n models is a U-statistic of degree 2: every model is in 2(n − 1) pairs, so the pairs
are not independent, and their spread says too little. The jackknife's pseudo-values, n·θ − (n − 1)·(θ without model i),
have the mean θ, one for each model, and their t interval is valid for many models (Arvesen 1969, Ann. Math. Stat. 40,
2076).
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from glassformer.statistics.comparison import FEWEST_PAIRS, Losses


def over_pairs(pairs: Mapping[tuple[int, int], float]) -> Losses:
    """A number for each ordered pair of seeds → the jackknife's pseudo-value of each seed; they have the pairs' mean.

    With fewer than FEWEST_PAIRS seeds the mean itself, of each: they have no interval. Without pairs: nothing.
    """
    seeds = sorted({seed for pair in pairs for seed in pair})
    if not seeds:
        return {}
    mean, n = fmean(pairs.values()), len(seeds)
    if n < FEWEST_PAIRS:
        return dict.fromkeys(seeds, mean)
    return {
        seed: n * mean - (n - 1) * fmean(value for pair, value in pairs.items() if seed not in pair) for seed in seeds
    }
