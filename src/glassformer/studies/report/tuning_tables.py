"""The tables of a tuned study: each arm at its own best values and at the baseline's, and every selection run."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from glassformer.charts.table import Cell, Header, Table
from glassformer.statistics.wording import percent, plain
from glassformer.studies.design import BASE, arm_label
from glassformer.studies.report.cells import NOTHING, difference_cell, interval_cell, interval_text, number_cell
from glassformer.studies.tuned_results import Cost, TunedResults, TunedRow
from glassformer.studies.tuned_wording import number, sensitivity_text, setting_name, values, words
from glassformer.wording import counted

ANSWERS = "Each arm at its own best values and at the baseline's"


def tuned_table(results: TunedResults, steps: Mapping[str, float]) -> Table:
    """A row for each arm: its best values, its costs, its sensitivity.

    Args:
        steps: mean steps of each arm, where arms differ in them; else empty.
    """
    name = setting_name(results.grid)
    short = "rate" if name == "learning rate" else "settings" if name == "settings" else "value"
    headers = [
        Header("variant", align="left"),
        Header(f"best {name}"),
        Header(f"cost at the baseline's {short}"),
        Header(f"cost at its own {short}"),
        Header("sensitivity"),
        *([Header("steps")] if steps else []),
    ]
    rows = [
        [
            Cell(arm_label(row.arm)),
            _best(row),
            Cell("the same", row.own.mean) if row.same_values and row.own is not None else _cost(row.control, " *"),
            _cost(row.own, ""),
            _sensitivity(row),
            *([number_cell(steps.get(row.arm), ",.0f")] if steps else []),
        ]
        for row in results.rows
    ]
    confidence = percent(next((row.own.confidence for row in results.rows if row.own is not None), 0.95))
    kind = "t intervals" if results.fixed else "intervals valid at every look"
    return Table(
        headers,
        rows,
        title=ANSWERS,
        description=" ".join(
            [
                f"Cost: variant − baseline in final validation loss, nats per token, with {confidence} {kind}.",
                *(
                    ["* Control: outside the family of comparisons, unadjusted."]
                    if any(map(_has_control, results.rows))
                    else []
                ),
                *(
                    ["† Its grid was extended, or its best lies on the edge: see the selection runs."]
                    if any(row.note for row in results.rows)
                    else []
                ),
            ]
        ),
    )


def sensitivity_table(results: TunedResults) -> Table:
    """The sensitivity of each arm, and its paired difference from the baseline's."""
    name = setting_name(results.grid)
    headers = [
        Header("variant", align="left"),
        *map(Header, ("seeds", "sensitivity", "interval", "difference from the baseline", "interval ")),
    ]
    rows = []
    for row in results.rows:
        found, against = row.sensitivity, row.sensitivity_difference
        scale = found.mean if found.interval is None else (found.interval[1] - found.interval[0]) / 2
        rows.append(
            [
                Cell(arm_label(row.arm)),
                Cell(str(found.n), found.n),
                Cell(NOTHING) if found.mean is None else Cell(plain(found.mean, scale or 0.0), found.mean),
                Cell(NOTHING) if found.interval is None else _plain_interval(found.interval),
                Cell(NOTHING) if against is None else difference_cell(against.mean, against.interval),
                Cell(NOTHING) if against is None else interval_cell(against.interval),
            ]
        )
    return Table(
        headers,
        rows,
        title=f"Sensitivity to the {name}",
        description=f"Of the {counted(len(results.shared), 'value')} that all arms share (not those that extended a "
        "grid): how far an arm's loss lies above its lowest among them, on average (Wortsman et al. 2023), in nats per "
        "token; a run that diverged, or ended above the loss at initialisation, counts as the latter. Means over "
        "selection seeds, with t intervals; differences are paired by seed and unadjusted.",
    )


def selection_table(results: TunedResults) -> Table:
    """A row for each arm and point of its grid."""
    settings = [*results.grid]
    seeds = sorted({seed for point in results.selection.points for seed in point.losses})
    headers = [
        Header("variant", align="left"),
        *(Header(words(path)) for path in settings),
        Header("mean loss"),
        *(Header(f"seed {seed}") for seed in seeds),
        Header("note", align="left"),
    ]
    rows = []
    for point in (point for row in results.rows for point in results.selection.of(row.arm)):
        known = [loss for loss in point.losses.values() if loss is not None]
        mean = fmean(known) if known and len(known) == len(point.losses) else None
        best = results.selection.best.get(point.arm)
        notes = [
            "best" if best is not None and best.values == point.values else "",
            "grid extended" if results.extended(point) else "",
        ]
        cells = [
            Cell("diverged") if seed in point.losses and point.losses[seed] is None else _loss(point.losses.get(seed))
            for seed in seeds
        ]
        rows.append(
            [
                Cell(arm_label(point.arm)),
                *(Cell(number(point.values[path]), point.values[path]) for path in settings),
                _loss(mean),
                *cells,
                Cell(", ".join(filter(None, notes))),
            ]
        )
    edges = " ".join(f"{'Baseline' if row.arm == BASE else row.arm}: {row.note}." for row in results.rows if row.note)
    return Table(
        headers,
        rows,
        title="Selection runs",
        sortable=True,
        description="Final validation loss of each run, nats per token. The best value has the fewest diverged runs, "
        f"then the lowest mean. {edges}".rstrip(),
    )


def _plain_interval(interval: tuple[float, float]) -> Cell:
    """An interval of what is never negative, without signs."""
    scale = (interval[1] - interval[0]) / 2
    return Cell(" to ".join(plain(end, scale) for end in interval), interval[0])


def _has_control(row: TunedRow) -> bool:
    return row.control is not None and not row.same_values


def _best(row: TunedRow) -> Cell:
    text = values(row.best.values)
    alone = next(iter(row.best.values.values())) if len(row.best.values) == 1 else None
    return Cell(f"{text} †" if row.note else text, alone)


def _cost(cost: Cost | None, mark: str) -> Cell:
    """The mean and its interval in a line; where there is none, why."""
    if cost is None:
        return Cell(NOTHING)
    if cost.n == 0:
        return Cell(f"diverged ({cost.diverged} of {cost.seeds})" if cost.diverged else NOTHING)
    mean = difference_cell(cost.mean, cost.interval)
    if cost.interval is None:
        return Cell(f"{mean.text}{mark}", cost.mean)
    return Cell(f"{mean.text} ({interval_text(cost.interval)}){mark}", cost.mean)


def _sensitivity(row: TunedRow) -> Cell:
    text = sensitivity_text(row.sensitivity)
    return Cell(text, row.sensitivity.mean)


def _loss(loss: float | None) -> Cell:
    return number_cell(loss, ".4f")
