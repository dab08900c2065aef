from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.data.sentence_bpe import SMALLEST_VOCABULARY, SentenceBytePairTokenizer
from glassformer.data.sentence_tokenizers import (
    JOINER,
    SPACE,
    SPECIAL_TOKENS,
    PairTokenizer,
    SentenceCharacterTokenizer,
    WordTokenizer,
    encode_sentences,
    load_pair_tokenizer,
)
from glassformer.data.tokenizers import ByteTokenizer, CharacterTokenizer, load_tokenizer
from glassformer.errors import DataError

SENTENCES = [
    "Ein Mann mit einem blauen Hut schaut auf etwas.",
    "A man in a blue hat is looking at something.",
    "Zwei Männer (mit Hüten), die auf der Straße gehen!",
    "The man's dog doesn't bark; it's asleep ...",
    "한국어 문장과 भाषा और ภาษาไทย, 3.14 percent?",
] * 3
KINDS = ["words", "characters", "bpe"]


def trained(kind, texts, *, lowercase=False, min_count=1, vocab_size=500):
    if kind == "words":
        return WordTokenizer.train(texts, min_count=min_count, lowercase=lowercase)
    if kind == "characters":
        return SentenceCharacterTokenizer.train(texts, min_count=min_count, lowercase=lowercase)
    return SentenceBytePairTokenizer.train(texts, vocab_size, min_count=min_count, lowercase=lowercase)


BPE = trained("bpe", SENTENCES)


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text())
def test_decoding_gives_the_normalised_text_back(kind, lowercase, text):
    tokenizer = trained(kind, [text], lowercase=lowercase)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.normalise(text)
    assert all(len(SPECIAL_TOKENS) <= token < tokenizer.vocab_size for token in ids)
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


@given(text=st.text())
def test_bpe_knows_every_text_whatever_it_was_trained_on(text):
    assert BPE.decode(BPE.encode(text)) == BPE.normalise(text)
    assert BPE.unknown_id not in BPE.encode(text)


@given(text=st.text())
def test_normalising_twice_changes_nothing_more(text):
    for tokenizer in (BPE, trained("words", [], lowercase=True), trained("characters", [], lowercase=True)):
        once = tokenizer.normalise(text)
        assert tokenizer.normalise(once) == once
        assert unicodedata.is_normalized("NFC", once)
        assert once == " ".join(once.split())


@pytest.mark.parametrize("kind", KINDS)
@given(ids=st.lists(st.integers(0, 299)))
def test_whatever_a_model_produces_can_be_read(kind, ids):
    tokenizer = {"bpe": BPE, "words": WORDS, "characters": CHARACTERS}[kind]
    ids = [token % tokenizer.vocab_size for token in ids]
    text = tokenizer.decode(ids)
    text.encode()
    assert not {SPACE, JOINER} & set(text)
    assert len(tokenizer.pieces(ids)) == len(ids)


