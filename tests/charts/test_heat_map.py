from __future__ import annotations

import json

import numpy as np
import pytest

from glassformer.charts.colours import NOTHING, STOPS, colour, lookup, to_lab
from glassformer.charts.heat_map import HeatMap, spread
from glassformer.charts.page import Page, Section
from glassformer.errors import ConfigError

F, LAYERS, R, C = 3, 2, 5, 7


@pytest.fixture
def values():
    return np.random.default_rng(0).standard_normal((F, LAYERS, R, C)).astype(np.float32)


@pytest.fixture
def heat_map(values):
    return HeatMap(
        values,
        title="Cosines",
        rows=[f"row {i}" for i in range(R)],
        columns=[f"column {i}" for i in range(C)],
        choices={"layer": ["first", "second"]},
        colours="diverging",
        value_title="cosine",
    )


@pytest.fixture
def shown(heat_map, tmp_path, open_page):
    """The figure on a page of its own, drawn."""
    frames = [f"step {i}" for i in range(F)]
    page = open_page(Page("A page", [Section("One", "Text.", [heat_map])], frames=frames).save(tmp_path / "page.html"))
    page.wait_for_selector("#figure-0[data-ready=true]")
    return page


def hover(page, row, column, rows=R, columns=C):
    cells = page.locator(".gf-cells")
    box = cells.bounding_box()
    place = {"x": (column + 0.5) * box["width"] / columns, "y": (row + 0.5) * box["height"] / rows}
    cells.hover(position=place)


def number(page):
    """The value that the readout ends with."""
    return float(page.locator(".gf-readout").inner_text().rsplit(": ", 1)[1].replace("−", "-"))


def pixel(page, row, column):
    """The red, green and blue of a cell."""
    script = """([row, column]) => {
        const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        copy.drawImage(document.querySelector(".gf-cells canvas"), -column, -row);
        return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
    }"""
    return page.evaluate(script, [row, column])


def test_hovering_reads_the_value_of_that_cell(shown, values):
    for row, column in [(0, 0), (2, 3), (R - 1, C - 1)]:
        hover(shown, row, column)
        assert shown.locator(".gf-readout").inner_text().startswith(f"row {row}, column {column}: ")
        assert number(shown) == pytest.approx(values[-1, 0, row, column], rel=1e-3)
        tip = shown.locator(".gf-tip").inner_text()
        assert f"row {row}" in tip
        assert f"column {column}" in tip
    shown.mouse.move(5, 5)
    assert shown.locator(".gf-tip").is_hidden()


def test_the_arrow_keys_move_the_cell_and_stop_at_the_edges(shown, values):
    shown.locator(".gf-cells").focus()
    assert number(shown) == pytest.approx(values[-1, 0, 0, 0], rel=1e-3)
    for key in ["ArrowDown", "ArrowDown", "ArrowRight"]:
        shown.keyboard.press(key)
    assert shown.locator(".gf-readout").inner_text().startswith("row 2, column 1: ")
    assert number(shown) == pytest.approx(values[-1, 0, 2, 1], rel=1e-3)
    shown.keyboard.press("Control+End")
    shown.keyboard.press("ArrowRight")
    assert number(shown) == pytest.approx(values[-1, 0, R - 1, C - 1], rel=1e-3)


def test_a_choice_and_the_slider_change_the_map_under_the_same_cell(shown, values):
    hover(shown, 1, 2)
    shown.get_by_label("layer").select_option("second")
    assert number(shown) == pytest.approx(values[-1, 1, 1, 2], rel=1e-3)
    for frame in range(F):
        shown.locator("#gf-frame").fill(str(frame))
        assert shown.locator(".gf-frame-name").inner_text() == f"step {frame}"
        assert number(shown) == pytest.approx(values[frame, 1, 1, 2], rel=1e-3)


def test_cells_have_the_colour_of_their_value_in_both_themes(shown, heat_map, values):
    for theme in ("light", "dark"):
        share = heat_map.share(values[-1, 0].astype(np.float16).astype(np.float32))
        expected = colour(share, "diverging", theme)
        for row, column in [(0, 0), (3, 4)]:
            got = np.array(pixel(shown, row, column))
            assert np.abs(got - expected[row, column].astype(int)).max() <= 4  # one step of the table, by rounding
        shown.locator(".gf-theme").click()


