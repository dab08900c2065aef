"""Runs that need not be made again: those of equal configuration, data and seed that have ended here before.

Equal is what the numbers depend on: the model, the data's fingerprint, the training with its seed, part files by their
content, how often and on how many tokens was validated; and the circumstances that change the last bits or the clock:
the processor, torch, its threads, this package's version. What is only written down more or less often (the log, the
gradients, the checkpoints) may differ. A run that a time budget ended is never reused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import glassformer
from glassformer import machine
from glassformer.errors import GlassformerError
from glassformer.runs.folder import Run, list_runs
from glassformer.studies.design import BASE, slot_of
from glassformer.studies.folder import Study, list_studies
from glassformer.studies.outcomes import Outcome, read_outcome
from glassformer.training.config import RunConfig
from glassformer.training.session import run_config

UNIMPORTANT = ("log_every", "gradients_every", "noise_scale_every", "extrapolate", "tensorboard")
"""Settings of the telemetry that change no number of the outcome."""


def reuse(study: Study, *, runs: Path, studies: Path, threads: int | None) -> list[Outcome]:
    """Record the outcome of every waiting run that has been made before; returns these outcomes.

    Args:
        runs, studies: folders to look in.
        threads: that the study's workers have.
    """
    data = study.data()
    wanted = {
        mark: planned
        for planned in study.waiting()
        if study.run_of(planned) is None
        and planned.config.training.max_seconds is None
        and (study.config.matched != "seconds" or planned.variant == BASE)
        and (mark := fingerprint(planned.config, data[planned.variant], _circumstances(threads)))
    }
    found = []
    for path in _candidates(study, runs, studies) if wanted else ():
        mark, run = _opened(path)
        if run is None or mark not in wanted:
            continue
        planned = wanted[mark]
        outcome = read_outcome(run, planned.variant, planned.seed, reused=True)
        if outcome is not None and outcome.status == "finished":
            with study.claim(planned):
                study.record(planned, outcome)
            del wanted[mark]
            found.append(outcome)
    order = list(study.by_slot)
    return sorted(found, key=lambda outcome: order.index(slot_of(outcome.variant, outcome.seed)))


def fingerprint(config: RunConfig, data: str, circumstances: list[Any]) -> str:
    """Equal for runs whose numbers are equal."""
    tree = config.to_dict()
    tree["data"] = data
    tree["training"].pop("checkpoints")
    tree["training"]["telemetry"] = {
        name: value for name, value in tree["training"]["telemetry"].items() if name not in UNIMPORTANT
    }
    files = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in config.model.part_files]
    tree["model"]["part_files"] = files
    return hashlib.sha256(json.dumps([tree, circumstances], sort_keys=True).encode()).hexdigest()


def _candidates(study: Study, runs: Path, studies: Path) -> Iterable[Path]:
    """The folders of all other runs, the newest first in each place."""
    yield from reversed(list_runs(runs))
    for other in list_studies(studies):
        if other.resolve() != study.path.resolve():
            yield from reversed(list_runs(other / "runs"))


def _opened(path: Path) -> tuple[str, Run | None]:
    """A run and its fingerprint; none for one that cannot be read, which is not this study's business."""
    try:
        run = Run.open(path.absolute())
        about = {event["event"]: event for event in run.events()}
        here = run.environment()
        circumstances = [
            here["glassformer"],
            *(here["machine"][name] for name in ("cpu", "torch", "torch_build")),
            [gpu["name"] for gpu in here["machine"]["gpus"]],
            about["start"]["acceleration"]["threads"],
        ]
        return fingerprint(run_config(run), about["data"]["fingerprint"], circumstances), run
    except (GlassformerError, OSError, KeyError, TypeError):
        return "", None


def _circumstances(threads: int | None) -> list[Any]:
    here = machine.describe()
    gpus = [gpu.name for gpu in here.gpus]
    return [glassformer.__version__, here.cpu, here.torch, here.torch_build, gpus, threads or here.threads]
