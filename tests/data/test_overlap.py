"""What stands in training must not be validated on; where it does by the user's own choice, it is counted."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data import overlap
from glassformer.data.config import DataConfig
from glassformer.data.language_modeling import prepare
from glassformer.data.overlap import near_form, pair_overlap, repeated_lines
from glassformer.data.pairs import Pair
from glassformer.data.translation import prepare_translation
from glassformer.data.translation_config import TranslationConfig

WORDS = ["red", "blue", "Green", "Straße", "naïve", "한국어", "그림", "ten"]
SENTENCES = [f"{first} {second} number {number}" for number in range(6) for first in WORDS for second in WORDS[:3]]


def written(path, rows) -> str:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows), encoding="utf-8")
    return str(path)


VARIANTS = {
    "capitals": str.upper,
    "a space behind": lambda text: text + " ",
    "two spaces within": lambda text: text.replace(" ", "  "),
    "no-break space": lambda text: text.replace(" ", "\u00a0"),
    "ideographic space in front": lambda text: "\u3000" + text,
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "title case": str.title,
    "line separator": lambda text: text.replace(" ", "\u2028"),
}


@pytest.mark.parametrize("tokenizer", ["bpe", "words", "characters"])
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_no_validation_source_is_read_as_a_training_source_is(tmp_path, tokenizer, lowercase, reverse):
    rows = [(change(text), f"Ziel {n}") for n, text in enumerate(SENTENCES) for change in (str, *VARIANTS.values())]
    rows = [(target, source) for source, target in rows] if reverse else rows
    settings = {"source": written(tmp_path / "a.tsv", rows), "tokenizer": tokenizer, "lowercase": lowercase}
    settings |= {"reverse": True} if reverse else {}
    data = prepare_translation(TranslationConfig.build(settings), tmp_path / "cache")
    encode = data.tokenizer.source.encode
    train = {tuple(encode(pair.source)) for pair in data.pairs("train")}
    validation = [tuple(encode(pair.source)) for pair in data.pairs("validation")]
    assert validation
    assert not train & set(validation)


def test_the_split_is_the_same_whatever_the_order_and_as_it_was_where_nothing_reads_alike(tmp_path):
    rows = [(text, f"Ziel {n}") for n, text in enumerate(SENTENCES)]
    found = []
    for name, given_rows, lowercase in (("a", rows, False), ("b", rows[::-1], False), ("c", rows, True)):
        config = TranslationConfig(source=written(tmp_path / f"{name}.tsv", given_rows), lowercase=lowercase)
        pairs = prepare_translation(config, tmp_path / "cache").pairs("validation")
        found.append(sorted(pair.source for pair in pairs))
    assert found[0] == found[1] == found[2]


def test_sentences_that_differ_in_unknown_words_alone_are_not_on_both_sides(tmp_path):
    rows = [(f"the {'x' * number} of it", str(number)) for number in range(1, 60)]
    rows += [(f"the word of {n % 7} and {n}", "z") for n in range(120)]
    config = TranslationConfig(source=written(tmp_path / "a.tsv", rows), tokenizer="words", min_count=2)
    data = prepare_translation(config, tmp_path / "cache")
    encode = data.tokenizer.source.encode
    train = {tuple(encode(pair.source)) for pair in data.pairs("train")}
    assert not train & {tuple(encode(pair.source)) for pair in data.pairs("validation")}
    assert any("once rare words are <unk>" in note for note in data.notes)


def test_where_all_that_is_held_out_reads_as_training_does_it_is_kept_and_said(tmp_path):
    rows = [(f"w{number}", f"z{number}") for number in range(40)]
    config = TranslationConfig(source=written(tmp_path / "a.tsv", rows), tokenizer="words", min_count=2)
    data = prepare_translation(config, tmp_path / "cache")
    assert data.n_pairs("validation") == 4
    assert any(note.startswith("validation: the sources of all pairs held out read") for note in data.notes)


def test_repeats_in_files_of_the_users_own_are_counted(tmp_path):
    train = [(f"A sentence, number {n}.", f"Satz {n}") for n in range(50)]
    test = [
        ("A sentence, number 1.", "Satz 1"),
        ("A  sentence, number 2. ", "another"),
        ("a sentence number 3", "x"),
        ("\u201cA sentence\u201d number 4!", "x"),
        ("wholly new", "x"),
    ]
    source, other = written(tmp_path / "train.tsv", train), written(tmp_path / "test.tsv", test)
    config = TranslationConfig(source=source, validation=other, test=other)
    data = prepare_translation(config, tmp_path / "cache")
    assert data.n_pairs("test") == 5
    for split in ("validation", "test"):
        same, near = [note for note in data.notes if note.startswith(split)][:2]
        assert "2 of 5 pairs (40.0%)" in same
        assert "1 of them with the same target" in same
        assert "2 of 5 pairs (40.0%)" in near


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It's  fine.", "its FINE"),
        ("ﬁnal", "final"),
        ("Ｆｕｌｌ　width", "full width"),
        ("STRASSE", "straße"),
        ("„So“, sagte er", "so sagte er"),
        ("한국어.", "한국어"),
    ],
)
def test_case_punctuation_and_white_space_make_no_difference(one, other):
    assert near_form(one) == near_form(other)


@pytest.mark.parametrize(("one", "other"), [("a b", "ab"), ("!", "?"), ("café", "cafe"), ("1+2", "1+3"), ("", "a")])
def test_other_texts_stay_apart(one, other):
    assert near_form(one) != near_form(other)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcdef"), max_size=12))
def test_every_pair_is_counted_once_at_most(train, others):
    found = pair_overlap([Pair(t, "x") for t in train], [Pair(t, "x") for t in others], str)
    assert found.n == len(others)
    assert found.same == found.same_target == sum(text in train for text in others)
    assert found.near == 0


def cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
def test_repeated_lines_are_counted_wherever_the_pieces_are_cut(size):
    lines = [f"line {number} of the training text is long enough to say something" for number in range(20)]
    new = [f"line {number} of the validation text is long enough to say something" for number in range(6)]
    validation = "\n".join([*new, lines[3], lines[7], lines[7], "short", lines[19]])
    assert repeated_lines(cut("\n".join(lines), size), cut(validation, size)) == (3, 9)


def test_of_many_lines_a_sample_is_looked_for_that_only_their_content_decides(monkeypatch):
    monkeypatch.setattr(overlap, "LINES_KEPT", 100)
    lines = [f"line {number} of a text, long enough to say something about it" for number in range(1000)]
    train, validation = "\n".join(lines[::2]), "\n".join(lines)
    found, looked_for = repeated_lines([train], [validation])
    assert looked_for == 100
    assert 20 < found < 80
    assert repeated_lines([train], ["\n".join(lines[::-1])]) == (found, looked_for)


def test_a_text_whose_end_repeats_its_beginning_is_reported(tmp_path):
    line = "a line that stands in the text again and again, as a licence does\n"
    (tmp_path / "text").write_text(line * 200)
    data = prepare(DataConfig(source=str(tmp_path / "text")), cache=tmp_path / "cache")
    assert any(note.startswith("100.0% of the validation lines") for note in data.notes)
    assert data.manifest["repeated_lines"] == {"looked_for": 1, "found_in_training": 1}
