"""A study's folder: what was asked for, its runs, how they ended. Everything that resuming needs is in it.

    studies/residual-20250131-235959/
      study.json          what was asked for (:class:`~glassformer.studies.design.StudyConfig`)
      environment.json    the circumstances
      data.json           the fingerprint of each variant's data
      parts/              copies of the user's part files
      runs/               ordinary runs, one for each variant and seed
      outcomes/           how each ended: a run without a file here is pending, or can be resumed
      claims/             locks: whoever holds one trains that run
      logs/               worker logs
      results.json        the table
      selection/          of a tuned study: the study that chooses each arm's values

There is no other state. A run counts once its outcome is here, which is written in one step, under its claim.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from glassformer import places
from glassformer.config import value_at
from glassformer.errors import RunError, nearest
from glassformer.runs.environment import describe_environment
from glassformer.runs.files import replace_durably
from glassformer.runs.folder import ENVIRONMENT, Run, check_name, json_bytes, new_folder, read_object
from glassformer.runs.locks import FileLock
from glassformer.runs.part_files import PARTS, check_part_names, keep_part_files
from glassformer.runs.seal import CONFIG
from glassformer.studies.bundles import FOLDERS, run_folders, unpack
from glassformer.studies.design import BASE, PlannedRun, StudyConfig, arm_label, plan, point_name
from glassformer.studies.lookup import STUDY, find_study, list_studies
from glassformer.studies.outcomes import RunOutcome
from glassformer.trust import trusting_parts

DATA, RESULTS = "data.json", "results.json"
ARRIVING = "arriving-"
SELECTION = "selection"


@dataclass(frozen=True)
class Study:
    """A study's folder. :meth:`create` makes a new one, :meth:`open` finds one that is there."""

    path: Path
    config: StudyConfig

    @classmethod
    def create(
        cls, config: StudyConfig, *, data: Mapping[str, str], command: Sequence[str], root: Path | None = None
    ) -> Self:
        """Make ``root/<name>-<UTC moment>``.

        Args:
            data: the fingerprint of each variant's data, and of the base's.
            command: the command line, for ``environment.json``.
            root: :func:`glassformer.places.studies_folder` unless given.

        Raises:
            RunError: the name cannot name a folder, or the folder cannot be made.
        """
        check_name(config.name, "study")
        files = [path for name in config.arms for path in config.arm(name).model.part_files]
        check_part_names(files)
        root = places.studies_folder() if root is None else root
        try:
            path = new_folder(root, config.name)
            _write(path, config, data, command, files)
        except OSError as error:
            raise RunError(
                f"A folder for the study '{config.name}' cannot be created in {root}: {error.strerror}. "
                "Choose another folder for studies, or free this one."
            ) from error
        return cls.open(path)

    @classmethod
    def open(cls, path_or_name: str | Path, *, root: Path | None = None, trust_parts: bool = False) -> Self:
        """Open a study by its path, its name, the beginning of its name if only one has it, or as ``latest``.

        Args:
            trust_parts: execute the part files in the study's folder even if nothing of them is known here.

        Raises:
            RunError: there is none, several are meant, or the folder is damaged.
            ConfigError: its ``study.json`` is no study's, or names a part file that is not trusted.
        """
        root = places.studies_folder() if root is None else root
        path = find_study(str(path_or_name), root)
        if path is None:
            known = [each.name for each in list_studies(root)]
            raise RunError(
                f"There is no study {str(path_or_name)!r}, as a path or in {root}. {nearest(str(path_or_name), known)}"
            )
        tree = _own_part_files(read_object(path / STUDY), path / PARTS)
        with trusting_parts(trust_parts):
            return cls(path, StudyConfig.build(tree, subject=f"study {path.name}"))

    @property
    def name(self) -> str:
        """The folder's name, which :meth:`open` takes."""
        return self.path.name

    @property
    def runs(self) -> Path:
        """The folder of its runs."""
        return self.path / "runs"

    @property
    def logs(self) -> Path:
        """The folder of worker logs."""
        return self.path / "logs"

    @cached_property
    def plan(self) -> list[PlannedRun]:
        """Every run, in the order in which they are made."""
        return plan(self.config)

    @cached_property
    def run_by_key(self) -> dict[str, PlannedRun]:
        """Every planned run by its name in this folder."""
        return {planned.run_key: planned for planned in self.plan}

    def data(self) -> dict[str, Any]:
        """The fingerprint of each variant's data when the study began."""
        return read_object(self.path / DATA)

    # ---------------------------------------------------------------------------------------------- selection

    @property
    def selection(self) -> Study | None:
        """The selection study of a tuned study, if it has been begun."""
        path = self.path / SELECTION
        return Study.open(path) if (path / STUDY).is_file() else None

    def begin_selection(self, config: StudyConfig, data: Mapping[str, str]) -> Study:
        """The selection study, made unless it is there. What a kill left of an earlier beginning is made anew.

        Raises:
            RunError: runs have ended in it, and its ``study.json`` is gone: nothing that was trained is removed.
        """
        path = self.path / SELECTION
        with self.lock_study(), self._usable():
            if not (path / STUDY).is_file():
                if any(path.glob("outcomes/*.json")):
                    raise RunError(
                        f"{path} has runs that have ended, and no {STUDY}: restore it, or move the folder away to "
                        "train the selection again."
                    )
                if path.exists():
                    shutil.rmtree(path)
                path.mkdir()
                files = [each for arm in config.arms for each in config.arm(arm).model.part_files]
                _write(path, config, data, ["glassformer", "study", self.name], files)
        return Study.open(path)

    def label(self, arm: str) -> str:
        """What tables call an arm. The base of a selection is the baseline at the smallest values, which are added."""
        if arm != BASE or self.path.name != SELECTION:
            return arm_label(arm)
        points = (changes for name, changes in self.config.variants.items() if name.startswith(arm_label(BASE)))
        tuned = [setting for setting in next(points, {}) if setting != "training.max_steps"]
        return point_name(BASE, {setting: value_at(self.config.base, setting) for setting in tuned})

    # ------------------------------------------------------------------------------------------------ one run

    def run_of(self, planned: PlannedRun) -> Run | None:
        """The run's folder, if it has been begun."""
        found = [path for path in run_folders(self.runs, planned.run_key) if (path / CONFIG).is_file()]
        if len(found) > 1:  # a run is begun under its claim, once
            raise RunError(f"{self.path} has {len(found)} folders of the run {planned.run_key}; move all but one away.")
        return Run.open(found[0]) if found else None

    def outcome(self, planned: PlannedRun) -> RunOutcome | None:
        """How the run ended; None if it has not."""
        path = self._outcome_path(planned)
        if not path.exists():
            return None
        outcome = RunOutcome.from_dict(read_object(path), self.path, file=path)
        if (outcome.variant, outcome.seed) != (planned.variant, planned.seed):
            raise RunError(f"{path} is damaged (it is of another run): restore it, or delete it to retrain the run.")
        return outcome

    def record(self, planned: PlannedRun, outcome: RunOutcome) -> None:
        """Keep how the run ended. The caller holds its claim."""
        assert (outcome.variant, outcome.seed) == (planned.variant, planned.seed), outcome
        replace_durably(self._outcome_path(planned), json_bytes(outcome.to_dict(self.path)))

    def _outcome_path(self, planned: PlannedRun) -> Path:
        return self.path / "outcomes" / f"{planned.run_key}.json"

    @contextlib.contextmanager
    def lock_run(self, planned: PlannedRun) -> Iterator[None]:
        """Hold the right to make this run; waits while another process has it. It ends with its holder."""
        lock = FileLock(self.path / "claims" / f"{planned.run_key}.lock")
        with self._usable():
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def clear_half_begun(self, planned: PlannedRun) -> None:
        """Remove what a kill left while the run's folder was being made. The caller holds its claim."""
        for path in run_folders(self.runs, planned.run_key):
            if not (path / CONFIG).is_file():
                with self._usable():
                    shutil.rmtree(path)

    def adopt(self, planned: PlannedRun, bundle: bytes) -> None:
        """Take in what another machine has made of a run in a folder of its own, unless the run has ended already.

        Raises:
            RunError: its outcome is damaged.
        """
        with self.lock_run(planned), tempfile.TemporaryDirectory(dir=self.path, prefix=ARRIVING) as arriving:
            if self.outcome(planned) is not None:
                return
            there = Path(arriving)
            (there / "runs").mkdir()
            unpack(bundle, there)
            made = run_folders(there / "runs", planned.run_key)
            if made:
                (there / "replaced").mkdir()
                for begun in run_folders(self.runs, planned.run_key):
                    begun.rename(there / "replaced" / begun.name)  # in one step: a kill leaves it whole or not at all
            for path in made:
                path.rename(self.runs / path.name)
            outcome = there / "outcomes" / f"{planned.run_key}.json"
            if outcome.exists():
                self.record(planned, RunOutcome.from_dict(read_object(outcome), self.path, file=outcome))

    # -------------------------------------------------------------------------------------------- all runs

    @contextlib.contextmanager
    def lock_study(self) -> Iterator[None]:
        """Hold the study while its queue is worked off. Raises :class:`RunError` if another process does."""
        lock = FileLock(self.path / ".lock")
        with self._usable():
            taken = lock.acquire(wait=False)
        if not taken:
            raise RunError(f"The study {self.name} is being run already, by {lock.holder()}. Wait until it ends.")
        try:
            with self._usable():
                for inner in FOLDERS:  # what copies a folder may leave out the empty ones
                    (self.path / inner).mkdir(exist_ok=True)
                for left in self.path.glob(f"{ARRIVING}*"):  # by a scheduler that was killed
                    shutil.rmtree(left)
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Report what the file system refuses, such as a file in the place of a folder, as a damaged study."""
        try:
            yield
        except OSError as error:
            raise RunError(f"The study {self.path} cannot be used: {error.filename}: {error.strerror}.") from error

    def outcomes(self) -> list[RunOutcome]:
        """How every run that has ended did, in the order of the plan."""
        return [outcome for planned in self.plan if (outcome := self.outcome(planned)) is not None]

    def pending(self) -> list[PlannedRun]:
        """The runs without an outcome, in the order of the plan."""
        return [planned for planned in self.plan if not self._outcome_path(planned).exists()]

    def clear_failures(self) -> None:
        """Let every run that failed be tried again. Raises :class:`RunError` if another process runs this study."""
        with self.lock_study():
            for planned in self.plan:
                outcome = self.outcome(planned)
                if outcome is not None and outcome.status == "failed":
                    self._outcome_path(planned).unlink()

    def extended(self, seeds: Sequence[int], settled: Collection[str] = ()) -> Self:
        """This study with more seeds, from here on.

        Args:
            settled: variants that are not trained with them, nor with any later ones.

        Raises:
            ConfigError: seeds that it has already, or too many.
            RunError: another process runs this study.
        """
        config = self.config
        dropped = dict.fromkeys(settled, len(config.seeds)) | config.settled
        return self.changed({"seeds": [*config.seeds, *seeds], "settled": dropped})

    def changed(self, fields: Mapping[str, Any], data: Mapping[str, str] | None = None) -> Self:
        """This study with other values of fields of its configuration, from here on.

        Args:
            data: the fingerprints of the data of arms that it had not.

        Raises:
            ConfigError: no study can be so.
            RunError: another process runs this study.
        """
        with self.lock_study():
            tree = self.config.to_dict() | dict(fields)
            StudyConfig.build(tree)
            if data:  # first: every arm of study.json is in data.json, whenever this is killed
                replace_durably(self.path / DATA, json_bytes(self.data() | dict(data)))
            replace_durably(self.path / STUDY, json_bytes(tree))
        return self.open(self.path)

    def losses(self) -> dict[str, dict[int, float | None]]:
        """Final validation loss by variant (the base first) and seed; None where the run diverged.

        Failed runs are left out: an error is no evidence about the variant.
        """
        table: dict[str, dict[int, float | None]] = {name: {} for name in self.config.arms}
        for outcome in self.outcomes():
            if outcome.status != "failed":
                table[outcome.variant][outcome.seed] = outcome.loss
        return table

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Keep the table in ``results.json``."""
        replace_durably(self.path / RESULTS, json_bytes(results))


