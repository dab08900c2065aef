"""How people write dates: patterns and names of the Unicode CLDR, in a fixed version that is part of the package.

    form = date_forms("de_DE")[0]
    form.write(dt.date(2026, 11, 5))      # "05.11.2026"

``cldr_dates.json`` holds, for each of the CLDR's 1,082 locales, its date styles ``short``, ``medium``, ``long`` and
``full`` and its skeletons ``yMd``, ``yMMMd``, ``yMMMMd``, ``yMMMEd`` and ``yMMMMEEEEd`` where it has them (UTS 35,
part 4), in the Gregorian calendar, as templates: ``{d}. {MMMM} {y}``. Patterns with a year of two digits are left out.
Digits are 0 to 9 everywhere. ``tools/cldr_dates.py`` in the repository makes the file; nothing else is read, so that
neither an installed library nor the machine's locale changes a date.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from glassformer.errors import nearest

DATA = "cldr_dates.json"
MONTH, WEEKDAY = "ML", "Eec"  # the first letters of the fields, as UTS 35 has them
EXAMPLE = "ar_EG"


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a locale writes a date."""

    template: str
    """Text with fields: ``{d}``, ``{MM}``, ``{EEEE}``."""
    names: dict[str, Sequence[str]]
    """For each field that is a name: the twelve months, or the seven days from Monday."""
    months: tuple[str, ...]
    """What it writes in each month: the month itself, and marks where day, year and weekday are."""

    def write(self, day: dt.date) -> str:
        """The date as people write it."""
        names = {
            field: names[day.month - 1 if field[0] in MONTH else day.weekday()] for field, names in self.names.items()
        }
        return self.template.format(
            y=day.year, d=day.day, dd=f"{day.day:02}", M=day.month, MM=f"{day.month:02}", **names
        )

    def reading(self, month: int, day: int) -> str:
        """What a reader can go by who knows neither where zeros are put nor what weekday the day is."""
        return self.months[month - 1].replace("\0", str(day))


@functools.cache
def date_forms(locale: str) -> tuple[Form, ...]:
    """The distinct forms of a locale, by its canonical name, that have the year in full, the month and the day."""
    style = _data()["styles"][_data()["locales"][locale]]
    names = {field: _data()["names"][number] for field, number in style.items() if field != "templates"}
    forms = []
    for template in style["templates"]:
        fields = set(re.findall(r"{(\w+)}", template))
        used = {field: names[field] for field in sorted(fields & set(names))}
        shown = [{field: _shown(field, month, used) for field in fields} for month in range(1, 13)]
        forms.append(Form(template, used, tuple(template.format(**each) for each in shown)))
    return tuple(forms)


def _shown(field: str, month: int, names: dict[str, Sequence[str]]) -> str:
    """A field of :attr:`Form.months`."""
    if field[0] in MONTH:
        return names[field][month - 1] if field in names else str(month)
    return "W" if field[0] in WEEKDAY else {"y": "Y", "d": "\0"}[field[0]]


def canonical_locales(names: Iterable[str], complaints: list[str]) -> list[str]:
    """The names as the CLDR has them (``zh_Hans_CN`` for ``zh-CN``), each once; unknown ones become complaints."""
    found: dict[str, None] = {}
    spellings = {name.lower(): name for name in (*_data()["aliases"], *known_locales())}
    for name in names:
        spelling = spellings.get(name.strip().replace("-", "_").lower())
        if spelling is not None:
            found[_data()["aliases"].get(spelling, spelling)] = None
            continue
        alike = [known for known in known_locales() if language(known) == language(name)]
        hint = nearest(name, alike or known_locales())
        hint = hint if hint.startswith("Did") else f"Expected is a language and a region, as in {EXAMPLE}."
        complaints.append(f"The CLDR has no locale named {name!r}. {hint}")
    return list(found)


def known_locales() -> list[str]:
    """The canonical names of all locales, in alphabetical order."""
    return list(_data()["locales"])


def language(locale: str) -> str:
    """The language of a locale's name."""
    return locale.partition("_")[0]


def cldr_version() -> str:
    """The version of the CLDR that the formats are from."""
    return str(_data()["about"]["cldr"])


@functools.cache
def data_digest() -> str:
    """The SHA-256 of the formats, in hexadecimal."""
    return hashlib.sha256(_content().encode()).hexdigest()


@functools.cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(_content())
    return data


def _content() -> str:
    # text, so that a checkout with Windows line ends has the same digest
    return resources.files("glassformer.data").joinpath(DATA).read_text(encoding="utf-8")
