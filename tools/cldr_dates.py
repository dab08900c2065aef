"""Write the date formats of the task ``dates``: the Unicode CLDR's patterns and names, as Babel 2.18.0 has them.

    pip install babel==2.18.0
    python tools/cldr_dates.py            # writes src/glassformer/data/cldr_dates.json
    python tools/cldr_dates.py --check    # compares the file with what would be written; exit code 1 if they differ

The file is shipped, so that the same name gives the same pairs on every machine and with every version of Babel.
Another version of the CLDR is another data set: runs of the one cannot be compared with runs of the other.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import babel
from babel import Locale, UnknownLocaleError, localedata
from babel.core import get_cldr_version, get_global
from babel.dates import DateTimeFormat, DateTimePattern, parse_pattern

BABEL = "2.18.0"
FILE = Path(__file__).resolve().parent.parent / "src" / "glassformer" / "data" / "cldr_dates.json"
STYLES = ("short", "medium", "long", "full")
SKELETONS = ("yMd", "yMMMd", "yMMMMd", "yMMMEd", "yMMMMEEEEd")
FIELD = re.compile(r"%\((\w+)\)s")
NUMBERS = {"y", "M", "MM", "d", "dd"}
MONTHS = [dt.date(2000, month, 1) for month in range(1, 13)]
WEEKDAYS = [dt.date(2001, 1, 1 + day) for day in range(7)]  # from Monday


class Table:
    """Distinct values in the order of their first use."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def add(self, value: Any) -> int:
        """The value's number."""
        return self.numbers.setdefault(json.dumps(value, ensure_ascii=False), len(self.numbers))

    def lines(self) -> str:
        """A JSON list with a value on each line."""
        return "[\n" + ",\n".join(self.numbers) + "\n]"


def patterns(locale: Locale) -> Iterator[DateTimePattern]:
    """The distinct patterns that have the year in full, the month and the day."""
    known = locale.datetime_skeletons
    found = [*map(locale.date_formats.get, STYLES), *(known[name] for name in SKELETONS if name in known)]
    for pattern in {parse_pattern(each).pattern: parse_pattern(each) for each in found}.values():
        fields = set(FIELD.findall(pattern.format))
        if "yy" not in fields and {"y", "M", "d"} <= {field[0].replace("L", "M") for field in fields}:
            yield pattern


def writings(locale: Locale, names: Table) -> dict[str, Any]:
    """A locale's templates, and for each field that is a name the number of its table."""
    templates, tables = [], {}
    for pattern in patterns(locale):
        template = pattern.format
        assert not set("{}") & set(template), template
        assert "%%" not in template, template

        def written(field: str, day: dt.date) -> str:
            return str(DateTimeFormat(day, locale)[field])

        for field in FIELD.findall(template):
            if field[0] == "G":  # all years are after Christ's birth
                template = template.replace(f"%({field})s", written(field, MONTHS[0]))
            elif field not in NUMBERS:
                days = MONTHS if field[0] in "ML" else WEEKDAYS
                tables[field] = names.add([written(field, day) for day in days])
        templates.append(FIELD.sub(r"{\1}", template))
    return {"templates": templates} | dict(sorted(tables.items()))


def aliases(known: list[str]) -> dict[str, str]:
    """Other usual names of the locales, such as ``zh_CN`` for ``zh_Hans_CN``."""
    others: dict[str, list[str]] = {}
    for alias, language in get_global("language_aliases").items():
        if len(alias) == 2:
            others.setdefault(language.partition("_")[0], []).append(alias)
    candidates = set()
    for name in known:
        language, *rest = name.split("_")
        for same in (language, *others.get(language, ())):
            candidates |= {same, "_".join([same, *rest])}  # iw, iw_IL
            candidates |= {f"{same}_{last}" for last in rest[1:] if len(last) <= 3}  # zh_CN
    found = {name: canonical(name) for name in sorted(candidates - set(known))}
    return {name: locale for name, locale in found.items() if locale in known}


def canonical(name: str) -> str | None:
    """Babel's own name of a locale."""
    try:
        return str(Locale.parse(name))
    except (UnknownLocaleError, ValueError):
        return None


def _by_line(rows: dict[str, Any]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=0)


def text() -> str:
    """The file's content."""
    names, styles, locales = Table(), Table(), {}
    known = sorted(localedata.locale_identifiers())
    for name in known:
        localedata._cache.clear()  # Babel lets what it has read before change the names in what it reads next
        locales[name] = styles.add(writings(Locale.parse(name), names))
    about = {
        "cldr": get_cldr_version(),
        "made": f"by tools/cldr_dates.py from Babel {BABEL}",
        "license": "Unicode-3.0, in cldr_dates.LICENSE",
    }
    parts = {
        "about": _by_line(about),
        "names": names.lines(),
        "styles": styles.lines(),
        "locales": _by_line(locales),
        "aliases": _by_line(aliases(known)),
    }
    return "{\n" + ",\n".join(f'"{name}": {part}' for name, part in parts.items()) + "\n}\n"


def main() -> None:
    """Write the file, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the file differs")
    check = parser.parse_args().check
    if babel.__version__ != BABEL:
        sys.exit(f"Babel {babel.__version__} is installed; the data are those of Babel {BABEL}.")
    content = text()
    if not check:
        FILE.write_text(content, encoding="utf-8", newline="\n")
    elif FILE.read_bytes() != content.encode():
        sys.exit(f"{FILE} differs from what this script writes.")
    print(f"{FILE}: {len(content.encode()):,} bytes")


if __name__ == "__main__":
    main()
