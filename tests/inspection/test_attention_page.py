from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from glassformer.errors import ConfigError
from glassformer.inspection.attention_page import attention_page

TOKENS = ["the", "cat", "<b>", "the", "cat"]
N_LAYERS, N_HEADS = 2, 3


def softmax_rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def figures(page):
    return [figure for section in page.sections for figure in section.figures]


def drawn(page):
    """The weights that the page's maps hold, [L, H, T, S]."""
    return figures(page)[0].weights[0]


# --- what is accepted -------------------------------------------------------------------------------------------------

WEIGHTS = softmax_rows(N_LAYERS, N_HEADS, 5, 5)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(WEIGHTS, id="one tensor"),
        pytest.param(WEIGHTS.numpy(), id="one array"),
        pytest.param(list(WEIGHTS), id="a list of layers"),
        pytest.param(tuple(layer[None] for layer in WEIGHTS), id="a tuple of batches of one"),
        pytest.param(WEIGHTS[:, None], id="one tensor with a batch"),
        pytest.param([layer.numpy() for layer in WEIGHTS], id="a list of arrays"),
        pytest.param(WEIGHTS.clone().requires_grad_(), id="with a history"),
    ],
)
def test_the_same_weights_in_any_form_make_the_same_page(given):
    page = attention_page(given, TOKENS)
    np.testing.assert_array_equal(drawn(page), WEIGHTS.numpy())
    assert page.html() == attention_page(WEIGHTS, TOKENS).html()


def test_one_layer_and_one_head_need_no_more_axes():
    assert drawn(attention_page(WEIGHTS[0], TOKENS)).shape == (1, 3, 5, 5)
    page = attention_page(WEIGHTS[0, 0], TOKENS)
    assert drawn(page).shape == (1, 1, 5, 5)
    assert "only one head" in page.sections[-1].missing


def test_a_row_is_chosen_from_a_batch():
    batch = torch.stack((WEIGHTS, softmax_rows(N_LAYERS, N_HEADS, 5, 5, seed=1)), dim=1)  # [L, B, H, T, S]
    np.testing.assert_array_equal(drawn(attention_page(tuple(batch), TOKENS, row=1)), batch[:, 1].numpy())
    np.testing.assert_array_equal(drawn(attention_page(tuple(batch), TOKENS, row=-2)), batch[:, 0].numpy())


def test_half_precision_is_close_enough_to_one():
    page = attention_page(softmax_rows(2, 2, 100, 100).to(torch.bfloat16), range(100))
    assert figures(page)[0].queries[-1] == "99"


def test_tokens_may_be_ids_in_a_batch_of_one_and_decide_the_scores():
    by_text = attention_page(WEIGHTS, TOKENS)
    by_id = attention_page(WEIGHTS, torch.tensor([[8, 2, 5, 8, 2]]))
    for text, number in zip(figures(by_text)[1:], figures(by_id)[1:], strict=True):
        np.testing.assert_array_equal(text.values, number.values)


def test_cross_attention_names_its_keys():
    page = attention_page(softmax_rows(2, 3, 5, 4), TOKENS, keys=["le", "chat", "le", "chat"])
    assert figures(page)[0].keys == ["le", "chat", "le", "chat"]
    assert "previous-token score" not in page.html()
    assert "distance from the diagonal" in page.html()


def test_rows_that_do_not_add_up_are_drawn_on_request_and_not_measured():
    page = attention_page(2 * WEIGHTS, TOKENS, normalised=False)
    np.testing.assert_array_equal(drawn(page), 2 * WEIGHTS.numpy())
    assert len(figures(page)) == 1
    assert all("normalised=False" in section.missing for section in page.sections[1:])


# --- what is refused --------------------------------------------------------------------------------------------------


def complaints(*args, **options):
    with pytest.raises(ConfigError) as caught:
        attention_page(*args, **options)
    return caught.value.complaints


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        pytest.param(torch.ones(3), r"\[3\] \(1 axis\)", id="one axis"),
        pytest.param(torch.ones(1, 1, 1, 1, 1, 1), r"\(6 axes\)", id="six axes"),
        pytest.param(torch.ones(0, 2, 5, 5), r"\[0, 2, 5, 5\]", id="no layers"),
        pytest.param([torch.ones(5, 5)], r"layer 0 is \[5, 5\] \(2 axes\)", id="a list of single maps"),
        pytest.param(None, "attn_implementation='eager'", id="nothing"),
        pytest.param((), "output_attentions=True", id="an empty tuple"),
        pytest.param((None, None), "attn_implementation='eager'", id="no weights were formed"),
        pytest.param("weights", r"a str\b", id="a text"),
    ],
)
def test_weights_of_another_shape_are_refused_with_the_shapes_there_are(weights, said):
    (complaint,) = complaints(weights, TOKENS)
    assert re.search(said, complaint)


