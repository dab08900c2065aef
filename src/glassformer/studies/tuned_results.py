"""What a tuned study found: whether a variant changes what can be reached, or only gains from values of its own.

Each variant has two costs on the same fresh seeds: at its own best values, which is the comparison, and at the
baseline's best values, which is a control. Together they say which of the two it is:

    at its own   significant                         changes what can be reached
    control      worse than the variant at its own   gains from its own values
    neither                                          inconclusive

The control is judged by the paired difference to the same variant at its own best values, with an interval of its own,
adjusted for nothing and in no family. Beside them stands the sensitivity to the tuned settings, from the selection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from glassformer.statistics.comparison import FEWEST_PAIRS, Comparison, Difference, Losses, compare, no_spread
from glassformer.statistics.sensitivity import Sensitivity, sensitivity, sensitivity_difference
from glassformer.statistics.sequential import repeated_intervals
from glassformer.statistics.wording import probability
from glassformer.studies.adding_seeds import SequentialResult
from glassformer.studies.choosing import SelectionPoint
from glassformer.studies.design import BASE, StudyConfig
from glassformer.studies.folder import Study
from glassformer.studies.selection import SelectionResult, points_of
from glassformer.wording import counted

Changes = Literal[
    "reach", "reach and values", "values", "equivalent", "inconclusive", "no interval", "no pair", "diverges"
]
"""What a variant changes: the loss that can be reached ("reach"), the values at which it is better than at the
baseline's ("values"), both; or why neither is shown."""

Values = Mapping[str, float | int]


@dataclass(frozen=True)
class Cost:
    """A mean difference of final losses over seeds, nats per token, with the interval that holds in this study."""

    mean: float | None
    interval: tuple[float, float] | None
    n: int
    """Whole pairs."""
    confidence: float
    significant: bool
    """In the family, where it is one of the comparisons; otherwise whether its own interval excludes 0."""
    support: str
    """What stands beside the interval: pairs, the adjusted p, or at which look."""
    equivalent: bool = False
    """Whether the interval lies within the equivalence margin."""
    note: str | None = None
    """Why there is no interval."""
    diverged: int = 0
    """Seeds at which this arm diverged."""
    seeds: int = 0
    exclusions: tuple[str, ...] = ()
    """A sentence for each reason why runs are in no pair."""


@dataclass(frozen=True)
class TunedRow:
    """An arm at its best values."""

    arm: str
    best: SelectionPoint
    own: Cost | None
    """At its own best values, the comparison; None for the baseline."""
    control: Cost | None
    """At the baseline's best values; the same as ``own`` where the two are equal, None where it was not trained."""
    moved: Cost | None
    """The variant at the baseline's best values − the same variant at its own; None without a control run."""
    same_values: bool
    """Whether its best values are the baseline's."""
    sensitivity: Sensitivity
    sensitivity_difference: Difference | None
    changes: Changes | None
    note: str
    """Empty, or that its grid was extended, or that its best is on an edge."""
    on_edge: bool
    """Whether its best lies on an edge of its grid, so that a better one may lie beyond."""


@dataclass(frozen=True)
class TunedResults:
    """The rows of a tuned study, the baseline first."""

    selection: SelectionResult
    grid: Mapping[str, Sequence[float | int]]
    """The values that every arm was tried at, by setting."""
    seeds: tuple[int, ...]
    """The selection seeds."""
    initial: Mapping[str, Mapping[int, float | None]]
    """The loss at initialisation of the selection runs, by arm and seed."""
    shared: tuple[dict[str, float | int], ...]
    """The points of the grid that every arm has: the sensitivity is a mean over these."""
    rows: tuple[TunedRow, ...]
    fixed: bool
    """Whether the number of seeds of the comparison was fixed beforehand."""

    def row(self, arm: str) -> TunedRow:
        """The row of one arm; KeyError if there is none."""
        return {row.arm: row for row in self.rows}[arm]

    def extended(self, point: SelectionPoint) -> bool:
        """Whether a point was added to an arm's grid because its best lay on the edge."""
        return any(value not in self.grid[name] for name, value in point.values.items())

    def to_list(self) -> list[dict[str, Any]]:
        """What ``results.json`` holds of the rows."""
        return [
            {
                "variant": row.arm,
                "best": dict(row.best.values),
                "same_as_baseline": row.same_values,
                "changes": row.changes,
                "cost_at_own": row.own and asdict(row.own),
                "cost_at_baselines": row.control and asdict(row.control),
                "baselines_minus_own": row.moved and asdict(row.moved),
                "sensitivity": {
                    "mean": row.sensitivity.mean,
                    "interval": row.sensitivity.interval,
                    "by_seed": {str(seed): value for seed, value in row.sensitivity.by_seed.items()},
                    "values": len(self.shared),
                },
                "sensitivity_difference": row.sensitivity_difference
                and {
                    "mean": row.sensitivity_difference.mean,
                    "interval": row.sensitivity_difference.interval,
                    "n": row.sensitivity_difference.n,
                },
                "note": row.note,
                "on_edge": row.on_edge,
            }
            for row in self.rows
        ]


