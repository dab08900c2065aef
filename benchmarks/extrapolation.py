"""Forecasts of the final loss against the truth, on finished runs.

    python benchmarks/extrapolation.py FOLDER [FOLDER ...] [--half tuning|held-out|all] [--groups]

Every finished run below the folders (any depth) is cut at 30, 50 and 70 % of its steps: what had been recorded by then
is heard, and the last forecast is compared with the validation loss at the end. Printed are the share of 95 % intervals
that hold the truth, the median error beside that of taking the current loss for the final one, the median width, and
the time of a forecast. Runs that differ by their seed only form a group; groups, not runs, are dealt into two halves by
a hash of their names: the constants of ``learning_curve.py`` were chosen on the first, the second is for reporting.
Runs with equal records are counted once.

The exit status is 1 if the share over all cuts is below 90 %.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glassformer.errors import GlassformerError
from glassformer.runs.folder import Run
from glassformer.tasks.opening import run_config
from glassformer.tasks.run_config import RunConfig
from glassformer.training.extrapolation import Extrapolation, Forecast
from glassformer.training.learning_curve import LearningRateCurve
from glassformer.training.schedules import rates

CUTS = (0.3, 0.5, 0.7)
PROMISED = 0.9


@dataclass(frozen=True)
class Finished:
    """A finished run: its group, its schedule, its records, its final validation loss."""

    group: str
    rates: LearningRateCurve
    records: list[dict[str, Any]]
    final: float

    @property
    def held_out(self) -> bool:
        """Which half the group is dealt into."""
        return hashlib.md5(self.group.encode(), usedforsecurity=False).digest()[-1] % 2 == 1


@dataclass(frozen=True)
class Tried:
    """One forecast beside the truth; ``now`` is the last validation loss it knew."""

    group: str
    cut: float
    forecast: Forecast
    now: float
    final: float

    @property
    def holds(self) -> bool:
        """Whether the truth lies in the interval."""
        return self.forecast.low <= self.final <= self.forecast.high


def main() -> None:
    """Read the runs, forecast, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--half", choices=("tuning", "held-out", "all"), default="all")
    parser.add_argument("--groups", action="store_true", help="a line for each group")
    arguments = parser.parse_args()
    runs = finished(arguments.folders)
    if arguments.half != "all":
        runs = [run for run in runs if run.held_out == (arguments.half == "held-out")]
    began, tried, silent = time.perf_counter(), [], 0
    for run in runs:
        for cut in CUTS:
            found = forecast(run, cut)
            tried += [found] if found else []
            silent += found is None
    seconds = time.perf_counter() - began
    print(f"{len(runs)} runs of {len({run.group for run in runs})} groups, half: {arguments.half}")
    for cut in CUTS:
        report(f"cut at {cut:.0%}", [each for each in tried if each.cut == cut])
    report("all", tried)
    print(
        f"no forecast: {silent}; {1e3 * seconds / max(1, len(runs) * len(CUTS)):.0f} ms for all forecasts up to a cut"
    )
    if arguments.groups:
        by_group = defaultdict(list)
        for each in tried:
            by_group[each.group].append(each)
        for group, of_group in sorted(by_group.items()):
            report(group, of_group)
    if not tried or np.mean([each.holds for each in tried]) < PROMISED:
        sys.exit(f"Fewer than {PROMISED:.0%} of the intervals hold the final loss.")


def finished(folders: list[Path]) -> list[Finished]:
    """The runs that came to their end, each once."""
    found: dict[str, Finished] = {}
    for path in sorted(path.parent for folder in folders for path in folder.rglob("metrics.jsonl")):
        try:
            run = Run.open(str(path))
            config: RunConfig = run_config(run)
            events = {event["event"]: event for event in run.events()}
        except GlassformerError as error:
            print(f"left out {path}: {error}", file=sys.stderr)
            continue
        total = events.get("start", {}).get("total_steps")
        records = [record for record in run.metrics() if record.get("kind") in ("train", "validation")]
        validations = [record for record in records if record["kind"] == "validation"]
        ended = events.get("end", {}).get("reason") == "finished"
        if not ended or total is None or not validations or config.training.max_seconds is not None:
            continue
        schedule = rates(config.training.schedule, total, config.model.d_model)
        losses = json.dumps([(record["step"], record["loss"]) for record in records])
        found.setdefault(losses, Finished(group_of(path), schedule, records, validations[-1]["loss"]))
    return list(found.values())


def group_of(path: Path) -> str:
    """A run's study and name without seed and date."""
    bare = [re.sub(r"-\d{8}-\d{6}$", "", part) for part in path.parts]
    name = re.sub(r"[.-]?(seed|s)?-?\d+$", "", bare[-1])
    return f"{bare[-3]}/{name}" if bare[-2] == "runs" else name


def forecast(run: Finished, cut: float) -> Tried | None:
    """The last forecast that the records up to a share of the steps give."""
    extrapolation = Extrapolation(run.rates)
    last, now = None, float("nan")
    for record in run.records:
        if record["step"] > cut * run.rates.last_step:
            break
        last = extrapolation.hear(record) or last
        now = record["loss"] if record["kind"] == "validation" else now
    return Tried(run.group, cut, last, now, run.final) if last else None


def report(name: str, tried: list[Tried]) -> None:
    """One line."""
    if not tried:
        print(f"{name:50} no forecast")
        return
    error = np.median([abs(each.forecast.loss - each.final) for each in tried])
    naive = np.median([abs(each.now - each.final) for each in tried])
    width = np.median([each.forecast.high - each.forecast.low for each in tried])
    print(
        f"{name:50} n {len(tried):4}  held {np.mean([each.holds for each in tried]):6.1%}  median error {error:.4f} "
        f"(current loss {naive:.4f})  width {width:.4f}  widened {np.median([t.forecast.widened for t in tried]):.2f}"
    )


if __name__ == "__main__":
    main()