def test_layers_of_different_shapes_are_named():
    (complaint,) = complaints([softmax_rows(3, 5, 5), softmax_rows(3, 5, 5), softmax_rows(2, 5, 5)], TOKENS)
    assert "layer 0 is [3, 5, 5], layer 2 is [2, 5, 5]" in complaint


def test_a_batch_of_several_asks_for_a_row():
    batch = [softmax_rows(4, 3, 5, 5)]
    assert "row=0 to 3" in complaints(batch, TOKENS)[0]
    assert "row is 4" in complaints(batch, TOKENS, row=4)[0]
    assert "no batch" in complaints(WEIGHTS, TOKENS, row=0)[0]


def test_tokens_that_do_not_fit_and_rows_that_do_not_add_up_are_told_together():
    wrong = WEIGHTS.clone()
    wrong[1, 2, 3] *= 0.5
    found = complaints(wrong, TOKENS[:4])
    assert len(found) == 2
    assert re.search("5 queries.*4 tokens", found[0])
    assert "1 of 30 rows" in found[1]
    assert "query 3 of layer 1, head 2 has 0.5." in found[1]


def test_keys_are_asked_for_where_they_are_other_tokens():
    assert "keys=" in complaints(softmax_rows(1, 1, 5, 4), TOKENS)[0]
    assert re.search("4 keys.*3 in keys=", complaints(softmax_rows(1, 1, 5, 4), TOKENS, keys=["a", "b", "c"])[0])


@pytest.mark.parametrize(
    ("value", "said"),
    [(float("nan"), "not finite"), (float("-inf"), "before the softmax"), (-0.25, "a weight is -0.25")],
)
def test_values_that_no_softmax_gives_are_found(value, said):
    wrong = WEIGHTS.clone()
    wrong[1, 0, 2, 4] = value
    for normalised in (True, False):
        (complaint,) = complaints(wrong, TOKENS, normalised=normalised)
        assert said in complaint
        assert "layer 1, head 0, query 2, key 4" in complaint


# --- of another library's model, in a browser -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2():
    """A tiny random GPT-2 of transformers: its weights and the ids that it read."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=16, n_embd=16, n_layer=3, n_head=4, attn_implementation="eager"
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    ids = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 3, 1]])
    with torch.no_grad():
        return model(ids, output_attentions=True).attentions, ids


def test_a_gpt2_of_transformers_is_drawn_as_it_attended(gpt2):
    attentions, ids = gpt2
    page = attention_page(attentions, ids, title="Somebody else's GPT-2")
    np.testing.assert_array_equal(drawn(page), torch.cat(attentions).numpy())
    assert page.facts == {"layers": "3", "heads in each": "4", "queries": "10", "keys": "10"}
    html = page.html()
    assert "Somebody else&#x27;s GPT-2" in html
    for packed in re.findall(r'<script type="application/json" id="gf-data-\d+">(.*?)</script>', html):
        json.loads(packed)


def number(readout):
    """What stands behind the last colon of a readout."""
    return float(readout.inner_text().rsplit(": ", 1)[1].replace("−", "-"))


def test_the_page_opens_without_a_network_and_reads_out_the_weights_of_the_chosen_head(gpt2, open_page, tmp_path):
    attentions, ids = gpt2
    made = attention_page(attentions, ids)
    page = open_page(made.save(tmp_path / "attention.html"))

    maps = page.locator("#figure-0")
    maps.get_by_role("button", name="layer 2, head 3").click()
    assert maps.locator(".gf-zoom h4").inner_text() == "layer 2, head 3"
    maps.locator(".gf-cells").focus()
    for key in ("End", "ArrowDown", "ArrowDown", "ArrowDown", "Home", "ArrowRight"):  # query 3, key 1
        page.keyboard.press(key)
    readout = maps.locator(".gf-zoom .gf-readout")
    assert readout.inner_text().startswith("from 1 (3), to 1 (1): ")
    assert number(readout) == pytest.approx(float(attentions[2][0, 3, 3, 1]), rel=2e-3)

    shares = figures(made)[1]
    heads = page.locator("#figure-1")
    heads.scroll_into_view_if_needed()
    heads.locator("select").select_option(label="induction score")
    heads.locator(".gf-cells").focus()
    page.keyboard.press("Control+End")  # the last layer's last head
    chosen = shares.choices["measure"].index("induction score")
    assert number(heads.locator(".gf-readout")) == pytest.approx(float(shares.values[0, chosen, 2, 3]), rel=2e-3)


def test_tokens_that_look_like_html_are_text_on_the_page(open_page, tmp_path):
    page = open_page(attention_page(WEIGHTS, TOKENS, title="<script>").save(tmp_path / "attention.html"))
    assert page.locator("h1").inner_text() == "<script>"
    tokens = page.locator("#figure-0 .gf-tokens span")
    tokens.first.wait_for()
    assert tokens.all_inner_texts() == TOKENS
