"""``glassformer study`` as a user types it: from a line to a table, stopped and gone on with, and wrong inputs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from glassformer.cli.main import main
from glassformer.runs.folder import list_runs
from glassformer.studies.folder import Study

STUDY = "study nanogpt-shakespeare-cpu --data words.txt --no-report"
ONE = f"{STUDY} --vary model.residual=none"


def the_study(place) -> Study:
    return Study.open("latest", root=place / "studies")


@pytest.fixture(scope="module")
def made(tmp_path_factory, shared_cache, small):
    """A study of two runs, made with ``OMP_NUM_THREADS=2`` in its environment; to be copied, not touched."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLASSFORMER_CACHE", str(shared_cache))
        patch.setenv("OMP_NUM_THREADS", "2")
        patch.delenv("GLASSFORMER_STUDIES", raising=False)
        patch.setattr("glassformer.speed.SECONDS", 0.01)
        (folder / "words.txt").write_text("the residual stream carries a sum of what each layer wrote.\n" * 100)
        assert main([*shlex.split(ONE), "--seeds", "1", "--steps", "8", "--workers", "1", *map(str, small)]) == 0
    return folder


@pytest.fixture
def a_study(place, made) -> Study:
    """A copy of the study of two runs, and its text, in the working directory."""
    shutil.copytree(made, place, dirs_exist_ok=True)
    return the_study(place)


