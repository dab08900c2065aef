"""The whole page, of real runs of both families and of an imported GPT-2, in a real browser without a network."""

from __future__ import annotations

import re

import pytest
import torch

from glassformer.errors import ConfigError
from glassformer.inspection.chapters import CHAPTERS
from glassformer.inspection.page import inspect
from glassformer.inspection.subjects import open_subject
from glassformer.models.build import build
from glassformer.runs.checkpoints import save_checkpoint
from glassformer.runs.folder import Run

TEXT = "bad hedge fig abc bad"
STEPS = [0, 4, 8, 12]


@pytest.fixture(scope="module")
def pages(language_run, translator_run, gpt2_folder, tmp_path_factory):
    """The path of the page about each."""
    folder = tmp_path_factory.mktemp("pages")
    subjects = {
        "language": (open_subject(language_run.path, checkpoint="all"), TEXT),
        "translator": (open_subject(translator_run.path, checkpoint="all"), "one two three four"),
        "gpt2": (open_subject(gpt2_folder), "the cat then"),
    }
    return {
        name: inspect(subject, text=text).save(folder / f"{name}.html") for name, (subject, text) in subjects.items()
    }


@pytest.fixture
def open_drawn(open_page):
    """A page with everything on it drawn."""

    def opened(path):
        tab = open_page(path, viewport={"width": 1280, "height": 1600})
        tab.evaluate("() => { for (const figure of document.querySelectorAll('.gf-figure')) figure.scrollIntoView(); }")
        for figure in tab.locator(".gf-figure").all():
            figure.scroll_into_view_if_needed()
        tab.wait_for_function(
            "() => [...document.querySelectorAll('.gf-figure')].every(figure => figure.dataset.ready === 'true')"
        )
        return tab

    return opened


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


@pytest.mark.parametrize("name", ["language", "translator", "gpt2"])
def test_every_chapter_is_there_and_draws_without_an_error(pages, open_drawn, name):
    tab = open_drawn(pages[name])  # errors in the console and requests fail the test at its end
    assert tab.locator("h2").all_inner_texts() == [chapter.title for chapter in CHAPTERS]
    for index in range(len(CHAPTERS)):
        assert tab.locator(f"#section-{index}").locator(".gf-figure, .gf-missing").count() > 0
    missing = tab.locator(".gf-missing").all_inner_texts()
    if name == "gpt2":
        assert len(missing) == 1
        assert "no record of its training" in missing[0]
    else:
        assert missing == []


def test_the_slider_shows_what_each_head_did_at_each_checkpoint(pages, open_drawn, language_run):
    tab = open_drawn(pages["language"])
    subject = open_subject(language_run.path, checkpoint="all")
    reading = subject.read(TEXT)
    maps = figure(tab, "Self-attention")
    maps.get_by_role("button", name="layer 1, head 1,").click()
    for frame, moment in enumerate(subject.moments()):
        tab.locator("#gf-frame").fill(str(frame))
        assert f"step {moment.step}" in tab.locator(".gf-frame-name").inner_text()
        weights = subject.trace(reading)["blocks.1.attention.weights"][0, 1].numpy()
        for row, column in ((17, 4), (5, 5), (20, 0)):
            said = hovered(tab, maps.locator(".gf-zoom .gf-cells"), row, column, weights.shape)
            assert said == pytest.approx(weights[row, column], abs=1e-3)


def test_the_slider_moves_the_lens_and_the_lines_too(pages, open_drawn, language_run):
    tab = open_drawn(pages["language"])
    subject = open_subject(language_run.path, checkpoint="all")
    reading = subject.read(TEXT)
    lens = figure(tab, "Logit lens")
    stream = figure(tab, "The residual stream, station by station").locator("svg").first
    drawings = set()
    for frame, _ in enumerate(subject.moments()):
        tab.locator("#gf-frame").fill(str(frame))
        tab.wait_for_timeout(100)
        best = subject.token_label(int(subject.trace(reading).logits[0, 3].argmax()))
        last_row = lens.locator("tr, [role=row]").last
        assert best in last_row.inner_text()
        drawings.add(stream.evaluate("drawing => drawing.outerHTML"))
    assert len(drawings) == len(STEPS)


def test_choosing_a_head_of_one_attention_moves_its_own_steps_alone(pages, open_drawn):
    tab = open_drawn(pages["translator"])
    cross = "Cross-attention, from target to source"
    figure(tab, cross).get_by_role("button", name="layer 1, head 1,").click()
    steps = figure(tab, f"{cross}: queries, keys and values")
    assert steps.get_by_label("layer", exact=True).locator("option:checked").inner_text() == "layer 1"
    other = figure(tab, "Self-attention of the encoder: queries, keys and values")
    assert other.get_by_label("layer", exact=True).locator("option:checked").inner_text() == "layer 0"


