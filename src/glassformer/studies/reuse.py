"""Runs that need not be made again: those of equal configuration, data and seed that have ended here before.

Equal is what the numbers depend on: the model, the data's fingerprint, the training with its seed, part files by their
content, how often and on how many tokens was validated; the code that computes (``runs/source.py``); and the
circumstances that change the last bits or the clock: the processor, torch, its threads. What is only written down more
or less often (the log, the gradients, the checkpoints) may differ. A run that a time budget ended is never reused.

The folders that are looked through may be anybody's, so they are read as data alone: no configuration is built from
them, no model made, no part file executed. One that is damaged is passed over, and reported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import glassformer
from glassformer import machine
from glassformer.errors import GlassformerError
from glassformer.runs.folder import Run, list_runs, read_object
from glassformer.runs.part_files import PARTS, part_digests
from glassformer.runs.seal import CONFIG
from glassformer.runs.source import source_digest
from glassformer.studies.design import run_key_of
from glassformer.studies.folder import SELECTION, Study
from glassformer.studies.lookup import list_studies
from glassformer.studies.outcomes import RunOutcome, read_outcome

UNIMPORTANT = ("log_every", "gradients_every", "noise_scale_every", "extrapolate", "tensorboard")
"""Settings of the telemetry that change no number of the outcome."""


def reuse(
    study: Study,
    *,
    runs: Path,
    studies: Path,
    threads: int | None,
    report: Callable[[str], None] | None = None,
) -> list[RunOutcome]:
    """Record the outcome of every waiting run that has been made before; returns these outcomes.

    Args:
        runs, studies: folders to look in.
        threads: that the study's workers have.
        report: gets a sentence for each folder that was passed over because it is damaged.
    """
    data = study.data()
    here = _circumstances(threads)
    wanted = {
        fingerprint(planned.config.to_dict(), _own_parts(planned.config.model.part_files), data[planned.variant], here):
            planned
        for planned in study.pending()
        if study.run_of(planned) is None
        and planned.config.training.max_seconds is None
    }  # fmt: skip
    found = []
    for path in _candidates(study, runs, studies) if wanted else ():
        try:
            run = Run(path, read_object(path / CONFIG))
            mark = _fingerprint_of(run)
            if mark not in wanted:
                continue
            planned = wanted[mark]
            run.check_seal()
            outcome = read_outcome(run, planned.variant, planned.seed, reused=True)
        except (GlassformerError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            if report is not None:
                reason = str(error) if isinstance(error, GlassformerError) else "its files are not those of a run."
                report(f"{path} is skipped: {reason}")
            continue
        if outcome is not None and outcome.status == "finished":
            with study.lock_run(planned):
                study.record(planned, outcome)
            del wanted[mark]
            found.append(outcome)
    order = list(study.run_by_key)
    return sorted(found, key=lambda outcome: order.index(run_key_of(outcome.variant, outcome.seed)))


def fingerprint(config: Mapping[str, Any], parts: list[str], data: str, circumstances: list[Any]) -> str:
    """Equal for runs whose numbers are equal.

    Args:
        config: a run's configuration, as its ``config.json`` holds it.
        parts: the SHA-256 of each of its part files.
    """
    training = {name: value for name, value in config["training"].items() if name != "checkpoints"}
    training["telemetry"] = {name: value for name, value in training["telemetry"].items() if name not in UNIMPORTANT}
    tree = {**config, "data": data, "training": training, "model": {**config["model"], "part_files": parts}}
    return hashlib.sha256(json.dumps([tree, circumstances], sort_keys=True).encode()).hexdigest()


def _candidates(study: Study, runs: Path, studies: Path) -> Iterable[Path]:
    """The folders of all other runs, the newest first in each place."""
    yield from reversed(list_runs(runs))
    for other in list_studies(studies):
        if other.resolve() != study.path.resolve():
            yield from reversed(list_runs(other / "runs"))
        if (selection := other / SELECTION).resolve() != study.path.resolve():
            yield from reversed(list_runs(selection / "runs"))


def _fingerprint_of(run: Run) -> str | None:
    """A run's fingerprint; None if it has not come so far that it has one."""
    about = {event["event"]: event for event in run.events() if isinstance(event["event"], str)}
    if not about.keys() >= {"data", "start"}:
        return None
    here = run.environment()
    if here.get("source") is None:  # it was made before this was recorded, by other code
        return None
    circumstances = [
        here["glassformer"],
        here["source"],
        *(here["machine"][name] for name in ("cpu", "torch", "torch_build")),
        [gpu["name"] for gpu in here["machine"]["gpus"]],
        about["start"]["acceleration"]["threads"],
    ]
    parts = [run.path / PARTS / Path(path).name for path in run.config["model"]["part_files"]]
    return fingerprint(run.config, part_digests(parts), about["data"]["fingerprint"], circumstances)


def _own_parts(files: Iterable[str]) -> list[str]:
    return part_digests(map(Path, files))


def _circumstances(threads: int | None) -> list[Any]:
    here = machine.describe()
    gpus = [gpu.name for gpu in here.gpus]
    code = [glassformer.__version__, source_digest()]
    return [*code, here.cpu, here.torch, here.torch_build, gpus, threads or here.threads]
