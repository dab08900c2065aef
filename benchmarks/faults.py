"""Kill a training again and again, and see whether it ends as one that was left in peace.

    python benchmarks/faults.py [--kills 100] [--seed 0]

A small model is trained in a process of its own that saves after every step. The process is killed (SIGKILL) at
random moments, while it loads, computes, saves and prunes, and is resumed each time, until it has been killed so often
and has then come to its end. Weights, optimizer state and metrics must equal, bit for bit, those of a run that was
never killed. The exit status is 0 if they do.

A killed process is a fork of one that has imported torch and not used it yet, so that a life costs no start-up of
Python; what the fork does is what ``glassformer resume`` does.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from glassformer.models.presets import preset
from glassformer.runs.checkpoints import latest_checkpoint, list_checkpoints
from glassformer.runs.folder import Run
from glassformer.tasks.run_config import RunConfig
from glassformer.training import session
from glassformer.training.telemetry import Observer

STEPS_A_LIFE = 5  # aimed at, on average
WALL_CLOCK = {"seconds", "tokens_per_second", "flops_per_second", "peak_fraction"}
LOADING = 0.1  # share of the kills that come before training has begun again


def configuration(text: Path, steps: int) -> RunConfig:
    """A model whose state takes longer to save than a step takes to compute."""
    chosen = preset("nanogpt-shakespeare-cpu")
    changes = {
        "data.source": str(text),
        "model.d_model": 160,
        "model.n_layers": 3,
        "model.dropout": 0.1,
        "training.seq_len": 16,
        "training.batch_size": 4,
        "training.micro_batch_size": 2,
        "training.max_steps": steps,
        "training.compile": "off",
        "training.schedule.warmup_steps": 20,
        "training.telemetry.log_every": 3,
        "training.telemetry.validate_every": 7,
        "training.telemetry.validation_tokens": 128,
        "training.telemetry.gradients_every": 25,
        "training.checkpoints.every": 1,
    }
    return RunConfig(model=chosen.model).override(chosen.recipe).override(changes)


class Life:
    """A process that starts or resumes a run and trains it; ``begun`` waits until it is at its first step."""

    def __init__(self, train: Callable[[Observer], None]) -> None:
        self.reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reader)
            status = 1
            try:
                train(lambda record: os.write(writer, b".") if record.get("event") == "start" else None)
                status = 0
            except BaseException:  # noqa: BLE001 - the child says what went wrong, and never runs its parent's code
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writer)

    def begun(self) -> None:
        """Wait until training begins (or the process has ended)."""
        select.select([self.reader], [], [], 60)

    def wait(self) -> bool:
        """Whether it came to its end well."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.reader)
        return status == 0

    def kill(self) -> bool:
        """SIGKILL; whether it was still alive."""
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.reader)
        _, status = os.waitpid(self.pid, 0)
        return os.WIFSIGNALED(status)


def start_and_train(config: RunConfig, root: Path, observer: Observer) -> None:
    """What ``glassformer train`` does."""
    session.start(config, root=root, name="run", command=sys.argv, observers=[observer]).train()


def resume_and_train(root: Path, observer: Observer) -> None:
    """What ``glassformer resume`` does."""
    trainer, warnings = session.resume(Run.open("latest", root=root), observers=[observer])
    assert not warnings, warnings
    trainer.train()


def where(checkpoints: Path) -> str:
    """What the process was at when it was killed, from what it left on the disk."""
    drafts = [int(re.search(r"step-(\d+)", path.name)[1]) for path in checkpoints.glob(".tmp-*")]
    newest = max((int(path.name.removeprefix("step-")) for path in list_checkpoints(checkpoints)), default=-1)
    if any(step > newest for step in drafts):
        return "inside a save"
    return "inside pruning" if drafts else "elsewhere"


def end_of(root: Path) -> tuple[dict, dict, list]:
    """Tensors, progress and metrics, without what a clock says."""
    run = Run.open("latest", root=root)
    checkpoint, _ = latest_checkpoint(run.checkpoints)
    progress = {name: value for name, value in checkpoint.state["progress"].items() if name != "seconds"}
    records = [{name: value for name, value in record.items() if name not in WALL_CLOCK} for record in run.metrics()]
    return checkpoint.tensors, progress, records


