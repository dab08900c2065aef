"""A study's report: one offline HTML file, and the same as Markdown, CSV and charts.

report.html            everything; it needs no other file and no network
report.md              the same sentences and tables
results.csv, runs.csv  every digit, a row for each arm and for each run
tuning.csv             of a tuned study, each arm's best values, what they cost, and its sensitivity
selection.csv          of a tuned study, a row for each selection run
charts/                each chart as SVG and PDF
opened/                for each variant, its run's pictures beside the base's: the table links to them
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from glassformer.charts.drawing import Drawing
from glassformer.charts.export import write
from glassformer.charts.figures import Figure
from glassformer.charts.page import Lead, Page, Section
from glassformer.charts.table import Table, escaped
from glassformer.errors import DataError
from glassformer.statistics.wording import percent
from glassformer.studies.folder import Study
from glassformer.studies.report.charts import charts
from glassformer.studies.report.csv_files import runs_csv, selection_csv, tuning_csv, variants_csv
from glassformer.studies.report.failures import Failures
from glassformer.studies.report.numbers import Numbers, gather
from glassformer.studies.report.removal import TEXT as REMOVAL_TEXT
from glassformer.studies.report.removal import TITLE as REMOVAL_TITLE
from glassformer.studies.report.removal import removal_section
from glassformer.studies.report.row_pages import FOLDER, READ, RowPage, write_row_pages
from glassformer.studies.report.tables import (
    answers_table,
    costs_table,
    differences_table,
    power_table,
    result_table,
    row_pages_table,
    runs_table,
    set_up_tables,
)
from glassformer.studies.report.text import (
    Answer,
    answers,
    circumstances,
    headline,
    question,
    subtitle,
    unfinished,
)
from glassformer.studies.report.tuning_tables import selection_table, sensitivity_table, tuned_table
from glassformer.studies.tuned_wording import basis, setting_name

REPORT, MARKDOWN, VARIANTS, RUNS, CHARTS = "report.html", "report.md", "results.csv", "runs.csv", "charts"
TUNING, SELECTION = "tuning.csv", "selection.csv"
PICTURES = (".svg", ".pdf")
MOST_LEADS = 2
"""As many variants have their sentences at the top; of more, the verdicts stand there together."""
UNPAIRED = "No seed has a final loss for both a variant and the baseline."
IN_THE_HEAD = ("study", "training time", "machine", "versions", "started")
"""The circumstances that stand at the top of the page."""


def write_report(
    study: Study,
    *,
    folder: Path | None = None,
    open_pages: bool = True,
    take_out: bool = True,
    failures: Failures | None = None,
) -> Path:
    """Write the report of a study, as far as its runs have ended, and return the path of ``report.html``.

    The numbers come first: CSV, then the page and Markdown with every table and chart, then what evaluates the trained
    models, with which both are written once more. A part that raises is replaced by the reason; the rest stands.

    Args:
        folder: where to; the study's own unless given.
        open_pages: whether to write each variant's model page, which takes a second or more for each variant.
        take_out: whether to measure the trained baseline without each variant's part too.
        failures: collects every part that could not be created.

    Raises:
        RunError: no run has finished, or the study's files are damaged.
        DataError: the place cannot be written to.
    """
    numbers = gather(study)
    folder = study.path if folder is None else folder
    failures = Failures() if failures is None else failures
    failures.begin(folder)
    # 1. the numbers
    _make_folder(folder)
    _write(folder / VARIANTS, variants_csv(numbers))
    _write(folder / RUNS, runs_csv(numbers))
    if numbers.tuned is not None and numbers.tuned.rows:
        _write(folder / TUNING, tuning_csv(numbers.tuned))
        _write(folder / SELECTION, selection_csv(numbers.tuned))
    # 2. tables and charts
    undrawn = ""

    def not_drawn(reason: str) -> dict[str, Drawing]:
        nonlocal undrawn
        undrawn = reason
        return {}

    drawn = failures.attempt("charts", lambda: charts(numbers), not_drawn)
    facts = circumstances(numbers)
    head = {"baseline": subtitle(study.config)} | {name: facts[name] for name in IN_THE_HEAD if name in facts}
    pictures = {figure.title: f"{CHARTS}/{name}.svg" for name, figure in drawn.items()}

    def written(opened: Sequence[RowPage], taken_out: Sequence[Section]) -> Path:
        sections = _sections(numbers, drawn, opened, facts, taken_out, undrawn)
        title = question(study.config)
        _write(folder / MARKDOWN, markdown(title, head, sections, pictures))
        page = Page(title, sections, facts=head, answer_first=True)
        return failures.attempt("report.html", lambda: page.save(folder / REPORT), lambda _: folder / MARKDOWN)

    path = written([], [])
    for name, figure in drawn.items():
        failures.attempt(f"chart {name}", partial(_save_picture, figure, folder, name), _nothing)
    # 3. what the trained models do
    if open_pages or take_out:
        opened = write_row_pages(numbers, folder, failures) if open_pages else []
        path = written(opened, [_removal(study, failures)] if take_out else [])
    return path


def _removal(study: Study, failures: Failures) -> Section:
    return failures.attempt(
        "removal after training",
        lambda: removal_section(study),
        lambda reason: Section(REMOVAL_TITLE, REMOVAL_TEXT, missing=reason),
    )


def _save_picture(figure: Figure, folder: Path, name: str) -> None:
    for suffix in PICTURES:
        figure.save(folder / CHARTS / f"{name}{suffix}")


def _nothing(reason: str) -> None:
    """A picture in a file of its own has no place in which to give a reason."""


def _sections(
    numbers: Numbers,
    drawn: Mapping[str, Figure],
    opened: Sequence[RowPage],
    facts: Mapping[str, str],
    taken_out: Sequence[Section],
    undrawn: str,
) -> list[Section]:
    """The report from top to bottom; ``undrawn`` is the reason why there are no charts, if there are none."""
    links = {row.variant: row.href for row in opened if row.href is not None}
    found = answers(numbers)
    curves = [drawn["curves"]] if "curves" in drawn else []
    costs = [figure for name, figure in drawn.items() if name.startswith("cost")]
    forest = [drawn["differences"]] if "differences" in drawn else []
    return [
        _answer(numbers, found),
        *_selection(numbers, drawn, undrawn),
        Section(
            "Comparison with the baseline",
            "Every variant is compared with the baseline seed by seed: runs of one seed share the order of their data "
            f"and, where shapes agree, their initial weights. {_rule(numbers)}",
            [
                differences_table(numbers, links),
                *([answers_table(found)] if len(found) > MOST_LEADS else []),
                *_power(found),
                costs_table(numbers),
            ],
        ),
        Section(
            "Learning curves",
            "Validation loss of every run over training. Look for variants that learn more slowly but end at the same "
            "loss, and for outlying seeds.",
            curves,
            missing=undrawn,
        ),
        Section(
            "Paired differences",
            "Final loss of each variant minus the baseline's, seed by seed. Look for single seeds that a mean hides. "
            f"{_intervals(numbers)}",
            forest,
            missing=undrawn or ("" if forest else UNPAIRED),
        ),
        Section(
            "Loss against cost",
            "A variant to the left of the baseline and no higher is more efficient.",
            costs,
            missing=undrawn,
        ),
        *taken_out,
        *([_opened(opened)] if opened else []),
        Section(
            "All runs",
            "Each number above comes from these runs; their folders have their configuration, records and checkpoints.",
            [runs_table(numbers)],
        ),
        Section(
            "Setup",
            "Everything needed to reproduce the study. The same configuration, data, seeds and versions on the same "
            "processor give the same losses.",
            set_up_tables(numbers, facts),
        ),
    ]


def _answer(numbers: Numbers, found: Sequence[Answer]) -> Section:
    """What the arms were trained at, the result in a sentence or two, and the table. Untuned rates come first."""
    leads = [_lead(each) for each in found] if len(found) <= MOST_LEADS else [Lead(headline(found))]
    ground = basis(numbers.study.config, numbers.tuned)
    tuned = numbers.tuned is not None and bool(numbers.tuned.rows)
    table = tuned_table(numbers.tuned, numbers.steps) if tuned and numbers.tuned else result_table(numbers, found)
    return Section(
        "Result", "" if tuned else ground, [table], unfinished(numbers), leads=leads, note=ground if tuned else ""
    )


def _lead(answer: Answer) -> Lead:
    """An answer's sentence; its claim ends where the numbers that support it begin."""
    claim = re.split(r"(?=[(:;])", answer.sentence, maxsplit=1)[0].rstrip()
    return Lead(claim, answer.sentence.removeprefix(claim), answer.detail)


