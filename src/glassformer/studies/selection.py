"""The selection of a tuned study: an ordinary study in its folder, from whose runs each arm's best values are chosen.

    studies/residual-20250131-235959/
      study.json        the tuning; once the selection has ended, ``chosen``: the best values of each arm
      selection/        the study of every arm at every value, with the selection seeds

It runs on the same queue as any study, is stopped and resumed like one, and its runs are reused like any other. What
it still needs follows from its outcomes alone (``studies/choosing.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glassformer.config import value_at
from glassformer.errors import ConfigError, RunError
from glassformer.studies.choosing import SelectionPoint, best_point, extensions, notes
from glassformer.studies.design import BASE, StudyConfig, point_name
from glassformer.studies.folder import Study
from glassformer.studies.tuning import Values

Train = Callable[[Study], str | None]
"""Makes every run of a study that has no outcome; gives the signal that stopped it, or None."""


@dataclass(frozen=True)
class SelectionResult:
    """What the selection of a tuned study found, as far as its runs have ended.

    Attributes:
        points: every arm at every combination of values.
        best: the best point of each arm that has one.
        notes: by arm, that its grid was extended or that its best is still on the edge; absent where neither.
    """

    points: tuple[SelectionPoint, ...]
    best: dict[str, SelectionPoint]
    notes: dict[str, str]

    def of(self, arm: str) -> tuple[SelectionPoint, ...]:
        """An arm's points, in the order of their values."""
        mine = [point for point in self.points if point.arm == arm]
        return tuple(sorted(mine, key=lambda point: tuple(point.values.values())))

    def to_dict(self) -> dict[str, Any]:
        """What ``results.json`` holds."""
        return {
            "points": [
                {"arm": point.arm, "values": point.values, "losses": dict(point.losses), "mean": point.mean}
                for point in self.points
            ],
            "best": {arm: point.values for arm, point in self.best.items()},
            "notes": self.notes,
        }


def selection_result(study: Study) -> SelectionResult | None:
    """What has been found of the best values of each arm; None for a study that is not tuned."""
    tuning, selection = study.config.tuning, study.selection
    if tuning is None:
        return None
    points = () if selection is None else points_of(study.config, selection)
    found = SelectionResult(points, {}, {})
    for arm in (BASE, *study.config.variants):
        mine = found.of(arm)
        chosen = study.config.chosen.get(arm)
        best = next((point for point in mine if point.values == chosen), None) if chosen else best_point(mine)
        if best is not None:
            found.best[arm] = best
            if note := notes(mine, best, tuning.grid):
                found.notes[arm] = note
    return found


def points_of(config: StudyConfig, selection: Study) -> tuple[SelectionPoint, ...]:
    """Every point of a selection and its losses so far, in the order of its arms. Failed runs are left out.

    Raises:
        RunError: it is not the selection of this study.
    """
    losses = selection.losses()
    return tuple(SelectionPoint(*_point(config, selection, name), losses[name]) for name in selection.config.arms)


def _point(config: StudyConfig, selection: Study, name: str) -> tuple[str, Values]:
    """The arm and the values of one of the selection's arms."""
    assert config.tuning is not None, "nothing is tuned"
    if name == BASE:
        return BASE, {setting: value_at(selection.config.base, setting) for setting in config.tuning.grid}
    changes = selection.config.variants[name]
    values = {setting: changes[setting] for setting in config.tuning.grid if setting in changes}
    for arm in (BASE, *config.variants):
        if point_name(arm, values) == name:
            return arm, values
    raise RunError(f"{selection.path} is not the selection of its study: it has the variant {name!r}. Restore it.")


def select(study: Study, train: Train) -> tuple[Study, str | None]:
    """Make the selection runs of a tuned study, extend grids where they need it, and keep the chosen values.

    Args:
        train: makes the waiting runs.

    Returns:
        The study, with its chosen values unless a run failed; and the signal that stopped ``train``, if one did.
    """
    if study.config.chosen:
        return study, None
    selection = _begin(study)
    selection.clear_failures()
    while (signal := train(selection)) is None:
        if any(outcome.status == "failed" for outcome in selection.outcomes()):
            break
        missing = _missing(study.config, selection)
        if not missing:
            return _choose(study, selection), None
        selection = _with_points(study, selection, missing)
    return study, signal


def _begin(study: Study) -> Study:
    config = study.config.selection_study()
    data = study.data()
    at = {BASE: data[BASE]} | {
        point_name(arm, values): data[arm]
        for arm in (BASE, *study.config.variants)
        for values in _combinations(study.config)
    }
    return study.begin_selection(config, {name: at[name] for name in config.arms})


def _combinations(config: StudyConfig) -> list[Values]:
    return [] if config.tuning is None else config.tuning.combinations()


def _missing(config: StudyConfig, selection: Study) -> list[tuple[str, Values]]:
    """The points to add where an arm's best lies on an edge of its grid."""
    assert config.tuning is not None, "nothing is tuned"
    points = points_of(config, selection)
    return [
        (arm, values)
        for arm in (BASE, *config.variants)
        for values in extensions(
            [point for point in points if point.arm == arm],
            config.tuning.grid,
            lambda values, arm=arm: _can_have(config, arm, values),  # type: ignore[misc]
        )
    ]


def _can_have(config: StudyConfig, arm: str, values: Values) -> bool:
    try:
        config.base.override(config.at(arm, values))
    except ConfigError:
        return False
    return True


def _with_points(study: Study, selection: Study, points: Sequence[tuple[str, Values]]) -> Study:
    """The selection with more points."""
    data = study.data()
    added = {point_name(arm, values): study.config.at(arm, values) for arm, values in points}
    variants: Mapping[str, Any] = selection.config.variants
    return selection.changed(
        {"variants": {**variants, **added}}, {point_name(arm, values): data[arm] for arm, values in points}
    )


def _choose(study: Study, selection: Study) -> Study:
    """The study with each arm's best values, from here on."""
    points = points_of(study.config, selection)
    chosen = {}
    for arm in (BASE, *study.config.variants):
        best = best_point([point for point in points if point.arm == arm])
        assert best is not None, f"{arm} has no selection run, and none has failed"
        chosen[arm] = best.values
    controls = StudyConfig.build(study.config.to_dict() | {"chosen": chosen}).controls
    data = study.data()
    return study.changed({"chosen": chosen}, {control: data[variant] for control, variant in controls.items()})