WORDS, CHARACTERS = trained("words", SENTENCES), trained("characters", SENTENCES)


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_many_is_encoding_each(kind):
    tokenizer = trained(kind, SENTENCES)
    assert tokenizer.encode_all(SENTENCES) == [tokenizer.encode(text) for text in SENTENCES]
    assert tokenizer.encode_all([]) == []
    assert tuple(tokenizer.vocabulary[:4]) == SPECIAL_TOKENS
    assert (tokenizer.pad_id, tokenizer.unknown_id, tokenizer.start_id, tokenizer.end_id) == (0, 1, 2, 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", "   ", "\u3000\t\u2028"])
def test_an_empty_line_has_no_tokens(kind, text):
    tokenizer = trained(kind, SENTENCES)
    assert tokenizer.encode(text) == []
    assert tokenizer.decode([]) == tokenizer.decode([0, 2, 3, 3]) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_of_a_special_token_in_a_text_is_text(kind):
    text = "a </s> <pad> <unk> <0x41> <s>"
    tokenizer = trained(kind, [text] * 3)
    ids = tokenizer.encode(text)
    assert not set(ids) & {0, 1, 2, 3}
    assert tokenizer.decode(ids) == text
    if kind == "bpe":
        assert "<0x41>" not in tokenizer.pieces(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_lower_case_is_the_tokenizers_business(kind):
    tokenizer = trained(kind, SENTENCES, lowercase=True)
    assert tokenizer.encode("EIN Mann") == tokenizer.encode("ein mann")
    assert tokenizer.decode(tokenizer.encode("Ein Mann")) == "ein mann"
    assert not any(token != token.lower() for token in tokenizer.vocabulary if not token.startswith("<"))


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_surrogate_pair_is_refused(kind):
    with pytest.raises(DataError, match="not valid Unicode"):
        trained(kind, SENTENCES).encode("a\ud800")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ('He said, "go".', 'He said ￭, "￭ go ￭" ￭.'),
        ("It's 3.14 (or so) ...", "It ￭'￭ s 3 ￭.￭ 14 (￭ or so ￭) ..."),
        ("rot-grau, wow!!! - ja", "rot ￭-￭ grau ￭, wow ￭!!! - ja"),
        ("?!", "? ￭!"),
        ("भाषा ภาษาไทย", "भाषा ภาษาไทย"),
        ("a￭b", "a ￭■￭ b"),
    ],
)
def test_words_and_symbols_are_told_apart_and_symbols_marked_where_they_touch(text, tokens):
    assert " ".join(WordTokenizer.train([]).split(text)) == tokens


def test_rare_words_are_unknown_and_say_so():
    tokenizer = WordTokenizer.train(["a cat sat.", "a cat ran."], min_count=2)
    assert tokenizer.vocabulary == [*SPECIAL_TOKENS, "a", "cat", "￭."]
    assert tokenizer.encode("a dog sat.") == [4, 1, 1, 6]
    assert tokenizer.decode([2, 4, 5, 1, 6, 3, 0]) == "a cat <unk>."
    assert tokenizer.pieces([2, 4, 6, 3]) == ["<s>", "a", ".", "</s>"]


def test_the_most_frequent_tokens_come_first_and_equals_in_the_order_of_unicode():
    assert WordTokenizer.train(["c b a b"]).vocabulary[4:] == ["b", "a", "c"]
    assert SentenceCharacterTokenizer.train(["cbab"]).vocabulary[4:] == ["b", "a", "c"]


def test_rare_characters_are_unknown_to_characters_and_bytes_to_bpe():
    texts = ["aa bb é", "aa bb"]
    characters = trained("characters", texts, min_count=2)
    assert characters.decode(characters.encode("aé b")) == "a<unk> b"
    assert characters.pieces(characters.encode("a b")) == ["a", SPACE, "b"]
    bpe = trained("bpe", texts, min_count=2)
    assert "é" not in bpe.vocabulary
    assert bpe.pieces(bpe.encode("é aa")) == [SPACE, "<0xC3>", "<0xA9>", "▁aa"]
    assert bpe.decode(bpe.encode("é aa")) == "é aa"
    assert bpe.decode(bpe.encode("é")[:-1]) == "\ufffd"


def test_bpe_merges_never_join_words_and_symbols():
    tokenizer = trained("bpe", ["man, man, man. (man) man's 3.14"] * 50, vocab_size=400)
    for token in tokenizer.vocabulary[SMALLEST_VOCABULARY:]:
        assert len({character.isalnum() for character in token.removeprefix(SPACE)}) <= 1, token
    assert tokenizer.pieces(tokenizer.encode("man, man")) == ["▁man", ",", "▁man"]


@pytest.mark.parametrize("vocab_size", [SMALLEST_VOCABULARY, 280, 300, 350])
def test_a_bpe_vocabulary_is_as_large_as_asked_for(vocab_size):
    tokenizer = trained("bpe", SENTENCES, vocab_size=vocab_size)
    assert tokenizer.vocab_size == vocab_size
    assert [tokenizer.decode(tokenizer.encode(text)) for text in SENTENCES] == SENTENCES


