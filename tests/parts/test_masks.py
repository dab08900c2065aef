from __future__ import annotations

import inspect

import torch
from hypothesis import given
from hypothesis import strategies as st

from glassformer.parts import masks
from glassformer.parts.masks import additive, causal_mask, cross_mask, padded_mask

INDEX = torch.arange(4)


def drawn(mask):
    return "\n".join("".join("■" if seen else "·" for seen in row) for row in mask.tolist())


def test_causal_is_the_lower_triangle():
    assert drawn(causal_mask(INDEX, INDEX)) == "■···\n■■··\n■■■·\n■■■■"


def test_the_masks_drawn_in_the_docstrings_are_those_computed():
    rows = [[mark for mark in line if mark in "■·"] for line in inspect.getdoc(masks).splitlines()]
    rows = [row for row in rows if len(row) == 12]
    tables = ["\n".join("".join(row[4 * i : 4 * i + 4]) for row in rows) for i in range(3)]
    last = torch.tensor([[False, False, False, True]])
    everything = torch.ones(4, 4, dtype=torch.bool)
    assert tables[0] == drawn(causal_mask(INDEX, INDEX))
    assert tables[1] == drawn(padded_mask(everything, last, INDEX, INDEX)[0])
    assert tables[2] == drawn(padded_mask(causal_mask(INDEX, INDEX), last, INDEX, INDEX)[0])
    (line,) = [line for line in inspect.getdoc(cross_mask).splitlines() if "every query" in line]
    assert "".join(mark for mark in line if mark in "■·") == drawn(cross_mask(last)[0])


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_across_only_pads_are_hidden_and_a_source_of_pads_is_seen_as_it_stands(pads):
    mask = cross_mask(torch.tensor([pads]))
    assert mask.shape == (1, 1, len(pads))
    assert mask.any(-1).all()
    assert mask[0, 0].tolist() == ([True] * len(pads) if all(pads) else [not pad for pad in pads])


def test_queries_behind_a_cache_see_what_came_before():
    assert drawn(causal_mask(torch.tensor([2, 3]), INDEX)) == "■■■·\n■■■■"


def test_pads_see_themselves_and_nobody_sees_them():
    left = torch.tensor([[True, True, False, False]])
    mask = padded_mask(causal_mask(INDEX, INDEX), left, INDEX, INDEX)
    assert drawn(mask[0]) == "■···\n·■··\n··■·\n··■■"


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_no_row_of_the_softmax_is_ever_empty(pads):
    index = torch.arange(len(pads))
    mask = padded_mask(causal_mask(index, index), torch.tensor([pads]), index, index)
    assert mask.any(-1).all()
    weights = torch.softmax(additive(mask, torch.float32), -1)
    assert weights.isfinite().all()
    assert not weights[~mask].any()


def test_what_is_masked_gets_minus_infinity_and_weight_exactly_zero():
    mask = additive(causal_mask(INDEX, INDEX), torch.float32)
    assert set(mask.flatten().tolist()) == {0.0, float("-inf")}
    scores = torch.zeros(4, 4)
    scores[0, 1:] = 1e9  # a finite mask of -1e4 would lose to this
    assert torch.equal(torch.softmax(scores + mask, -1)[0], torch.tensor([1.0, 0, 0, 0]))
    leaking = torch.softmax(scores + mask.clamp(min=-1e4), -1)[0]
    assert leaking[0] == 0.0  # all of it goes to the future


def test_multiplying_by_zero_after_the_softmax_is_not_masking():
    """The row no longer sums to 1, and what is left depends on what was masked."""
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0])
    mask = torch.tensor([True, True, False, False])
    zeroed = torch.softmax(scores, -1) * mask
    masked = torch.softmax(scores + additive(mask, torch.float32), -1)
    assert zeroed.sum() < 0.2
    assert masked.sum() == 1
    torch.testing.assert_close(masked[:2], torch.softmax(scores[:2], -1))
