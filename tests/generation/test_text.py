from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.data.tokenizers import ByteTokenizer
from glassformer.errors import ConfigError
from glassformer.generation.text import TextStream, check_stop_strings


def stream_of(text, stop=()):
    stream = TextStream(ByteTokenizer().stream_decoder(), stop)
    pieces = []
    for byte in text.encode():
        pieces.append(stream.feed(byte))
        if stream.stopped:
            break
    pieces.append(stream.finish())
    return stream, pieces


@given(st.text(max_size=60))
def test_characters_come_whole_and_nothing_is_lost(text):
    stream, pieces = stream_of(text)
    assert "".join(pieces) == stream.text == text
    assert not any("\ufffd" in piece for piece in pieces) or "\ufffd" in text


def test_a_character_split_over_tokens_comes_with_its_last():
    _, pieces = stream_of("한é")
    assert pieces == ["", "", "한", "", "é", ""]


@given(st.text("ab", max_size=40), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_a_stop_string_ends_the_text_where_it_first_appears_whole(text, stop):
    stream, pieces = stream_of(text, stop)
    ends = [text.find(each) + len(each) for each in stop if each in text]
    if not ends:
        assert (stream.text, stream.stopped) == (text, False)
    else:
        seen = text[: min(ends)]  # the first moment at which any of them is complete
        assert stream.text == seen[: min(seen.find(each) for each in stop if each in seen)]
        assert stream.stopped
    assert "".join(pieces) == stream.text


def test_no_part_of_a_stop_string_is_shown_before_it_is_decided():
    _, pieces = stream_of("one\n\ntwo", ["\n\n"])
    assert "".join(pieces) == "one"
    _, pieces = stream_of("one\ntwo", ["\n\n"])
    assert pieces[:5] == ["o", "n", "e", "", "\nt"]


def test_an_unfinished_character_at_the_end_is_marked():
    stream = TextStream(ByteTokenizer().stream_decoder())
    stream.feed("é".encode()[0])
    assert stream.finish() == "\ufffd"


@pytest.mark.parametrize(
    ("stop", "tokenizer", "message"),
    [([""], ByteTokenizer(), "empty"), (["x"], None, "no tokenizer"), ("x", ByteTokenizer(), "list of strings")],
)
def test_stop_strings_that_could_never_work_are_refused(stop, tokenizer, message):
    with pytest.raises(ConfigError, match=message):
        check_stop_strings(stop, tokenizer)
