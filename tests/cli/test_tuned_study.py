"""Tuned studies as a user types them: the cost, both phases, the table; killed in either phase; and wrong inputs."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glassformer.cli.lazy import load
from glassformer.cli.main import COMMANDS
from glassformer.studies.folder import Study
from glassformer.studies.summary import summarise

STUDY = "study nanogpt-shakespeare-cpu --data words.txt --no-report --vary model.residual=none"
DECAY = "training.optimizer.weight_decay"
RATE = "training.optimizer.learning_rate"


def the_study(place) -> Study:
    return Study.open("latest", root=place / "studies")


def test_a_tuned_study_goes_from_a_line_with_its_cost_to_a_table_with_the_best_values(say, place, small):
    options = f"--tune '{DECAY}=0|0.5' --selection-seeds 5 --selection-seeds 1 --selection-steps 4 --steps 6 --seeds 1"
    said = say(*shlex.split(f"{STUDY} {options} --workers 1 --set {RATE}=0.01"), *small)
    assert (said.status, said.err) == (0, "")
    study = the_study(place)
    chosen = {arm: values[DECAY] for arm, values in study.config.chosen.items()}
    for part in (
        "selection: 2 arms × 2 values × 1 selection seed = 4 runs of 4 steps; at most 10 where grids are extended",
        "comparison: 2 arms and at most 1 control × 1 fresh seed = at most 3 runs of 6 steps",
        "of updates, 1 run at a time",
        "4 of 4 selection runs to train",
        "best weight decay",
        "difference at the baseline's",
    ):
        assert part in said.out
    on_edge = [row for row in summarise(study).tuned.rows if row.on_edge]
    assert said.out.count("a better one may lie beyond") == len(on_edge)
    row = next(line for line in said.out.splitlines() if line.startswith("  residual=none "))
    assert f" {chosen['residual=none']} " in row
    assert ("the same" in row) == (len(set(chosen.values())) == 1)
    results = json.loads((study.path / "results.json").read_text())
    assert {arm: values[DECAY] for arm, values in results["selection"]["best"].items()} == chosen
    assert len(results["controls"]) == len(set(chosen.values())) - 1
    assert str(place) not in (study.path / "results.json").read_text()
    once_more = say("study", "latest", "--no-report")
    assert once_more.status == 0
    assert "to train" not in once_more.out
    assert "selection: " not in once_more.out


def parsed(line: str) -> list[str] | None:
    """What ``--tune`` is on a command line."""
    command = load("study", COMMANDS["study"])
    return command.make_context("study", shlex.split(line)).params["tune"]


@pytest.mark.parametrize(
    ("line", "tune"),
    [
        ("gpt2 --tune", [RATE]),
        ("gpt2 --tune --seeds 3", [RATE]),
        (f"gpt2 --tune {DECAY} --tune", [DECAY, RATE]),
        (f"gpt2 --tune '{DECAY}=0|1'", [f"{DECAY}=0|1"]),
        (f"--tune={DECAY} gpt2", [DECAY]),
        ("gpt2", []),
    ],
)
def test_a_bare_tune_is_the_learning_rate_s(line, tune):
    assert list(parsed(line) or []) == tune


WRONG = {
    "rates in words": ("--learning-rates slow,fast", "2 reasons.*'slow' is not a number.*'fast' is not a number"),
    "one rate": ("--learning-rates 1e-3", "has 0.001 to choose from; expected at least 2 values"),
    "no rate": ("--learning-rates ''", "'' is not a number"),
    "rates that fall": ("--learning-rates 1e-2,1e-3", "not in ascending order; write 0.001 and 0.01"),
    "rates that cannot be": ("--learning-rates=-1,1", "learning_rate is -1; expected greater than 0"),
    "an unknown setting": ("--tune training.optimizer.learning_rat", "Did you mean 'learning_rate'"),
    "a setting twice": (f"--tune --tune {RATE}", "learning_rate is tuned twice"),
    "what is varied": ("--tune 'model.residual=1|2'", "the variant 'residual=none' sets it"),
    "selection seeds in words": ("--tune --selection-seeds many", "selection_seeds is 'many'"),
    "a selection seed in words": ("--tune --selection-seeds 1,a", "selection_seeds is '1,a'"),
    "no selection seeds": ("--tune --selection-seeds ''", "selection_seeds is ''"),
    "the study's seeds": ("--tune --selection-seeds 0,1", "seeds 0 and 1 are both chosen on and compared on"),
    "steps without effect": ("--tune --selection-steps 9 --steps 9", "9 steps are no shorter"),
    "no selection steps": ("--tune --selection-steps 0", "selection_steps is 0"),
    "steps in words": ("--tune --selection-steps few", "'few'; expected a valid integer"),
    "options for nothing": (
        "--selection-seeds 3 --selection-steps 2 --no-controls",
        "selection_seeds, selection_steps and controls only matter where arms are tuned",
    ),
    "all at once": (
        f"--learning-rates 1,1 --tune '{DECAY}=2|1' --tune training.seed=1|2 --selection-seeds 0,7,7 --vary model.x=1",
        "6 reasons.*1.0 twice.*write 1.0 and 2.0.*have 7 twice.*seed 0 is both.*training.seed cannot.*'model.x'",
    ),
    "an existing study": ("--tune", "--tune: only a study of a preset"),
    "a study file": ("--learning-rates 1,2", "'mine.toml' is a study file"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_tuning_is_one_message_and_leaves_nothing_behind(say, place, small, case):
    options, message = WRONG[case]
    (place / "mine.toml").write_text("preset = 'gpt2'\nvary = []\ntune = true\n")
    before = sorted(path.name for path in place.iterdir())
    lines = {"an existing study": "study latest", "a study file": "study mine.toml"}
    line = lines.get(case, STUDY)
    said = say(*shlex.split(f"{line} {options}"), *(small if line == STUDY else ()))
    assert said.status == 2, said.out + said.err
    assert re.search(message, " ".join(said.err.split())), said.err
    assert "Traceback" not in said.err
    assert sorted(path.name for path in place.iterdir()) == before


def kill_when(words, found) -> None:
    """Start a command, and kill it and its workers as soon as ``found`` gives files."""
    driver = subprocess.Popen([sys.executable, "-m", "glassformer", *map(str, words)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    try:
        while not found():
            assert time.monotonic() < deadline, "it never came so far"
            assert driver.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children")
        workers = children.read_text().split() if children.exists() else []  # elsewhere they end with their driver
        for process in (driver.pid, *map(int, workers)):
            os.kill(process, signal.SIGKILL)
        driver.wait()


@pytest.mark.slow(reason="three processes with workers of their own, two of which are killed")
def test_killed_in_both_phases_it_goes_on_to_the_results_of_one_left_alone(say, place, small):
    options = "--learning-rates 1e-3,1e-2 --selection-seeds 2 --selection-steps 20 --steps 40 --seeds 3 --workers 2"
    words = [*shlex.split(f"{STUDY} {options}"), *map(str, small)]
    outcomes = "studies/killed-*/selection/outcomes/*.json"
    kill_when([*words, "--name", "killed"], lambda: len([*place.glob(outcomes)]) >= 3)
    (path,) = place.glob("studies/killed-*")
    assert Study.open(path).config.chosen == {}
    kill_when(["study", path.name, "--no-report"], lambda: [*path.glob("outcomes/*.json")])
    assert Study.open(path).pending()
    assert say("study", path.name, "--no-report").status == 0
    assert say(*words, "--name", "alone", "--fresh").status == 0
    killed, alone = (Study.open(name, root=place / "studies") for name in ("killed", "alone"))
    assert killed.config.chosen == alone.config.chosen
    assert killed.losses() == alone.losses()
    assert killed.selection.losses() == alone.selection.losses()
    assert not {planned.seed for planned in killed.plan} & {planned.seed for planned in killed.selection.plan}
