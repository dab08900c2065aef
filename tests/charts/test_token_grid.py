"""The grid of guesses stores each text once, tells guesses, probabilities and ranks, and can be walked by keyboard."""

from __future__ import annotations

import numpy as np
import pytest

from glassformer.charts.packing import unpack
from glassformer.charts.page import Page, Section
from glassformer.charts.token_grid import PICTURED, TokenGrid

TEXT = list("the cat\nsat <b>")
VOCABULARY = [chr(code) for code in range(32, 127)] + ["\n", " on", "</script>"]
F, R, C, K = 2, 3, len(TEXT), 4


@pytest.fixture(scope="module")
def probabilities():
    """Of every token of the vocabulary, sharper with every frame and row: [F, R, C, V]."""
    logits = np.random.default_rng(0).normal(size=(F, R, C, len(VOCABULARY)))
    sharp = np.exp(logits * (1 + np.arange(R)[:, None, None] + 2 * np.arange(F)[:, None, None, None]))
    return sharp / sharp.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def lens(probabilities):
    order = np.argsort(-probabilities, axis=-1)
    right = order[-1, -1, :, 0]  # what the last row guesses at the end
    ranks = 1 + np.argsort(order, axis=-1)[..., np.arange(C), right]
    guesses = order[..., :K]
    found = np.take_along_axis(probabilities, guesses, axis=-1)
    grid = TokenGrid(
        guesses,
        found,
        title="Logit lens",
        rows=["embedding", "block 0", "block 1"],
        tokens=TEXT,
        vocabulary=VOCABULARY,
        right=[VOCABULARY[token] for token in right],
        ranks=ranks,
    )
    return grid, guesses, found, ranks


@pytest.fixture
def tab(lens, show):
    return show(lens[0], frames=["first", "last"])


def test_only_the_texts_that_are_guessed_are_stored_and_lead_back_to_the_guesses(lens):
    grid, guesses, found, ranks = lens
    data = grid.data()
    places = unpack(data["guesses"]).astype(int)
    assert sorted(set(data["texts"])) == sorted(data["texts"])
    assert [data["texts"][place] for place in places.ravel()] == [VOCABULARY[token] for token in guesses.ravel()]
    np.testing.assert_allclose(unpack(data["probabilities"]), found, rtol=1e-3)
    np.testing.assert_array_equal(unpack(data["ranks"]), ranks)


def test_a_page_of_text_over_the_checkpoints_of_a_run_stays_small(probabilities):
    # 7 rows, 256 tokens, 5 frames, 5 guesses among 256 tokens of the vocabulary
    guesses = np.random.default_rng(1).integers(0, 256, size=(5, 7, 256, 5))
    grid = TokenGrid(
        guesses,
        np.sort(np.random.default_rng(2).dirichlet(np.ones(9), size=guesses.shape[:3])[..., :5])[..., ::-1],
        title="Logit lens",
        rows=[str(row) for row in range(7)],
        tokens=["x"] * 256,
        vocabulary=[f"token {index}" for index in range(50_257)],
    )
    html = Page("Inspection", [Section("Lens", "", [grid])], frames=list("abcde")).html()
    assert len(html) < 500_000


def test_a_cell_tells_its_guesses_their_probabilities_and_the_rank_of_the_right_answer(lens, tab):
    _, guesses, found, ranks = lens
    row, column = 1, 2
    tab.locator("td").nth(row * C + column).hover()
    said = tab.locator(".gf-readout").inner_text()
    assert said.startswith("block 0 at “e” (2): ")
    parts = said.split(": ", 1)[1].split(" · ")
    for k, part in enumerate(parts[:K]):
        text, percent = part.rsplit("” ", 1)
        assert text.removeprefix("“").replace("␣", " ").replace("⏎", "\n") == VOCABULARY[guesses[-1, row, column, k]]
        assert float(percent.removesuffix(" %")) == pytest.approx(100 * found[-1, row, column, k], rel=6e-3)
    assert parts[K].endswith(f"rank {ranks[-1, row, column]}")
    assert tab.locator(".gf-tip").inner_text().splitlines()[1:] == parts


def test_the_cells_show_the_best_guesses_of_the_slider_s_frame_and_mark_the_right_ones(lens, tab):
    _, guesses, _, ranks = lens
    for frame in (1, 0):
        tab.locator("#gf-frame").fill(str(frame))
        shown = [text.replace("␣", " ").replace("⏎", "\n") for text in tab.locator("td").all_text_contents()]
        assert shown == [VOCABULARY[token] for token in guesses[frame, :, :, 0].ravel()]
        assert tab.locator("td.gf-guesses-hit").count() == (ranks[frame] == 1).sum()


def test_the_arrow_keys_walk_over_the_cells_and_the_table_is_one_stop_of_the_tab_key(tab):
    assert tab.locator('td[tabindex="0"]').count() == 1
    tab.locator("td").first.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft"):
        tab.keyboard.press(key)
    assert tab.locator(".gf-readout").inner_text().startswith("embedding at “h” (1)")
    tab.keyboard.press("End")
    assert tab.locator(".gf-readout").inner_text().startswith(f"embedding at “>” ({C - 1})")
    assert tab.locator('td[tabindex="0"]').count() == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_can_be_read_on_its_cell(tab, theme):
    if theme == "dark":
        tab.locator(".gf-theme").click()
    styles = tab.locator("td").evaluate_all(
        "cells => cells.map(cell => [getComputedStyle(cell).color, getComputedStyle(cell).backgroundColor])"
    )
    for ink, fill in styles:
        lighter, darker = sorted((luminance(ink), luminance(fill)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2, success criterion 1.4.3


def luminance(colour):
    share = np.array([int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_values_of_their_own_colour_the_cells_and_cells_without_a_value_look_like_nothing(lens, show):
    _, guesses, found, _ = lens
    entropy = np.linspace(0, 4, R * C).reshape(R, C)
    entropy[0, 0] = np.nan
    grid = TokenGrid(
        guesses[-1],
        found[-1],
        title="Logit lens",
        rows=list("abc"),
        tokens=TEXT,
        vocabulary=VOCABULARY,
        values=entropy,
        value_title="entropy (nats)",
        domain=(0, 4),
    )
    tab = show(grid)
    fills = tab.locator("td").evaluate_all("cells => cells.map(cell => cell.style.backgroundColor)")
    nothing = tab.evaluate(
        "() => { const box = document.createElement('i'); box.style.background = 'var(--nothing)';"
        " document.body.append(box); return getComputedStyle(box).backgroundColor; }"
    )
    assert fills[0] == nothing
    assert len(set(fills[1:])) == R * C - 1
    tab.locator("td").last.hover()
    assert "entropy (nats): 4" in tab.locator(".gf-readout").inner_text()


def test_the_static_picture_shows_the_first_tokens_and_says_so(tmp_path):
    count = PICTURED + 5
    guesses = np.zeros((1, 2, count, 1), dtype=int)
    grid = TokenGrid(
        guesses, np.full(guesses.shape, 0.25), title="Lens", rows=["a", "b"], tokens=["x"] * count, vocabulary=["yes"]
    )
    picture = grid.save(tmp_path / "lens.svg").read_text(encoding="utf-8")
    assert f"the first {PICTURED} of {count} tokens" in picture
    assert picture.count(">yes<") == 2 * PICTURED
