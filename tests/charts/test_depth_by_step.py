"""The picture of a training run keeps depth, steps and values true, in the page and on paper."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.charts.depth_by_step import COLUMNS, DepthByStep, column_edges, ends, thinned
from glassformer.charts.packing import unpack

ROWS = ["embedding.weight", "blocks.0.attention.query.weight", "blocks.0.feedforward.hidden.weight", "head.weight"]
STEPS = np.arange(10, 510, 10)  # 50 of them


@pytest.fixture(scope="module")
def norms():
    values = 10 ** np.random.default_rng(0).normal(-2, 1, size=(len(ROWS), len(STEPS)))
    values[1, 4], values[2, 5], values[3, 6] = 0, np.nan, np.inf
    return values


@pytest.fixture
def figure(norms):
    loss = 4 * np.exp(-STEPS / 200) + 1
    loss[7] = np.nan
    return DepthByStep(
        STEPS,
        ROWS,
        {"gradient norm": norms, "weight norm": np.full_like(norms, 3.0)},
        {"training": (STEPS, loss), "validation": ([100, 300], [3.5, 2.25])},
        title="Gradients",
    )


@pytest.fixture
def tab(figure, show):
    return show(figure)


def readout(tab):
    return tab.locator(".gf-readout").inner_text().replace("−", "-").split(" · ")


def point(tab, row, column):
    """The middle of a cell, in the plot's own pixels."""
    canvas, plot = (tab.locator(name).bounding_box() for name in (".gf-depth canvas", ".gf-depth"))
    return {
        "x": canvas["x"] - plot["x"] + canvas["width"] * (column + 0.5) / len(STEPS),
        "y": canvas["height"] * (row + 0.5) / len(ROWS),
    }


def test_the_stored_values_are_the_logarithms_to_within_one_percent(figure, norms):
    stored = unpack(figure.data()["quantities"]["gradient norm"]["values"])
    drawn = np.isfinite(norms) & (norms > 0)
    np.testing.assert_allclose(10 ** stored[drawn], norms[drawn], rtol=0.01)
    assert np.isneginf(stored[1, 4])
    assert np.isnan(stored[[2, 3], [5, 6]]).all()


@given(st.integers(1, 5_000))
def test_thinning_keeps_the_first_and_the_last_step_and_spaces_the_others_evenly(count):
    kept = thinned(count)
    assert (kept[0], kept[-1]) == (0, count - 1)
    assert len(kept) == min(count, COLUMNS)
    gaps = np.diff(kept)
    assert not gaps.size or gaps.max() - gaps.min() <= 1


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=40, unique=True).map(sorted))
def test_every_step_lies_in_a_column_of_its_own(steps):
    edges = column_edges(np.array(steps))
    assert len(edges) == len(steps) + 1
    assert ((edges[:-1] < steps) & (steps < edges[1:])).all()


def test_one_outlier_does_not_take_the_colours_of_the_others():
    values = np.full((10, 100), -3.0) + np.linspace(0, 1, 1000).reshape(10, 100)
    values[0, 0], values[0, 1] = -30, np.nan
    low, high = ends(values)
    assert low > -3.1
    assert high <= -2


def test_a_long_run_is_thinned_and_the_caption_says_so():
    steps = np.arange(2_000)
    figure = DepthByStep(steps, ["w"], {"norm": np.ones((1, 2_000))}, {}, title="Gradients")
    assert figure.caption().startswith("400 of 2,000 recorded steps are drawn")
    assert len(figure.data()["steps"]) == COLUMNS
    short = DepthByStep(steps[:9], ["w"], {"norm": np.ones((1, 9))}, {}, title="Gradients")
    assert "recorded steps" not in short.caption()


