"""Running a study: retry its failed runs, reuse equal ones, train the rest, and say how it ended.

    result = StudyRunner(workers=2).run(study, check(study.config))
    result.stopped    # the signal that stopped it, or None
    result.failed     # outcomes of the runs that an error ended

A tuned study's selection is run first, as a study of its own (``studies/selection.py``).

``glassformer study``, ``claims`` and ``scale ladder`` run their studies here. All state is in the study's folder, so
the same call resumes a study that was stopped or killed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from glassformer import places
from glassformer.errors import RunError
from glassformer.runs.environment import other_source
from glassformer.runs.folder import ENVIRONMENT
from glassformer.studies.adding_seeds import until_decided
from glassformer.studies.checking import Checked, worker_count
from glassformer.studies.folder import SELECTION, Study
from glassformer.studies.local_processes import LocalProcesses
from glassformer.studies.outcomes import RunOutcome
from glassformer.studies.ray_cluster import RayCluster
from glassformer.studies.ray_connection import worker_limit
from glassformer.studies.reuse import reuse
from glassformer.studies.scheduler import Executor, Observer, Scheduler
from glassformer.studies.selection import select
from glassformer.wording import counted

Watch = Callable[[Study], AbstractContextManager[Observer | None]]
"""Makes what observes a study while its runs are trained."""


def unobserved(_study: Study) -> AbstractContextManager[None]:
    """No observer."""
    return nullcontext()


class StoppedError(RunError):
    """A signal stopped a study, which is saved. ``signal`` is its name."""

    def __init__(self, signal: str, study: Study) -> None:
        self.signal = signal
        super().__init__(
            f"{signal} stopped the study {study.path}, which is saved: {runs_left(study)} are left. Run the same "
            "command to resume it."
        )


@dataclass(frozen=True)
class StudyResult:
    """How a call of :meth:`StudyRunner.run` ended.

    Attributes:
        study: with the seeds that were added.
        stopped: the signal that stopped it; None when every run has ended.
        reused: outcomes taken from equal runs elsewhere.
    """

    study: Study
    stopped: str | None
    reused: tuple[RunOutcome, ...]

    @property
    def failed(self) -> list[RunOutcome]:
        """Outcomes of the runs that an error ended."""
        return [outcome for outcome in in_progress(self.study).outcomes() if outcome.status == "failed"]

    def check(self, retry: str = "the same command") -> Study:
        """The study, if it is complete. A failed run is no evidence about its variant, and is never dropped silently.

        Args:
            retry: the command that retries failed runs.

        Raises:
            StoppedError: a signal stopped it.
            RunError: runs failed.
        """
        if self.stopped is not None:
            raise StoppedError(self.stopped, self.study)
        if self.failed:
            current = in_progress(self.study)
            reasons = "\n".join(
                f"  - {current.label(each.variant)}, seed {each.seed}: {each.reason}" for each in self.failed
            )
            of = "the selection of " if current is not self.study else ""
            raise RunError(
                f"{len(self.failed)} of {len(current.plan)} runs of {of}the study {self.study.name} failed and are in "
                f"no comparison:\n{reasons}\nRun {retry} to retry them. Worker logs: {current.logs}"
            )
        return self.study


@dataclass(frozen=True)
class StudyRunner:
    """Trains the runs of a study that have not ended.

    Attributes:
        workers: runs at a time; as many as fit unless given.
        on: ``ray`` or ``ray://HOST:PORT``, inside :func:`~glassformer.studies.ray_connection.connected`; None:
            processes on this machine.
        runs, studies: folders that are searched for equal runs; :mod:`glassformer.places` unless given.
        fresh: reuse nothing.
        watch: makes what observes the study while it runs.
        report: gets a line on what is reused, what will be trained, and where.
        make_executor: from the study and what is known of it; unless given, as ``workers`` and ``on`` say.
    """

    workers: int | None = None
    on: str | None = None
    runs: Path | None = None
    studies: Path | None = None
    fresh: bool = False
    watch: Watch = unobserved
    report: Callable[[str], None] = lambda _note: None
    make_executor: Callable[[Study, Checked], Executor] | None = None

    def run(self, study: Study, checked: Checked) -> StudyResult:
        """Train every run that has not ended well; where seeds are added until a decision, those of the added ones.

        Of a tuned study, the selection first; if a run of it fails or a signal stops it, there is no comparison yet.

        Raises:
            ConfigError: more ``workers`` than fit.
            RunError: another process runs this study, or no worker can be started.
        """
        study.clear_failures()
        if note := other_source(study.path / ENVIRONMENT, "study"):
            self.report(note)
        reused: list[RunOutcome] = []
        train = partial(self._train, checked, reused)
        if study.config.tuning is not None:
            study, stopped = select(study, train)
            if not study.config.chosen:
                return StudyResult(study, stopped, tuple(reused))
        if study.config.until_decided is None:
            stopped = train(study)
        else:
            study, stopped = until_decided(study, train)
        return StudyResult(study, stopped, tuple(reused))

    def _train(self, checked: Checked, reused: list[RunOutcome], study: Study) -> str | None:
        """Train what is pending and cannot be reused; gives the signal that stopped it, or None."""
        if not self.fresh:
            runs, studies = self.runs or places.runs_folder(), self.studies or places.studies_folder()
            found = reuse(study, runs=runs, studies=studies, threads=checked.threads, report=self.report)
            for outcome in found:
                self.report(f"  {study.label(outcome.variant)}, seed {outcome.seed}: reuses {outcome.run}")
            reused += found
        pending = len(study.pending())
        if not pending:
            return None
        executor = (self.make_executor or self._executor)(study, checked)
        threads = "" if checked.threads is None else f", {counted(checked.threads, 'thread')} each"
        where = "" if self.on is None else f" on the Ray cluster ({self.on})"
        what = "selection runs" if study.path.name == SELECTION else "runs"
        self.report(f"{pending} of {len(study.plan)} {what} to train, {executor.count} at a time{threads}{where}")
        with self.watch(study) as observer:
            return Scheduler(study, executor, [] if observer is None else [observer]).run()

    def _executor(self, study: Study, checked: Checked) -> Executor:
        count = count_workers(checked, self.workers, self.on, n_runs=len(study.pending()))
        if self.on is None:
            return LocalProcesses(study, count, threads=checked.threads, spread=checked.device == "cuda")
        gpu = checked.device.startswith("cuda")
        return RayCluster(study, count, checked.threads, gpu, checked.run_bytes, self.report)


def in_progress(study: Study) -> Study:
    """The study whose runs are being made: the selection of a tuned one until its values are chosen, or itself."""
    if study.config.tuning is None or study.config.chosen:
        return study
    return study.selection or study


def runs_left(study: Study) -> str:
    """How many runs of the study, or of its selection, have not ended, in words."""
    current = in_progress(study)
    of = " of the selection" if current is not study else ""
    return f"{len(current.pending())} of {counted(len(current.plan), 'run')}{of}"


def count_workers(checked: Checked, workers: int | None, on: str | None, *, n_runs: int) -> int:
    """Runs at a time, here or on the Ray cluster. Raises :class:`ConfigError` when more are asked for than fit."""
    if on is None:
        return worker_count(workers, n_runs=n_runs, device=checked.device, run_bytes=checked.run_bytes)
    gpu = checked.device.startswith("cuda")
    return worker_limit(workers, n_runs=n_runs, gpu=gpu, run_bytes=checked.run_bytes)