def test_the_theme_is_switched_for_everything_at_once(pages, open_drawn):
    tab = open_drawn(pages["language"])
    body = "() => getComputedStyle(document.body).backgroundColor"
    title = figure(tab, "The residual stream, station by station").locator("svg text").first
    before = (tab.evaluate(body), title.get_attribute("fill"))
    tab.locator(".gf-theme").click()
    tab.wait_for_timeout(500)
    after = (tab.evaluate(body), title.get_attribute("fill"))
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_cross_attention_is_read_in_the_page_as_in_the_trace(pages, open_drawn, translator_run):
    tab = open_drawn(pages["translator"])
    subject = open_subject(translator_run.path)
    reading = subject.read("one two three four")
    weights = subject.trace(reading)["decoder.blocks.0.cross_attention.weights"][0, 0].numpy()
    maps = figure(tab, "Cross-attention, from target to source")
    for row, column in ((0, 0), (1, 3), (len(reading.tokens) - 1, len(reading.source) - 1)):
        said = hovered(tab, maps.locator(".gf-zoom .gf-cells"), row, column, weights.shape)
        assert said == pytest.approx(weights[row, column], abs=1e-3)


def test_a_gradient_row_that_is_clicked_gets_its_line(pages, open_drawn, language_run):
    tab = open_drawn(pages["language"])
    gradients = figure(tab, "Gradients over the training")
    names = [record for record in language_run.metrics() if record.get("kind") == "gradients"]
    assert len(names) == 7  # at steps 1, 2, 4, ... 12
    cells = gradients.locator("[role=application]").first
    cells.focus()
    for _ in range(3):
        tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    assert "blocks.0" in gradients.inner_text()


def test_two_runs_stand_side_by_side_each_at_its_own_checkpoints(language_run, open_drawn, tmp_path):
    other = Run.create(tmp_path, "other", language_run.config, command=["test"])
    subject = open_subject(language_run.path)
    subject.tokenizer.save(other.tokenizer)
    for step in (6, 12):
        weights = {name: weight * step / 12 for name, weight in subject.model.named_weights().items()}
        save_checkpoint(other.checkpoints, step, {"model": weights}, {}, is_best=False)
    both = [open_subject(path, checkpoint="all") for path in (language_run.path, other.path)]
    tab = open_drawn(inspect(*both, text=TEXT).save(tmp_path / "both.html"))
    assert tab.locator("#gf-frame").get_attribute("max") == "4"  # 0, 4, 6, 8 and 12
    reading = both[1].read(TEXT)
    maps = figure(tab, "Self-attention").nth(1)
    for frame, step in ((0, 0), (1, 0), (2, 6), (3, 6), (4, 12)):
        tab.locator("#gf-frame").fill(str(frame))
        weights = weights_at(both[1], step, reading)
        said = hovered(tab, maps.locator(".gf-zoom .gf-cells"), 4, 2, weights.shape)
        assert said == pytest.approx(weights[4, 2], abs=1e-3), (frame, step)
    missing = tab.locator(".gf-missing").all_inner_texts()
    assert len(missing) == 1
    assert "no record of its gradients" in missing[0]


def weights_at(subject, step, reading):
    for moment in subject.moments():
        if moment.step == step:
            return subject.trace(reading)["blocks.0.attention.weights"][0, 0].numpy()
    raise AssertionError(step)


def test_chosen_layers_alone_are_shown(language_run, open_drawn, tmp_path):
    subject = open_subject(language_run.path)
    tab = open_drawn(inspect(subject, text="abc", layers=[1]).save(tmp_path / "page.html"))
    heads = figure(tab, "Self-attention").locator(".gf-head")
    assert [label.split(",")[0] for label in heads.evaluate_all("all => all.map(one => one.ariaLabel)")] == [
        "layer 1"
    ] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"sublayers": "feedforward"},
        {"sublayers": "attention"},
        {"positions.kind": "none"},
        {"norm.placement": "none"},
        {"residual": "none", "positions.kind": "rotary"},
        {"n_layers": 0},
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
    tab = open_drawn(inspect(open_subject(language_run.path), text="a").save(tmp_path / "page.html"))
    assert "no loss" in tab.locator(".gf-facts").inner_text()


def test_layers_that_are_not_there_are_told_at_once(language_run):
    with pytest.raises(ConfigError) as caught:
        inspect(open_subject(language_run.path), text="abc", layers=[2, 5])
    assert len(caught.value.complaints) == 2
    with pytest.raises(ConfigError, match="3 came"):
        inspect(*[open_subject(language_run.path)] * 3, text="abc")


def test_the_page_shows_itself_in_a_notebook(language_run):
    html = inspect(open_subject(language_run.path), text="abc")._repr_html_()
    assert html.startswith("<iframe")