def test_a_bpe_vocabulary_without_text_is_the_bytes():
    tokenizer = trained("bpe", [])
    assert tokenizer.vocab_size == SMALLEST_VOCABULARY
    assert tokenizer.decode(tokenizer.encode("a 한")) == "a 한"


TRAIN = """
import json, sys
from glassformer.data.sentence_tokenizers import *
from glassformer.data.sentence_bpe import SentenceBytePairTokenizer
texts = json.loads(sys.stdin.read())
trained = [SentenceBytePairTokenizer.train(texts, 900, min_count=2), WordTokenizer.train(texts),
           SentenceCharacterTokenizer.train(texts)]
print(json.dumps([each.to_dict() for each in trained]))
"""


def test_the_same_sentences_give_the_same_vocabulary_in_every_process():
    alphabet = "abcdefghij"  # many pairs of equal frequency
    texts = [
        " ".join(hashlib.sha256(f"{row} {column}".encode()).hexdigest()[:5] for column in range(8)) + alphabet
        for row in range(200)
    ]
    found = set()
    for seed in ("0", "1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": str(int(seed) + 1)}
        process = subprocess.run(
            [sys.executable, "-c", TRAIN],
            input=json.dumps(texts), capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        found.add(process.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("joint", [True, False])
def test_a_saved_pair_of_tokenizers_is_the_same_when_loaded(tmp_path, kind, joint):
    source = trained(kind, SENTENCES, lowercase=True)
    pair = PairTokenizer(source, source if joint else trained(kind, SENTENCES[1::3]))
    path = pair.save(tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == [path]
    loaded = load_pair_tokenizer(tmp_path / "folder")
    assert loaded.joint == pair.joint == joint
    assert loaded.to_dict() == pair.to_dict()
    for text in [*SENTENCES, "Something UNSEEN: ça!"]:
        assert loaded.source.encode(text) == pair.source.encode(text)
        assert loaded.target.encode(text) == pair.target.encode(text)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"kind": "pair"}', '{"kind": "pair", "source": {"kind": "words"}, "target": null}'],
)
def test_a_damaged_file_is_a_data_error(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=r"tokenizer\.json' is damaged"):
        load_pair_tokenizer(tmp_path)


def test_a_missing_file_an_unknown_kind_and_merges_that_do_not_fit_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="There is no tokenizer to read"):
        load_pair_tokenizer(tmp_path)
    tree = PairTokenizer(BPE, BPE).to_dict()
    tree["source"]["merges"].append(["never", "seen"])
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="merges do not fit"):
        load_pair_tokenizer(tmp_path)
    tree["source"]["kind"] = "word"
    (tmp_path / "tokenizer.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match="Did you mean 'words'"):
        load_pair_tokenizer(tmp_path)


def test_the_tokenizers_of_the_two_tasks_are_not_taken_for_each_other(tmp_path):
    for tokenizer in (ByteTokenizer(), CharacterTokenizer("abc")):
        tokenizer.save(tmp_path / "lm")
        with pytest.raises(DataError, match=f"holds the '{tokenizer.kind}' tokenizer of a language model"):
            load_pair_tokenizer(tmp_path / "lm")
    PairTokenizer(BPE, BPE).save(tmp_path / "pair")
    with pytest.raises(DataError, match="translator"):
        load_tokenizer(tmp_path / "pair")


def test_sentences_to_translate_end_with_the_end_token_and_the_shortened_are_reported():
    words = WordTokenizer.train(["a b c d"])
    encoded = encode_sentences(PairTokenizer(words, words), ["a b", "", "a b c d", "a b c", "x"], max_length=4)
    assert encoded.ids == [[4, 5, 3], [3], [4, 5, 6, 3], [4, 5, 6, 3], [1, 3]]
    assert encoded.shortened == [2]


def test_an_id_outside_the_vocabulary_is_a_mistake_of_the_program():
    with pytest.raises(AssertionError, match="outside the vocabulary"):
        BPE.decode([BPE.vocab_size])
