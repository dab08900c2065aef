from __future__ import annotations

import numpy as np
import pytest

from glassformer.charts.attention_maps import FINE, AttentionMaps, pooled
from glassformer.charts.page import Page, Section

F, L, H = 3, 2, 3
TOKENS = ["To", " be", ",", " or", " not", " to", " be", "\n"]
T = len(TOKENS)


def attention(*shape, seed=0):
    """Causal weights [*shape, T, T]: rows sum to 1."""
    scores = np.random.default_rng(seed).standard_normal((*shape, T, T)) * 2
    weights = np.exp(scores) * np.tril(np.ones((T, T)))
    return weights / weights.sum(-1, keepdims=True)


@pytest.fixture
def weights():
    return attention(F, L, H)


@pytest.fixture
def measures():
    return {
        "entropy (nats)": np.arange(F * L * H).reshape(F, L, H) / 7,
        "previous-token score": np.full((F, L, H), 0.25),
    }


@pytest.fixture
def figure(weights, measures):
    layers = [f"layer {i}" for i in range(L)]
    return AttentionMaps(weights, title="Heads", queries=TOKENS, keys=TOKENS, layers=layers, measures=measures)


@pytest.fixture
def cross():
    weights = np.random.default_rng(1).dirichlet([0.4] * 4, (1, 1, 2, 3))
    return AttentionMaps(weights, title="Cross", queries=["a", "good", "cat"], keys=list("wxyz"), layers=["layer 0"])


@pytest.fixture
def show(tmp_path, open_page):
    def shown(figure):
        names = [f"step {i}" for i in range(figure.n_frames)]
        page = open_page(Page("A page", [Section("One", "Text.", [figure])], frames=names).save(tmp_path / "page.html"))
        page.wait_for_selector("#figure-0[data-ready=true] [data-drawn=true]")
        return page

    return shown


def value(text):
    """The number at the end of a readout or label."""
    return float(text.rsplit(" ", 1)[1].replace("−", "-").replace("–", "nan"))


def spoken(page):
    """The readout of the arcs as {position: weight}."""
    text = page.locator(".gf-arcs .gf-readout").inner_text()
    listed = text.split("looks at ")[-1].split("looked at by ")[-1]
    pairs = [item.rsplit(" ", 2)[1:] for item in listed.split(", “")]
    return {int(position.strip("()")): float(weight) for position, weight in pairs}


def head(page, layer, index):
    return page.get_by_role("button", name=f"layer {layer}, head {index},")


def test_every_head_has_a_picture_of_its_own_weights(show, figure, weights):
    page = show(figure)
    assert page.locator(".gf-head").count() == L * H
    script = """() => [...document.querySelectorAll(".gf-head canvas")].map((canvas) => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
        copy.drawImage(canvas, 0, 0);
        return [...copy.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0);
    })"""
    red = np.array(page.evaluate(script)).reshape(L, H, T, T)
    for layer in range(L):
        for index in range(H):
            # more weight is darker: the order of the reds is the order of the weights, turned round
            shades = red[layer, index][np.tril_indices(T)]
            order = np.argsort(weights[-1, layer, index][np.tril_indices(T)])
            assert np.all(np.diff(shades[order].astype(int)) <= 1)
            assert np.all(red[layer, index][np.triu_indices(T, 1)] == red.max())


def test_a_click_on_a_head_shows_its_map_and_measures(show, figure, weights, measures):
    page = show(figure)
    head(page, 1, 2).click()
    assert page.locator(".gf-zoom h4").inner_text() == "layer 1, head 2"
    shown = page.locator(".gf-measures dd").all_inner_texts()
    assert [float(text) for text in shown] == pytest.approx([measures[name][-1, 1, 2] for name in measures], rel=1e-3)
    page.locator(".gf-zoom .gf-cells").focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    text = page.locator(".gf-zoom .gf-readout").inner_text()
    assert text.startswith("from ␣to (5), to ␣be (1): ")
    assert value(text) == pytest.approx(weights[-1, 1, 2, 5, 1], rel=2e-3)


def test_heads_are_reached_and_opened_by_keyboard(show, figure):
    page = show(figure)
    page.locator(".gf-head").first.focus()
    for key in ["ArrowDown", "ArrowRight", "Enter"]:
        page.keyboard.press(key)
    assert page.locator(".gf-zoom h4").inner_text() == "layer 1, head 1"
    assert page.locator(".gf-head[aria-current=true]").get_attribute("aria-label").startswith("layer 1, head 1")
    assert page.locator(".gf-head[tabindex='0']").count() == 1  # one stop for the Tab key
    page.locator(".gf-zoom .gf-cells").focus()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("layer 1, head 1")


def test_the_number_below_a_head_is_the_chosen_measure_at_the_slider_s_frame(show, figure, measures):
    page = show(figure)
    for frame in (0, 2):
        page.locator("#gf-frame").fill(str(frame))
        texts = page.locator(".gf-head span").all_inner_texts()
        expected = measures["entropy (nats)"][frame].ravel()
        np.testing.assert_allclose([float(text) for text in texts], expected, atol=0.006)
    page.get_by_label("number below each head").select_option("previous-token score")
    assert page.locator(".gf-head span").all_inner_texts() == ["0.25"] * (L * H)
    assert "previous-token score 0.25" in head(page, 0, 0).get_attribute("aria-label")


def test_pointing_at_a_token_draws_arcs_to_what_it_looks_at(show, figure, weights):
    page = show(figure)
    page.locator(".gf-tokens span").nth(6).hover()
    row = weights[-1, 0, 0, 6]
    assert page.locator(".gf-arcs path").count() == np.sum(row >= 0.01)
    told = spoken(page)
    assert list(told) == list(np.argsort(-row)[: len(told)])
    assert list(told.values()) == pytest.approx(np.sort(row)[::-1][: len(told)], rel=2e-3)


