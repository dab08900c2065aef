from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from glassformer.parts.masks import additive, causal_mask, padded_mask

INDEX = torch.arange(4)


def drawn(mask):
    return "\n".join("".join("■" if seen else "·" for seen in row) for row in mask.tolist())


def test_causal_is_the_lower_triangle():
    assert drawn(causal_mask(INDEX, INDEX)) == "■···\n■■··\n■■■·\n■■■■"


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
