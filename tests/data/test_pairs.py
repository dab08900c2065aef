from __future__ import annotations

import gzip
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glassformer.data.pairs import Pair, hold_out, open_pairs
from glassformer.errors import ConfigError, DataError

TEN = [(f"source {i}", f"Ziel {i}") for i in range(10)]


def write(path, content: str | bytes):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def write_two(folder, source: str | bytes, target: str | bytes) -> str:
    return f"{write(folder / 'two.source', source)},{write(folder / 'two.target', target)}"


def tsv(rows) -> str:
    return "".join(f"{source}\t{target}\n" for source, target in rows)


def everything(source) -> list[tuple[str, str]]:
    """Every pair of training and validation, in one list."""
    splits = source.splits()
    return sorted((pair.source, pair.target) for pair in splits["train"] + splits["validation"])


@pytest.fixture
def files(tmp_path):
    """The same ten pairs in every form that there is."""
    rows = {
        "hub.jsonl": [{"translation": {"en": source, "de": target}} for source, target in TEN],
        "flat.jsonl": [{"id": 7, "source": source, "target": target} for source, target in TEN],
        "named.jsonl": [{"en": source, "de": target, "fr": None} for source, target in TEN],
    }
    for name, objects in rows.items():
        write(tmp_path / name, "".join(json.dumps(row) + "\n" for row in objects))
    write(tmp_path / "pairs.tsv", tsv(TEN))
    write(tmp_path / "train.en", "".join(f"{source}\n" for source, _ in TEN))
    write(tmp_path / "train.de", "\n".join(target for _, target in TEN))  # no line end after the last
    for path in list(tmp_path.iterdir()):
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    return tmp_path


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("name", ["hub.jsonl", "flat.jsonl", "named.jsonl", "pairs.tsv", "train.en,train.de"])
def test_the_same_pairs_are_read_from_every_kind_of_file(files, name, ending):
    columns = {"source_column": "en", "target_column": "de"} if name == "named.jsonl" else {}
    source = open_pairs(",".join(str(files / part) + ending for part in name.split(",")), **columns)
    assert everything(source) == TEN
    assert source.notes == []
    backwards = open_pairs(source.name, reverse=True, **columns)
    assert everything(backwards) == sorted((target, text) for text, target in TEN)


@pytest.mark.parametrize(
    "columns", [{"source_column": "de"}, {"target_column": "en"}, {"source_column": "de", "target_column": "en"}]
)
def test_one_named_language_of_a_translation_makes_the_other_one_plain(files, columns):
    assert everything(open_pairs(str(files / "hub.jsonl"), **columns)) == sorted((b, a) for a, b in TEN)


def test_a_translation_into_many_languages_needs_both_columns(tmp_path):
    row = {"translation": {"en": "one", "de": "eins", "fr": "un"}}
    other = {"translation": {"en": "two", "de": "zwei", "fr": "deux"}}
    path = write(tmp_path / "many.jsonl", json.dumps(row) + "\n" + json.dumps(other))
    assert everything(open_pairs(path, source_column="fr", target_column="de")) == [("deux", "zwei"), ("un", "eins")]
    with pytest.raises(DataError, match=r"no key 'source': lines 1, 2\).*source_column"):
        open_pairs(path).splits()


def test_the_order_of_the_first_translation_holds_for_all(tmp_path):
    rows = [{"translation": {"en": "a", "de": "A"}}, {"translation": {"de": "B", "en": "b"}}]
    path = write(tmp_path / "turned.jsonl", "\n".join(map(json.dumps, rows)))
    assert everything(open_pairs(path)) == [("a", "A"), ("b", "B")]


@pytest.mark.parametrize("kind", ["tsv", "parallel"])
def test_windows_line_ends_and_byte_order_marks_change_nothing(tmp_path, kind):
    bom = b"\xef\xbb\xbf"
    if kind == "tsv":
        name = write(tmp_path / "a.tsv", bom + tsv(TEN).replace("\n", "\r\n").encode())
    else:
        sides = ["\r\n".join(row[side] for row in TEN).encode() for side in (0, 1)]
        name = write_two(tmp_path, bom + sides[0], bom + sides[1] + b"\r\n")
    assert everything(open_pairs(name)) == TEN


