"""A ladder: small runs chosen to predict a large one, trained through a study's queue, and fitted.

    plan = plan_ladder(LadderRequest(preset="nanogpt-shakespeare-cpu", data="python-stdlib", budget="5min"))
    ladder = Ladder.begin(plan)             sweeps the learning rate; a study's folder, with the design in ladder.json
    ladder.conduct()                        its runs, in processes; later, the same request resumes them
    ladder.fitted().predict(...)              the law, and the prediction at the target
    ladder.verify()                         the run that tests the prediction

A rung is an arm of the study (the largest is its base, so that it starts first), and every variant has an arm for each
rung besides. Nothing else is kept, so a ladder that is killed loses no more than a study does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from glassformer import places
from glassformer.errors import ConfigError, DataError, GlassformerError, RunError
from glassformer.runs.files import replace_durably
from glassformer.runs.folder import Run as RunFolder
from glassformer.runs.folder import json_bytes, list_runs, read_object
from glassformer.scaling.ladders.effect_vs_compute import EffectVsCompute, PairedRung, compare_over_compute
from glassformer.scaling.ladders.ladder_fit import LadderFit, fit_ladder, rung_points, single_noise
from glassformer.scaling.ladders.ladder_plan import LadderPlan, LadderRequest
from glassformer.scaling.ladders.ladder_rungs import LadderRun
from glassformer.scaling.ladders.rate_sweep import run_sweep
from glassformer.scaling.ladders.rung_checks import RungChecks, check_rungs
from glassformer.statistics.prediction import Prediction
from glassformer.studies.checking import Checked, check
from glassformer.studies.design import BASE, StudyConfig, safe_name
from glassformer.studies.folder import Study
from glassformer.studies.lookup import list_studies
from glassformer.studies.outcomes import read_outcome
from glassformer.studies.runner import StudyRunner, Watch, unobserved
from glassformer.studies.same_data import began_with
from glassformer.tasks.run_config import RunConfig
from glassformer.training.telemetry import Observer as TrainingObserver

LADDER, LEARNED = "ladder.json", "learned.json"
VERIFICATION = "verification"
"""Folder of the runs that test the prediction."""


@dataclass(frozen=True)
class Verified:
    """A measured loss beside its prediction.

    Attributes:
        arm: the base, or a variant.
        loss: of the run; None if it diverged.
        predicted: None for a variant, of which only the difference is predicted.
    """

    arm: str
    loss: float | None
    predicted: Prediction | None

    def sentence(self) -> str:
        """Whether the measured loss lies inside the prediction interval."""
        if self.loss is None:
            return f"The run of {self.arm} diverged: the prediction is not tested."
        if self.predicted is None:
            return f"{self.arm}: loss {self.loss:.4f}."
        inside = "inside" if self.predicted.holds(self.loss) else "OUTSIDE"
        return (
            f"Measured loss {self.loss:.4f}, {inside} the prediction interval {self.predicted.low:.4f} to "
            f"{self.predicted.high:.4f} (predicted {self.predicted.value:.4f}, off by "
            f"{100 * (self.loss / self.predicted.value - 1):+.2f} %)."
        )


@dataclass(frozen=True)
class Ladder:
    """A ladder in a study's folder."""

    plan: LadderPlan
    study: Study

    @classmethod
    def begin(
        cls, plan: LadderPlan, *, root: Path | None = None, watch: Watch = unobserved, fresh: bool = False
    ) -> tuple[Self, Checked]:
        """Sweep the learning rate, unless it was set, and make the ladder's study; its runs are still to be trained.

        Args:
            watch, fresh: of the sweep's study, as in :meth:`conduct`.

        Raises:
            StoppedError: a signal came during the sweep; the same call resumes it.
            GlassformerError: its runs cannot be made here.
        """
        if plan.sweep is not None and plan.sweep.best is None:
            name = f"ladder-{plan.request.preset}-rates"
            sweep = run_sweep(plan.sweep, plan.base, name, workers=plan.workers, root=root, watch=watch, fresh=fresh)
            plan = plan.with_sweep(sweep)
        checked = check(study_config(plan))
        study = Study.create(checked.config, data=checked.data, command=sys.argv, root=root)
        replace_durably(study.path / LADDER, json_bytes(plan.to_dict()))
        return cls(plan, study), checked

    @classmethod
    def open(cls, path: Path) -> Self:
        """The ladder in a study's folder. Raises :class:`RunError` if there is none, or it is damaged."""
        if not (path / LADDER).is_file():
            raise RunError(f"The study {path} is not a ladder: it has no {LADDER}.")
        try:
            plan = LadderPlan.of(read_object(path / LADDER))
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path / LADDER} is damaged ({error}): start again with --fresh.") from error
        return cls(plan, Study.open(path))

    @classmethod
    def find(cls, request: LadderRequest, *, root: Path | None = None) -> Self | None:
        """The newest ladder that was begun for this very request; None if there is none."""
        for path in reversed(list_studies(root or places.studies_folder())):
            if (path / LADDER).is_file():
                try:
                    found = cls.open(path)
                except GlassformerError:  # a damaged one is none
                    continue
                if found.plan.request.to_dict() == request.to_dict():
                    return found
        return None

    # ---------------------------------------------------------------------------------------------- its runs

    def check(self) -> Checked:
        """That its runs can still be made here, on the data it began with. Raises :class:`GlassformerError`."""
        checked = check(self.study.config)
        if not all(began_with(self.study, arm, fingerprint) for arm, fingerprint in checked.data.items()):
            raise RunError(
                f"The data of the ladder {self.study.name} have changed since it began: restore them, or start again "
                "with --fresh."
            )
        return checked

    def conduct(self, checked: Checked, *, watch: Watch = unobserved, fresh: bool = False) -> str | None:
        """Make its runs that are not there yet; gives the signal that stopped it, or None.

        Args:
            watch: makes what observes the study while it runs.
            fresh: make every run, even where an equal one exists elsewhere.

        Raises:
            RunError: runs failed; the same command tries them again.
        """
        result = StudyRunner(self.plan.workers, studies=self.study.path.parent, fresh=fresh, watch=watch).run(
            self.study, checked
        )
        if result.stopped is None:
            result.check()
        return result.stopped

    # ---------------------------------------------------------------------------------------------- their results

    def losses(self, run: LadderRun, variant: str = BASE) -> Mapping[int, float | None]:
        """Final validation loss of a rung by seed, nats per token; None where it diverged. Those that ended."""
        return self._losses.get(arm_of(self.plan, run, variant), {})

    @cached_property
    def _losses(self) -> Mapping[str, Mapping[int, float | None]]:
        return self.study.losses()

    def checks(self) -> RungChecks:
        """Whether the base's rungs learned."""
        ended = {run.name: self._finite(run) for run in self.plan.runs}
        losses = {name: float(np.mean(found)) for name, found in ended.items() if found}
        return check_rungs(self.plan.runs, losses, self.plan.entropies)

    def _finite(self, run: LadderRun) -> list[float]:
        """Losses of the base's seeds that have one."""
        return [loss for loss in self.losses(run).values() if loss is not None]

    @property
    def diverged(self) -> list[str]:
        """Names of rungs of the base with a run that diverged."""
        return [run.name for run in self.plan.runs if None in self.losses(run).values()]

    def fitted(self) -> LadderFit:
        """The law through the base's rungs that pass their checks. Raises :class:`DataError` if there are too few."""
        excluded = self.checks().excluded
        runs = [run for run in self.plan.runs if run.name not in excluded]
        losses = [self._finite(run) for run in runs]
        try:
            points = rung_points(runs, losses, self.study.name)
            return fit_ladder(points, self.plan.request.formula, single=single_noise(losses))
        except DataError as error:
            raise DataError(f"{error} Excluded: {'; '.join(excluded.values())}." if excluded else str(error)) from error

    def effect(self, variant: str) -> EffectVsCompute:
        """A variant's difference to the base over compute. Raises :class:`DataError` if too few rungs have pairs."""
        excluded = self.checks().excluded
        return compare_over_compute(
            variant, [self._pairs(run, variant) for run in self.plan.runs if run.name not in excluded]
        )

    def _pairs(self, run: LadderRun, variant: str) -> PairedRung:
        base, other = self.losses(run), self.losses(run, variant)
        losses = {seed: (base[seed], other[seed]) for seed in sorted(base.keys() & other.keys())}
        return PairedRung(run.name, run.c, run.c * self._cost(run, variant), losses)

    def _cost(self, run: LadderRun, variant: str) -> float:
        """A variant's FLOPs on a rung, by the base's."""
        from glassformer.models.counting import flops_per_token

        base, other = (self.study.config.arm(arm_of(self.plan, run, each)) for each in (BASE, variant))
        tokens = [each.training.max_steps * each.training.batch_size * each.seq_len for each in (base, other)]  # type: ignore[operator]
        per_token = [flops_per_token(each.model, each.seq_len).training for each in (base, other)]
        return tokens[1] * per_token[1] / (tokens[0] * per_token[0])

    # ------------------------------------------------------------------------------------------- verification

    def verify(self, observers: Sequence[TrainingObserver] = ()) -> str | None:
        """Train the verifying run, with every core, of the base and of each variant, or resume it.

        Returns the signal that stopped it, or None when all have ended.
        """
        from glassformer.training.session import resume, start

        for arm in (BASE, *self.plan.request.vary):
            found = self._verifying(arm)
            if found is not None and _has_ended(found):
                continue
            if found is None:
                root = self.study.path / VERIFICATION
                trainer = start(self._verifying_config(arm), name=safe_name(arm), root=root, observers=observers)
            else:
                trainer, _ = resume(found, observers=observers)
            outcome = trainer.train()
            if outcome.interrupted:
                return outcome.reason
        return None

    def verified(self, fitted: LadderFit) -> list[Verified]:
        """The result of each arm whose verifying run has ended."""
        place = self.plan.verification
        found = []
        for arm in (BASE, *self.plan.request.vary):
            folder = self._verifying(arm)
            outcome = None if folder is None else read_outcome(folder, arm, 0)
            if outcome is not None:
                predicted = fitted.predict(place.n, place.d, place.c) if arm == BASE else None
                found.append(Verified(arm, outcome.loss, predicted))
        return found

    def _verifying(self, arm: str) -> RunFolder | None:
        paths = [
            path for path in list_runs(self.study.path / VERIFICATION) if path.name.startswith(f"{safe_name(arm)}-")
        ]
        return RunFolder.open(paths[0]) if paths else None

    def _verifying_config(self, arm: str) -> RunConfig:
        steps = self.plan.verification.steps
        often = {
            "training.telemetry.validate_every": max(1, -(-steps // 10)),
            "training.checkpoints.every": max(1, -(-steps // 20)),
        }
        changes = {**self.plan.verification.changes, **often, **self.plan.request.vary.get(arm, {})}
        return self.plan.base.override(changes)

    def write(self, summary: Mapping[str, Any]) -> Path:
        """Write ``learned.json``; before the verifying run begins, so that it is a prediction."""
        path = self.study.path / LEARNED
        replace_durably(path, json_bytes(summary))
        return path


def study_config(plan: LadderPlan) -> StudyConfig:
    """The study that a ladder is: an arm for each rung, and for each variant of it.

    Raises:
        ConfigError: a variant changes what a rung is made of.
    """
    paths = list(dict.fromkeys(path for run in plan.runs for path in run.changes))
    taken = [
        f"variant {name!r}: {path} cannot be varied: each rung has its own."
        for name, changes in plan.request.vary.items()
        for path in changes
        if path in paths
    ]
    if taken:
        raise ConfigError(taken, subject="ladder")
    base = plan.base.override(plan.runs[0].changes)
    variants: dict[str, dict[str, Any]] = {}
    for run in plan.runs:
        tree = plan.base.override(run.changes).to_dict()
        own = {path: _at(tree, path) for path in paths}  # all of them: the study's base is the largest rung
        if run is not plan.runs[0]:
            variants[arm_of(plan, run)] = own
        for name, changes in plan.request.vary.items():
            variants[arm_of(plan, run, name)] = own | dict(changes)
    return StudyConfig.build(
        {
            "name": f"ladder-{plan.request.preset}",
            "base": base.to_dict(),
            "variants": variants,
            "seeds": list(range(plan.request.seeds)),
        }
    )


def arm_of(plan: LadderPlan, run: LadderRun, variant: str = BASE) -> str:
    """The study's arm that a rung, or its variant, is."""
    if variant != BASE:
        return f"{run.name} {variant}"
    return BASE if run.name == plan.runs[0].name else run.name


def _has_ended(run: RunFolder) -> bool:
    return read_outcome(run, BASE, 0) is not None


def _at(tree: Mapping[str, Any], path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree
