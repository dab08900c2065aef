"""The tables of a study's report: differences, costs, every run, and the set-up.

Rounded for reading; the CSV files beside the report hold every digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from statistics import fmean
from textwrap import shorten

from glassformer.charts.table import Cell, Header, Table
from glassformer.statistics.comparison import Difference
from glassformer.statistics.power import MOST_PAIRS
from glassformer.statistics.sequential import Decision
from glassformer.statistics.wording import percent, plain, probability, signed
from glassformer.studies.design import BASE, arm_label
from glassformer.studies.report.cells import (
    NOTHING,
    difference_cell,
    interval_cell,
    number_cell,
    percentage_cell,
)
from glassformer.studies.report.numbers import Numbers, RunNumbers
from glassformer.studies.report.row_pages import RowPage
from glassformer.studies.report.text import Answer, settings
from glassformer.studies.variation import shown

REASON = 110
"""Characters of the reason why a run ended; runs.csv has the whole."""

Links = Mapping[str, str]
"""Where the pictures behind a variant's row are, beside the report."""


def answers_table(answers: Sequence[Answer]) -> Table:
    """A sentence for each variant."""
    headers = [Header(text, align="left") for text in ("variant", "details")]
    rows = [[each.variant, each.text] for each in answers]
    return Table(headers, rows, title="The results as sentences, the largest effect first")


def result_table(numbers: Numbers, found: Sequence[Answer]) -> Table:
    """The result at a glance: a row for the baseline and for each variant, the largest effect first."""
    confidence = percent(numbers.comparison.confidence)
    names = ["difference", f"{confidence} interval", "validation loss", *(["steps"] if numbers.steps else [])]
    headers = [Header("variant", align="left"), Header("result", align="left"), *map(Header, names)]
    rows = []
    for variant, verdict in [(BASE, NOTHING), *((each.variant, each.verdict) for each in found)]:
        row = numbers.difference(variant)
        shown = numbers.decisions.get(variant, row)
        mean, interval = (None, None) if shown is None else (shown.mean, shown.interval)
        loss = numbers.arm(variant).loss if row is None else _means(row)[1]
        cells = [
            difference_cell(mean, interval),
            interval_cell(interval),
            number_cell(loss, ".4f"),
        ]
        cells += [number_cell(numbers.steps.get(variant), ",.0f")] if numbers.steps else []
        rows.append([Cell(arm_label(variant)), Cell(verdict), *cells])
    return Table(
        headers,
        rows,
        title="Result of each variant",
        description="Difference in final validation loss, variant − baseline, in nats per token."
        + (" Arms differ in steps, as they are matched in cost." if numbers.steps else ""),
    )


def power_table(answers: Sequence[Answer]) -> Table:
    """The minimum detectable effect of each variant's seeds, and how many more the observed one would take."""
    lines = [(each.variant, each.power) for each in answers if each.power is not None]
    (_, first), *others = lines
    headers = [
        Header("variant", align="left"),
        *map(Header, ("pairs", "SD of differences", "minimum detectable effect", "observed", "additional seeds")),
    ]
    rows = [
        [
            Cell(variant),
            Cell(str(line.n), line.n),
            Cell(plain(line.sd, line.sd), line.sd),
            Cell(plain(line.smallest, line.smallest), line.smallest),
            Cell(signed(line.observed, line.sd), line.observed),
            Cell("none: already significant") if line.significant else _more(line.more),
        ]
        for variant, line in lines
    ]
    general = (
        f"Minimum detectable effect: the smallest true difference that a two-sided paired t test of this many pairs "
        f"with this spread detects with {percent(first.power)} power at α = {first.alpha:.3g} (the level of the table "
        "divided by its number of variants). Additional seeds: those that detecting the observed difference takes. In "
        "nats per token."
    )
    description = general if others else first.sentence()
    return Table(headers, rows, title="Power", sortable=True, description=description)


def _more(seeds: int | None) -> Cell:
    return Cell(f"over {MOST_PAIRS:,}", MOST_PAIRS) if seeds is None else Cell(f"{seeds:,}", seeds)


