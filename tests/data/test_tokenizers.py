from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
    load_tokenizer,
    tokenizer_from_dict,
)
from glassformer.errors import DataError

ALPHABET = "abc xyz\n한국어é😀"


@given(st.text(alphabet=ALPHABET))
def test_characters_round_trip_over_their_own_alphabet(text):
    tokenizer = CharacterTokenizer(ALPHABET)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


@given(st.text())
def test_bytes_round_trip_any_text(text):
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text).tolist() == list(text.encode())


def test_characters_are_numbered_by_code_point():
    tokenizer = CharacterTokenizer.train(["ca", "b한a"])
    assert tokenizer.characters == "abc한"
    assert tokenizer.encode("한cab").tolist() == [3, 2, 0, 1]
    assert tokenizer.vocab_size == 4


def test_unknown_characters_are_named_with_code_points_positions_and_a_way_out():
    with pytest.raises(DataError) as caught:
        CharacterTokenizer("ab").encode("abxbà한x")
    message = str(caught.value)
    assert "'x' (U+0078) at position 2" in message
    assert "'à' (U+00E0) at position 4" in message
    assert "'한' (U+D55C) at position 5" in message
    assert "data.unknown=replace" in message


def test_at_most_ten_unknown_characters_are_named():
    with pytest.raises(DataError, match="and more") as caught:
        CharacterTokenizer("a").encode("bcdefghijklmnop")
    assert str(caught.value).count("U+") == 10


def test_positions_of_unknown_characters_count_from_the_beginning_of_a_stream():
    with pytest.raises(DataError, match="at position 1,002"):
        list(CharacterTokenizer("ab").encode_stream(["a" * 1000, "abx"]))


@given(st.text())
def test_with_replacement_any_text_is_encoded_one_id_a_character(text):
    tokenizer = CharacterTokenizer("abc", replaces_unknown=True)
    ids = tokenizer.encode(text)
    assert tokenizer.unknown_id == 3
    assert tokenizer.vocab_size == 4
    assert tokenizer.decode(ids) == "".join(c if c in "abc" else "\ufffd" for c in text)


def test_half_a_surrogate_pair_is_refused_by_every_tokenizer():
    with pytest.raises(DataError, match="surrogate"):
        ByteTokenizer().encode("a\ud800")
    with pytest.raises(DataError, match=r"U\+D800"):
        CharacterTokenizer("a").encode("a\ud800")


@given(st.lists(st.integers(0, 255)))
def test_streaming_gives_what_decoding_at_once_gives_even_for_invalid_bytes(ids):
    tokenizer = ByteTokenizer()
    stream = tokenizer.stream_decoder()
    assert "".join(map(stream.feed, ids)) + stream.finish() == tokenizer.decode(ids)


def test_a_streamed_character_comes_with_its_last_byte():
    stream = ByteTokenizer().stream_decoder()
    assert [stream.feed(byte) for byte in "한a".encode()] == ["", "", "한", "a"]


def test_byte_lengths_count_the_bytes_of_the_text():
    text = "한국어 abc é"
    for tokenizer in (ByteTokenizer(), CharacterTokenizer(text)):
        assert tokenizer.byte_lengths.shape == (tokenizer.vocab_size,)
        assert tokenizer.byte_lengths[tokenizer.encode(text)].sum() == len(text.encode())


def test_every_token_can_be_shown():
    assert ByteTokenizer().token_text(0xE3) == "\\xe3"
    assert ByteTokenizer().token_text(65) == "A"
    assert CharacterTokenizer("a한", replaces_unknown=True).token_text(2) == "<unk>"


def test_an_id_outside_the_vocabulary_is_refused():
    for tokenizer, token in ((ByteTokenizer(), 256), (ByteTokenizer(), -1), (CharacterTokenizer("ab"), 2)):
        with pytest.raises(AssertionError, match="outside the vocabulary"):
            tokenizer.decode([token])


@pytest.mark.parametrize(
    "tokenizer",
    [ByteTokenizer(), CharacterTokenizer('a한\n"\\'), CharacterTokenizer("ab", replaces_unknown=True)],
)
def test_a_saved_tokenizer_is_the_same_when_loaded(tmp_path, tokenizer: Tokenizer):
    tokenizer.save(tmp_path / "run")
    loaded = load_tokenizer(tmp_path / "run")
    assert type(loaded) is type(tokenizer)
    assert loaded.to_dict() == tokenizer.to_dict()
    assert loaded.token_bytes == tokenizer.token_bytes
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"kind": "words"}', '{"kind": "characters"}', '{"kind": "characters", "characters": 3}',
     '{"kind": "characters", "characters": "ba", "replaces_unknown": false}',
     '{"kind": "bpe", "vocabulary": ["a"], "merges": []}', '{"kind": "gpt2", "merges": 3}', "\x00"],
)  # fmt: skip
def test_a_damaged_tokenizer_file_is_a_data_error(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError):
        load_tokenizer(tmp_path)


def test_a_missing_tokenizer_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="no tokenizer"):
        load_tokenizer(tmp_path)


@settings(max_examples=20)
@given(st.text(min_size=1))
def test_any_vocabulary_of_characters_survives_json(characters):
    tokenizer = CharacterTokenizer(characters)
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert np.array_equal(again.encode(characters), tokenizer.encode(characters))
