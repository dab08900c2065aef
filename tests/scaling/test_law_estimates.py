from __future__ import annotations

import pytest

from glassformer.models.presets import preset
from glassformer.scaling.laws.counting import counts
from glassformer.scaling.laws.known import law
from glassformer.scaling.laws.units import PF_DAY
from glassformer.scaling.plans.law_estimates import allocation_laws, allocation_of, law_estimates
from glassformer.scaling.plans.shapes import nearest_shape

GPT2 = preset("gpt2").model
BUDGET = 1e19


@pytest.fixture(scope="module")
def table():
    run = counts(nearest_shape(GPT2, 2.6e8).model)
    return {each.law: each for each in law_estimates(BUDGET, GPT2, run, 6.4e9, unique=None)}


def test_every_law_that_can_spend_a_budget_is_asked(table):
    assert set(allocation_laws()) - {"chinchilla-printed"} <= set(table)


def test_the_notes_wrong_formulas_are_not_among_the_laws(table):
    assert not [name for name in table if name.startswith("notes")]


def test_each_law_spends_the_same_budget(table):
    for each in table.values():
        if each.parameters is not None:
            assert 6 * each.parameters * each.tokens == pytest.approx(BUDGET, rel=1e-6)
            assert each.tokens_per_parameter == each.tokens / each.parameters


def test_laws_disagree_by_more_than_a_factor_of_two(table):
    found = [each.parameters for each in table.values() if each.parameters]
    assert max(found) > 2 * min(found)


def test_an_n_without_embeddings_becomes_a_model_with_them(table):
    kaplan = table["kaplan-optimal-parameters"]
    assert kaplan.counting == "non-embedding"
    model = nearest_shape(GPT2, kaplan.parameters, counting="non-embedding").model
    assert kaplan.total == counts(model).total
    assert kaplan.total > kaplan.parameters + GPT2.vocab_size * 512


def test_every_law_of_the_loss_is_asked_about_the_same_run(table):
    run = counts(nearest_shape(GPT2, 2.6e8).model)
    for name in ("chinchilla", "besiroglu"):
        assert table[name].here == pytest.approx(law(name)(N=run.total, D=6.4e9))
    kaplan = law("kaplan-loss-of-parameters-and-tokens")
    assert table[kaplan.name].here == pytest.approx(kaplan(N=run.non_embedding, D=6.4e9))


def test_no_law_does_better_on_a_run_than_at_its_own_optimum(table):
    run = counts(nearest_shape(GPT2, 2.6e8).model)
    spent = 6 * run.total * 6.4e9
    for name in ("chinchilla", "besiroglu", "epoch-240"):
        assert table[name].here >= law(name).optimum(spent).loss - 1e-9


def test_kaplans_table_6_is_reproduced_at_one_pf_day():
    assert allocation_of(law("kaplan-optimal-parameters"), PF_DAY, None).parameters == pytest.approx(1.3e9)


def test_with_enough_data_the_law_of_repetition_spends_as_its_closed_form_does():
    repeated = law("muennighoff")
    k = {symbol: constant.value for symbol, constant in repeated.constants.items()}
    g = (k["α"] * k["A"] / (k["β"] * k["B"])) ** (1 / (k["α"] + k["β"]))
    found = allocation_of(repeated, BUDGET, None)
    assert found.parameters == pytest.approx(g * (BUDGET / 6) ** 0.5, rel=0.02)


def test_short_of_data_it_takes_a_smaller_loss_at_other_sizes_than_with_enough():
    enough, short = (allocation_of(law("muennighoff"), BUDGET, unique) for unique in (None, 1e8))
    assert short.loss > enough.loss
    assert short.tokens > 1e8


def test_what_leaves_the_experiments_says_so():
    run = counts(nearest_shape(GPT2, 1e6).model)
    reported = {each.law: each.outside for each in law_estimates(1e12, GPT2, run, 1e6, unique=None)}
    assert any("below" in sentence for sentence in reported["besiroglu"])
    assert any("below" in sentence for sentence in reported["porian-tuned"])