def test_only_newlines_end_a_line(tmp_path):
    odd = "a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg\rh"
    path = write(tmp_path / "odd.tsv", f"{odd}\t{odd}!\nplain\ttext\n")
    assert everything(open_pairs(path)) == sorted([(odd, odd + "!"), ("plain", "text")])
    two = write_two(tmp_path, f"{odd}\nplain\n", f"{odd}!\ntext\n")
    assert everything(open_pairs(two)) == sorted([(odd, odd + "!"), ("plain", "text")])


def test_line_breaks_in_a_json_string_become_spaces(tmp_path):
    rows = [{"source": "one\r\ntwo\n", "target": "eins\n\nzwei"}, {"source": "x", "target": "y"}]
    path = write(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows)) + "\n\n")
    assert everything(open_pairs(path)) == [("one two", "eins zwei"), ("x", "y")]


def test_very_long_lines_are_kept(tmp_path):
    long = "word " * 200_000
    path = write(tmp_path / "long.tsv", f"{long}\tkurz\nshort\tkurz\n")
    assert (long, "kurz") in everything(open_pairs(path))


def test_pairs_with_an_empty_side_are_skipped_and_counted(tmp_path):
    lines = ["a\tA", "\tB", "c\t", " \t\u3000", "", "d\tD", "\t"]
    source = open_pairs(write(tmp_path / "holes.tsv", "\n".join(lines) + "\n"))
    assert everything(source) == [("a", "A"), ("d", "D")]
    assert "2 pairs of" in source.notes[0]
    assert "one side is empty: lines 2, 3" in source.notes[0]
    assert "3 pairs of" in source.notes[1]
    assert "both sides are empty: lines 4, 5, 7" in source.notes[1]
    assert source.splits()
    assert len(source.notes) == 2  # a second reading does not count twice


def test_parallel_files_of_unequal_length_are_refused_with_both_counts(tmp_path):
    name = write_two(tmp_path, "x\n" * 1_200, "y\n" * 1_199)
    with pytest.raises(DataError, match=r"two.source' has 1,200 lines and .*two.target' 1,199"):
        open_pairs(name).splits()


def test_every_wrong_line_of_a_tsv_is_named_at_once(tmp_path):
    lines = ["a\tA", "no tab", "b\tB\tC", *["none"] * 8, "c\tC\t"]
    with pytest.raises(DataError) as caught:
        open_pairs(write(tmp_path / "bad.tsv", "\n".join(lines))).splits()
    assert "no TAB: lines 2, 4, 5, 6, 7 and 4 more" in str(caught.value)
    assert "more than two columns: lines 3, 12" in str(caught.value)


def test_every_wrong_line_of_json_is_named_at_once(tmp_path):
    lines = [
        '{"source": "a", "target": "A"}',
        "{not json",
        '["a", "A"]',
        '{"source": "a"}',
        '{"source": "a", "target": 3}',
        '{"source": "a", "target": "\\ud800"}',
        "[" * 100_000,
    ]
    with pytest.raises(DataError) as caught:
        open_pairs(write(tmp_path / "bad.jsonl", "\n".join(lines))).splits()
    message = str(caught.value)
    assert "not a JSON object: lines 2, 3, 7" in message
    assert "no key 'target': line 4" in message
    assert "the value of 'target' is not text: line 5" in message
    assert "half a surrogate pair in it: line 6" in message


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_invalid_utf8_is_refused_with_its_line(tmp_path, ending):
    content = "ü\tü\n".encode() * 6 + b"caf\xe9\tx\n"
    path = write(tmp_path / f"latin.tsv{ending}", gzip.compress(content) if ending else content)
    with pytest.raises(DataError, match=r"byte 0xE9 at position \d+ in line 7"):
        open_pairs(path).splits()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.tsv", b"", "is empty"),
        ("a.tsv", b"\n\r\n \n", "is empty"),
        ("a.tsv", b"\t\nx\t\n", "no pair with text on both sides"),
        ("a.tsv", "a\tb\nc\td\ne\tf\n".encode("utf-16-le"), "UTF-16LE without a byte order mark"),
        ("a.jsonl", b"\0\1\2", "is binary"),
        ("a.tsv.gz", gzip.compress(b"a\tb\n" * 99, mtime=0)[:11], "not a whole gzip file"),
        ("a.tsv.gz", gzip.compress(b"a\tb\n" * 99, mtime=0)[:-9], "not a whole gzip file"),
        ("a.tsv", b"a\tb\n", "only one source text"),
        ("a.tsv", b"a\tb\na\tc\n", "only one source text"),
    ],
)
def test_files_without_usable_pairs_are_refused(tmp_path, name, content, complaint):
    with pytest.raises(DataError, match=complaint):
        open_pairs(write(tmp_path / name, content)).splits()


