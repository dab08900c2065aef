"""The built-in translation task: a date as people write it, in many languages, to ISO 8601.

    Donnerstag, 5. November 2026  →  2026-11-05          2026년 11월 5일  →  2026-11-05

The writings are the Unicode CLDR's own, of a fixed version that is part of the package
(:mod:`glassformer.data.date_formats`): the same name gives the same pairs on every machine.

**Every text has exactly one right answer.** Left out are

- the patterns with a year of two digits: ``5.11.26`` does not say its century;
- every writing that some locale of the task uses for another date as well: ``5/11/2026`` is in November in Spain and
  in May in the United States, so neither ever appears; ``13/11/2026`` does, for it can be read in one way only.
  The comparison is over all locales of the task and all days of a leap year, with leading zeros dropped and the
  weekday hidden: nobody should need a country's habit of padding, or the calendar, to know which number is the month.

Four splits beside ``train``. Whether a date is for training, for validation or held out is a matter of its hash alone:

======================  ==============================  ===========================================================
split                   dates                           locales
======================  ==============================  ===========================================================
``validation``          seen nowhere else               those of training
``held-out-dates``      never in training               those of training
``held-out-locales``    as ``held-out-dates``           other regions of training's languages: most can be read,
                                                        what is new are orders, separators and some month names
``held-out-languages``  as ``held-out-dates``           languages that training has not: year and day can be read,
                                                        a month's name only where it resembles a known one
======================  ==============================  ===========================================================

In the last two, what a locale of training would write in the same way is left out: it would not be new.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Sequence

from glassformer.data.date_formats import Form, canonical_locales, data_digest, date_forms, known_locales, language
from glassformer.data.pair_source import Pair, PairSource
from glassformer.errors import ConfigError

LOCALES = (
    "ar_EG", "bg_BG", "bn_BD", "cs_CZ", "da_DK", "de_DE", "el_GR", "en_GB", "en_US", "es_ES",
    "eu_ES", "fa_IR", "fi_FI", "fr_FR", "he_IL", "hi_IN", "hr_HR", "hu_HU", "id_ID", "is_IS",
    "it_IT", "ja_JP", "ko_KR", "lv_LV", "ms_MY", "nl_NL", "pl_PL", "pt_BR", "ro_RO", "ru_RU",
    "sl_SI", "sr_RS", "sv_SE", "th_TH", "tr_TR", "uk_UA", "ur_PK", "vi_VN", "zh_CN", "zh_TW",
)  # fmt: skip
"""The locales of training, unless others are named."""

HELD_OUT_LOCALES = ("ar_LB", "bn_IN", "de_AT", "en_IN", "es_AR", "es_MX", "fa_AF", "fr_CH", "it_CH", "pt_PT")
"""Other regions of these languages, each with writings of its own."""

HELD_OUT_LANGUAGES = ("af_ZA", "ca_ES", "et_EE", "hy_AM", "ka_GE", "lt_LT", "nb_NO", "sk_SK", "sw_KE", "ta_IN")
"""Languages near to these and far from them."""

ALL = "all"
N_PAIRS = 20_000
N_HELD_OUT = 1_000
YEARS = (1900, 2099)
MOST_DRAWS = 50  # for each pair that is asked for; who has not found it by then will not
MOST_COUNTED = 100_000  # up to here, drawing finds out how many pairs there are; beyond, that takes minutes
AMBIGUOUS = (0, 0)  # in place of a month and a day


class Dates(PairSource):
    """Written dates and their ISO 8601 form: the same for the same options and seed.

    ``locales`` are those of training: names such as ``ko_KR``, or ``all`` for every one that the CLDR has and that is
    not held out. Unless they are named, ``held_out_locales`` and ``held_out_languages`` are those of
    :data:`HELD_OUT_LOCALES` and :data:`HELD_OUT_LANGUAGES` that fit: of a language of training, or of none of them.
    ``years`` are the first and the last; ``n_pairs`` is the size of ``train``, ``n_held_out`` of each other split.
    ``seed`` decides which dates are held out and which pairs are drawn.

    Raises :class:`ConfigError` for options that cannot work, and from :meth:`splits` if there are not as many pairs.
    """

    def __init__(
        self,
        *,
        locales: Sequence[str] = LOCALES,
        held_out_locales: Sequence[str] | None = None,
        held_out_languages: Sequence[str] | None = None,
        years: tuple[int, int] = YEARS,
        n_pairs: int = N_PAIRS,
        n_held_out: int = N_HELD_OUT,
        seed: int = 0,
    ) -> None:
        super().__init__("dates")
        self.years, self.n_pairs, self.n_held_out, self.seed = years, n_pairs, n_held_out, seed
        sizes = {"n_pairs": n_pairs, "n_held_out": n_held_out}
        complaints = [f"{name} is {size}; at least 1 is needed." for name, size in sizes.items() if size < 1]
        if not 1000 <= years[0] <= years[1] <= 9999:
            complaints.append(f"years is {years}; expected are the first and the last, between 1000 and 9999.")
        if not locales:
            complaints.append(f"locales names none. Name some, as {LOCALES[0]!r}, or {ALL!r}.")
        regions = canonical_locales(HELD_OUT_LOCALES if held_out_locales is None else held_out_locales, complaints)
        foreign = canonical_locales(
            HELD_OUT_LANGUAGES if held_out_languages is None else held_out_languages, complaints
        )
        if locales in (ALL, (ALL,), [ALL]):
            unheard = {language(name) for name in foreign}
            taught = [name for name in known_locales() if name not in regions and language(name) not in unheard]
        else:
            taught = canonical_locales((locales,) if isinstance(locales, str) else locales, complaints)
        heard = {language(name) for name in taught}
        if held_out_locales is None:
            regions = [name for name in regions if name not in taught and language(name) in heard]
        if held_out_languages is None:
            foreign = [name for name in foreign if language(name) not in heard]
        complaints += [f"held_out_locales has {name}, and so has locales." for name in regions if name in taught]
        complaints += [
            f"held_out_languages has {name}, and locales has the language {language(name)!r} too."
            for name in foreign
            if language(name) in heard
        ]
        if complaints:
            raise ConfigError(complaints, subject="task 'dates'")
        self.locales, self.held_out_locales, self.held_out_languages = tuple(taught), tuple(regions), tuple(foreign)

    def splits(self) -> dict[str, list[Pair]]:
        """The pairs of each split, in a random order."""
        taught, regions, foreign = (
            [forms for name in names if (forms := date_forms(name))]
            for names in (self.locales, self.held_out_locales, self.held_out_languages)
        )
        known = _meanings(taught)
        meanings = _meanings([*taught, *regions, *foreign])

        def readable(reading: str) -> bool:
            return meanings[reading] != AMBIGUOUS

        def new(reading: str) -> bool:
            return readable(reading) and reading not in known

        days = self._days()
        most = sum(map(len, taught)) * len(days["train"])
        if self.n_pairs > max(most, MOST_COUNTED):
            raise ConfigError(
                f"{self.n_pairs:,} pairs to train on are asked for (n_pairs), and the locales cannot write the days of "
                f"{self.years[0]} to {self.years[1]} in more than {most:,} ways. Ask for fewer, or give more locales.",
                subject="task 'dates'",
            )
        self.notes.clear()
        self.notes.append(
            f"{len(taught)} locales write a date in {sum(map(len, taught)):,} ways; of {len(meanings):,} writings of a "
            f"year's days, {list(meanings.values()).count(AMBIGUOUS):,} could mean two dates and are left out"
        )
        splits = {
            "train": self._draw("train", self.n_pairs, taught, days["train"], readable),
            "validation": self._draw("validation", self.n_held_out, taught, days["validation"], readable),
            "held-out-dates": self._draw("held-out-dates", self.n_held_out, taught, days["held-out"], readable),
            "held-out-locales": self._draw("held-out-locales", self.n_held_out, regions, days["held-out"], new),
            "held-out-languages": self._draw("held-out-languages", self.n_held_out, foreign, days["held-out"], new),
        }
        if len(splits["train"]) < self.n_pairs or not splits["validation"]:
            raise ConfigError(
                f"{self.n_pairs:,} pairs to train on are asked for (n_pairs), and the locales and the years "
                f"{self.years[0]} to {self.years[1]} gave {len(splits['train']):,} distinct ones (and "
                f"{len(splits['validation']):,} for validation). Ask for fewer, or give more locales or years.",
                subject="task 'dates'",
            )
        for name, pairs in splits.items():
            if name != "train" and len(pairs) < self.n_held_out:
                self.notes.append(f"{name} has {len(pairs):,} pairs: there are no more distinct ones")
        return {name: pairs for name, pairs in splits.items() if pairs}

    def fingerprint(self) -> str:
        """A hash of the options and of the formats that the package has."""
        options = (self.locales, self.held_out_locales, self.held_out_languages, self.years, self.n_pairs)
        state = (data_digest(), *options, self.n_held_out, self.seed)
        return hashlib.sha256(repr(state).encode()).hexdigest()

    def _days(self) -> dict[str, list[dt.date]]:
        """Every day of the years: eight of ten are for training, one for validation, one is held out."""
        days: dict[str, list[dt.date]] = {"train": [], "validation": [], "held-out": []}
        first, last = dt.date(self.years[0], 1, 1).toordinal(), dt.date(self.years[1], 12, 31).toordinal()
        for day in map(dt.date.fromordinal, range(first, last + 1)):
            share = _random_number(f"{self.seed} {day.isoformat()}") % 10
            days["validation" if share == 0 else "held-out" if share == 1 else "train"].append(day)
        return days

    def _draw(
        self,
        split: str,
        n_pairs: int,
        locales: Sequence[Sequence[Form]],
        days: list[dt.date],
        accepted: Callable[[str], bool],
    ) -> list[Pair]:
        """So many distinct pairs, or all that were found: a day, then a locale, then one of its forms, all evenly."""
        pairs: dict[str, Pair] = {}
        for attempt in range(n_pairs * MOST_DRAWS if locales and days else 0):
            number, which = divmod(_random_number(f"{self.seed} {split} {attempt}"), len(days))
            day = days[which]
            number, which = divmod(number, len(locales))
            form = locales[which][number % len(locales[which])]
            if accepted(form.reading(day.month, day.day)):
                text = form.write(day)
                pairs.setdefault(text, Pair(text, day.isoformat()))
            if len(pairs) == n_pairs:
                break
        return list(pairs.values())


def _meanings(locales: Iterable[Iterable[Form]]) -> dict[str, tuple[int, int]]:
    """The month and the day that each reading of a leap year's days means, or :data:`AMBIGUOUS`."""
    meanings: dict[str, tuple[int, int]] = {}
    year = [dt.date(2000, 1, 1) + dt.timedelta(days) for days in range(366)]
    days = [(day.month, day.day) for day in year]
    for form in {form.months: form for forms in locales for form in forms}.values():
        for day in days:
            if meanings.setdefault(reading := form.reading(*day), day) != day:
                meanings[reading] = AMBIGUOUS
    return meanings


def _random_number(purpose: str) -> int:
    """Evenly from 0 to 2¹²⁸ - 1: the same for the same purpose, on every machine."""
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=16).digest(), "little")
