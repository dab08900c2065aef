"""Kill a study's driver and its workers again and again, and see whether it ends as one that was left in peace.

    python benchmarks/study_faults.py [--runs 64] [--driver-kills 20] [--worker-kills 40] [--seed 0]

A study of small models (one variant diverges) is made by ``glassformer study`` in a process of its own. At random
moments SIGKILL ends the driver, or one of its workers; a killed driver is started again with the study's folder. At the
end every run must have been made exactly once, and each run's outcome and the table must equal those of the same study
left in peace. The exit status is 0 if they do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from glassformer.runs.folder import Run, list_runs
from glassformer.studies.folder import Study
from glassformer.studies.outcomes import RunOutcome

STEPS = 800
VARIANTS = ("model.residual=none", "model.norm.kind=none", "training.optimizer.learning_rate=1e30")
SETTINGS = {
    "model.d_model": 32,
    "model.attention.n_heads": 2,
    "training.seq_len": 16,
    "training.batch_size": 4,
    "training.compile": "off",
    "training.schedule.warmup_steps": 20,
    "training.telemetry.log_every": 20,
    "training.telemetry.validate_every": 100,
    "training.telemetry.validation_tokens": 512,
    "training.telemetry.gradients_every": "none",
    "training.checkpoints.every": 50,
}


def command(text: Path, root: Path, seeds: int) -> list[str]:
    """The study as a user types it."""
    words = ["study", "nanogpt-shakespeare-cpu", "--data", str(text), "--steps", str(STEPS), "--seeds", str(seeds)]
    words += ["--studies", str(root), "--fresh"]
    words += [word for variant in VARIANTS for word in ("--vary", variant)]
    return words + [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """A driver."""
    return subprocess.Popen(
        [sys.executable, "-m", "glassformer", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def workers(driver: int) -> list[int]:
    """The driver's living workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if (
                int(parent) == driver
                and state != "Z"
                and b"glassformer.studies.worker" in (folder / "cmdline").read_bytes()
            ):
                found.append(int(folder.name))
        except OSError:
            continue  # it has gone meanwhile
    return found


def kill_often(words: list[str], root: Path, kills: list[str], draw: random.Random) -> tuple[int, int]:
    """Begin the study and kill as listed; gives how often the driver and workers died before all was done."""
    driver, died = start(words), {"driver": 0, "worker": 0}
    for kind in kills:
        time.sleep(draw.uniform(0.2, 4.0))
        found = workers(driver.pid)
        while kind == "worker" and not found and driver.poll() is None:  # it is still importing
            time.sleep(0.1)
            found = workers(driver.pid)
        while kind == "driver" and not any(root.glob("*/study.json")) and driver.poll() is None:
            time.sleep(0.1)
        if driver.poll() is not None:
            break
        if kind == "worker":
            os.kill(draw.choice(found), signal.SIGKILL)
        else:
            driver.kill()
            driver.communicate()
            driver = start(["study", "latest", "--studies", str(root), "--fresh"])
        died[kind] += 1
    _, errors = driver.communicate()
    assert driver.returncode == 0, errors.decode()
    return died["driver"], died["worker"]


def told(study: Study) -> dict[str, tuple[object, ...]]:
    """Every run's outcome without what a clock says, and the records it rests on."""

    def of(outcome: RunOutcome) -> tuple[object, ...]:
        curve = (outcome.curve.steps, outcome.curve.losses)
        reason = outcome.reason.partition(" is saved in ")[0]  # a divergence names the run's folder
        losses = [(each["step"], each.get("kind"), each.get("loss")) for each in Run.open(outcome.run).metrics()]
        return outcome.status, outcome.loss, outcome.steps, curve, reason, repr(losses)

    return {f"{outcome.variant}, seed {outcome.seed}": of(outcome) for outcome in study.outcomes()}


def table(study: Study) -> object:
    """What ``results.json`` compares."""
    results = json.loads((study.path / "results.json").read_text())
    arms = [{key: arm[key] for key in ("variant", "n", "diverged", "failed", "loss")} for arm in results["arms"]]
    return arms, results["comparison"]


def experiment(folder: Path, given: argparse.Namespace) -> bool:
    """Both studies; prints what happened, and gives whether they ended the same."""
    draw = random.Random(given.seed)
    text = folder / "words.txt"
    words = ["the", "residual", "stream", "carries", "a", "sum", "of", "what", "each", "layer", "wrote.\n"]
    text.write_text(" ".join(draw.choice(words) for _ in range(5_000)))
    seeds = max(1, given.runs // (1 + len(VARIANTS)))

    began = time.perf_counter()
    peace = start(command(text, folder / "in-peace", seeds))
    _, errors = peace.communicate()
    assert peace.returncode == 0, errors.decode()
    expected = Study.open("latest", root=folder / "in-peace")
    print(f"left in peace: {len(expected.plan)} runs in {time.perf_counter() - began:.0f} s")

    kills = ["driver"] * given.driver_kills + ["worker"] * given.worker_kills
    draw.shuffle(kills)
    began = time.perf_counter()
    drivers, lost = kill_often(command(text, folder / "killed", seeds), folder / "killed", kills, draw)
    print(f"driver killed {drivers} times, workers {lost} times, in {time.perf_counter() - began:.0f} s")

    found = Study.open("latest", root=folder / "killed")
    folders = len(list(found.runs.iterdir()))
    again = sum(event["event"] == "resumed" for path in list_runs(found.runs) for event in Run.open(path).events())
    counts = f"planned {len(found.plan)}, folders {folders}, outcomes {len(found.outcomes())}"
    print(f"runs: {counts}; gone on with {again} times")
    differing = [slot for slot, outcome in told(expected).items() if told(found).get(slot) != outcome]
    same_table = table(found) == table(expected)
    print(f"outcomes that differ: {differing[:5] or 'none'}; the table is {'the same' if same_table else 'another'}")
    once = len(found.plan) == folders == len(found.outcomes())
    if drivers + lost < len(kills):
        print(f"only {drivers + lost} of {len(kills)} kills found something to kill: take more runs")
    return once and same_table and not differing and drivers + lost == len(kills)


def main() -> int:
    """Run the experiment in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--driver-kills", type=int, default=20)
    parser.add_argument("--worker-kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"GLASSFORMER_CACHE": str(Path(folder, "cache")), "GLASSFORMER_RUNS": str(Path(folder, "runs"))}
        same = experiment(Path(folder), given)
    print("the same" if same else "NOT the same")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
