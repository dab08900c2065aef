from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.heat_map import HeatMap
from glassformer.charts.page import Column, Lead, Page, Section, as_json
from glassformer.errors import DataError

EVIL = "</script><script>document.title='broken'</script><!--<b>&"


def heat_map(*frames, title="Map"):
    """A matrix of 1 × 2 cells whose first cell holds each frame's number."""
    values = np.array([[[frame, 9.0]] for frame in frames])
    return HeatMap(values, title=title, rows=["row"], columns=["left", "right"])


@pytest.fixture
def show(tmp_path, open_page):
    def shown(page, **options):
        return open_page(page.save(tmp_path / "folder" / "page.html"), **options)

    return shown


def ready(page, number):
    page.locator(f"#figure-{number}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#figure-{number}[data-ready=true]")


def first_cell(page, number):
    """The value in the first cell of a figure, as the readout tells it."""
    ready(page, number)
    page.locator(f"#figure-{number} .gf-cells").focus()
    return float(page.locator(f"#figure-{number} .gf-readout").inner_text().rsplit(": ", 1)[1])


def test_title_facts_texts_and_reasons_are_on_the_page(show):
    sections = [
        Section("Attention", "It shows weights. Look for diagonals.", [heat_map(1)]),
        Section("Gradients", "It shows norms. Look for spikes.", missing="This run has no telemetry."),
    ]
    page = show(Page("The title", sections, facts={"parameters": "10.65 M"}))
    assert page.title() == page.locator("h1").inner_text() == "The title"
    assert page.locator(".gf-facts div").inner_text().split("\n") == ["parameters", "10.65 M"]
    assert page.locator("h2").all_inner_texts() == ["Attention", "Gradients"]
    assert page.locator(".gf-missing").all_inner_texts() == ["This run has no telemetry."]
    page.get_by_role("link", name="Gradients").click()
    assert page.evaluate("location.hash") == "#section-1"
    assert page.locator("#section-1 h2").is_visible()


def test_an_answer_stands_before_the_facts_and_is_text(show):
    leads = [Lead("It helps", ": by 0.3 nats (n = 4 pairs, p < 0.0001).", "More seeds."), Lead(EVIL, EVIL, EVIL)]
    sections = [Section("Answer", "Before.", leads=leads, note="After."), Section("Numbers", "The rest.")]
    page = show(Page("The title", sections, facts={"parameters": "10.65 M"}, answer_first=True))
    assert page.title() == "The title"
    first, evil = page.locator(".gf-lead").all()
    assert first.inner_text().split("\n") == ["It helps: by 0.3 nats (n = 4 pairs, p < 0.0001).", "More seeds."]
    assert evil.inner_text().count(EVIL) == 3
    places = [page.locator(each).first.bounding_box()["y"] for each in ("h1", ".gf-lead", ".gf-facts", "#section-1")]
    assert places == sorted(places)
    assert page.locator("#section-0").inner_text().startswith("Answer\n\nBefore.\n\nIt helps")
    assert page.locator("#section-0").inner_text().endswith("After.")


def test_the_slider_moves_every_figure_and_starts_at_the_last_frame(show):
    figures = [heat_map(1, 2, 3), heat_map(4, 5, 6), heat_map(7)]
    page = show(Page("A page", [Section("One", "Text.", figures)], frames=["step 0", "step 10", "step 20"]))
    assert page.locator(".gf-frame-name").inner_text() == "step 20"
    assert [first_cell(page, number) for number in range(3)] == [3, 6, 7]
    page.locator("#gf-frame").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".gf-frame-name").inner_text() == "step 10"
    assert [first_cell(page, number) for number in range(3)] == [2, 5, 7]
    assert page.locator("#gf-frame").get_attribute("aria-valuetext") == "step 10"


def test_a_page_of_one_frame_has_no_slider(show):
    page = show(Page("A page", [Section("One", "Text.", [heat_map(1)])]))
    assert page.locator("#gf-frame").count() == 0
    assert page.locator(".gf-play").count() == 0
    assert page.locator(".gf-theme").is_visible()


def test_playing_goes_from_the_first_frame_to_the_last_and_stops(show):
    page = show(Page("A page", [Section("One", "Text.", [heat_map(1, 2)])], frames=["first", "last"]))
    page.locator(".gf-play").click()
    assert page.locator(".gf-frame-name").inner_text() == "first"
    assert page.locator(".gf-play").get_attribute("aria-label") == "pause"
    page.wait_for_selector(".gf-play[aria-label=play]")
    assert page.locator(".gf-frame-name").inner_text() == "last"


