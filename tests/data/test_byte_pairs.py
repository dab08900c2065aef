from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data import byte_pairs
from glassformer.data.byte_pairs import Gpt2Tokenizer, TrainedBytePairTokenizer
from glassformer.data.tokenizers import load_tokenizer
from glassformer.errors import DataError

TEXT = "the cat sat on the mat and the cat's hat; 고양이가 앉았다. 고양이가 잔다.\n" * 20
TRAINED = TrainedBytePairTokenizer.train([TEXT], 290)
SPACED = st.text(alphabet=st.sampled_from("ab' \n\t\u00a0\u3000\x1c.7한\u0301"), max_size=80)


@pytest.fixture(scope="module")
def gpt2(glassformer_data) -> Gpt2Tokenizer:
    return Gpt2Tokenizer.from_files(*byte_pairs.gpt2_file_paths(str(glassformer_data / "gpt2-bpe")))


def test_gpt2_encodes_as_published(gpt2):
    assert gpt2.vocab_size == 50257
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.token_text(50256) == "<|endoftext|>"
    assert 50256 not in gpt2.encode("a <|endoftext|> in a text is text")


def test_gpt2_agrees_with_transformers(gpt2, glassformer_data):
    transformers = pytest.importorskip("transformers")
    files = glassformer_data / "gpt2-bpe"
    reference = transformers.GPT2Tokenizer(vocab=str(files / "encoder.json"), merges=str(files / "vocab.bpe"))
    for text in ("It's   10:30,\n\n  we'll see…", "안녕하세요 세계 😀", "def f(x):\n\treturn  x**2\n"):
        assert gpt2.encode(text).tolist() == reference.encode(text)


@settings(max_examples=50, deadline=None)
@given(text=st.text() | SPACED)
def test_gpt2_round_trips_any_text(gpt2, text):
    assert gpt2.decode(gpt2.encode(text)) == text


@settings(deadline=None)
@given(st.text() | SPACED)
def test_a_trained_encoding_round_trips_any_text(text):
    ids = TRAINED.encode(text)
    assert TRAINED.decode(ids) == text
    assert TRAINED.byte_lengths[ids].sum() == len(text.encode())
    stream = TRAINED.stream_decoder()
    assert "".join(map(stream.feed, ids.tolist())) + stream.finish() == text


@settings(deadline=None, max_examples=300)
@given(pieces=st.lists(SPACED, max_size=6), length=st.integers(1, 9))
def test_pieces_encode_as_the_whole_text(pieces, length):
    whole = TRAINED._engine.encode("".join(pieces), add_special_tokens=False).ids
    before = byte_pairs._PIECE_CHARACTERS
    byte_pairs._PIECE_CHARACTERS = length
    try:
        streamed = [token for ids in TRAINED.encode_stream(pieces) for token in ids.tolist()]
    finally:
        byte_pairs._PIECE_CHARACTERS = before
    assert streamed == whole


def test_training_learns_frequent_words_and_is_repeatable():
    assert TRAINED.vocab_size == 290
    assert len(TRAINED.encode(" the")) == 1
    assert len(TRAINED.encode(TEXT)) < len(TEXT.encode()) / 2
    assert TrainedBytePairTokenizer.train([TEXT], 290).to_dict() == TRAINED.to_dict()


def test_a_small_text_gives_fewer_tokens_than_asked_for():
    tokenizer = TrainedBytePairTokenizer.train(["ab ab"], 5000)
    assert 256 < tokenizer.vocab_size < 300


def test_a_saved_encoding_is_the_same_when_loaded(tmp_path):
    TRAINED.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is TrainedBytePairTokenizer
    assert loaded.encode(TEXT).tolist() == TRAINED.encode(TEXT).tolist()


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(DataError, match="surrogate"):
        TRAINED.encode("a\udc80")


@pytest.mark.parametrize(
    ("encoder", "merges"),
    [("{", ""), ("[]", ""), ('{"a": 0}', "#version\n"), ('{"a": 5}', ""), ('{"a": 0}', "#version\na b c\n")],
)
def test_files_that_are_not_gpt2s_are_refused(tmp_path, encoder, merges):
    (tmp_path / "encoder.json").write_text(encoder)
    (tmp_path / "vocab.bpe").write_text(merges)
    with pytest.raises(DataError):
        Gpt2Tokenizer.from_files(*byte_pairs.gpt2_file_paths(str(tmp_path)))


def test_merges_of_another_vocabulary_are_refused():
    with pytest.raises(DataError, match="do not fit"):
        TrainedBytePairTokenizer(TRAINED.vocabulary[:256], TRAINED.merges)


def test_a_folder_without_the_files_names_what_is_missing(tmp_path):
    (tmp_path / "encoder.json").write_text("{}")
    with pytest.raises(DataError, match=r"lacks vocab\.bpe"):
        byte_pairs.gpt2_file_paths(str(tmp_path))