def differences(root: Path, reference: Path) -> list[str]:
    """What is not bit for bit the same at the end of two runs."""
    (tensors, progress, records), (expected, expected_progress, expected_records) = end_of(root), end_of(reference)
    names = {(group, name) for tree in (tensors, expected) for group, named in tree.items() for name in named}
    found = [
        f"{group}: {name}"
        for group, name in sorted(names)
        if not torch.equal(tensors[group][name], expected[group][name])
    ]
    if progress != expected_progress:
        found.append(f"progress: {progress}, expected {expected_progress}")
    if repr(records) != repr(expected_records):
        found.append(f"metrics: {len(records)} records, expected {len(expected_records)}")
    return found


def leave_in_peace(config: RunConfig, root: Path) -> float:
    """The run to compare with; gives the seconds of a step, its save included."""
    life = Life(lambda observer: start_and_train(config, root, observer))
    life.begun()
    began = time.perf_counter()
    assert life.wait(), "the run that is left in peace failed"
    seconds, steps = time.perf_counter() - began, config.training.max_steps
    print(f"left in peace: {steps} steps in {seconds:.0f} s, {1000 * seconds / steps:.0f} ms a step with its save")
    return seconds / steps


def wait(root: Path, seconds: float, limit: int) -> None:
    """So long, but no longer than until a step is saved: the machine may be faster than it was in peace."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        saved = [path for run in root.iterdir() for path in list_checkpoints(run / "checkpoints")]
        if any(int(path.name.removeprefix("step-")) >= limit for path in saved):
            break
        time.sleep(min(0.001, seconds))


def kill_often(config: RunConfig, root: Path, kills: int, a_step: float, draw: random.Random) -> Counter[str]:
    """Start a run and kill it so often; counts the moments at which it died."""
    moments: Counter[str] = Counter()
    a_start = 0.2  # seconds from a life's birth to its first step
    while moments.total() < kills:
        born = time.perf_counter()
        begun_before = any(root.glob("*/config.json"))
        if begun_before:
            life = Life(lambda observer: resume_and_train(root, observer))
        else:
            life = Life(lambda observer: start_and_train(config, root, observer))
        loading = begun_before and draw.random() < LOADING
        if loading:
            time.sleep(draw.uniform(0, a_start))
        else:
            life.begun()
            a_start = time.perf_counter() - born
            limit = config.training.max_steps * (moments.total() + 1) // (kills + 2)  # or it ends before its last kill
            wait(root, draw.uniform(0, 2 * STEPS_A_LIFE * a_step), limit)
        assert life.kill(), "a life came to its end before it was killed"
        moment = next(
            (where(config_file.parent / "checkpoints") for config_file in root.glob("*/config.json")), "elsewhere"
        )
        moments["while loading" if loading and moment == "elsewhere" else moment] += 1
    return moments


def experiment(folder: Path, kills: int, draw: random.Random) -> bool:
    """Both runs; prints what happened, and gives whether they ended the same."""
    text = folder / "words.txt"
    words = ["the", "residual", "stream", "carries", "a", "sum", "of", "what", "each", "layer", "wrote.\n"]
    text.write_text(" ".join(draw.choice(words) for _ in range(5_000)))
    config = configuration(text, steps=STEPS_A_LIFE * max(kills, 8))
    a_step = leave_in_peace(config, folder / "in-peace")

    root, began = folder / "killed", time.perf_counter()
    moments = kill_often(config, root, kills, a_step, draw)
    run = Run.open("latest", root=root)
    reached = (list_checkpoints(run.checkpoints) or [run.checkpoints])[-1].name
    last = Life(lambda observer: resume_and_train(root, observer))
    assert last.wait(), "the last life failed"
    counted = ", ".join(f"{count} {moment}" for moment, count in sorted(moments.items()))
    print(f"killed {moments.total()} times in {time.perf_counter() - began:.0f} s, up to {reached}: {counted}")

    events = Counter(event["event"] for event in run.events())
    print(f"the killed run's events: {dict(events)}; folders: {len(list(root.iterdir()))}")
    tensors, _, records = end_of(root)
    found, left = differences(root, folder / "in-peace"), [path.name for path in run.checkpoints.glob(".tmp-*")]
    print(f"compared bit for bit: {sum(len(named) for named in tensors.values())} tensors and {len(records)} records")
    print(f"differences from the run in peace: {found[:5] or 'none'}; left-overs: {left or 'none'}")
    return not found and not left


def main() -> int:
    """Run the experiment in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # a fork must not print its parent's lines again
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GLASSFORMER_CACHE"] = str(Path(folder, "cache"))
        same = experiment(Path(folder), given.kills, random.Random(given.seed))
    print("the same" if same else "NOT the same")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