def _selection(numbers: Numbers, drawn: Mapping[str, Figure], undrawn: str) -> list[Section]:
    """The selection runs of a tuned study, as a picture and a table."""
    if numbers.tuned is None or not numbers.tuned.rows:
        return []
    name = setting_name(numbers.tuned.grid)
    picture = [drawn["selection"]] if "selection" in drawn else []
    return [
        Section(
            f"Loss against {'the tuned settings' if name == 'settings' else name}",
            f"The runs that chose each arm's best {name}. Look for curves whose lowest points lie at different places, "
            "and for one that lies above the other everywhere. Differences between neighbouring points may be chance. "
            "The losses at the chosen values are too low on average, since these seeds chose them; the comparison is "
            "made on other seeds.",
            [*picture, sensitivity_table(numbers.tuned), selection_table(numbers.tuned)],
            missing=undrawn,
        )
    ]


def _rule(numbers: Numbers) -> str:
    """When a difference counts as significant."""
    if numbers.decisions:
        return "A difference is significant if its interval excludes 0 at any look."
    level = f"{1 - numbers.comparison.confidence:.2g}"
    return f"A difference is significant if its adjusted p is at most {level}."


def _intervals(numbers: Numbers) -> str:
    """What the bars of the forest plot say of significance."""
    if numbers.decisions:
        return "The intervals are those of the table."
    confidence = percent(numbers.comparison.confidence)
    return f"Bars are unadjusted {confidence} intervals; significance is by the adjusted p in the table."


