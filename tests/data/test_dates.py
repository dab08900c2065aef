from __future__ import annotations

import datetime as dt
import functools
import hashlib
import os
import re
import subprocess
import sys
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.date_formats import canonical_locales, date_forms, known_locales
from glassformer.data.dates import HELD_OUT_LANGUAGES, HELD_OUT_LOCALES, LOCALES, Dates
from glassformer.errors import ConfigError

SPLITS = ["train", "validation", "held-out-dates", "held-out-locales", "held-out-languages"]


@pytest.fixture(scope="module")
def default_splits():
    return Dates().splits()


def digest(pairs) -> str:
    """The first 16 digits of the SHA-256 of some pairs as TSV."""
    return hashlib.sha256("".join(f"{pair.source}\t{pair.target}\n" for pair in pairs).encode()).hexdigest()[:16]


@functools.cache
def forms(locale: str):
    return date_forms(*canonical_locales([locale], []))


def writings(locale: str, day: dt.date) -> set[str]:
    """Every way in which a locale writes this day with its year in full."""
    return {form.write(day) for form in forms(locale)}


def test_the_splits_have_the_sizes_that_were_asked_for(default_splits):
    assert {name: len(pairs) for name, pairs in default_splits.items()} == dict(
        zip(SPLITS, [20_000, 1_000, 1_000, 1_000, 1_000], strict=True)
    )


def test_the_pairs_are_these_and_no_others_on_every_machine(default_splits):
    """Figures were published for these pairs: whoever changes one of them makes another data set."""
    assert {name: digest(pairs) for name, pairs in default_splits.items()} == {
        "train": "270f1e1457311273",
        "validation": "cb334955f8feed44",
        "held-out-dates": "3c99931d1da950c8",
        "held-out-locales": "5a98ea1bb25ebda6",
        "held-out-languages": "4208aa54c94665de",
    }


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "ko_KR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONHASHSEED": "2"},
    ],
)
def test_neither_locale_nor_time_zone_nor_hash_seed_changes_a_pair(environment):
    program = (
        "import hashlib; from glassformer.data.dates import Dates; d = Dates(n_pairs=300, n_held_out=50);"
        "print(hashlib.sha256(repr(d.splits()).encode()).hexdigest()[:16], d.fingerprint()[:16])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    here = Dates(n_pairs=300, n_held_out=50)
    assert result.stdout.split() == [
        hashlib.sha256(repr(here.splits()).encode()).hexdigest()[:16],
        here.fingerprint()[:16],
    ]


def test_every_target_is_an_iso_date_and_every_source_is_a_writing_of_some_locale(default_splits):
    for name, pairs in default_splits.items():
        locales = {"held-out-locales": HELD_OUT_LOCALES, "held-out-languages": HELD_OUT_LANGUAGES}.get(name, LOCALES)
        for pair in pairs[:60]:
            day = dt.date.fromisoformat(pair.target)
            assert any(pair.source in writings(locale, day) for locale in locales), (name, pair)


def test_no_text_of_any_split_has_a_second_answer_in_any_locale():
    splits = Dates(years=(2024, 2024), n_pairs=4_000, n_held_out=300).splits()
    answers = defaultdict(set)
    for day in (dt.date(2024, 1, 1) + dt.timedelta(days) for days in range(366)):
        for locale in (*LOCALES, *HELD_OUT_LOCALES, *HELD_OUT_LANGUAGES):
            for text in writings(locale, day):
                answers[text].add(day.isoformat())
    assert answers["5/11/2024"] == {"2024-05-11", "2024-11-05"}
    for pair in (pair for pairs in splits.values() for pair in pairs):
        assert answers[pair.source] == {pair.target}


def test_an_order_that_the_text_does_not_tell_is_left_out_and_one_that_it_tells_is_kept(default_splits):
    numeric = [p for pairs in default_splits.values() for p in pairs if re.fullmatch(r"\d+/\d+/\d{4}", p.source)]
    orders = {"day first": 0, "month first": 0}
    for pair in numeric:
        first, second, _ = map(int, pair.source.split("/"))
        assert first > 12 or second > 12 or first == second, pair
        orders["day first" if first > 12 else "month first"] += first != second
    assert min(orders.values()) > 50


def test_with_one_locale_alone_its_numeric_order_is_known_and_kept():
    texts = [pair.source for pair in Dates(locales=("es_ES",), held_out_languages=(), n_pairs=3_000).splits()["train"]]
    assert any(re.fullmatch(r"(\d|1[0-2])/(\d|1[0-2])/\d{4}", text) for text in texts)


def test_the_year_stands_in_every_text_in_full(default_splits):
    assert all(pair.target[:4] in pair.source for pairs in default_splits.values() for pair in pairs)


def test_dates_are_never_shared_between_training_validation_and_what_is_held_out(default_splits):
    days = {name: {pair.target for pair in pairs} for name, pairs in default_splits.items()}
    held_out = days["held-out-dates"] | days["held-out-locales"] | days["held-out-languages"]
    assert not days["train"] & days["validation"]
    assert not days["train"] & held_out
    assert not days["validation"] & held_out


def test_no_text_stands_twice(default_splits):
    texts = [pair.source for pairs in default_splits.values() for pair in pairs]
    assert len(texts) == len(set(texts))


def test_what_a_locale_of_training_writes_is_no_held_out_writing(default_splits):
    for name in ("held-out-locales", "held-out-languages"):
        for pair in default_splits[name][:100]:
            day = dt.date.fromisoformat(pair.target)
            assert not any(pair.source in writings(locale, day) for locale in LOCALES), pair


def test_many_scripts_are_in_training(default_splits):
    sources = [pair.source for pair in default_splits["train"]]
    text = " ".join(sources)
    for script in (
        "년 11월",
        "年11月",
        "Dezember",
        "декабря",
        "Δεκεμβρίου",
        "ديسمبر",
        "בדצמבר",
        "ธันวาคม",
        "दिसंबर",
        "ডিসেম্বর",
    ):
        assert script in text
    assert all(any(f"{month} " in source for source in sources) for month in ("Januar", "Mai", "Juli", "Oktober"))


def test_regions_bring_new_months_names_and_languages_are_not_those_of_training(default_splits):
    assert any("Jänner" in pair.source for pair in default_splits["held-out-locales"])
    assert not any("Jänner" in pair.source for pair in default_splits["train"])
    assert any("Դեկտեմբեր".casefold() in pair.source.casefold() for pair in default_splits["held-out-languages"])
    assert not {name[:2] for name in HELD_OUT_LANGUAGES} & {name[:2] for name in LOCALES}
    assert {name[:2] for name in HELD_OUT_LOCALES} <= {name[:2] for name in LOCALES}


def test_another_seed_gives_other_pairs():
    digests = [
        [digest(pairs) for pairs in Dates(n_pairs=300, n_held_out=50, seed=seed).splits().values()]
        for seed in (3, 3, 4)
    ]
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])


