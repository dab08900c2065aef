"""The rules of heads-differ, against the difference between seeds; and means over pairs of seeds."""

from __future__ import annotations

import itertools
from statistics import fmean

import numpy as np
import pytest
import torch
from scipy import stats

from glassformer.claims import heads_differ
from glassformer.claims.between_seeds import over_pairs
from glassformer.claims.claim import Measurement
from glassformer.claims.heads_differ import SETTINGS, Comparison
from glassformer.claims.judging import exceeds, mean_over_seeds, worded

MODEL, WIDE, NARROW = SETTINGS


@pytest.fixture
def comparison(losses):
    """8 heads are ``apart`` further from 2 than from two of another 8, and ``other`` further than their own kind."""

    def comparison(apart=0.0, other=0.0):
        return Comparison(
            to_two=losses(0.3, apart),
            to_drawn=losses(0.3),
            to_best=losses(0.25),
            to_eight=losses(0.2),
            to_own=losses(0.29),
            two_to_two=losses(0.18),
            between=losses(0.4, other),
            within=losses(0.4),
        )

    return comparison


def attention(heads, seeds, seed=0, sharp=1.0):
    """Attention of random models, [2, heads, 6, 6] of each seed."""
    draw = torch.Generator().manual_seed(seed)
    return {each: (sharp * torch.randn(2, heads, 6, 6, generator=draw)).softmax(-1) for each in range(seeds)}


def judged(found, untrained=None):
    return heads_differ.judge(found, {} if untrained is None else untrained)


@pytest.mark.parametrize(
    ("apart", "other", "verdict"),
    [(0.1, 0.1, "supported"), (-0.1, 0.1, "depends"), (0.1, -0.1, "depends"), (-0.1, -0.1, "refuted")],
)
def test_heads_differ_flips_against_the_same_kind_of_another_seed(comparison, apart, other, verdict):
    found = dict.fromkeys(SETTINGS, comparison(apart, other))
    result = judged(found)
    assert result.verdict == verdict
    assert len(result.parts) == 2 * len(SETTINGS)


def test_that_two_models_of_2_heads_are_nearer_to_each_other_decides_nothing(comparison):
    """What the claim was once supported by: 0.308 nats from 8 to 2 against 0.181 from 2 to 2."""
    found = judged({MODEL: comparison(apart=-0.01, other=-0.01)})
    numbers = found.numbers
    assert numbers[f"{MODEL}: 2 heads to the most similar of another 2"].value < 0.2
    assert numbers[f"{MODEL}: 8 heads to the most similar of 2"].value > 0.28
    assert found.verdict == "refuted"
    assert "no evidence" in found.sentence


def test_the_width_of_the_heads_can_be_what_it_depends_on(comparison):
    found = {MODEL: comparison(0.1, 0.1), WIDE: comparison(-0.1, -0.1), NARROW: comparison(-0.1, -0.1)}
    result = judged(found)
    assert result.verdict == "depends"
    assert f"holds {MODEL}, does not hold {WIDE} and {NARROW}. That heads of 8 have less" in result.condition


def test_without_models_nothing_is_decided():
    nobody = heads_differ.compare({}, attention(2, 3))
    result = judged({MODEL: nobody}, {MODEL: nobody})
    assert result.verdict == "undecided"
    assert worded(Measurement(None)) in result.sentence
    assert "inconclusive" in result.condition


def test_divergences_before_training_are_reported_and_decide_nothing(comparison):
    found = {MODEL: comparison(0.1, 0.1)}
    result = judged(found, {MODEL: comparison(-0.1, -0.1)})
    assert result.verdict == "supported"
    assert result.numbers[f"{MODEL}, before training: between less within"].value == pytest.approx(-0.1, abs=0.01)


def test_heads_of_one_kind_differ_by_no_more_than_seeds_do():
    """Eight and two heads drawn alike: neither as populations nor in their counterparts do they differ."""
    found = heads_differ.compare(attention(8, 6, seed=0), attention(2, 6, seed=1))
    assert exceeds(found.populations, 0.0) is not True
    assert exceeds(found.no_counterpart, 0.0) is not True
    # though of 2 heads the nearest is further than of 8
    assert mean_over_seeds(found.to_two.values()).value > mean_over_seeds(found.to_eight.values()).value + 0.01