def test_cells_without_a_value_say_so(tmp_path, open_page):
    values = np.array([[1.0, np.nan], [-np.inf, 0.5]])
    figure = HeatMap(values, title="Holes", rows=["a", "b"], columns=["c", "d"])
    page = open_page(Page("A page", [Section("One", "Text.", [figure])]).save(tmp_path / "page.html"))
    page.wait_for_selector("#figure-0[data-ready=true]")
    assert page.locator("#gf-frame").count() == 0
    hover(page, 0, 1, 2, 2)
    assert page.locator(".gf-readout").inner_text() == "a, d: nothing"
    nothing = [int(NOTHING["light"][at : at + 2], 16) for at in (1, 3, 5)]
    assert pixel(page, 0, 1) == nothing
    assert pixel(page, 0, 0) == list(lookup("sequential", "light")[-1])


def test_labels_of_large_matrices_are_thinned_and_do_not_overlap(tmp_path, open_page):
    labels = [f"token {i}" for i in range(256)]
    figure = HeatMap(np.eye(256), title="Large", rows=labels, columns=labels)
    page = open_page(Page("A page", [Section("One", "Text.", [figure])]).save(tmp_path / "page.html"))
    page.wait_for_selector("#figure-0[data-ready=true]")
    for axis, start, end in [(".gf-row-labels", "top", "bottom"), (".gf-column-labels", "left", "right")]:
        spans = page.locator(f"{axis} span")
        assert 10 < spans.count() < 100
        boxes = spans.evaluate_all("(spans) => spans.map((span) => span.getBoundingClientRect().toJSON())")
        sides = [(box[start], box[end]) for box in boxes]
        assert all(one[1] <= other[0] + 1 for one, other in zip(sides, sides[1:], strict=False))
    hover(page, 200, 200, 256, 256)
    assert page.locator(".gf-readout").inner_text() == "token 200, token 200: 1"


@pytest.mark.parametrize(
    ("side", "suffix"),
    [
        (6, ".svg"),
        (80, ".png"),
        *(
            pytest.param(side, suffix, marks=pytest.mark.slow(reason="more pictures; test_export makes each kind"))
            for side, suffix in ((6, ".pdf"), (6, ".png"), (80, ".svg"), (80, ".pdf"))
        ),
    ],
)
def test_every_size_saves_as_every_kind_of_picture(side, suffix, tmp_path):
    labels = [f"“token” {i % 5}\n" for i in range(side)]
    matrix = np.random.default_rng(0).random((side, side))
    figure = HeatMap(matrix, title="Weights", rows=labels, columns=labels, scale="sqrt", value_title="weight")
    path = figure.save(tmp_path / f"map{suffix}", theme="dark")
    start = {".svg": b"<svg", ".pdf": b"%PDF", ".png": b"\x89PNG"}[suffix]
    assert path.read_bytes().startswith(start)


def test_few_cells_are_rectangles_with_tooltips_and_many_are_one_image(tmp_path):
    def marks(side):
        labels = [str(i) for i in range(side)]
        spec = HeatMap(np.eye(side), title="t", rows=labels, columns=labels).chart().to_dict()
        return json.dumps(spec)

    assert '"rect"' in marks(64)
    assert "tooltip" in marks(64)
    assert "data:image/png;base64," in marks(65)


def test_the_static_picture_shows_the_chosen_map_of_the_chosen_frame(heat_map, values):
    spec = heat_map.chart(frame=1, chosen={"layer": 1}).to_dict()
    cells = next(iter(spec["datasets"].values())) if "datasets" in spec else spec["data"]["values"]
    drawn = np.array([cell["value"] for cell in cells]).reshape(R, C)
    np.testing.assert_allclose(drawn, values[1, 1], rtol=1e-5)
    assert spec["title"]["subtitle"] == "layer second"


def test_an_unknown_theme_is_refused_with_the_known_ones(heat_map):
    with pytest.raises(ConfigError, match="Known: dark, light"):
        heat_map.chart(theme="sepia")


def test_the_domain_holds_all_frames_and_is_symmetric_where_colours_diverge(values):
    assert spread(values) == (values.min(), values.max())
    low, high = spread(values, diverging=True)
    assert -low == high == np.abs(values).max()
    assert spread(np.array([0.0, 0.01, 10, np.nan, np.inf]), log=True) == pytest.approx((0.01, 10))


@pytest.mark.parametrize("theme", STOPS)
def test_lightness_rises_or_falls_all_along_each_branch_of_a_scale(theme):
    light = to_lab(lookup("sequential", theme))[:, 0]
    assert np.all(np.diff(light) * np.sign(light[-1] - light[0]) > -0.004)  # colours are rounded to 1/255
    light = to_lab(lookup("diverging", theme))[:, 0]
    for branch in (light[:128], light[128:]):
        assert np.all(np.diff(branch) * np.sign(branch[-1] - branch[0]) > -0.004)
    assert abs(light[0] - light[-1]) < 0.08  # both ends are as far from the middle