def tuned_results(
    selection: SelectionResult,
    *,
    grid: Mapping[str, Sequence[float | int]],
    selection_seeds: Sequence[int],
    initial: Mapping[str, Mapping[int, float | None]],
    losses: Mapping[str, Losses],
    controls: Mapping[str, str],
    comparison: Comparison,
    sequential: Sequence[SequentialResult] = (),
) -> TunedResults:
    """The rows of the baseline and of every variant whose best values are known.

    Args:
        grid: the values that every arm is tried at, by setting.
        initial: the loss at initialisation of the selection runs, by arm and seed.
        losses: final losses of the comparison by arm (controls too) and seed.
        controls: a control's name -> its variant.
        comparison: the family: each variant at its own best.
        sequential: decisions, where seeds were added until every variant was decided; fixed-seed intervals do not hold
            there, and the controls get the ones valid at every look.
    """
    shared = _shared(selection.points)
    confidence = comparison.confidence
    measured = {arm: _sensitivity(selection, shared, arm, initial.get(arm, {}), confidence) for arm in selection.best}
    decisions = {each.decision.variant: each for each in sequential}
    control_of = {variant: control for control, variant in controls.items()}
    rows = []
    for arm, best in selection.best.items() if BASE in selection.best else ():
        note, edge = _note(selection.notes.get(arm, ""), grid), _on_edge(selection, best)
        if arm == BASE:
            rows.append(TunedRow(arm, best, None, None, None, True, measured[arm], None, None, note, edge))
            continue
        same = best.values == selection.best[BASE].values
        own = own_cost(comparison.row(arm), decisions.get(arm))
        name = control_of.get(arm)
        control: Cost | None = own if same else None
        moved: Cost | None = None
        if name is not None and losses.get(name):
            control = side_cost(losses[BASE], losses[name], confidence, fixed=not sequential)
            moved = side_cost(losses[arm], losses[name], confidence, fixed=not sequential)
        against = sensitivity_difference(arm, measured[BASE], measured[arm], confidence=confidence)
        rows.append(
            TunedRow(
                arm,
                best,
                own,
                control,
                moved,
                same,
                measured[arm],
                against if against.n else None,
                _changes(own, moved),
                note,
                edge,
            )
        )
    order = {arm: place for place, arm in enumerate([BASE, *(row.variant for row in comparison.rows)])}
    return TunedResults(
        selection,
        grid,
        tuple(selection_seeds),
        initial,
        shared,
        tuple(sorted(rows, key=lambda row: order[row.arm])),
        not sequential,
    )


def gather_tuned(
    study: Study, selection: SelectionResult | None, comparison: Comparison, sequential: Sequence[SequentialResult]
) -> TunedResults | None:
    """The rows of a tuned study from its folder, as far as its runs have ended; None for a study that is not tuned."""
    tuning, inner = study.config.tuning, study.selection
    if tuning is None or selection is None:
        return None
    return tuned_results(
        selection,
        grid=tuning.grid,
        selection_seeds=tuning.seeds,
        initial={} if inner is None else initial_losses(study.config, inner),
        losses=study.losses(),
        controls=study.config.controls,
        comparison=comparison,
        sequential=sequential,
    )


def initial_losses(config: StudyConfig, selection: Study) -> dict[str, dict[int, float | None]]:
    """The validation loss before any update, nats per token, by arm and selection seed."""
    arm_of = dict(zip(selection.config.arms, (point.arm for point in points_of(config, selection)), strict=True))
    found: dict[str, dict[int, float | None]] = {}
    for outcome in selection.outcomes():
        curve = outcome.curve
        if curve.steps and curve.steps[0] == 0:
            found.setdefault(arm_of[outcome.variant], {})[outcome.seed] = curve.losses[0]
    return found