def test_a_study_goes_from_a_line_to_a_table_and_an_equal_one_reuses_its_runs(say, place, small):
    words = [*shlex.split(ONE), "--seeds", 1, "--steps", 8, "--name", "skip", "--workers", 1, *small]
    said = say(*words)
    assert (said.status, said.err) == (0, "")
    study = the_study(place)
    assert study.name.startswith("skip-")
    assert [(outcome.variant, outcome.status) for outcome in study.outcomes()] == [
        ("base", "finished"), ("residual=none", "finished"),
    ]  # fmt: skip
    losses = [outcome.loss for outcome in study.outcomes()]
    for part in (
        "1 variant × 1 seed: 2 runs",
        "1 thread each",
        f"baseline, seed 0: validation loss {losses[0]:.4f}",
        f"{losses[1] - losses[0]:+.4f}",
        "fewer than 3 pairs",
    ):
        assert part in said.out
    results = json.loads((study.path / "results.json").read_text())
    assert [arm["loss"] for arm in results["arms"]] == losses
    assert str(place) not in (study.path / "results.json").read_text()

    again = say(*words[:-2], *small[-2:], "--vary", "model.sublayers=attention,model.residual=attention")
    assert again.status == 0, again.err
    assert "baseline, seed 0: reuses" in again.out
    assert "1 of 3 runs to train, 1 at a time" in again.out
    assert len(list_runs(the_study(place).runs)) == 1
    once_more = say("study", "latest", "--no-report")
    assert once_more.status == 0
    assert "to train" not in once_more.out
    assert once_more.out.splitlines()[-6:] == again.out.splitlines()[-6:]
    reported = say("study", "latest")
    assert f"{the_study(place).name}/report.html" in reported.out
    assert (the_study(place).path / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("workers", "steps"),
    [(1, 200), pytest.param(2, 400, marks=pytest.mark.slow(reason="two workers, which train until both have saved"))],
)
def test_ctrl_c_saves_and_the_study_goes_on_to_the_same_end(say, place, small, workers, steps):
    command = [sys.executable, "-m", "glassformer"]
    words = [*shlex.split(ONE), "--seeds", "1", "--steps", str(steps), *map(str, small), "--workers", str(workers)]
    driver = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len({path.parent for path in place.glob("studies/*/runs/*/checkpoints/step-*")}) < workers:
        assert time.monotonic() < deadline, "no run has begun"
        assert driver.poll() is None, "it ended before it could be stopped"
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=60)
    study = the_study(place)
    assert driver.returncode == 130, out
    assert "stopped by SIGINT and saved: 2 of 2 runs are left" in out
    assert f"glassformer study {study.name}" in out
    runs = list_runs(study.runs)
    reached = [max(int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*")) for run in runs]
    assert len(reached) == workers
    assert all(0 < step < steps for step in reached)
    said = say("study", "latest", "--no-report", "--workers", 1)
    assert said.status == 0, said.out + said.err
    assert [(outcome.status, outcome.steps) for outcome in study.outcomes()] == [("finished", steps)] * 2
    assert len(list_runs(study.runs)) == 2
    assert set(runs) <= set(list_runs(study.runs))


def test_a_run_that_fails_is_told_after_the_table_and_tried_again(say, a_study):
    study = a_study
    planned = study.plan[1]
    run = study.run_of(planned)
    (study.path / "outcomes" / f"{planned.run_key}.json").unlink()
    shutil.rmtree(run.path)
    run.path.mkdir()
    (run.path / "config.json").write_text("{}")  # a run that nobody can go on with
    said = say("study", "latest", "--no-report", "--fresh", "--workers", 1)
    assert said.status == 2
    assert "1 of 2 runs" in said.err
    assert "residual=none, seed 0: " in said.err
    shutil.rmtree(run.path)
    assert say("study", "latest", "--no-report", "--workers", 1).status == 0
    assert [outcome.status for outcome in study.outcomes()] == ["finished", "finished"]


def test_seeds_are_added_until_the_table_is_decided(say, place, small):
    words = ["--seeds", 2, "--steps", 8, "--until-decided", "--budget-seeds", 4, "--margin", 0.5, "--workers", 1]
    vary = ["--vary", "training.optimizer.learning_rate=1e-9", "--vary", "training.telemetry.log_every=1"]
    said = say(*shlex.split(STUDY), *vary, *words, *small, "--set", "training.optimizer.learning_rate=0.01")
    assert said.status == 0, said.err
    study = the_study(place)
    decisions = {each["variant"]: each for each in json.loads((study.path / "results.json").read_text())["decisions"]}
    moved, same = decisions["optimizer.learning_rate=1e-9"], decisions["telemetry.log_every=1"]
    assert moved["verdict"] in {"different", "equivalent"}
    assert same["identical"]
    assert len(study.config.seeds) == moved["n"] == 3
    for part in (
        "seeds are added until every variant is shown to differ or equivalent within ±0.5 nats: 4 at most",
        "95 % interval, valid at every look",
        "decided at n = 3 pairs",
        "telemetry.log_every=1 equals the baseline in every pair",
        "after 3 seeds",
        "omitted",
    ):
        assert part in said.out
    assert "Holm" not in said.out


WRONG = {
    "nothing": ("study", "Missing argument 'WHAT'"),
    "nobody": ("study gpt-nanoo", "'gpt-nanoo' is not a preset, .* in studies. Did you mean 'gpt-nano'"),
    "a near miss of a preset, to vary": (f"{ONE.replace('nanogpt', 'nanogtp')}", "Did you mean 'nanogpt-shakespeare"),
    "latest of none": ("study latest", "no study in studies yet, so there is no latest one"),
    "a very long name of nobody": (f"study {'x' * 5000}", "cannot be looked for|is not a preset"),
    "no file": ("study mine.toml", "there is no file 'mine.toml'"),
    "options with a file": ("study mine.toml --seeds 3", "--seeds: only a study of a preset"),
    "options with a study": ("study latest --steps 3 --grid", "--steps, --grid: only a study of a preset"),
    "nothing to vary": (STUDY, "nothing to compare"),
    "a change without value": (f"{STUDY} --vary model.residual", "--vary takes NAME=VALUE"),
    "a near miss": (f"{STUDY} --vary model.residul=none", "'model.residul' is not a setting. Did you mean 'residual'"),
    "a group": (f"{STUDY} --vary model.norm=none", "'model.norm' is a group of settings.*model.norm.kind"),
    "the base again": (f"{STUDY} --vary model.residual=both", "is the same run as 'baseline'"),
    "the same twice": (f"{ONE} --vary model.residual=none", "given twice"),
    "all mistakes at once": (
        f"{STUDY} --vary model.residul=none --vary model.n_layers=x --vary model.attention.n_heads=3",
        "(?s)for 3 reasons.*residul.*n_layers is 'x'.*3 heads",
    ),
    "a list in company": (f"{STUDY} --vary 'model.n_layers=1|2,model.residual=none'", "add --grid"),
    "a variant's seed": (f"{STUDY} --vary training.seed=3", "training.seed cannot be varied"),
    "seeds in words": (f"{ONE} --seeds many", "--seeds is 'many'"),
    "no seeds": (f"{ONE} --seeds 0", "seeds is 0; expected"),
    "no seed listed": (f"{ONE} --seeds ,", "--seeds|at least 1 item"),
    "a negative seed": (f"{ONE} --seeds=-1,2", "seeds.0 is -1"),
    "a seed twice": (f"{ONE} --seeds 2,2", "seeds has 2 twice"),
    "a milliard of seeds": (f"{ONE} --seeds 1000000000", "from 1 to 10,000"),
    "no steps": (f"{ONE} --steps 0", "training.max_steps is 0"),
    "steps twice": (f"{ONE} --steps 3 --set training.max_steps=4", "training.max_steps is given twice"),
    "matched in a near miss": (f"{ONE} --matched flop", "--matched is 'flop'; expected one of none, parameters"),
    "flops without steps": (
        f"{STUDY} --vary model.n_layers=1 --matched flops --set training.max_steps=none --set training.max_tokens=9",
        "FLOPs and seconds are matched by steps, and the baseline's training.max_steps is none: set it",
    ),
    "seconds without steps": (
        f"{STUDY} --vary model.n_layers=1 --matched seconds --set training.max_steps=none --set training.max_tokens=9",
        "FLOPs and seconds are matched by steps, and the baseline's training.max_steps is none: set it",
    ),
    "no workers": (f"{ONE} --workers 0", "greater than or equal to 1"),
    "workers without end": (f"{ONE} --workers 1000000", "1000000 workers need about .* of memory"),
    "a name with a slash": (f"{ONE} --name a/b", "'a/b' cannot name a study"),
    "no text": (f"{ONE.replace('words', 'wordz')}", "Did you mean 'words.txt'"),
    "a variant's text": (f"{STUDY} --vary data.source=wordz.txt", "variant 'source=wordz.txt': .*Did you mean"),
    "a vast variant": (f"{STUDY} --vary model.d_model=100000000", "variant 'd_model=100000000': .* of memory"),
    "layers without end": (
        f"{STUDY} --vary model.n_layers=1000000000",
        "variant 'n_layers=1000000000': .*expected less than or equal to 2000",
    ),
    "a device that is not there": (f"{STUDY} --vary training.device=cuda:7", "training.device is 'cuda:7'"),
    "a cluster's address in another form": (f"{ONE} --on http://a:1", "--on is 'http://a:1'; expected ray"),
    "no cluster's address": (f"{ONE} --on ''", "--on is ''; expected ray"),
    "a cluster that is not there": (
        f"{ONE} --on ray://127.0.0.1:1",
        "Nothing answers at ray://127.0.0.1:1|pip install",
    ),
    "a budget for nothing": (f"{ONE} --budget-seeds 9", "budget_seeds only matter.*until_decided"),
    "a margin for nothing": (f"{ONE} --margin 0.1", "margin only matter.*until_decided"),
    "a margin of nothing": (f"{ONE} --until-decided --margin 0", "margin is 0"),
    "a margin that is no number": (f"{ONE} --until-decided --margin nan", "margin is nan"),
    "a margin in words": (f"{ONE} --until-decided --margin small", "'small'; expected a valid number"),
    "a budget of two": (f"{ONE} --until-decided --budget-seeds 2", "budget_seeds is 2; expected 3 to 200"),
    "a budget without end": (f"{ONE} --until-decided --budget-seeds 201", "budget_seeds is 201; expected 3 to 200"),
    "a budget already spent": (f"{ONE} --until-decided --seeds 21", "21 seeds are planned, .* 20"),
    "deciding an old study": ("study latest --until-decided --budget-seeds 9", "--budget-seeds, --until-decided: only"),
    "studies in a file's place": (f"{ONE} --studies words.txt", "cannot be|words.txt"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_one_message_and_leaves_nothing_behind(say, place, small, case):
    line, message = WRONG[case]
    before = sorted(path.name for path in place.iterdir())
    extra = small if line.startswith(STUDY[:12]) and "n_layers" not in line and "d_model" not in line else []
    said = say(*shlex.split(line), *extra)
    assert said.status == 2, said.out + said.err
    assert re.search(message, " ".join(said.err.split()) if "(?s)" not in message else said.err), said.err
    assert "Traceback" not in said.err
    assert sorted(path.name for path in place.iterdir()) == before


DAMAGE = {
    "study.json cut short": ("study.json", '{"name": "a', "study.json is damaged"),
    "study.json of something else": ("study.json", "{}", "base is missing"),
    "a strange setting in it": ("study.json", None, "'sedes' is not a setting. Did you mean 'seeds'"),
    "an outcome damaged": ("outcomes/base.seed-0.json", "[]", "is damaged"),
    "another text": ("../../words.txt", "something else entirely " * 99, "data of the study .* have changed"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_study_is_said_to_be(say, place, small, case):
    from glassformer.studies.checking import check
    from glassformer.studies.design import study as design

    settings = {words.partition("=")[0]: words.partition("=")[2] for words in map(str, small) if "=" in words}
    checked = check(design("nanogpt-shakespeare-cpu", data="words.txt", vary=["model.residual=none"], set=settings))
    study = Study.create(checked.config, data=checked.data, command=["test"])
    name, content, message = DAMAGE[case]
    path = study.path / name
    if content is None:
        content = json.dumps(json.loads(path.read_text()) | {"sedes": [1]})
    path.write_text(content)
    said = say("study", "latest", "--no-report")
    assert said.status == 2, said.out + said.err
    assert re.search(message, " ".join(said.err.split())), said.err
    assert list_runs(study.runs) == []


def test_workers_have_one_thread_whatever_the_environment_says(a_study):
    for path in list_runs(a_study.runs):
        environment = json.loads((path / "environment.json").read_text())
        assert environment["machine"]["threads"] == 1
        assert environment["variables"]["OMP_NUM_THREADS"] == "1"