def test_sharper_heads_are_another_population_with_no_counterpart():
    found = heads_differ.compare(attention(8, 6, seed=0, sharp=5.0), attention(2, 6, seed=1, sharp=0.1))
    assert exceeds(found.populations, 0.0) is True
    assert found.populations.value > 0.05


def test_every_control_is_of_another_seed():
    eight, two = attention(8, 3), attention(2, 3, seed=1)
    found = heads_differ.compare(eight, two)
    assert min(min(each.values()) for each in (found.to_drawn, found.to_best, found.two_to_two)) > 0.01
    own = heads_differ.to_nearest(heads_differ.divergences(eight[1], two[1]))
    assert found.to_own[1] == pytest.approx(own)
    across = [
        heads_differ.to_nearest(heads_differ.divergences(eight[a], two[b]))
        for a, b in itertools.permutations(range(3), 2)
    ]
    assert fmean(found.to_two.values()) == pytest.approx(fmean(across))


def test_the_nearest_head_of_another_model_is_the_same_one_where_there_is_one():
    weights = attention(4, 1)[0]
    assert heads_differ.to_nearest(heads_differ.divergences(weights, weights.flip(1))) == pytest.approx(0.0, abs=1e-6)
    apart = heads_differ.to_nearest(heads_differ.divergences(weights[:, :1], weights[:, 1:]))
    assert 0.01 < apart < 0.694


def test_two_drawn_heads_lie_between_the_best_two_and_the_worst():
    found = heads_differ.divergences(attention(3, 1)[0], attention(8, 1, seed=1)[0])
    pairs = heads_differ.to_nearest_of_two(found)
    assert len(pairs) == 28
    assert heads_differ.to_nearest(found) <= pairs.min() < pairs.mean() < pairs.max()
    two = heads_differ.divergences(attention(3, 1)[0], attention(2, 1, seed=1)[0])
    assert heads_differ.to_nearest_of_two(two).tolist() == [pytest.approx(heads_differ.to_nearest(two))]


def test_pseudo_values_have_the_mean_of_the_pairs_and_one_for_each_seed():
    pairs = {pair: float(sum(pair) ** 2) for pair in itertools.permutations((3, 5, 8, 9), 2)}
    found = over_pairs(pairs)
    assert list(found) == [3, 5, 8, 9]
    assert fmean(found.values()) == pytest.approx(fmean(pairs.values()))
    without = fmean(value for pair, value in pairs.items() if 8 not in pair)
    assert found[8] == pytest.approx(4 * fmean(pairs.values()) - 3 * without)


def test_a_mean_that_no_pair_shares_a_model_in_has_the_ordinary_interval():
    """Where a pair's number is the sum of one of each model, the pseudo-values are the models' own, twice."""
    own = {0: 0.1, 1: 0.4, 2: -0.3, 3: 0.2}
    found = over_pairs({(a, b): own[a] + own[b] for a, b in itertools.permutations(own, 2)})
    assert found == {seed: pytest.approx(2 * value) for seed, value in own.items()}


def test_too_few_models_have_no_interval():
    assert over_pairs({}) == {}
    found = mean_over_seeds(over_pairs({(0, 1): 0.2, (1, 0): 0.4}).values())
    assert found.value == pytest.approx(0.3)
    assert found.interval is None


def test_models_of_one_population_rarely_seem_to_be_of_two():
    draw = np.random.default_rng(0)
    wrong, trials, n = 0, 300, 4
    for _ in range(trials):
        x, y = draw.normal(size=(2, n, 3))
        pairs = {
            (a, b): ((x[a] - y[b]) ** 2).sum() - (((x[a] - x[b]) ** 2).sum() + ((y[a] - y[b]) ** 2).sum()) / 2
            for a, b in itertools.permutations(range(n), 2)
        }
        wrong += exceeds(mean_over_seeds(over_pairs(pairs).values()), 0.0) is True
    assert stats.binomtest(wrong, trials, 0.025, alternative="greater").pvalue > 0.01