def test_runs_side_by_side_show_their_own_frames(show):
    columns = [
        Column("run A", [heat_map(1, 2, 3, 4)]),
        Column("run B", [heat_map(10, 20)], at=[0, 0, 1, 1]),
        Column("run C", missing="It has no checkpoints."),
    ]
    page = show(Page("A page", [Section("One", "Text.", columns=columns)], frames=list("abcd")))
    assert page.locator("h3").all_inner_texts() == ["run A", "run B", "run C"]
    assert page.locator(".gf-missing").inner_text() == "It has no checkpoints."
    for frame, expected in enumerate([(1, 10), (2, 10), (3, 20), (4, 20)]):
        page.locator("#gf-frame").fill(str(frame))
        assert (first_cell(page, 0), first_cell(page, 1)) == expected
    boxes = [page.locator(f"#figure-{number}").bounding_box() for number in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_the_theme_follows_the_system_and_the_switch(show, scheme, other):
    page = show(Page("A page", [Section("One", "Text.", [heat_map(1)])]), color_scheme=scheme)
    backgrounds = {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 29)"}
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == backgrounds[scheme]
    ready(page, 0)
    picture = "document.querySelector('.gf-cells canvas').toDataURL()"
    before = page.evaluate(picture)
    page.locator(".gf-theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == backgrounds[other]
    assert page.evaluate(picture) != before


def test_figures_are_drawn_when_the_reader_comes_near(show):
    page = show(Page("A page", [Section(f"Section {i}", "Text.", [heat_map(1)]) for i in range(12)]))
    page.wait_for_selector("#figure-0[data-ready=true]")
    assert page.locator("#figure-11").get_attribute("data-ready") is None
    ready(page, 11)
    assert page.locator("#figure-11 .gf-cells").is_visible()


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(show, width):
    wide = HeatMap(np.eye(90), title="Wide", rows=["a long label"] * 90, columns=["another label"] * 90)
    sections = [
        Section("One", "Text.", [wide]),
        Section("Two", "Text.", columns=[Column("a", [wide]), Column("b", [wide])]),
    ]
    facts = {"name": "a-very-long-name-without-any-space-" * 4}
    page = show(Page("A page", sections, facts=facts, frames=["1", "2"]), viewport={"width": width, "height": 800})
    for number in range(3):
        ready(page, number)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_the_user_wrote_stays_text(show):
    columns = [Column(EVIL, [heat_map(1, title=EVIL)]), Column(EVIL, missing=EVIL)]
    page = show(Page(EVIL, [Section(EVIL, EVIL, columns=columns)], facts={EVIL: EVIL}, frames=[EVIL, EVIL]))
    ready(page, 0)
    assert page.title() == EVIL
    for place in ["h1", "h2", ".gf-text", ".gf-facts dt", ".gf-facts dd", ".gf-frame-name", "figcaption strong"]:
        assert page.locator(place).first.inner_text() == EVIL, place


def test_json_in_a_script_element_cannot_end_it():
    value = {"text": EVIL, "line\u2028": [1.5, None]}
    assert "<" not in as_json(value)
    assert json.loads(as_json(value)) == value


def test_a_page_may_not_reach_the_network(show):
    page = show(Page("A page", [Section("One", "Text.", [heat_map(1)])]))
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none';")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_every_control_has_a_name(show):
    choices = HeatMap(np.zeros((2, 1, 1, 2)), title="t", rows=["r"], columns=["a", "b"], choices={"layer": ["0"]})
    page = show(Page("A page", [Section("One", "Text.", [choices])], frames=["first", "last"]))
    ready(page, 0)
    for control in page.locator("button, input, select, [tabindex='0']").all():
        assert control.evaluate("(element) => element.ariaLabel || element.labels?.[0]?.textContent.trim()"), control


def test_a_figure_without_values_that_json_can_hold_is_refused():
    class Broken(HeatMap):
        def data(self) -> dict[str, Any]:
            return {"value": float("nan")}

    figure = Broken(np.eye(2), title="t", rows=["a", "b"], columns=["a", "b"])
    with pytest.raises(ValueError, match="JSON"):
        Page("A page", [Section("One", "Text.", [figure])]).html()


def test_a_place_that_cannot_be_written_to_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        Page("A page", []).save(tmp_path / "file" / "page.html")


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = Page("Old", []).save(tmp_path / "page.html")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(DataError, match="Input/output error"):
        Page("New", []).save(path)
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    assert "<title>Old</title>" in path.read_text()


@dataclass(frozen=True)
class Result(Drawable):
    number: float

    @classmethod
    def figures_of(cls, results) -> list[Figure]:
        return [heat_map(*(result.number for result in results))]


@pytest.mark.parametrize("shown", [heat_map(3.5), Result(3.5)], ids=["a figure", "a result"])
def test_figures_and_results_show_themselves_in_a_notebook(shown, tmp_path, open_page):
    notebook = tmp_path / "notebook.html"
    head = "<!DOCTYPE html><html data-ready=true><meta charset=utf-8><title>Notebook</title>"
    notebook.write_text(head + shown._repr_html_(), encoding="utf-8")
    page = open_page(notebook)
    frame = page.frame_locator("iframe")
    frame.locator("#figure-0[data-ready=true]").wait_for()
    assert frame.locator("h1").count() == 0
    frame.locator(".gf-cells").focus()
    assert frame.locator(".gf-readout").inner_text() == "row, left: 3.5"


def test_results_of_several_checkpoints_are_frames_of_one_figure():
    (figure,) = Result.figures_of([Result(1), Result(2)])
    assert figure.n_frames == 2
    assert [each.n_frames for each in Result(1).figures()] == [1]
