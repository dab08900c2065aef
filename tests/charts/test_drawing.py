"""A Drawing is drawn by Vega in the page, in both themes and at every frame, without eval and without a network."""

from __future__ import annotations

import json

import altair as alt
import pytest

from glassformer.charts.drawing import Drawing
from glassformer.charts.page import Page, Section
from glassformer.charts.theme import DARK, LIGHT


def bars(theme):
    rows = [
        {"layer": layer, "norm": 10 * (frame + 1) + index, "frame": frame}
        for frame in range(3)
        for index, layer in enumerate("abcd")
    ]
    return (
        alt.Chart({"values": rows}, title="Norms")
        .transform_filter("datum.frame == frame")
        .mark_bar(color=theme.palette[0])
        .encode(x="layer:N", y="norm:Q", tooltip=["layer:N", "norm:Q"])
        .add_params(alt.param(name="frame", value=0))
        .properties(height=160)
        .configure(**theme.config())
    )


@pytest.fixture
def drawing():
    return Drawing(bars, title="Norms", n_frames=3, description="The norm of each layer.")


def test_the_dark_specification_is_the_light_one_with_its_differences_put_in(drawing):
    data = drawing.data()
    spec = json.loads(json.dumps(data["spec"]))
    for path, value in data["dark"]:
        place = spec
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    dark = bars(DARK).to_dict()
    del dark["title"]  # the page writes it
    assert spec == dark
    assert len(json.dumps(data["dark"])) < 0.5 * len(json.dumps(data["spec"]))


def test_a_title_of_its_own_and_a_subtitle_stay_in_the_specification():
    def titled(title):
        chart = alt.Chart({"values": [{"x": 1}]}).mark_point().encode(x="x:Q").properties(title=title)
        return Drawing(lambda theme: chart, title="Norms").data()["spec"].get("title")

    assert titled("Norms") is None
    assert titled("Other") == "Other"
    assert titled(alt.TitleParams("Norms", subtitle="at the end"))["subtitle"] == "at the end"


@pytest.mark.parametrize(("frame", "value"), [(-1, 2), (0, 0), (1, 1)])
def test_the_static_chart_stands_at_the_frame_asked_for(drawing, frame, value):
    spec = drawing.chart(frame=frame).to_dict()
    assert [parameter["value"] for parameter in spec["params"]] == [value]
    assert spec["title"] == "Norms"


def test_the_static_chart_is_saved_in_its_theme(drawing, tmp_path):
    picture = drawing.save(tmp_path / "norms.svg", theme="dark").read_text(encoding="utf-8")
    assert DARK.background in picture
    assert LIGHT.background not in picture
    assert "Norms" in picture


def test_a_chart_with_frames_must_take_the_page_s_frame():
    plain = Drawing(lambda theme: alt.Chart({"values": []}).mark_point(), title="Norms", n_frames=2)
    with pytest.raises(AssertionError, match="no parameter 'frame'"):
        plain.data()


def test_arrow_keys_read_the_marks_and_the_slider_moves_them(drawing, show):
    tab = show(drawing, frames=["one", "two", "three"])
    tab.locator(".gf-drawing").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".gf-readout").inner_text() == "layer: a · norm: 30"
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".gf-readout").inner_text() == "layer: b · norm: 31"

    tab.locator("#gf-frame").fill("0")
    tab.wait_for_selector('.gf-drawing svg [aria-label*="norm: 13"]')
    tab.locator(".gf-drawing").focus()
    tab.keyboard.press("ArrowLeft")
    assert tab.locator(".gf-readout").inner_text() == "layer: d · norm: 13"


def test_the_theme_s_switch_draws_it_anew_in_the_other_colours(drawing, show):
    tab = show(drawing, frames=["one", "two", "three"])
    bar = tab.locator('.gf-drawing svg path[aria-roledescription="bar"]').first
    assert bar.get_attribute("fill") == LIGHT.palette[0]
    tab.locator(".gf-theme").click()
    tab.wait_for_selector(f'.gf-drawing svg path[fill="{DARK.palette[0]}"]')


def test_a_tooltip_tells_what_the_pointer_is_at_and_the_chart_takes_the_page_s_width(drawing, show):
    tab = show(drawing, frames=["one", "two", "three"])
    tab.locator('.gf-drawing svg path[aria-roledescription="bar"]').nth(2).hover()
    assert tab.locator(".gf-tip").inner_text() == "layer: c\nnorm: 32"
    wide = tab.locator(".gf-root").bounding_box()["width"]
    assert tab.locator(".gf-drawing svg").bounding_box()["width"] == pytest.approx(wide, abs=4)


def panels(theme):
    rows = [{"x": x, "y": x * x, "panel": panel} for x in range(3) for panel in ("left", "right")]
    line = alt.Chart().mark_line(point=True).encode(x="x:Q", y="y:Q", tooltip=["x:Q", "y:Q"])
    band = alt.Chart().mark_area(opacity=0.2).encode(x="x:Q", y="y:Q")
    layers = alt.layer(band, line).properties(width=300, height=100)
    return layers.facet(facet="panel:N", columns=2, data=alt.InlineData(values=rows)).configure(**theme.config())


def test_panels_share_the_width_of_the_page_and_every_point_is_read_once(show):
    tab = show(Drawing(panels, title="Panels"))
    wide = tab.locator(".gf-root").bounding_box()["width"]
    drawn = tab.locator(".gf-drawing svg").bounding_box()["width"]
    assert 0.9 * wide < drawn <= wide
    tab.locator(".gf-drawing").focus()
    read = []
    for _ in range(7):
        tab.keyboard.press("ArrowRight")
        read.append(tab.locator(".gf-readout").inner_text())
    points = ["x: 0 · y: 0", "x: 1 · y: 1", "x: 2 · y: 4"]  # of the line, not again of its dots, nor of the band
    assert read == [*points, *points, points[-1]]


def test_panels_stand_below_each_other_in_a_narrow_window(open_page, tmp_path):
    page = Page("Inspection", [Section("Figures", "", [Drawing(panels, title="Panels")])])
    tab = open_page(page.save(tmp_path / "page.html"), viewport={"width": 480, "height": 900})
    tab.wait_for_selector(".gf-figure[data-ready=true]")
    left, right = (tab.get_by_text(name, exact=True).bounding_box() for name in ("left", "right"))
    assert right["y"] > left["y"] + 100


def test_the_page_forbids_eval(drawing):
    html = Page("Inspection", [Section("Norms", "", [drawing])], frames=["one", "two", "three"]).html()
    policy = html.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
