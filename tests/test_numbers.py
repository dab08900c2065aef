"""Numbers as people write them: read in English notation, or an error that gives both readings; never a guess."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.numbers import NumberError, plain, read_amount, read_integer, read_number, split_amount


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-0.5", -0.5),
        ("−3", -3),
        (".5", 0.5),
        ("5.", 5),
        ("1e18", 1e18),
        ("1.5E-3", 1.5e-3),
        ("1_000.5", 1000.5),
        ("10_000_000", 1e7),
        ("1,000,000", 1e6),
        ("1,234.5", 1234.5),
        ("12,345,678.9", 12345678.9),
        ("1 234", 1234),
        ("1\u00a0234\u00a0567", 1234567),
        ("1\u202f234.5", 1234.5),
        ("1'234", 1234),
        ("18’789’853", 18789853),
        ("1.234", 1.234),
        ("00012", 12),
        (" 12 ", 12),
    ],
)
def test_numbers_in_english_notation_are_read(text, value):
    assert read_number(text) == value


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("4,129", ["4129 or as 4.129"]),
        ("12,500", ["12500 or as 12.500"]),
        ("-1,000", ["-1000 or as -1.000"]),
        ("1,5e13", ["decimal comma", "Write 1.5e13"]),
        ("1,500e12", ["decimal comma", "Write 1.500e12"]),
        ("0,125", ["decimal comma", "Write 0.125"]),
        ("3,14", ["Write 3.14"]),
        ("1234,567", ["Write 1234.567"]),
        ("1,2345", ["Write 1.2345"]),
        ("1.234,5", ["Write 1234.5"]),
        ("1.234.567", ["Write 1234567"]),
        ("1 234,5", ["Write 1234.5"]),
        ("１２", ["digits 0 to 9", "Write 12"]),
        ("١٢", ["digits 0 to 9", "Write 12"]),
        ("5 %", ["percentage"]),
        ("$100", ["amount of money"]),
    ],
)
def test_what_could_be_another_number_is_an_error_that_says_what_to_write(text, reasons):
    with pytest.raises(NumberError) as error:
        read_number(text)
    assert [reason for reason in reasons if reason not in str(error.value)] == []
    assert error.value.suggestion is not None


@pytest.mark.parametrize(
    "text",
    ["", " ", "much", "1,23,456", "1_", "_1", "1__0", "0x10", "1e", "1e1.5", "1,000.5.3", "1.2.3", "--1",
     "1 2", "12 34", "1,234 567", "1'23", "½", "Ⅷ", "9" * 20 + "z", "0,123,456"],
)  # fmt: skip
def test_what_is_not_a_number_is_an_error(text):
    with pytest.raises(NumberError, match="is not a number"):
        read_number(text)


def test_numbers_that_are_not_finite_are_read_as_such():
    assert math.isnan(read_number("NaN"))
    assert read_number("-inf") == -math.inf
    assert read_number("9" * 400) == math.inf


@pytest.mark.parametrize(
    ("text", "value"),
    [("8", 8), ("1_000", 1000), ("1e3", 1000), ("1.5e3", 1500), ("2.0", 2), ("-3", -3), ("1,000,000", 10**6),
     ("123456789012345678901234567890", 123456789012345678901234567890), ("0e99", 0)],
)  # fmt: skip
def test_integers_are_read_exactly(text, value):
    found = read_integer(text)
    assert found == value
    assert type(found) is int


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2.5", "is not an integer"),
        ("1e-3", "is not an integer"),
        ("1e30", "too large"),
        ("9" * 40, "too large"),
        ("1e999999999", "too large"),
        ("1e" + "9" * 30, "exponent"),
        ("1,000", "1000 or as 1.000"),
        ("nan", "is not a number"),
        ("9" * 5000, "too large"),
    ],
)
def test_what_is_not_an_integer_is_an_error(text, reason):
    with pytest.raises(NumberError, match=reason):
        read_integer(text)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("3 PF-days", (3, "PF-days")),
        ("70M", (7e1, "M")),
        ("1 234 tokens", (1234, "tokens")),
        ("1,000,000", (1e6, "")),
        ("1e18FLOP", (1e18, "FLOP")),
        ("2EFLOP", (2, "EFLOP")),
    ],
)
def test_amounts_are_a_number_and_a_unit(text, amount):
    assert read_amount(text) == amount


@pytest.mark.parametrize("text", ["4,129 M", "1,5 PF-days", "１２B", "much FLOP", "e5"])
def test_the_number_of_an_amount_is_as_certain_as_a_number(text):
    with pytest.raises(NumberError):
        read_amount(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_python_writes_is_read_back(value):
    assert read_number(repr(value)) == value


@given(st.integers(0, 10**15), st.sampled_from(",' \u00a0\u202f"))
def test_thousands_marks_are_read_or_refused_and_never_change_a_number(value, mark):
    text = f"{value:,}".replace(",", mark)
    if (mark, text.count(",")) != (",", 1):
        assert read_number(text) == value
        return
    with pytest.raises(NumberError) as error:
        read_number(text)
    assert error.value.suggestion == str(value)


@given(st.text(max_size=20))
def test_any_text_is_a_number_or_an_error_and_the_same_for_every_reader(text):
    try:
        found = read_number(text)
    except NumberError:
        return
    if math.isfinite(found):
        number, unit = split_amount(text)
        assert (float(plain(number) or "nan"), unit) == (found, "")
