"""The whole page, of real runs of both families and of an imported GPT-2, in a real browser without a network."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from glassformer.errors import ConfigError
from glassformer.inspection.chapters import CHAPTERS
from glassformer.inspection.gradients import training_gradients
from glassformer.inspection.page import inspect
from glassformer.inspection.subjects import open_subject
from glassformer.models.build import build
from glassformer.runs.checkpoints import save_checkpoint
from glassformer.runs.folder import Run

TEXT = "bad hedge fig abc bad"
STEPS = [0, 4, 8, 12]

another_page = pytest.mark.slow(reason="a whole page more in the browser")


@pytest.fixture(scope="module")
def language_page(language_run, tmp_path_factory):
    """The path of the page about the language model."""
    subject = open_subject(language_run.path, checkpoint="all")
    return inspect(subject, text=TEXT).save(tmp_path_factory.mktemp("pages") / "language.html")


@pytest.fixture(scope="module")
def translator_page(translator_run, tmp_path_factory):
    """The path of the page about the translator."""
    subject = open_subject(translator_run.path, checkpoint="all")
    return inspect(subject, text="one two three four").save(tmp_path_factory.mktemp("pages") / "translator.html")


@pytest.fixture(scope="module")
def gpt2_page(gpt2_folder, tmp_path_factory):
    """The path of the page about the GPT-2."""
    return inspect(open_subject(gpt2_folder), text="the cat then").save(tmp_path_factory.mktemp("pages") / "gpt2.html")


def drawn(tab):
    """The page with everything on it drawn."""
    tab.evaluate("() => { for (const figure of document.querySelectorAll('.gf-figure')) figure.scrollIntoView(); }")
    for figure in tab.locator(".gf-figure").all():
        figure.scroll_into_view_if_needed()
    tab.wait_for_function(
        "() => [...document.querySelectorAll('.gf-figure')].every(figure => figure.dataset.ready === 'true')"
    )
    return tab


@pytest.fixture
def open_drawn(open_page):
    return lambda path: drawn(open_page(path, viewport={"width": 1280, "height": 1600}))


@pytest.fixture(scope="module")
def language_tab(language_page, open_shared):
    """The page about the language model, drawn; its tests share it."""
    return drawn(open_shared(language_page, viewport={"width": 1280, "height": 1600}))


@pytest.fixture(scope="module")
def translator_tab(translator_page, open_shared):
    """The page about the translator, drawn; its tests share it."""
    return drawn(open_shared(translator_page, viewport={"width": 1280, "height": 1600}))


def figure(tab, title):
    return tab.locator(".gf-figure").filter(has=tab.locator("figcaption strong", has_text=re.compile(f"^{title}$")))


def hovered(tab, cells, row, column, shape):
    """What is said of a cell when the mouse is on it: the number at the end of the readout beside the map."""
    cells.evaluate("element => element.scrollIntoView({ behavior: 'instant', block: 'center' })")
    box = cells.locator("canvas").bounding_box()
    x = box["x"] + (column + 0.5) / shape[1] * box["width"]
    y = box["y"] + (row + 0.5) / shape[0] * box["height"]
    tab.mouse.move(x, y)
    said = cells.locator("xpath=following::*[contains(concat(' ', @class, ' '), ' gf-readout ')][1]").inner_text()
    return float(said.rsplit(" ", 1)[1].replace("−", "-"))


@pytest.mark.parametrize("name", ["language", "translator"])
def test_every_chapter_is_there_and_draws_without_an_error(name, request):
    tab = request.getfixturevalue(f"{name}_tab")  # errors in the console and requests fail the tests at their end
    has_every_chapter(tab)
    assert tab.locator(".gf-missing").all_inner_texts() == []


@pytest.mark.slow(reason="imports transformers to write a GPT-2; test_subjects opens the same one")
def test_every_chapter_of_a_gpt2_draws_without_an_error(gpt2_page, open_drawn):
    tab = open_drawn(gpt2_page)
    has_every_chapter(tab)
    (missing,) = tab.locator(".gf-missing").all_inner_texts()
    assert "no record of its training" in missing


OF_ALL = [chapter for chapter in CHAPTERS if not chapter.title.startswith("Experts")]
"""Those of a model without experts."""


def has_every_chapter(tab):
    assert tab.locator("h2").all_inner_texts() == [chapter.title for chapter in OF_ALL]
    for index in range(len(OF_ALL)):
        assert tab.locator(f"#section-{index}").locator(".gf-figure, .gf-missing").count() > 0


def test_the_slider_shows_what_each_head_did_at_each_checkpoint(language_tab, language_run):
    tab = language_tab
    subject = open_subject(language_run.path, checkpoint="all")
    encoded = subject.read(TEXT)
    maps = figure(tab, "Self-attention")
    maps.get_by_role("button", name="layer 1, head 1,").click()
    for frame, snapshot in enumerate(subject.snapshots()):
        tab.locator("#gf-frame").fill(str(frame))
        assert f"step {snapshot.step}" in tab.locator(".gf-frame-name").inner_text()
        weights = subject.trace(encoded)["blocks.1.attention.weights"][0, 1].numpy()
        for row, column in ((17, 4), (5, 5), (20, 0)):
            said = hovered(tab, maps.locator(".gf-zoom .gf-cells"), row, column, weights.shape)
            assert said == pytest.approx(weights[row, column], abs=1e-3)


def test_the_slider_moves_the_lens_and_the_lines_too(language_tab, language_run):
    tab = language_tab
    subject = open_subject(language_run.path, checkpoint="all")
    encoded = subject.read(TEXT)
    lens = figure(tab, "Logit lens")
    stream = figure(tab, "Residual stream").locator("svg").first
    drawings = set()
    for frame, _ in enumerate(subject.snapshots()):
        tab.locator("#gf-frame").fill(str(frame))
        tab.wait_for_timeout(100)
        best = subject.token_label(int(subject.trace(encoded).logits[0, 3].argmax()))
        last_row = lens.locator("tr, [role=row]").last
        assert best in last_row.inner_text()
        drawings.add(stream.evaluate("drawing => drawing.outerHTML"))
    assert len(drawings) == len(STEPS)


def test_each_attention_of_a_translator_has_its_own_numbers_and_steps(translator_tab, translator_run):
    tab = translator_tab
    subject = open_subject(translator_run.path)
    encoded = subject.read("one two three four")
    weights = subject.trace(encoded)["decoder.blocks.0.cross_attention.weights"][0, 0].numpy()
    maps = figure(tab, "Cross-attention, from target to source")
    for row, column in ((0, 0), (1, 3), (len(encoded.tokens) - 1, len(encoded.source) - 1)):
        said = hovered(tab, maps.locator(".gf-zoom .gf-cells"), row, column, weights.shape)
        assert said == pytest.approx(weights[row, column], abs=1e-3)
    # a head that is chosen in one is shown step by step there, and not in the others
    cross = "Cross-attention, from target to source"
    figure(tab, cross).get_by_role("button", name="layer 1, head 1,").click()
    steps = figure(tab, f"{cross}: queries, keys and values")
    assert steps.get_by_label("layer", exact=True).locator("option:checked").inner_text() == "layer 1"
    other = figure(tab, "Self-attention of the encoder: queries, keys and values")
    assert other.get_by_label("layer", exact=True).locator("option:checked").inner_text() == "layer 0"


def test_the_theme_is_switched_for_everything_at_once(language_tab):
    tab = language_tab
    body = "() => getComputedStyle(document.body).backgroundColor"
    title = figure(tab, "Residual stream").locator("svg text").first
    before = (tab.evaluate(body), title.get_attribute("fill"))
    tab.locator(".gf-theme").click()
    tab.wait_for_timeout(500)
    after = (tab.evaluate(body), title.get_attribute("fill"))
    tab.locator(".gf-theme").click()  # as the other tests know it
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_gradient_row_that_is_clicked_gets_its_line(language_tab, language_run):
    tab = language_tab
    gradients = figure(tab, "Gradients during training")
    found = training_gradients(language_run)
    assert found.steps.tolist() == [1, 2, 4, 6, 8, 10, 12]
    assert f"gradient norm of {found.parameters[0]}" in gradients.inner_text()  # until another is chosen
    cells = gradients.locator("[role=application]").first
    cells.focus()
    for _ in range(3):
        tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    drawn = gradients.inner_text()
    assert any(f"gradient norm of {name}" in drawn for name in found.parameters[1:5])
    assert f"gradient norm of {found.parameters[0]}" not in drawn


def test_two_runs_stand_side_by_side_each_at_its_own_checkpoints(language_run, open_drawn, tmp_path):
    other = Run.create(tmp_path, "other", language_run.config, command=["test"])
    subject = open_subject(language_run.path)
    subject.tokenizer.save(other.tokenizer)
    for step in (6, 12):
        weights = {name: weight * step / 12 for name, weight in subject.model.named_weights().items()}
        save_checkpoint(other.checkpoints, step, {"model": weights}, {}, is_best=False)
    text = "bad hedge"
    both = [open_subject(path, checkpoint="all") for path in (language_run.path, other.path)]
    tab = open_drawn(inspect(*both, text=text).save(tmp_path / "both.html"))
    assert tab.locator("#gf-frame").get_attribute("max") == "4"  # 0, 4, 6, 8 and 12
    encoded = both[1].read(text)
    maps = figure(tab, "Self-attention").nth(1)
    for frame, step in ((0, 0), (1, 0), (2, 6), (3, 6), (4, 12)):
        tab.locator("#gf-frame").fill(str(frame))
        weights = weights_at(both[1], step, encoded)
        said = hovered(tab, maps.locator(".gf-zoom .gf-cells"), 4, 2, weights.shape)
        assert said == pytest.approx(weights[4, 2], abs=1e-3), (frame, step)
    missing = tab.locator(".gf-missing").all_inner_texts()
    assert len(missing) == 1
    assert "no record of its gradients" in missing[0]


def weights_at(subject, step, encoded):
    for snapshot in subject.snapshots():
        if snapshot.step == step:
            return subject.trace(encoded)["blocks.0.attention.weights"][0, 0].numpy()
    raise AssertionError(step)


def test_positions_move_with_the_training_where_they_are_learned_and_are_drawn_once_where_they_are_fixed(
    language_run, translator_run
):
    title = "Learned positions: distance pair by pair"
    learned = inspect(open_subject(language_run.path, checkpoint="all"), text="abc")
    assert drawn_of(learned, title)["values"]["shape"][0] == len(STEPS)
    fixed = inspect(open_subject(translator_run.path, checkpoint="all"), text="one two")
    title = "Sinusoidal positions of encoder and decoder: distance pair by pair"
    assert drawn_of(fixed, title)["values"]["shape"][0] == 1
    titles = [figure.title for section in fixed.sections for column in section.columns for figure in column.figures]
    assert sum(title.startswith("Sinusoidal") for title in titles) == 4


def test_chosen_layers_alone_are_shown(language_run):
    page = inspect(open_subject(language_run.path), text="abc", layers=[1])
    for title in ("Self-attention", "Self-attention: queries, keys and values"):
        assert drawn_of(page, title)["layers"] == ["layer 1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"sublayers": "feedforward"},
        pytest.param({"sublayers": "attention"}, marks=another_page),
        pytest.param({"positions.kind": "none"}, marks=another_page),
        {"norm.placement": "none", "residual": "none", "positions.kind": "rotary"},
        pytest.param({"n_layers": 0}, marks=another_page),
    ],
    ids=str,
)
def test_a_model_that_lacks_a_part_has_a_page_that_says_so(language_run, open_drawn, tmp_path, changes):
    subject = open_subject(language_run.path)
    torch.manual_seed(0)
    subject.model = build(subject.model.config.override(changes)).eval()
    tab = open_drawn(inspect(subject, text="abc abc").save(tmp_path / "page.html"))
    missing = " ".join(tab.locator(".gf-missing").all_inner_texts())
    if changes in ({"sublayers": "feedforward"}, {"n_layers": 0}):
        assert "no attention to look at" in missing
    if "positions.kind" in changes and changes["positions.kind"] == "none":
        assert "no position encoding" in missing
    assert figure(tab, "Logit lens").count() == 1


def test_a_text_of_one_token_has_a_page_too(language_run, open_drawn, tmp_path):
    page = inspect(open_subject(language_run.path, checkpoint="all"), text="a")
    assert list(page.frames) == ["step 0, the start", "step 4", "step 8", "step 12"]
    tab = open_drawn(page.save(tmp_path / "page.html"))
    assert "no loss" in tab.locator(".gf-facts").inner_text()


def diverge(run, step, name, value):
    """Write a checkpoint in which one number of one weight is ``value``."""
    weights = {name: weight.clone() for name, weight in open_subject(run.path).model.named_weights().items()}
    weights[name].view(-1)[0] = value
    save_checkpoint(run.checkpoints, step, {"model": weights}, {}, is_best=False)


@pytest.fixture
def copy(language_run, tmp_path):
    shutil.copytree(language_run.path, tmp_path / language_run.path.name)
    return Run.open(tmp_path / language_run.path.name)


def drawn_of(page, title):
    """The data of the figure with this title."""
    every = [figure for section in page.sections for column in section.columns for figure in column.figures]
    (found,) = [figure for figure in every if figure.title == title]
    return found.data()


def test_a_checkpoint_that_diverged_is_left_out_and_the_others_are_as_they_were(copy):
    diverge(copy, 16, "blocks.1.attention.w_qkv.weight", torch.nan)
    page = inspect(open_subject(copy.path, checkpoint="all"), text=TEXT)
    assert [name.split(" ·")[0] for name in page.frames] == ["step 0, the start", "step 4", "step 8", "step 12"]
    assert "step 16: 'blocks.1.attention.query'" in page.facts["left out"]
    # what shows the newest snapshot alone shows the newest that is finite
    expected = inspect(open_subject(copy.path, checkpoint="12"), text=TEXT)
    for title in ("Singular values of each block's Jacobian", "Token 0 multiplied by ten: which outputs change"):
        assert drawn_of(page, title) == drawn_of(expected, title)


def test_a_model_that_diverged_throughout_has_its_gradients_shown_and_a_reason_for_the_rest(copy, open_drawn, tmp_path):
    diverge(copy, 16, "blocks.0.feedforward.w_2.weight", torch.inf)
    tab = open_drawn(inspect(open_subject(copy.path), text=TEXT).save(tmp_path / "page.html"))
    missing = tab.locator(".gf-missing").all_inner_texts()
    assert len(missing) == len(OF_ALL) - 1
    assert all("At step 16 the model has diverged" in reason for reason in missing)
    assert figure(tab, "Gradients during training").count() == 1
    assert "the model has diverged" in tab.locator(".gf-facts").inner_text()


def test_every_control_is_reached_with_the_tab_key(language_tab):
    tab = language_tab
    tab.evaluate("() => { scrollTo(0, 0); document.activeElement.blur(); }")
    controls = """() => [...document.querySelectorAll('a[href], button, select, input, [tabindex="0"]')].filter(
        (one) => one.tabIndex >= 0 && one.checkVisibility() && !(one.type === 'radio' && !one.checked))"""
    expected = tab.evaluate(f"() => ({controls})().map((one, index) => (one.dataset.control = index))")
    reached = set()
    for _ in range(2 * len(expected)):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("() => document.activeElement.dataset.control"))
        if len(reached - {None}) == len(expected):
            break
    assert reached - {None} == {str(index) for index in expected}
    # and of all the pictures none lacks a control, or the readout that a control speaks through
    lacking = """() => [...document.querySelectorAll('.gf-figure')].filter(
        (one) => !one.querySelector('[data-control]') || !one.querySelector('.gf-readout[role=status]')
    ).map((one) => one.querySelector('strong').textContent)"""
    assert tab.evaluate(lacking) == []


@pytest.mark.slow(reason="a page of 16 heads; tests/charts measures a page of every kind of figure")
def test_nothing_is_wider_than_the_window_not_even_with_many_heads(language_run, open_drawn, tmp_path):
    subject = open_subject(language_run.path)
    subject.model = build(subject.model.config.override({"d_model": 64, "attention.n_heads": 16})).eval()
    tab = open_drawn(inspect(subject, text=TEXT).save(tmp_path / "page.html"))
    for width in (1280, 800, 400):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_timeout(200)
        assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
        zoom = figure(tab, "Self-attention").locator(".gf-zoom canvas").last.bounding_box()
        assert zoom["width"] > 200
        assert zoom["x"] + zoom["width"] <= width


def test_layers_that_are_not_there_are_told_at_once(language_run):
    with pytest.raises(ConfigError) as caught:
        inspect(open_subject(language_run.path), text="abc", layers=[2, 5])
    assert len(caught.value.complaints) == 2
    with pytest.raises(ConfigError, match=r"\b3\b"):
        inspect(*[open_subject(language_run.path)] * 3, text="abc")


def test_the_page_shows_itself_in_a_notebook(language_run):
    html = inspect(open_subject(language_run.path), text="abc")._repr_html_()
    assert html.startswith("<iframe")