def test_the_other_direction_tells_who_looks_at_a_token(show, figure, weights):
    page = show(figure)
    page.locator(".gf-tokens span").nth(1).focus()
    page.get_by_label("is looked at by").check()
    column = weights[-1, 0, 0, :, 1]
    told = spoken(page)
    assert "is looked at by" in page.locator(".gf-arcs .gf-readout").inner_text()
    assert list(told.values()) == pytest.approx(np.sort(column)[::-1][: len(told)], rel=2e-3)
    assert page.locator(".gf-arcs path").count() == np.sum(column >= 0.01)


def test_the_slider_moves_map_arcs_and_small_pictures_together(show, figure, weights):
    page = show(figure)
    page.locator(".gf-tokens span").nth(7).hover()
    picture = "document.querySelector('.gf-head canvas').toDataURL()"
    before = page.evaluate(picture)
    page.locator("#gf-frame").fill("0")
    page.wait_for_selector("[data-drawn=true]")
    row = weights[0, 0, 0, 7]
    assert next(iter(spoken(page).values())) == pytest.approx(row.max(), rel=2e-3)
    page.locator(".gf-zoom .gf-cells").focus()
    page.keyboard.press("Control+End")
    assert value(page.locator(".gf-zoom .gf-readout").inner_text()) == pytest.approx(row[-1], rel=2e-3)
    assert page.evaluate(picture) != before


def test_cross_attention_has_a_row_of_queries_and_a_row_of_keys(show, cross):
    page = show(cross)
    rows = page.locator(".gf-tokens")
    assert rows.nth(0).locator("span").all_inner_texts() == ["a", "good", "cat"]
    assert rows.nth(1).locator("span").all_inner_texts() == list("wxyz")
    rows.nth(1).locator("span").nth(2).hover()
    column = cross.weights[0, 0, 0, :, 2]
    told = spoken(page)
    assert list(told.values()) == pytest.approx(np.sort(column)[::-1][: len(told)], rel=2e-3)
    rows.nth(0).locator("span").nth(1).hover()
    assert "looks at" in page.locator(".gf-arcs .gf-readout").inner_text()
    assert page.locator(".gf-arcs path").count() == np.sum(cross.weights[0, 0, 0, 1] >= 0.01)


def test_token_texts_that_look_like_markup_stay_text(show):
    evil = "</script><img src=x onerror=document.title='broken'><!--"
    tokens = [evil, "b"]
    weights = np.array([[[[1.0, 0.0], [0.75, 0.25]]]])
    page = show(AttentionMaps(weights, title=evil, queries=tokens, keys=tokens, layers=[evil], description=evil))
    assert page.locator(".gf-tokens span").first.inner_text() == evil
    page.locator(".gf-tokens span").nth(1).hover()
    assert evil in page.locator(".gf-arcs .gf-readout").inner_text()
    hovered = page.locator(".gf-zoom .gf-cells")
    hovered.hover()
    assert evil in page.locator(".gf-tip").inner_text()
    assert page.locator("img").count() == 0
    assert page.title() == "A page"


def test_large_figures_are_stored_in_8_bits_and_say_so():
    tokens = [str(i) for i in range(160)]
    side = len(tokens)

    def stored(frames):
        weights = np.zeros((frames, 6, 6, side, side), dtype=np.float32)
        figure = AttentionMaps(weights, title="t", queries=tokens, keys=tokens, layers=[str(i) for i in range(6)])
        return figure.weights.size, figure.data()["weights"]["dtype"], figure.caption()

    small, large = stored(1), stored(2)
    assert small[0] <= FINE < large[0]
    assert small[1] == "float16"
    assert "3 significant digits" in small[2]
    assert large[1] == "8-bit"
    assert "256 steps" in large[2]


def test_hovering_an_8_bit_figure_reads_the_weight_to_half_a_step(show, monkeypatch):
    monkeypatch.setattr("glassformer.charts.attention_maps.FINE", 0)
    weights = attention(1, 1, 1)
    page = show(AttentionMaps(weights, title="t", queries=TOKENS, keys=TOKENS, layers=["layer 0"]))
    page.locator(".gf-zoom .gf-cells").focus()
    page.keyboard.press("Control+End")
    weight = weights[0, 0, 0, -1, -1]
    text = page.locator(".gf-zoom .gf-readout").inner_text()
    assert value(text) == pytest.approx(weight, abs=(np.sqrt(weight) + 1 / 1020) / 255 + 1e-4)


def test_shrinking_keeps_the_largest_weight_of_each_block():
    matrix = np.eye(7)
    np.testing.assert_array_equal(pooled(matrix, 4), np.eye(4))
    np.testing.assert_array_equal(pooled(matrix, 7), matrix)
    assert pooled(np.arange(35).reshape(5, 7), 3).tolist() == [[16, 19, 20], [30, 33, 34]]


@pytest.mark.parametrize(
    "suffix",
    [
        ".svg",
        *(pytest.param(each, marks=pytest.mark.slow(reason="the same picture again")) for each in (".pdf", ".png")),
    ],
)
def test_the_bird_s_eye_grid_saves_as_every_kind_of_picture(figure, suffix, tmp_path):
    start = {".svg": b"<svg", ".pdf": b"%PDF", ".png": b"\x89PNG"}[suffix]
    assert figure.save(tmp_path / f"heads{suffix}", frame=0).read_bytes().startswith(start)