def test_what_cannot_be_found_is_said_all_at_once_with_the_nearest_names(files):
    with pytest.raises(DataError) as caught:
        open_pairs(
            str(files / "piars.tsv"),
            validation=f"{files / 'train.en'},{files / 'train.dee'}",
            test=str(files),
            validation_fraction=1.5,
            n_pairs=3,
        )
    message = str(caught.value)
    assert f"Did you mean {str(files / 'pairs.tsv')!r}" in message
    assert f"Did you mean {str(files / 'train.de')!r}" in message
    for part in ("is a folder", "validation_fraction is 1.5", "n_pairs is for 'dates' only", "5 reasons"):
        assert part in message


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("multi30k-en-fr", "Did you mean 'multi30k-en-de'"),
        ("datse", "Did you mean 'dates'"),
        ("no-such-thing", "Built in are dates"),
        ("a,b,c", "names 3 files"),
        ("", "is a folder"),
        ("x" * 5_000, "cannot be looked for"),
        ("a\0.tsv", "There is no file"),
    ],
)
def test_names_that_are_none_are_refused(tmp_path, monkeypatch, name, complaint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=complaint):
        open_pairs(name)


def test_a_file_whose_name_does_not_say_its_form_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"does not say how pairs stand in it.*\.tsv"):
        open_pairs(write(tmp_path / "pairs.txt", tsv(TEN)))


def test_a_comma_in_a_files_own_name_is_no_second_file(tmp_path):
    assert everything(open_pairs(write(tmp_path / "a, b.tsv", tsv(TEN)))) == TEN


def test_options_that_do_nothing_are_refused(files):
    with pytest.raises(DataError, match="'dates' cannot be reversed"):
        open_pairs("dates", reverse=True)
    with pytest.raises(DataError) as caught:
        open_pairs("multi30k-en-de", validation="x.tsv", test="y.tsv", source_column="en", locales=("ko_KR",))
    assert all(word in str(caught.value) for word in ("validation", "test", "source_column", "locales"))
    with pytest.raises(DataError, match="JSON lines only"):
        open_pairs(str(files / "pairs.tsv"), source_column="en")


def test_given_files_are_the_splits(files):
    write(files / "more.tsv", tsv([*TEN[:3], ("new", "neu")]))
    source = open_pairs(str(files / "pairs.tsv"), validation=str(files / "more.tsv"), test=str(files / "flat.jsonl"))
    splits = source.splits()
    assert list(splits) == ["train", "validation", "test"]
    assert [(pair.source, pair.target) for pair in splits["train"]] == TEN
    assert Pair("new", "neu") in splits["validation"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.text(max_size=3)), min_size=1, max_size=60),
    st.floats(0.01, 0.99),
)
def test_no_source_text_is_on_both_sides_and_no_pair_is_lost(rows, fraction):
    pairs = [Pair(*row) for row in rows]
    train, validation = hold_out(pairs, fraction)
    assert not {pair.source for pair in train} & {pair.source for pair in validation}
    assert sorted(train + validation, key=repr) == sorted(pairs, key=repr)
    if len({pair.source for pair in pairs}) > 1:
        assert train
        assert validation
    assert hold_out(pairs[::-1], fraction) == (train[::-1], validation[::-1])


