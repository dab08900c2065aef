from __future__ import annotations

import datetime as dt
import json
import runpy
from pathlib import Path

import pytest

from glassformer.data import date_formats
from glassformer.data.date_formats import canonical_locales, cldr_version, date_forms, known_locales

TOOL = Path(__file__).parents[2] / "tools" / "cldr_dates.py"
DAY = dt.date(2026, 11, 5)


@pytest.fixture
def babel():
    """Babel in the version that the formats are from."""
    babel = pytest.importorskip("babel")
    if babel.__version__ != "2.18.0":
        pytest.skip("the formats are those of Babel 2.18.0: pip install babel==2.18.0")
    return babel


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("de_DE", {"05.11.2026", "5.11.2026", "5. November 2026", "5. Nov. 2026", "Donnerstag, 5. November 2026"}),
        ("ko_KR", {"2026. 11. 5.", "2026년 11월 5일", "2026년 11월 5일 목요일", "2026년 11월 5일 (목)"}),
        ("en_US", {"11/5/2026", "Nov 5, 2026", "November 5, 2026", "Thursday, November 5, 2026"}),
        ("ar_LB", {"5 تشرين الثاني 2026"}),
        ("hu_HU", {"2026. 11. 05.", "2026. november 5., csütörtök"}),
    ],
)
def test_a_date_is_written_as_people_of_the_place_write_it(locale, expected):
    assert expected <= {form.write(DAY) for form in date_forms(locale)}


def test_every_locale_writes_every_day_with_its_own_year_and_names():
    days = [dt.date(1987, month, 28) + dt.timedelta(month) for month in range(1, 13)]
    for locale in known_locales():
        forms = date_forms(locale)
        assert forms, locale
        for form in forms:
            for day in days:
                text = form.write(day)
                assert str(day.year) in text, (locale, text)
                assert not set("{}") & set(text), (locale, text)


def test_names_may_be_written_in_any_usual_way():
    complaints: list[str] = []
    assert canonical_locales(["zh-CN", "ZH_hans_cn", "ko_kr", "iw_IL", " de "], complaints) == [
        "zh_Hans_CN",
        "ko_KR",
        "he_IL",
        "de",
    ]
    assert complaints == []
    assert canonical_locales(["de_DEE", ""], complaints) == []
    assert "Did you mean 'de_DE'" in complaints[0]
    assert len(complaints) == 2


def test_the_version_and_the_licence_of_the_formats_are_beside_them():
    folder = Path(date_formats.__file__).parent
    about = json.loads((folder / date_formats.DATA).read_text(encoding="utf-8"))["about"]
    assert about["cldr"] == cldr_version() == "47"
    assert about["license"].split(",")[0] == "Unicode-3.0"
    assert "UNICODE LICENSE V3" in (folder / "cldr_dates.LICENSE").read_text(encoding="utf-8")


@pytest.mark.slow(reason="Babel reads all locales")
def test_the_formats_are_those_that_the_script_makes(babel):
    made = runpy.run_path(str(TOOL))["text"]()
    assert made == (Path(date_formats.__file__).parent / date_formats.DATA).read_text(encoding="utf-8")


@pytest.mark.slow(reason="Babel reads all locales")
def test_babel_writes_every_locales_dates_in_the_same_way(babel):
    """Babel's own writing, without our rendering."""
    from babel import dates, localedata

    for locale in known_locales():
        localedata._cache.clear()  # what it has read before changes what it writes
        parsed = babel.Locale.parse(locale)
        known = parsed.datetime_skeletons
        moment = dt.datetime.combine(DAY, dt.time(12), dt.UTC)
        written = {dates.format_date(DAY, style, locale=parsed) for style in ("short", "medium", "long", "full")} | {
            dates.format_skeleton(skeleton, moment, locale=parsed)
            for skeleton in ("yMd", "yMMMd", "yMMMMd", "yMMMEd", "yMMMMEEEEd")
            if skeleton in known
        }
        assert {form.write(DAY) for form in date_forms(locale)} == {text for text in written if "2026" in text}, locale
