"""SentencePiece tokenizers in, tokenizers learned here out, against transformers on the same folder."""

from __future__ import annotations

import io
import json
import random
import shutil

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, MarianTokenizer

from glassformer.data.marian_tokenizers import (
    MarianSentenceTokenizer,
    engine,
    load_marian_tokenizers,
    save_for_transformers,
)
from glassformer.data.sentence_bpe import SentenceBytePairTokenizer
from glassformer.data.sentence_tokenizers import PairTokenizer, SentenceCharacterTokenizer, WordTokenizer
from glassformer.errors import DataError

WORDS = {
    "source": [
        "the",
        "cat",
        "dog",
        "house",
        "stands",
        "runs",
        "sleeps",
        "under",
        "over",
        "before",
        "morning",
        "river",
        "mountain",
        "quickly",
        "slowly",
    ],
    "target": [
        "die",
        "Katze",
        "Hund",
        "Haus",
        "steht",
        "läuft",
        "schläft",
        "unter",
        "über",
        "vor",
        "Morgen",
        "Fluss",
        "Berg",
        "schnell",
        "langsam",
        "größer",
    ],
}
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
STRANGE = [
    "",
    " ",
    "   the   cat ",
    "Zyx ＡＢＣ 中文 🙂",
    "a\u0301 naïve",
    "</s> <pad> x",
    "▁the ▁",
    "tab\tand\nline",
    "the",
]


def sentences(side, n=300, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS[side], k=draw.randint(2, 9))).capitalize() + "." for _ in range(n)]


def spm(side):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(side)),
        model_writer=model,
        vocab_size=70,
        character_coverage=1.0,
        minloglevel=2,
        num_threads=1,
    )
    return model.getvalue()


@pytest.fixture(scope="session")
def opus(tmp_path_factory):
    """A folder as the OPUS-MT models have: a vocabulary for both languages, the pad last."""
    folder = tmp_path_factory.mktemp("opus")
    pieces = {}
    for side in WORDS:
        model = spm(side)
        (folder / f"{side}.spm").write_bytes(model)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        pieces |= {processor.id_to_piece(index): None for index in range(processor.get_piece_size())}
    left_out = {"<s>", "</s>", "<unk>", next(piece for piece in pieces if piece == "▁the")}
    vocabulary = ["</s>", "<unk>", *(piece for piece in pieces if piece not in left_out), ">>deu<<", "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in enumerate(vocabulary)}))
    settings_ = {"source_lang": "en", "target_lang": "de", "tokenizer_class": "MarianTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_))
    return folder


@pytest.fixture(scope="session")
def theirs(opus):
    return MarianTokenizer.from_pretrained(opus)


@pytest.fixture(scope="session")
def ours(opus):
    return load_marian_tokenizers(opus)


def test_source_ids_are_transformers_own(ours, theirs):
    for text in [*sentences("source", 50, 1), *sentences("target", 20, 2), "Zyx ＡＢＣ 中文 🙂", "", ">>deu<< the cat"]:
        expected = theirs(text).input_ids
        assert [*ours.source.encode(text), ours.source.end_id] == expected, text


def test_target_ids_are_transformers_own(ours, theirs):
    for text in [*sentences("target", 50, 3), "Übermorgen – 7 €"]:
        assert [*ours.target.encode(text), ours.target.end_id] == theirs(text_target=text).input_ids


def test_decoded_text_is_transformers_own(ours, theirs):
    draw = random.Random(4)
    special = ours.target.special_ids
    for _ in range(200):
        ids = [draw.randrange(ours.target.vocab_size) for _ in range(draw.randint(0, 12))]
        kept = [token for token in ids if token not in special]
        assert ours.target.decode(ids) == theirs.decode(kept, use_source_tokenizer=False)


def test_a_sentence_survives_and_what_the_vocabulary_lacks_is_unknown(ours):
    for text in sentences("target", 30, 5):
        assert ours.target.decode(ours.target.encode(text)) == text
    assert ours.source.unknown_id in ours.source.encode("over the river")  # ▁the is not in the vocabulary
    assert "<unk>" in ours.source.decode(ours.source.encode("over the river"))


def test_a_marian_translation_starts_with_the_pad(ours):
    source = ours.source
    assert (source.end_id, source.unknown_id, source.pad_id) == (0, 1, source.vocab_size - 1)
    assert source.start_id == source.pad_id
    assert source.pieces([source.end_id, source.pad_id]) == ["</s>", "<pad>"]
    assert not ours.joint  # one vocabulary, but two ways to cut


def test_half_a_surrogate_pair_is_refused(ours):
    with pytest.raises(DataError, match="surrogate"):
        ours.source.encode("a\ud800")


def test_a_saved_tokenizer_reads_back_the_same(ours):
    tree = json.loads(json.dumps(ours.source.to_dict()))
    again = MarianSentenceTokenizer.from_dict(tree)
    for text in sentences("source", 20, 6):
        assert again.encode(text) == ours.source.encode(text)
    assert again.to_dict() == ours.source.to_dict()


def test_two_vocabularies_are_read_each_for_its_side(opus, tmp_path):
    folder = shutil.copytree(opus, tmp_path / "two")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "target.spm"))
    pieces = [processor.id_to_piece(index) for index in range(3, processor.get_piece_size())]
    target = {piece: index for index, piece in enumerate(["</s>", "<unk>", *pieces[::-1], "<pad>"])}
    (folder / "target_vocab.json").write_text(json.dumps(target))
    config = {"separate_vocabs": True, "tokenizer_class": "MarianTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    ours, theirs = load_marian_tokenizers(folder), MarianTokenizer.from_pretrained(folder)
    assert ours.target.vocab_size == len(target) != ours.source.vocab_size
    for text in sentences("target", 20, 7):
        ids = ours.target.encode(text)
        assert theirs(text_target=text).input_ids == [*ids, ours.target.end_id]
        assert ours.target.decode(ids) == text


def test_imported_tokenizers_are_written_back_as_they_came(ours, opus, tmp_path):
    identity = range(ours.source.vocab_size)
    save_for_transformers(ours, tmp_path, identity, identity, 64)
    for name in ("source.spm", "target.spm"):
        assert (tmp_path / name).read_bytes() == (opus / name).read_bytes()
    assert json.loads((tmp_path / "vocab.json").read_text()) == json.loads((opus / "vocab.json").read_text())
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(again, MarianTokenizer)
    assert again("The cat runs.").input_ids == [*ours.source.encode("The cat runs."), 0]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("source.spm", None, "source.spm missing"),
        ("vocab.json", None, "vocab.json missing"),
        ("source.spm", b"\xff\x00 no model", "SentencePiece model is damaged"),
        ("vocab.json", b"{", "damaged"),
        ("vocab.json", b"[1, 2]", "damaged"),
        ("vocab.json", b'{"</s>": 0, "<unk>": 1, "<pad>": 9}', "without a gap"),
        ("vocab.json", b'{"a": 0, "<unk>": 1}', "no <pad> and no </s>"),
    ],
)
def test_missing_and_damaged_files_are_named(opus, tmp_path, name, content, told):
    folder = shutil.copytree(opus, tmp_path / "damaged")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        load_marian_tokenizers(folder)