def test_the_fingerprint_changes_with_every_option():
    options = [
        {},
        {"locales": ("ko_KR", "de_DE")},
        {"held_out_locales": ("de_AT",)},
        {"held_out_languages": ("ka_GE",)},
        {"years": (1990, 2010)},
        {"n_pairs": 5},
        {"n_held_out": 5},
        {"seed": 1},
    ]
    assert len({Dates(**chosen).fingerprint() for chosen in options}) == len(options)


def test_all_is_every_locale_of_the_cldr_but_those_held_out_and_every_locale_of_their_languages():
    source = Dates(locales="all")
    assert Dates(locales=("all",)).locales == source.locales
    assert len(source.locales) > 1_000
    left_out = set(known_locales()) - set(source.locales)
    assert {"de_AT", "sk", "sk_SK", "ka_GE"} <= left_out
    assert all(name in source.held_out_locales or name[:2] in {n[:2] for n in HELD_OUT_LANGUAGES} for name in left_out)


@pytest.mark.slow(reason="reads the formats of a thousand locales for ambiguous writings")
def test_all_locales_give_all_splits():
    assert list(Dates(locales="all").splits()) == SPLITS


def test_locales_may_be_written_in_any_usual_way_and_twice():
    assert Dates(locales=("zh-CN", "zh_Hans_CN", "ko_kr")).locales == ("zh_Hans_CN", "ko_KR")


def test_a_held_out_locale_that_is_trained_on_is_held_out_no_longer_unless_it_is_named():
    source = Dates(locales=("de_DE", "de_AT", "ka_GE"))
    assert source.held_out_locales == ()
    assert "ka_GE" not in source.held_out_languages
    with pytest.raises(ConfigError, match="held_out_locales has de_AT"):
        Dates(locales=("de_DE", "de_AT"), held_out_locales=("de_AT",))
    with pytest.raises(ConfigError, match="the language 'ka'"):
        Dates(locales=("de_DE", "ka_GE"), held_out_languages=("ka",))


def test_a_split_with_nothing_new_in_it_is_absent_and_a_note_says_so():
    source = Dates(locales=("de_DE",), held_out_locales=("de_LI",), held_out_languages=(), n_pairs=100, n_held_out=20)
    assert list(source.splits()) == ["train", "validation", "held-out-dates"]
    assert any("held-out-locales has 0 pairs" in note for note in source.notes)


def test_every_complaint_comes_at_once_with_the_nearest_locale():
    with pytest.raises(ConfigError) as caught:
        Dates(locales=("ko_KP", "de_XX", "Klingon"), years=(99, 2000), n_pairs=0, n_held_out=-1)
    message = str(caught.value)
    assert len(caught.value.complaints) == 5
    for part in ("'de_XX'. Did you mean 'de_", "'Klingon'", "(99, 2000)", "n_pairs is 0", "n_held_out is -1"):
        assert part in message
    with pytest.raises(ConfigError, match="locales names none"):
        Dates(locales=())


def test_more_pairs_than_there_are_is_an_error_that_says_how_many_there_are():
    with pytest.raises(ConfigError, match=r"5,000 pairs .* 2020 to 2020 gave [\d,]+ distinct ones"):
        Dates(locales=("ko_KR",), years=(2020, 2020), n_pairs=5_000, n_held_out=10).splits()


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from(LOCALES + HELD_OUT_LOCALES), min_size=1, max_size=4, unique=True),
    st.integers(0, 2**63),
    st.integers(1000, 9900),
)
def test_for_any_locales_seed_and_years_each_text_is_a_true_writing_with_one_answer(locales, seed, first):
    source = Dates(
        locales=locales, held_out_languages=(), years=(first, first + 99), n_pairs=60, n_held_out=20, seed=seed
    )
    splits = source.splits()
    answers = defaultdict(set)
    for pair in (pair for pairs in splits.values() for pair in pairs):
        answers[pair.source].add(pair.target)
        assert first <= int(pair.target[:4]) <= first + 99
    assert all(len(several) == 1 for several in answers.values())
    for pair in splits["train"][:5]:
        assert any(pair.source in writings(locale, dt.date.fromisoformat(pair.target)) for locale in locales)
