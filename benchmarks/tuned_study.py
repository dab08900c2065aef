"""A planted study: a variant that is worse at the baseline's learning rate, and exactly equal at its own best.

    python benchmarks/tuned_study.py [--studies 200] [--seeds 5] [--selection-seeds 3] [--until-decided]
    python benchmarks/tuned_study.py --real [--data tinyshakespeare] [--steps 2000]

Each planted study is a real one, in a folder of its own: the runner plans it, chooses the rates, extends grids, adds
seeds and summarises. Only no run is trained: an executor writes outcomes with planted losses,

    floor + 0.3 · (log₁₀ rate − log₁₀ best)²  +  effect of the seed  +  noise of the run

    baseline          floor 1.700, best at 1e-3
    equal             floor 1.700, best at 3e-4: worse by 0.082 at the baseline's rate, equal at its own
    worse             floor 1.730, best at 1e-3: worse by 0.030 wherever it is

and it is counted how often the study says "raises the loss" of each variant: untuned, at the baseline's rate, and
tuned. The exit status is 1 if the tuned studies call ``equal`` different more often than in 5 % of studies, by more
than three standard errors.

``--real`` trains: post-norm against pre-norm at 8 layers, untuned at the preset's rate, and tuned.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass
from math import log10, sqrt
from pathlib import Path
from typing import Any

import glassformer as gf
from glassformer.statistics.comparison import Difference
from glassformer.studies.checking import Checked, check
from glassformer.studies.design import PlannedRun, StudyConfig
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome
from glassformer.studies.runner import StudyRunner
from glassformer.studies.scheduler import WorkerMessage
from glassformer.studies.summary import Summary, summarise

RATE = 1e-3
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
CURVATURE = 0.3
SEED_NOISE = 0.03
RUN_NOISE = 0.01
SMALL = {
    "model.d_model": 16,
    "model.n_layers": 1,
    "model.attention.n_heads": 2,
    "model.max_seq_len": 24,
    "model.dropout": 0.0,
    "training.batch_size": 2,
    "training.max_steps": 4,
    "training.compile": "off",
    "training.optimizer.learning_rate": RATE,
}


@dataclass(frozen=True)
class Arm:
    """A planted curve, and the setting by which a run of it is recognised."""

    floor: float
    best: float
    dropout: float

    def loss(self, rate: float) -> float:
        """The mean loss at a rate, nats per token."""
        return self.floor + CURVATURE * (log10(rate) - log10(self.best)) ** 2


ARMS = {"base": Arm(1.70, RATE, 0.0), "equal": Arm(1.70, 3e-4, 0.1), "worse": Arm(1.73, RATE, 0.2)}
VARIANTS = {name: {"model.dropout": arm.dropout} for name, arm in ARMS.items() if name != "base"}


class Planted:
    """An executor that trains nothing: it writes an outcome with a planted loss for every run."""

    count = 1

    def __init__(self, study: Study, number: int) -> None:
        self.study, self.number = study, number
        self.queue: deque[str] = deque()

    def submit(self, run: str) -> None:
        self.queue.append(run)

    def next(self, timeout: float) -> WorkerMessage | None:
        run = self.queue.popleft()
        planned = self.study.run_by_key[run]
        outcome = RunOutcome(planned.variant, planned.seed, None, "finished", loss=self.loss(planned), steps=4)
        with self.study.lock_run(planned):
            self.study.record(planned, outcome)
        return WorkerMessage(run, "done")

    def stop(self) -> None:
        self.queue.clear()

    def loss(self, planned: PlannedRun) -> float:
        """Runs of one seed of one study share an effect; the noise is each run's own."""
        rate = planned.config.training.optimizer.learning_rate
        arm = next(name for name, arm in ARMS.items() if arm.dropout == planned.config.model.dropout)
        of_seed = random.Random(f"{self.number} {planned.seed}").gauss(0, SEED_NOISE)
        of_run = random.Random(f"{self.number} {planned.seed} {arm} {rate}").gauss(0, RUN_NOISE)
        return ARMS[arm].loss(rate) + of_seed + of_run


