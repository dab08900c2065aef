from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from glassformer.charts.packing import narrowest, pack, unpack
from glassformer.charts.page import Page

SHAPES = array_shapes(min_dims=1, max_dims=4, max_side=6)
FLOATS = arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=True, allow_infinity=True))
SHARES = arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32))


@given(FLOATS)
def test_32_bits_bring_back_every_number_in_its_shape(values):
    np.testing.assert_array_equal(unpack(pack(values, precision="float32")), values)


@given(arrays(np.float32, SHAPES, elements=st.floats(-65504, 65504, width=32)))
def test_16_bits_keep_a_relative_error_of_2_to_the_minus_11(values):
    back = unpack(pack(values))
    assert back.shape == values.shape
    assert np.all(np.abs(back - values) <= np.maximum(np.abs(values) * 2.0**-11, 2.0**-25))


def test_16_bits_keep_what_is_no_number():
    values = np.array([np.nan, np.inf, -np.inf, 0.0], dtype=np.float32)
    np.testing.assert_array_equal(unpack(pack(values)), values)


@given(SHARES, st.floats(-100, 100), st.floats(0.01, 100))
def test_8_bits_keep_the_error_bound_that_is_promised(shares, low, length):
    high = low + length
    values = (low + length * shares.astype(np.float64)).clip(low, high)
    back = unpack(pack(values, precision="8-bit", domain=(low, high))).astype(np.float64)
    share = np.sqrt((values - low) / (high - low))
    bound = (high - low) * (share + 1 / 1020) / 255
    assert np.all(np.abs(back - values) <= bound + 1e-6 * (abs(low) + length))  # float32 of the answer itself


def test_8_bits_keep_small_weights_apart_that_an_even_scale_would_lose():
    weights = np.array([0.0002, 0.0008, 0.002])
    back = unpack(pack(weights, precision="8-bit"))
    assert np.all(np.diff(back) > 0)
    assert np.all(np.rint(weights * 255) <= 1)


def test_a_packed_array_is_json_and_zeros_take_next_to_no_room():
    packed = pack(np.zeros((36, 128, 128)), precision="8-bit")
    assert json.loads(json.dumps(packed)) == packed
    assert len(packed["data"]) < 2_000


@pytest.mark.parametrize(
    ("values", "precision"), [([1.5], "8-bit"), ([-0.1], "8-bit"), ([np.nan], "8-bit"), ([7e4], "float16")]
)
def test_values_that_do_not_fit_are_not_stored_as_something_else(values, precision):
    with pytest.raises(AssertionError):
        pack(np.array(values), precision=precision)


@pytest.mark.parametrize(
    ("values", "precision"),
    [([0.5, -3], "float16"), ([np.nan, -np.inf, 0], "float16"), ([1e5], "float32"), ([1e-7, 1e-9], "float32")],
)
def test_the_narrowest_precision_loses_no_value_to_overflow_or_underflow(values, precision):
    assert narrowest(np.array(values, dtype=np.float32)) == precision


HALVES = np.arange(65_536, dtype=np.uint16).view(np.float16).astype(np.float32)  # all there are
PACKED = {
    "float32": pack(np.array([[1.1, -0.0, np.inf], [np.nan, 1e-42, 3e38]], dtype=np.float32), precision="float32"),
    "float16": pack(HALVES),
    "8-bit": pack((np.arange(256) / 255) ** 2 * 4 - 1, precision="8-bit", domain=(-1, 3)),
}


@pytest.mark.parametrize("precision", PACKED)
def test_the_page_s_script_reads_the_same_numbers(precision, tmp_path, open_page):
    page = open_page(Page("A page", []).save(tmp_path / "page.html"))
    script = "(packed) => glassformer.unpack(packed).then(({ values, shape }) => [Array.from(values), shape])"
    values, shape = page.evaluate(script, PACKED[precision])
    expected = unpack(PACKED[precision])
    assert tuple(shape) == expected.shape
    np.testing.assert_array_equal(np.array(values, dtype=np.float32).reshape(shape), expected)