def test_pointing_at_a_cell_tells_its_step_parameter_value_and_losses(tab, norms):
    tab.locator(".gf-depth").hover(position=point(tab, 2, 30))
    step, name, value, training, validation = readout(tab)
    assert step == "step 310"
    assert name == ROWS[2]
    assert float(value.removeprefix("gradient norm ")) == pytest.approx(norms[2, 30], rel=0.01)
    assert float(training.removeprefix("training loss ")) == pytest.approx(4 * np.exp(-310 / 200) + 1, rel=1e-3)
    assert validation == "validation loss 2.25 (step 300)"
    assert tab.locator(".gf-tip").inner_text().splitlines()[0] == "step 310"


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [(1, 4, "gradient norm 0: no logarithm, nothing here"), (2, 5, "gradient norm not finite, nothing here")],
)
def test_what_has_no_logarithm_is_said_to_be_nothing_and_drawn_as_nothing(tab, row, column, said):
    place = point(tab, row, column)
    tab.locator(".gf-depth").hover(position=place)
    assert readout(tab)[2] == said
    opacities = """(canvas, cells) => {
        const whole = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const place = ([x, y]) => Math.floor(y * canvas.height) * canvas.width + Math.floor(x * canvas.width);
        return cells.map(cell => whole[4 * place(cell) + 3]);
    }"""
    cells = [[(column + 0.5) / len(STEPS), (of + 0.5) / len(ROWS)] for of in (row, 0)]
    assert tab.locator(".gf-depth canvas").evaluate(opacities, cells) == [0, 255]


def test_a_click_and_enter_draw_the_line_of_the_row(tab):
    heading = tab.locator(".gf-depth-picked .gf-depth-heading")
    assert heading.text_content() == f"gradient norm of {ROWS[0]}"
    tab.locator(".gf-depth").click(position=point(tab, 3, 10))
    assert heading.text_content() == f"gradient norm of {ROWS[3]}"
    tab.locator(".gf-depth").focus()
    tab.keyboard.press("ArrowUp")
    assert readout(tab)[1] == ROWS[2]
    assert heading.text_content() == f"gradient norm of {ROWS[3]}"
    tab.keyboard.press("Enter")
    assert heading.text_content() == f"gradient norm of {ROWS[2]}"


def test_the_line_of_a_parameter_has_its_points_at_the_columns_of_the_map_and_holes_where_there_is_nothing(tab):
    tab.locator(".gf-depth").click(position=point(tab, 1, 0))
    drawn = tab.locator(".gf-depth-picked path").get_attribute("d")
    assert drawn.count("M") == 2  # the pen is lifted once, over the zero
    points = drawn.replace("M", " ").replace("L", " ").split()
    across = np.array([float(number) for number in points[::2]])
    assert len(across) == len(STEPS) - 1
    columns = [point(tab, 1, column)["x"] for column in range(len(STEPS)) if column != 4]
    np.testing.assert_allclose(across, columns, atol=0.6)


def test_another_quantity_is_chosen_from_the_list(tab):
    tab.get_by_label("colour").select_option(label="weight norm")
    tab.locator(".gf-depth").hover(position=point(tab, 1, 4))
    assert readout(tab)[2] == "weight norm 3"


def test_the_theme_s_switch_draws_it_anew(tab):
    picture = "canvas => canvas.toDataURL()"
    before = tab.locator(".gf-depth canvas").evaluate(picture)
    tab.locator(".gf-theme").click()
    assert tab.locator(".gf-depth canvas").evaluate(picture) != before


def test_a_run_without_losses_or_with_nothing_to_draw_says_so(show):
    empty = DepthByStep([1, 2], ["w"], {"norm": np.zeros((1, 2))}, {}, title="Gradients")
    tab = show(empty)
    words = tab.locator(".gf-depth-heading").all_text_contents()
    assert words == ["loss: none was logged", "norm of w: nothing to draw"]
    assert empty.chart().to_dict()["vconcat"]  # the map alone


def test_the_static_picture_has_map_and_loss_on_one_axis_of_steps(figure, tmp_path):
    chart = figure.chart(theme="dark").to_dict()
    map_, loss = chart["vconcat"]
    domains = [layer["encoding"]["x"]["scale"]["domain"] for layer in (map_["layer"][1], *loss["layer"])]
    assert domains == [[5.0, 505.0]] * 3
    assert map_["width"] == loss["width"]
    picture = figure.save(tmp_path / "gradients.svg").read_text(encoding="utf-8")
    assert "optimizer step" in picture
    assert "loss (nats/token)" in picture