def own_cost(row: Difference, sequential: SequentialResult | None) -> Cost:
    """A row of the family: the t interval and the adjusted p, or the interval at the look that decided."""
    diverged, seeds = len(row.variant_diverged), len(row.pairs)
    if sequential is None:
        over = f" over {row.comparisons} variants" if row.comparisons > 1 else ""
        p = "" if row.p_holm is None else f", Holm-adjusted p {probability(row.p_holm)}{over}"
        return Cost(
            row.mean, row.interval, row.n, row.confidence, row.significant, f"n = {counted(row.n, 'pair')}{p}",
            note=row.note, diverged=diverged, seeds=seeds, exclusions=tuple(row.exclusions()),
        )  # fmt: skip
    decision = sequential.decision
    note = decision.note
    if decision.by_divergence:
        note = decision.divergence.sentence(row.variant, decision.confidence).rstrip(".")
    family = "valid at every look" + (f" and for all {row.comparisons} variants" if row.comparisons > 1 else "")
    when = f"decided at n = {counted(decision.n, 'pair')}" if decision.decided else f"n = {counted(decision.n, 'pair')}"
    return Cost(
        decision.mean, decision.interval, decision.n, decision.confidence, decision.verdict == "different",
        f"{family}; {when}", decision.within_margin, note, diverged, seeds,
        () if decision.by_divergence else tuple(row.exclusions()),
    )  # fmt: skip


def side_cost(base: Losses, other: Losses, confidence: float, *, fixed: bool) -> Cost:
    """A paired difference outside the family, adjusted for nothing.

    Args:
        fixed: whether the number of seeds was fixed beforehand; otherwise the interval is one that is valid at every
            look.
    """
    (row,) = compare(base, {"": other}, confidence=confidence).rows
    interval = row.interval
    support = f"n = {counted(row.n, 'pair')}, unadjusted"
    if interval is not None and not fixed:
        low, high = (float(ends[-1]) for ends in repeated_intervals(row.differences, 1 - confidence))
        interval = (low, high)
        support = f"n = {counted(row.n, 'pair')}, valid at every look, unadjusted"
    significant = interval is not None and not interval[0] <= 0 <= interval[1]
    if row.interval is None and row.n and no_spread(row.pairs):
        significant = False
    return Cost(
        row.mean, interval, row.n, confidence, significant, support, note=row.note,
        diverged=len(row.variant_diverged), seeds=len(row.pairs),
    )  # fmt: skip


def _changes(own: Cost, moved: Cost | None) -> Changes:
    """What a variant changes."""
    worse = moved is not None and (
        (moved.significant and moved.mean is not None and moved.mean > 0)
        or (FEWEST_PAIRS <= moved.seeds == moved.diverged and own.n > 0)  # there it does not train at all
    )
    if own.significant:
        return "reach and values" if worse else "reach"
    if worse:
        return "values"
    if own.mean is None:
        return "diverges" if 0 < own.seeds == own.diverged else "no pair"
    if own.interval is None:
        return "no interval"
    return "equivalent" if own.equivalent else "inconclusive"


def _on_edge(selection: SelectionResult, best: SelectionPoint) -> bool:
    tried = [point.values for point in selection.points if point.arm == best.arm]
    return any(
        value != 0 and value in (min(each[setting] for each in tried), max(each[setting] for each in tried))
        for setting, value in best.values.items()
    )


def _note(note: str, grid: Mapping[str, object]) -> str:
    """A note of the selection in words: ``learning rate`` for ``learning_rate``."""
    for setting in grid:
        last = setting.rpartition(".")[2]
        words = last.replace("_", " ")
        note = note.replace(f"the grid of {last}", f"the grid for the {words}").replace(last, words)
    return note.rstrip(".")


def _shared(points: Sequence[SelectionPoint]) -> tuple[dict[str, float | int], ...]:
    """The points that every arm has, in the order of the first arm's."""
    by_arm: dict[str, list[Values]] = {}
    for point in points:
        by_arm.setdefault(point.arm, []).append(point.values)
    first, *others = by_arm.values() or [[]]
    return tuple(dict(values) for values in first if all(values in other for other in others))


def _sensitivity(
    selection: SelectionResult,
    shared: Sequence[Values],
    arm: str,
    initial: Mapping[int, float | None],
    confidence: float,
) -> Sensitivity:
    grid = [point.losses for point in selection.points if point.arm == arm and point.values in shared]
    return sensitivity(grid, initial, confidence=confidence)
