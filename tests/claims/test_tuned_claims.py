"""Claims tuned over learning rates, decided for real at a budget that can decide nothing."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
from executors import InThisProcess

from glassformer.claims import heads_differ, learned_vs_sinusoidal, residual_depth
from glassformer.claims.budget import Budget
from glassformer.claims.claim import Verdict
from glassformer.claims.registry import claim
from glassformer.claims.tuned import tuned_arms
from glassformer.studies.design import BASE
from glassformer.studies.folder import Study

SLOW = pytest.mark.slow(reason="many arms, each at several rates")
TINY = Budget(seeds=3, steps=4, rates=(1e-3, 1e-2), selection_seeds=1, selection_steps=2)


@pytest.fixture(scope="module")
def here(claim_studies):
    """The small studies, their runs made in this process."""
    runner = dataclasses.replace(claim_studies.runner, make_executor=lambda study, _checked: InThisProcess(study))
    return dataclasses.replace(claim_studies, runner=runner, n_runs=0, n_reused=0)


def tuned(result):
    """The studies of a result whose arms were tuned, each checked: every arm has a rate of its own, and fresh seeds."""
    studies = [study for study in map(Study.open, result.evidence) if study.config.tuning is not None]
    for study in studies:
        assert study.pending() == []
        assert set(study.config.chosen) == {BASE, *study.config.variants}
        assert {each.seed for each in study.outcomes()} == set(range(TINY.seeds))
        assert {each.seed for each in study.selection.outcomes()} == {1000}
    return studies


@SLOW
def test_heads_differ_is_decided_from_tuned_arms_and_their_controls(here):
    budget = dataclasses.replace(TINY, controls=False)
    result = heads_differ.decide(budget, here)
    assert result.verdict in get_args(Verdict)
    (study,) = tuned(result)
    assert len(study.config.arms) == 4
    for setting in heads_differ.SETTINGS:
        for what in ("to 2 less to two drawn from another 8", "between less within"):
            assert result.numbers[f"{setting}: {what}"].interval is not None
    widths = {arm: study.config.arm(arm).model for arm in study.config.arms}
    heads = {arm: (model.attention.n_heads, model.d_head) for arm, model in widths.items()}
    assert heads == {
        BASE: (2, 8),
        heads_differ.EIGHT: (8, 2),
        heads_differ.EIGHT_WIDE: (8, 8),
        heads_differ.TWO_NARROW: (2, 2),
    }
    again = heads_differ.decide(budget, here)
    assert again.evidence == result.evidence
    assert again.parts == result.parts


@SLOW
def test_learned_vs_sinusoidal_has_every_scale_and_each_kinds_best(here):
    result = learned_vs_sinusoidal.decide(TINY, here)
    (study,) = tuned(result)
    assert len(result.parts) == 11
    assert study.config.base.model.positions.options == {"rms": learned_vs_sinusoidal.SMALL}
    arms = tuned_arms(study)
    assert set(arms.losses) == set(arms.rates) == {BASE, *learned_vs_sinusoidal.VARIANTS}
    shares = [each for name, each in result.numbers.items() if "share" in name]
    assert len(shares) == 4
    assert all(share.interval is not None for share in shares)


@SLOW
def test_the_trained_models_of_residual_depth_are_tuned_at_seeds_of_their_own(here, monkeypatch):
    monkeypatch.setattr(residual_depth, "TRAINED_LAYERS", 3)
    budget = dataclasses.replace(TINY, seeds=2, levels=(3,), seeds_at={3: 3}, controls=False)
    result = residual_depth.decide(budget, here)
    (study,) = tuned(result)
    assert study.config.base.model.n_layers == 3
    assert len(study.config.arms) == 2
    assert result.numbers["3 layers, pre-norm, trained: without"].interval is not None
    assert "3 layers, pre-norm, trained: baseline, best learning rate" in result.numbers


@pytest.mark.parametrize(
    "name", ["no-token-embedding", *(pytest.param(name, marks=SLOW) for name in ("q-only", "no-position"))]
)
def test_every_arm_on_text_has_its_own_rate(name, here):
    result = claim(name).decide(TINY, here)
    assert result.verdict in get_args(Verdict)
    studies = tuned(result)
    assert len(studies) == (2 if name == "q-only" else 1)
    assert any(number.endswith("best learning rate") for number in result.numbers)


@pytest.mark.parametrize(
    "name",
    ["heads-differ", "learned-vs-sinusoidal", "q-only", "no-position", "no-token-embedding", "layer-vs-batch-norm"],
)
def test_the_full_budget_is_tuned_with_seeds_enough_for_an_interval(name):
    full = claim(name).full
    assert len(full.rates) >= 4
    assert full.seeds >= 6
    assert max(one / other for one, other in zip(full.rates[1:], full.rates, strict=False)) <= 2 + 1e-9
    assert full.selection_steps is None  # chosen on runs as long as those compared
    assert claim(name).could_be_wrong