# --- tokenizers learned here ----------------------------------------------------------------------------------------

TEXTS = sentences("source") + sentences("target") + ["He said, “go” – naïve café, 12½ km!"] * 3


def order_of(tokenizer):
    others = [token for token in range(tokenizer.vocab_size) if token not in (0, 2, 3)]
    return [3, *others, 0]


LEARNED = {
    "bpe": lambda: SentenceBytePairTokenizer.train(TEXTS, 400, min_count=2),
    "bpe, lower case": lambda: SentenceBytePairTokenizer.train(TEXTS, 400, lowercase=True),
    "characters": lambda: SentenceCharacterTokenizer.train(TEXTS),
    "characters, lower case": lambda: SentenceCharacterTokenizer.train(TEXTS, lowercase=True),
}


@pytest.mark.parametrize("kind", LEARNED)
def test_auto_tokenizer_gives_our_ids_in_the_exported_order(kind, tmp_path):
    tokenizer = LEARNED[kind]()
    order = order_of(tokenizer)
    save_for_transformers(PairTokenizer(tokenizer, tokenizer), tmp_path, order, order, 64)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == len(order) == tokenizer.vocab_size - 1
    assert (theirs.eos_token_id, theirs.unk_token_id, theirs.pad_token_id) == (0, 1, len(order) - 1)
    for text in [*sentences("target", 20, 8), *STRANGE, TEXTS[-1]]:
        ids = theirs(text).input_ids
        assert [order[token] for token in ids] == [*tokenizer.encode(text), tokenizer.end_id], text
        if tokenizer.unknown_id not in tokenizer.encode(text):
            assert theirs.decode(ids, skip_special_tokens=True) == tokenizer.decode(tokenizer.encode(text)), text
    assert not (tmp_path / "target_tokenizer").exists()


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_has_the_same_byte_pairs_there(text):
    tokenizer = BPE
    made = engine(tokenizer, range(tokenizer.vocab_size))
    assert made.encode(text).ids == [*tokenizer.encode(text), tokenizer.end_id]


BPE = LEARNED["bpe"]()


def test_a_word_vocabulary_takes_sentences_that_are_cut_already(tmp_path):
    tokenizer = WordTokenizer.train(TEXTS)
    order = order_of(tokenizer)
    save_for_transformers(PairTokenizer(tokenizer, tokenizer), tmp_path, order, order, 64)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    text = "He said, “go”, under the river."
    ids = theirs(" ".join(tokenizer.split(text))).input_ids
    assert [order[token] for token in ids] == [*tokenizer.encode(text), tokenizer.end_id]


def test_two_vocabularies_become_two_tokenizers(tmp_path):
    source = SentenceBytePairTokenizer.train(sentences("source"), 320)
    target = SentenceBytePairTokenizer.train(sentences("target"), 340)
    save_for_transformers(PairTokenizer(source, target), tmp_path, order_of(source), order_of(target), 64)
    for tokenizer, folder in ((source, tmp_path), (target, tmp_path / "target_tokenizer")):
        theirs = AutoTokenizer.from_pretrained(folder)
        order = order_of(tokenizer)
        ids = theirs("The Katze stands.").input_ids
        assert [order[token] for token in ids] == [*tokenizer.encode("The Katze stands."), tokenizer.end_id]


def test_a_folder_that_cannot_be_written_is_a_message(ours, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        save_for_transformers(ours, tmp_path / "file" / "out", [], [], 64)