def test_the_share_that_is_held_out_is_the_one_asked_for_and_spread_evenly():
    pairs = [Pair(f"sentence {i}", f"Satz {i}") for i in range(5_000)]
    train, validation = hold_out(pairs, 0.1)
    assert (len(train), len(validation)) == (4_500, 500)
    tenths = [
        sum(i // 500 == tenth for i in (int(pair.source.split()[1]) for pair in validation)) for tenth in range(10)
    ]
    assert min(tenths) > 25  # 50 are expected, with a standard deviation of 6.7


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\t\n\r\ufeff"))] * 2),
        min_size=1,
        max_size=12,
    )
)
def test_any_text_comes_back_from_every_kind_of_file(tmp_path, rows):
    rows = [("first", "erste"), ("second", "zweite"), *rows]
    expected = sorted(row for row in rows if row[0].strip() and row[1].strip())
    two = write_two(tmp_path, *("\n".join(row[side] for row in rows) + "\n" for side in (0, 1)))
    lines = "\n".join(json.dumps({"source": source, "target": target}) for source, target in rows)
    for name in (write(tmp_path / "t.tsv", tsv(rows)), two, write(tmp_path / "t.jsonl", lines)):
        assert everything(open_pairs(name)) == expected


def test_a_fingerprint_changes_with_the_files_and_the_options_and_only_then(files):
    name, other = str(files / "pairs.tsv"), str(files / "flat.jsonl")
    variants = [{}, {"reverse": True}, {"validation": other}, {"test": other}, {"validation_fraction": 0.2}]
    before = [open_pairs(name, **options).fingerprint() for options in variants]
    assert len(set(before)) == len(variants)
    assert [open_pairs(name, **options).fingerprint() for options in variants] == before
    os.utime(other, ns=(1, 1))
    assert [open_pairs(name, **options).fingerprint() for options in variants] == before
    write(files / "flat.jsonl", (files / "flat.jsonl").read_text().replace("Ziel 9", "Ziel 8"))
    after = [open_pairs(name, **options).fingerprint() for options in variants]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, False, True]


def test_multi30k_has_its_published_sizes_in_both_directions(glassformer_data):
    source = open_pairs("multi30k-en-de")
    splits = source.splits()
    assert {name: len(pairs) for name, pairs in splits.items()} == {"train": 29_000, "validation": 1_014, "test": 1_000}
    assert source.notes == []
    assert splits["test"][0] == Pair(
        "A man in an orange hat starring at something.", "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."
    )
    for other in (open_pairs("multi30k-de-en"), open_pairs("multi30k-en-de", reverse=True)):
        assert other.splits()["test"] == [Pair(pair.target, pair.source) for pair in splits["test"]]
        assert other.fingerprint() == open_pairs("multi30k-de-en").fingerprint() != source.fingerprint()


def test_the_dates_are_opened_with_their_options():
    source = open_pairs("dates", locales=("ko_KR", "de_DE"), n_pairs=200, seed=5)
    splits = source.splits()
    assert len(splits["train"]) == 200
    assert {"validation", "held-out-dates"} <= set(splits)
    assert all("년" in p.source or any(c.isalpha() for c in p.source) or "." in p.source for p in splits["train"])
    assert open_pairs("dates", seed=6).fingerprint() != open_pairs("dates").fingerprint()
    with pytest.raises(ConfigError, match="Did you mean 'ko_KR'"):
        open_pairs("dates", locales=("ko_KRR",))


def test_a_data_set_in_the_hubs_layout_gives_its_splits(tmp_path):
    pytest.importorskip("datasets")
    rows = [{"translation": {"en": source, "de": target}} for source, target in [*TEN, ("half", "")]]
    write(tmp_path / "train.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    name = f"hf:{tmp_path}"
    source = open_pairs(name, source_column="de", target_column="en", validation_fraction=0.3)
    splits = source.splits()
    assert {split: len(pairs) for split, pairs in splits.items()} == {"train": 7, "validation": 3}
    assert everything(source) == sorted((target, text) for text, target in TEN)
    assert source.notes == ["1 of the 11 pairs for train skipped, for a side is empty"]
    before = open_pairs(name).fingerprint()
    write(tmp_path / "test.jsonl", json.dumps(rows[0]) + "\n")
    assert open_pairs(name).fingerprint() != before
    assert open_pairs(name, reverse=True).splits()["test"] == [Pair("Ziel 0", "source 0")]
    with pytest.raises(DataError, match=r"no key 'fr'.*It has translation"):
        open_pairs(name, source_column="fr").splits()
    with pytest.raises(DataError, match="takes no test"):
        open_pairs(name, test="x.tsv")