def main() -> None:
    """Run the planted studies, or the real one, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5, help="of the comparison")
    parser.add_argument("--selection-seeds", type=int, default=3)
    parser.add_argument("--until-decided", action="store_true", help="add seeds one at a time, at most 10")
    parser.add_argument("--real", action="store_true", help="train post-norm against pre-norm instead")
    parser.add_argument("--data", default="tinyshakespeare", help="of --real; python-stdlib needs no download")
    parser.add_argument("--steps", type=int, default=2000, help="of --real")
    parser.add_argument("--layers", type=int, default=8, help="of --real")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3], help="of --real")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of --real: the baseline's")
    parser.add_argument("--keep", type=Path, help="folder for the studies of --real; none are kept unless given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.real:
            real(arguments, arguments.keep or Path(folder))
        else:
            planted(arguments, Path(folder))


# --------------------------------------------------------------------------------------------------------- planted


def planted(arguments: argparse.Namespace, root: Path) -> None:
    """Many studies of planted losses, each untuned and tuned."""
    options: dict[str, Any] = {"seeds": arguments.seeds, "vary": VARIANTS, "data": "copy", "set": SMALL}
    if arguments.until_decided:
        options |= {"until_decided": True, "budget_seeds": 10, "seeds": 3}
    designs = {
        "untuned": gf.study("gpt-nano", name="untuned", **options),
        "tuned": gf.study(
            "gpt-nano", name="tuned", learning_rates=RATES, selection_seeds=arguments.selection_seeds, **options
        ),
    }
    checked = {kind: check(design) for kind, design in designs.items()}
    found: Counter[tuple[str, str, str]] = Counter()
    start = time.perf_counter()
    for number in range(arguments.studies):
        for kind in designs:
            summary = summarise(carried_out(checked[kind], number, root))
            for row in summary.comparison.rows:
                found[kind, row.variant, verdict(summary, row)] += 1
                if number == 0:
                    print(f"{kind}, the first study: {summary.sentence(row)}")
            if kind == "tuned":
                note_choices(summary, found)
    seconds = time.perf_counter() - start
    show(found, arguments, seconds)


def carried_out(checked: Checked, number: int, root: Path) -> Study:
    """A study as the runner leaves it."""
    study = Study.create(checked.config, data=checked.data, command=["tuned_study.py"], root=root)
    runner = StudyRunner(fresh=True, make_executor=lambda study, _checked: Planted(study, number))
    return runner.run(study, checked).check()


def verdict(summary: Summary, row: Difference) -> str:
    """What the study says of a variant."""
    result = summary.sequential_result(row.variant)
    different = row.significant if result is None else result.decision.verdict == "different"
    mean = row.mean if result is None else result.decision.mean
    assert mean is not None
    return ("raises" if mean > 0 else "lowers") if different else "neither"


def note_choices(summary: Summary, found: Counter[tuple[str, str, str]]) -> None:
    """Whether each arm got its best rate, and whether the controls' intervals hold the planted cost."""
    assert summary.selection is not None
    for arm, point in summary.selection.best.items():
        (rate,) = point.values.values()
        found["tuned", arm, "best rate"] += rate == ARMS[arm].best
    control = summary.control("equal")
    if control is not None and control.interval is not None:
        base = summary.selection.best["base"].values["training.optimizer.learning_rate"]
        cost = ARMS["equal"].loss(base) - ARMS["base"].loss(base)
        found["tuned", "equal", "controls"] += 1
        found["tuned", "equal", "controls that hold"] += control.interval[0] <= cost <= control.interval[1]


def show(found: Counter[tuple[str, str, str]], arguments: argparse.Namespace, seconds: float) -> None:
    """The table; exits with 1 where the promise is broken."""
    n = arguments.studies
    how = "3 to 10 seeds, until decided" if arguments.until_decided else f"{arguments.seeds} seeds"
    print(f"\n{n} studies, {how}, {arguments.selection_seeds} selection seeds, {seconds:.0f} s")
    print("             variant     raises the loss   lowers the loss   neither")
    for kind in ("untuned", "tuned"):
        for variant in VARIANTS:
            cells = "".join(f"{share(found[kind, variant, said], n):>18}" for said in ("raises", "lowers", "neither"))
            print(f"   {kind:<10}{variant:<10}{cells}")
    rates = ", ".join(f"{arm} {share(found['tuned', arm, 'best rate'], n)}" for arm in ARMS)
    print(f"   best rate chosen: {rates}")
    controls = found["tuned", "equal", "controls"]
    if controls:
        held = share(found["tuned", "equal", "controls that hold"], controls)
        print(f"   the control's interval holds the cost at the baseline's rate: {held} of {controls}")
    wrong = n - found["tuned", "equal", "neither"]
    if wrong / n > 0.05 + 3 * sqrt(0.05 * 0.95 / n):
        sys.exit(f"Broken: tuned studies call an equal variant different in {wrong / n:.1%}, promised at most 5 %")


def share(hits: int, n: int) -> str:
    """A percentage."""
    return f"{hits / n:.1%}"


# ------------------------------------------------------------------------------------------------------------ real


def real(arguments: argparse.Namespace, root: Path) -> None:
    """Post-norm against pre-norm, trained: at the preset's rate, and each at its own."""
    settings = {"model.n_layers": arguments.layers, "model.norm.placement": "pre", "model.norm.final": True}
    settings |= dict(each.split("=", 1) for each in arguments.set)
    options: dict[str, Any] = {
        "vary": {"post-norm": {"model.norm.placement": "post", "model.norm.final": False}},
        "data": arguments.data,
        "steps": arguments.steps,
        "set": settings,
        "seeds": arguments.seeds,
    }
    tuning = {"learning_rates": arguments.rates, "selection_seeds": arguments.selection_seeds}
    for kind, design in (
        ("untuned", gf.study("tiny-transformer", name="norm-untuned", **options)),
        ("tuned", gf.study("tiny-transformer", name="norm-tuned", **options, **tuning)),
    ):
        start = time.perf_counter()
        summary = summarise(trained(design, root))
        print(f"\n{kind}, {time.perf_counter() - start:.0f} s: {summary.study.path}")
        for row in summary.comparison.rows:
            print(f"   {summary.sentence(row)}")
        for row in summary.controls:
            print(f"   {row.sentence()}")
        if summary.selection is not None:
            for arm, point in summary.selection.best.items():
                values = ", ".join(f"{setting} {value:g}" for setting, value in point.values.items())
                print(f"   {arm}: {values}. {summary.selection.notes.get(arm, '')}")


def trained(design: StudyConfig, root: Path) -> Study:
    """A study whose runs are trained, by processes on this machine."""
    checked = check(design)
    study = Study.create(checked.config, data=checked.data, command=["tuned_study.py", "--real"], root=root)
    study = StudyRunner(studies=root, report=lambda line: print(line, flush=True)).run(study, checked).check()
    study.write_results(summarise(study).to_dict())
    return study


if __name__ == "__main__":
    main()
