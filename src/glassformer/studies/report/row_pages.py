"""The model page of a variant: a variant's run beside the base's, both reading the same text, on a page of its own.

Of the seeds, the first at which both runs finished. The text is the beginning of what is validated on, so that neither
model has trained on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from glassformer.charts.page import Page
from glassformer.errors import GlassformerError, RunError
from glassformer.inspection.page import inspect
from glassformer.inspection.subjects import open_subject
from glassformer.statistics.wording import seeds_listed
from glassformer.studies.design import BASE, arm_label, safe_name
from glassformer.studies.report.failures import Failures
from glassformer.studies.report.numbers import Numbers
from glassformer.tasks.run_data import open_samples
from glassformer.tasks.training_data import TrainingData

FOLDER = "opened"
READ = 64
"""Tokens of a text that are read."""


@dataclass(frozen=True)
class RowPage:
    """What is behind a variant's row: a page beside the report, or the reason why there is none."""

    variant: str
    seed: int | None = None
    href: str | None = None
    missing: str = ""


@dataclass(frozen=True)
class Example:
    """What both models read; a translator's target besides."""

    text: str
    target: str | None = None


def write_row_pages(numbers: Numbers, folder: Path, failures: Failures | None = None) -> list[RowPage]:
    """Write ``folder/opened/<variant>.html`` for every variant that can be opened; ``failures`` collects the others.

    Raises:
        DataError: a page cannot be written.
    """
    failures = Failures() if failures is None else failures
    rows = []
    for name in numbers.study.config.variants:
        seed = _first_whole_pair(numbers, name)
        if seed is None:
            rows.append(RowPage(name, missing="no seed at which both its run and the baseline's finished"))
            continue
        try:
            page = _page(numbers, name, seed)
        except GlassformerError as error:
            rows.append(RowPage(name, seed, missing=str(error)))
            continue
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a part of the user's own may raise anything
            rows.append(RowPage(name, seed, missing=failures.note(f"model page of {name}", error)))
            continue
        file = f"{safe_name(name)}.html"
        page.save(folder / FOLDER / file)
        rows.append(RowPage(name, seed, quote(f"{FOLDER}/{file}")))
    return rows


def example(samples: TrainingData, longest: int = READ) -> Example:
    """What is read: the first tokens of the validation text (at most ``longest``), its first problem or pair."""
    return Example(*samples.example(longest))


def _page(numbers: Numbers, name: str, seed: int) -> Page:
    """Both runs on one page, the base's at the left."""
    subjects = []
    for arm in (BASE, name):
        run = next(each.outcome.run for each in numbers.runs_of(arm) if each.outcome.seed == seed)
        if run is None:
            raise RunError(f"the run of {arm_label(arm)} with seed {seed} has no folder.")
        subject = open_subject(run, device="cpu")
        subject.name = f"{arm_label(arm)}, {seeds_listed([seed])}"
        subjects.append(subject)
    longest = min(READ, *(subject.model.config.max_seq_len for subject in subjects))
    base = subjects[0].run
    assert base is not None, "it was opened from its run's folder"
    read = example(open_samples(base, numbers.study.config.base), longest)
    return inspect(*subjects, text=read.text, target=read.target)


def _first_whole_pair(numbers: Numbers, name: str) -> int | None:
    pairs = numbers.comparison.row(name).pairs
    return next((pair.seed for pair in pairs if pair.difference is not None), None)