def differences_table(numbers: Numbers, links: Links) -> Table:
    """The paired differences: a row for the base and each variant, in the order of the design.

    Where seeds were added until something was decided, the t interval and its p do not hold, and are left out. The
    controls of a tuned study are in no family, and not in this table.
    """
    accuracy = any(arm.accuracy is not None for arm in numbers.summary.arms)
    confidence = percent(numbers.comparison.confidence)
    tested = ["decided at", f"{confidence} interval"] if numbers.decisions else [f"{confidence} interval", "p (Holm)"]
    names = ["pairs", "diverged", "failed", "baseline loss", "variant loss", "difference", *tested, "effect size"]
    headers = [Header("variant", align="left"), *map(Header, names)]
    headers += [Header("steps")] if numbers.steps else []
    headers += [Header("accuracy")] if accuracy else []
    rows = []
    for arm in numbers.summary.arms:
        if arm.name in numbers.study.config.controls:
            continue
        row = None if arm.name == BASE else numbers.comparison.row(arm.name)
        ended = [Cell(str(count), count) for count in (arm.count("diverged"), arm.count("failed"))]
        if row is None:
            cells = [Cell(NOTHING), *ended, Cell(NOTHING), number_cell(arm.loss, ".4f"), *[Cell(NOTHING)] * 4]
        else:
            decision = numbers.decisions.get(arm.name)
            cells = [
                Cell(str(row.n), row.n),
                *ended,
                *(number_cell(mean, ".4f") for mean in _means(row)),
                *(_tested(row) if decision is None else _decided(decision)),
                Cell(NOTHING) if row.effect is None else Cell(signed(row.effect, 0.1), row.effect),
            ]
        cells += [number_cell(numbers.steps.get(arm.name), ",.0f")] if numbers.steps else []
        cells += [percentage_cell(arm.accuracy)] if accuracy else []
        rows.append([Cell(arm_label(arm.name), href=links.get(arm.name)), *cells])
    intervals = (
        "Seeds were added until a decision: the difference is the mean at that look, and its interval is valid at "
        "every look and simultaneously for all variants. "
        if numbers.decisions
        else "The t interval is for each variant alone; p is from the paired t test, adjusted for all variants of the "
        "table by Holm's method. "
    )
    return Table(
        headers,
        rows,
        title="Paired differences in final validation loss, variant − baseline",
        sortable=True,
        description="Mean losses over complete pairs, in nats per token (baseline row: over its finished runs). "
        f"{intervals}The effect size is Hedges' g_z: the mean difference in standard deviations of the differences "
        "(Cohen's d_z), corrected for few pairs. Diverged and failed runs are excluded."
        + (" A variant's name links to its model page." if links else ""),
    )


def _tested(row: Difference) -> list[Cell]:
    p = Cell(NOTHING) if row.p_holm is None else Cell(probability(row.p_holm).removeprefix("= "), row.p_holm)
    return [difference_cell(row.mean, row.interval), interval_cell(row.interval), p]


def _decided(decision: Decision) -> list[Cell]:
    when = Cell(f"{decision.n} pairs", decision.n) if decision.decided else Cell("inconclusive")
    if decision.by_divergence:
        when = Cell(decision.verdict)
    return [difference_cell(decision.mean, decision.interval), when, interval_cell(decision.interval)]


def costs_table(numbers: Numbers) -> Table:
    """What each arm costs, and what it took to be as good as the base."""
    matched = bool(numbers.study.config.adjusted)
    names = [
        "parameters", "training FLOPs per token", "steps", "seconds", "steps to baseline loss",
        "seconds to baseline loss", "mean loss over training", "difference in mean loss", "95 % interval",
    ]  # fmt: skip
    headers = [Header("variant", align="left"), *map(Header, names)]
    headers += [Header("matched", align="left")] if matched else []
    rows = []
    for name in numbers.study.config.arms:
        area = None if name == BASE else numbers.areas.row(name)
        count = numbers.parameters(name)
        steps = numbers.mean(name, lambda run: float(run.outcome.steps))
        per_token = numbers.mean(name, lambda run: run.flops_per_token)
        row = [
            Cell(arm_label(name)),
            Cell(f"{count:,}", count),
            number_cell(per_token, ",.4g" if per_token is None or per_token < 1e4 else ".3g"),
            number_cell(steps, ",.0f"),
            number_cell(numbers.mean(name, lambda run: run.outcome.seconds), ",.1f"),
            _reached(numbers, name, lambda run: run.reached_steps, "{:,.0f}"),
            _reached(numbers, name, lambda run: run.reached_seconds, "{:.1f}"),
            number_cell(numbers.mean(name, lambda run: run.area), ".4f"),
            Cell(NOTHING) if area is None else difference_cell(area.mean, area.interval),
            Cell(NOTHING) if area is None or numbers.decisions else interval_cell(area.interval),
        ]
        row += [Cell(numbers.study.config.adjusted.get(name, NOTHING))] if matched else []
        rows.append(row)
    interval = "" if numbers.decisions else ", with the t interval"  # which holds for seeds fixed beforehand
    shared = "no steps" if numbers.shared is None else f"steps {numbers.shared[0]:,.0f} to {numbers.shared[1]:,.0f}"
    return Table(
        headers,
        rows,
        title="Cost and learning speed",
        sortable=True,
        description="Means over finished runs. A run reaches the baseline loss where its validation loss, interpolated "
        "linearly, first is at or below the final loss of the baseline run with the same seed; in brackets, how many "
        f"of the finished runs reach it. The mean loss is the average of the validation curve over {shared}; its "
        f"difference is paired{interval}. Seconds are training time; runs that share a machine slow each other down.",
    )