def _power(found: Sequence[Answer]) -> list[Table]:
    return [power_table(found)] if any(answer.power is not None for answer in found) else []


def _opened(opened: Sequence[RowPage]) -> Section:
    return Section(
        "Model pages",
        f"Each variant's trained model beside the baseline's, for one seed and the same text: the first {READ} tokens "
        f"of the validation data, or its first problem or pair. These pages are separate files in the folder {FOLDER} "
        "beside this one; everything else is in this file.",
        [row_pages_table(opened)],
    )


def markdown(title: str, facts: Mapping[str, str], sections: Sequence[Section], pictures: Mapping[str, str]) -> str:
    """The sections as Markdown: tables as tables, charts (by title) as links to their files."""
    lines = [f"# {escaped(title)}\n", *(f"- **{escaped(name)}**: {escaped(value)}" for name, value in facts.items())]
    for section in sections:
        lines.append(f"\n## {escaped(section.title)}\n")
        lines += [f"{escaped(section.text)}\n"] if section.text else []
        lines += [
            f"**{escaped(each.claim)}**{escaped(f'{each.rest} {each.detail}'.rstrip())}\n" for each in section.leads
        ]
        lines += [f"{escaped(text)}\n" for text in (section.note, section.missing) if text]
        for figure in section.figures:
            lines.append(f"### {escaped(figure.title)}\n")
            if isinstance(figure, Table):
                lines += [figure.markdown(), *([f"{escaped(figure.description)}\n"] if figure.description else [])]
            else:
                lines.append(f"![{escaped(figure.description)}]({pictures[figure.title]})\n")
    return "\n".join(lines)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be created: {error.strerror}. Choose another folder for the report."
        ) from error


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and never through a link that lies in the place of the file."""
    write(path, text.encode(), what="report")
