"""The steps of attention that the page computes are those that numpy computes, for every head and every pair."""

from __future__ import annotations

import re

import numpy as np
import pytest

from glassformer.charts.attention_steps import AttentionSteps

L, H, G, T, S, D_K, D_V = 2, 4, 2, 6, 6, 8, 5
TOKENS = list("to be.")


def pairs(grouped=True, mask=None):
    random = np.random.default_rng(0)
    groups = G if grouped else H
    query, key = random.normal(size=(L, H, T, D_K)) * 2, random.normal(size=(L, groups, S, D_K)) * 2
    value = random.normal(size=(L, groups, S, D_V))
    hidden = np.where(np.tril(np.ones((T, S))), 0, -np.inf)[None] if mask is None else mask
    figure = AttentionSteps(
        query,
        key,
        value,
        mask=hidden,
        scale=D_K**-0.5,
        title="One head",
        queries=TOKENS,
        keys=TOKENS,
        layers=["first", "second"],
    )
    return figure, query, key, value, hidden


def formula(query, key, value, mask, layer, head):
    """softmax(QKᵀ/√d_k + mask)·V of one head, in 64 bits: scores, weights, output."""
    group = head // (query.shape[1] // key.shape[1])
    scores = query[layer, head] @ key[layer, group].T
    masked = scores / np.sqrt(D_K) + mask[head if len(mask) > 1 else 0]
    powers = np.exp(masked - masked.max(axis=1, keepdims=True))
    weights = powers / powers.sum(axis=1, keepdims=True)
    return scores, weights, weights @ value[layer, group]


def readout(tab, step):
    return tab.locator(f'[data-step="{step}"] .gf-readout').inner_text()


def number(text):
    return float(text.replace("−", "-").replace("nothing", "nan"))


def move(tab, step, row, column):
    cells = tab.locator(f'[data-step="{step}"] .gf-cells')
    cells.focus()
    tab.keyboard.press("Control+Home")
    for key, times in (("ArrowDown", row), ("ArrowRight", column)):
        for _ in range(times):
            tab.keyboard.press(key)


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(("layer", "head"), [(0, 0), (1, 3), (0, 2)])
def test_the_steps_in_python_are_the_formula(grouped, layer, head):
    figure, *parts = pairs(grouped)
    scores, weights, output = formula(*parts, layer, head)
    steps = figure.steps(layer, head)
    np.testing.assert_allclose(steps["scores"], scores, atol=1e-4)
    np.testing.assert_allclose(steps["weights"], weights, atol=1e-5)
    np.testing.assert_allclose(steps["output"], output, atol=1e-4)
    assert np.isneginf(steps["masked"][0, 1:]).all()


def test_a_query_that_may_look_nowhere_gets_weights_of_zero_in_python_and_in_the_page(show):
    mask = np.zeros((1, T, S))
    mask[0, 2] = -np.inf
    figure, *_ = pairs(mask=mask)
    assert (figure.steps(0, 0)["weights"][2] == 0).all()
    tab = show(figure)
    move(tab, "weights", 2, 3)
    assert number(readout(tab, "weights").split(": ")[-1]) == 0


@pytest.mark.parametrize("grouped", [True, pytest.param(False, marks=pytest.mark.slow(reason="the same page again"))])
def test_the_page_computes_what_numpy_computes(show, grouped):
    figure, *parts = pairs(grouped)
    tab = show(figure)
    for layer, head in ((0, 0), (1, 3)):
        tab.get_by_label("layer", exact=True).select_option(str(layer))
        tab.get_by_label("head", exact=True).select_option(str(head))
        scores, weights, output = formula(*parts, layer, head)
        for row, column in ((5, 2), (3, 3), (4, 0)):
            move(tab, "weights", row, column)
            assert number(readout(tab, "weights").split(": ")[-1]) == pytest.approx(weights[row, column], abs=2e-3)
            sentence = tab.locator(".gf-steps-sentence").inner_text()
            assert f"({row}), key " in sentence
            said = number(re.search(r"q·k = ([^,]+),", sentence)[1])
            assert said == pytest.approx(scores[row, column], abs=2e-2)
        move(tab, "output", 4, 3)
        assert number(readout(tab, "output").split(": ")[-1]) == pytest.approx(output[4, 3], abs=5e-3)