def _write(
    path: Path, config: StudyConfig, data: Mapping[str, str], command: Sequence[str], part_files: Sequence[str]
) -> None:
    """Make what a study's folder has in the beginning."""
    for inner in FOLDERS:
        (path / inner).mkdir()
    keep_part_files(dict.fromkeys(part_files), path)
    replace_durably(path / ENVIRONMENT, json_bytes(describe_environment(command)))
    replace_durably(path / DATA, json_bytes(data))
    replace_durably(path / STUDY, json_bytes(config.to_dict()))  # last: a folder with it is a whole study


# ------------------------------------------------------------------------------------------------- part files


def _own_part_files(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration with its part files found in the study's folder."""
    if not folder.is_dir():
        return tree
    own = {path.name: str(path) for path in folder.iterdir()}

    def moved(paths: Any) -> list[str]:
        listed = paths.split(",") if isinstance(paths, str) else paths
        return [own.get(Path(path).name, path) for path in listed]

    with contextlib.suppress(KeyError, TypeError, AttributeError):  # StudyConfig reports what is not a study
        model = tree["base"]["model"]
        variants = {
            name: {key: moved(value) if key == "model.part_files" else value for key, value in changes.items()}
            for name, changes in tree["variants"].items()
        }
        base = tree["base"] | {"model": model | {"part_files": moved(model.get("part_files", []))}}
        return tree | {"base": base, "variants": variants}
    return tree