def runs_table(numbers: Numbers) -> Table:
    """Every run of every seed."""
    accuracy = any(run.outcome.accuracy is not None for run in numbers.runs)
    headers = [
        Header("variant", align="left"),
        Header("seed"),
        Header("status", align="left"),
        Header("final loss"),
        Header("difference"),
        *([Header("accuracy")] if accuracy else []),
        Header("steps"),
        Header("seconds"),
        Header("note", align="left"),
    ]
    rows = []
    for run in numbers.runs:
        outcome = run.outcome
        difference = None if outcome.variant == BASE else run.difference
        cells = [
            Cell(arm_label(outcome.variant)),
            Cell(str(outcome.seed), outcome.seed),
            Cell(outcome.status),
            number_cell(outcome.loss, ".4f"),
        ]
        cells.append(Cell(NOTHING) if difference is None else Cell(signed(difference, 1e-3), difference))
        cells += [percentage_cell(outcome.accuracy)] if accuracy else []
        cells += [number_cell(float(outcome.steps), ",.0f"), number_cell(outcome.seconds, ",.1f")]
        reason = "" if outcome.reason == "finished" else shorten(outcome.reason, REASON, placeholder=" …")
        reason = "; ".join(filter(None, (reason, "reused" if outcome.reused else "")))
        rows.append([*cells, Cell(reason)])
    return Table(
        headers,
        rows,
        title="All runs",
        sortable=True,
        description="Difference from the baseline run with the same seed. Loss in nats per token.",
    )


def row_pages_table(opened: Sequence[RowPage]) -> Table:
    """Links to each variant's model page."""
    headers = [Header("variant", align="left"), Header("seed"), Header("page", align="left")]
    rows = [
        [
            Cell(row.variant),
            Cell(NOTHING) if row.seed is None else Cell(str(row.seed), row.seed),
            Cell(f"none: {row.missing}") if row.href is None else Cell("compare with the baseline", href=row.href),
        ]
        for row in opened
    ]
    return Table(headers, rows, title="Pages")


def set_up_tables(numbers: Numbers, facts: Mapping[str, str]) -> list[Table]:
    """The circumstances, the variants' changes, and the base's configuration, a table for each of its groups."""
    config = numbers.study.config
    tables = [_pairs("Environment", "", "", facts)]
    base = settings(config.base)
    changes = [
        [name, path, shown(value), base.get(path, NOTHING)]
        for name, variant in config.variants.items()
        for path, value in variant.items()
    ]
    headers = [Header(text, align="left") for text in ("variant", "setting", "value", "baseline value")]
    tables.append(Table(headers, changes, title="Changes of each variant", description=_matching(numbers)))
    for group, members in groupby(base.items(), key=lambda item: item[0].partition(".")[0]):
        values = {name.partition(".")[2]: value for name, value in members}
        tables.append(_pairs(f"Baseline: {group}", "setting", "value", values))
    return tables


def _matching(numbers: Numbers) -> str:
    config = numbers.study.config
    if config.matched == "none":
        return (
            "All other settings are the baseline's. Nothing was matched: removing a part also removes its parameters."
        )
    return f"Every variant was matched to the baseline in {config.matched}; the cost table shows what that changed."


def _pairs(title: str, left: str, right: str, values: Mapping[str, str]) -> Table:
    headers = [Header(left or "item", align="left"), Header(right or "value", align="left")]
    return Table(headers, [list(item) for item in values.items()], title=title, narrow=bool(left))


def _means(row: Difference) -> tuple[float | None, float | None]:
    """The mean losses of the base and of the variant over the whole pairs."""
    whole = [(pair.base, pair.variant) for pair in row.pairs if pair.base is not None and pair.variant is not None]
    return (fmean(base for base, _ in whole), fmean(variant for _, variant in whole)) if whole else (None, None)


def _reached(numbers: Numbers, name: str, of: Callable[[RunNumbers], float | None], form: str) -> Cell:
    found = numbers.found(name, of)
    if not numbers.arm(name).finished:
        return Cell(NOTHING)
    count = f"({len(found)} of {len(numbers.arm(name).finished)})"
    return Cell(f"{form.format(fmean(found))} {count}", fmean(found)) if found else Cell(f"never {count}")