def test_what_the_mask_hides_is_said_to_be_hidden_and_has_no_weight(show):
    figure, *_ = pairs()
    tab = show(figure)
    move(tab, "masked", 1, 4)
    sentence = tab.locator(".gf-steps-sentence").inner_text()
    assert "hidden by the mask" in sentence
    assert sentence.endswith("weight 0")


def test_a_bias_of_each_head_is_added_and_named(show):
    distance = np.abs(np.arange(T)[:, None] - np.arange(S))
    mask = -distance * np.array([0.5, 0.25, 0.125, 0.0625])[:, None, None]  # ALiBi's slopes (Press et al. 2022)
    figure, *parts = pairs(mask=mask)
    tab = show(figure)
    assert "adds a bias" in tab.locator('[data-step="masked"]').inner_text()
    tab.get_by_label("head", exact=True).select_option("2")
    move(tab, "weights", 0, 5)
    _, weights, _ = formula(*parts, 0, 2)
    assert number(readout(tab, "weights").split(": ")[-1]) == pytest.approx(weights[0, 5], abs=2e-3)


def test_a_mask_that_hides_nothing_is_said_to_add_nothing(show):
    tab = show(pairs(mask=np.zeros((1, T, S)))[0])
    assert "the mask adds 0" in tab.locator('[data-step="masked"]').inner_text()


def test_values_beyond_16_bits_are_kept_in_32():
    figure, *_ = pairs()
    assert figure.data()["query"]["dtype"] == "float16"
    large = AttentionSteps(
        figure.query * 1e5,
        figure.key,
        figure.value,
        mask=figure.mask,
        scale=1.0,
        title="One head",
        queries=TOKENS,
        keys=TOKENS,
        layers=["first", "second"],
    )
    assert large.data()["query"]["dtype"] == "float32"
    assert "7 significant digits" in large.caption()


def test_a_head_chosen_elsewhere_on_the_page_is_the_one_that_is_shown(show):
    from glassformer.charts.attention_maps import AttentionMaps

    figure, *parts = pairs()
    every = np.array([[formula(*parts, layer, head)[1] for head in range(H)] for layer in range(L)])
    maps = AttentionMaps(every, title="Heads", queries=TOKENS, keys=TOKENS, layers=["first", "second"])
    tab = show(maps, figure)
    tab.locator(".gf-head").nth(H + 2).click()
    assert tab.locator('[data-component="attention-steps"] select').first.input_value() == "1"
    assert tab.locator('[data-component="attention-steps"] select').nth(1).input_value() == "2"


def test_each_step_stands_beside_one_sentence(show):
    tab = show(pairs()[0])
    sentences = tab.locator(".gf-step > p").all_inner_texts()
    assert len(sentences) == 8
    assert all(sentence.endswith(".") and ". " not in sentence for sentence in sentences)
    assert "0.3536" in tab.locator('[data-step="scaled"] h4').inner_text()


def test_the_static_picture_shows_all_steps_of_the_head_asked_for():
    figure, *_ = pairs()
    chart = figure.chart(theme="dark", layer=1, head=3).to_dict()
    assert [panel["title"]["text"].split()[1] for panel in chart["concat"]] == list(figure.steps())
    assert chart["title"]["subtitle"] == "layer second, head 3"


def test_shapes_that_do_not_belong_together_are_refused():
    random = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="cannot share"):
        AttentionSteps(
            random.normal(size=(1, 3, T, D_K)),
            random.normal(size=(1, 2, S, D_K)),
            random.normal(size=(1, 2, S, D_V)),
            mask=np.zeros((1, T, S)),
            scale=1.0,
            title="One head",
            queries=TOKENS,
            keys=TOKENS,
            layers=["first"],
        )
