"""An alignment in the terminal: straight columns whatever the script, and nothing that moves the cursor."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from glassformer.cli.alignment import LEFT_TO_RIGHT_MARK, SHADES, draw_alignment, pharaoh, visible

PIECES = st.lists(
    st.sampled_from(
        ["▁the", "한국어", "日本", "مرحبا", "שלום", "x", "</s>", "é", "\x1b[2J", "\n", "", "e\u0301", "😀"]
    ),
    min_size=1,
    max_size=8,
)


@given(PIECES, PIECES, st.integers(10, 120))
def test_columns_stand_one_below_the_other(source, target, width):
    weights = torch.ones(len(target), len(source)) / 2
    for grid in draw_alignment(weights, source, target, width=width).split("\n\n"):
        head, *rows = grid.replace(LEFT_TO_RIGHT_MARK, "").split("\n")
        assert len(rows) == len(target)
        assert len({cell_len(row) for row in rows}) == 1
        assert cell_len(head) <= cell_len(rows[0])
        assert {cell_len(row.split("▒")[0]) for row in rows} == {cell_len(head) - cell_len(head.lstrip())}


@given(PIECES, PIECES, st.integers(20, 120))
def test_a_grid_fits_the_terminal_and_shows_every_source_piece(source, target, width):
    drawn = draw_alignment(torch.zeros(len(target), len(source)), source, target, width=width)
    lines = drawn.replace(LEFT_TO_RIGHT_MARK, "").splitlines()
    assert all(cell_len(line) <= width for line in lines)
    assert sum(drawn.count(each) for each in {visible(piece) for piece in source}) >= len(set(source))


def test_shades_grow_with_the_weight():
    drawn = draw_alignment(torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0]]), list("abcde"), ["z"])
    assert drawn.splitlines()[1].split()[1:] == [shade * 3 for shade in SHADES]


def test_what_would_move_the_cursor_is_not_printed():
    drawn = draw_alignment(torch.ones(1, 2) / 2, ["\x1b[31m", "\r"], ["\x07"])
    assert not any(ord(character) < 32 for character in drawn.replace("\n", ""))


def test_pieces_from_right_to_left_do_not_change_the_order_of_columns():
    head = draw_alignment(torch.ones(1, 2) / 2, ["مرحبا", "شكرا"], ["x"]).splitlines()[0]
    between = head[head.index("مرحبا") + 5 : head.index("شكرا")]
    assert LEFT_TO_RIGHT_MARK in between


def test_pharaoh_counts_source_and_target_from_0():
    assert pharaoh(torch.tensor([[0.1, 0.9], [0.8, 0.2]])) == "1-0 0-1"
    assert pharaoh(torch.zeros(0, 3)) == ""
