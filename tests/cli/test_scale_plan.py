"""``glassformer scale plan``, and the training of what it planned."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest

from glassformer.models.counting import build_on_meta
from glassformer.runs.checkpoints import latest_checkpoint
from glassformer.runs.folder import Run
from glassformer.training.recipes import read_run_file

PLAN = ("scale", "plan", "--data", "words.txt", "--set", "model.max_seq_len=16")
QUICK = ("--set", "training.compile=off", "--set", "training.telemetry.validation_tokens=128")


@pytest.mark.parametrize("name", ["plan.json", "plan.toml"])
def test_a_plan_is_trained_by_the_command_it_ends_with(say, place, name):
    said = say(*PLAN, "--compute", "6e9", *QUICK, "--out", name, "--set", "training.batch_size=160")
    assert (said.status, said.err) == (0, "")
    command = said.out.rstrip().splitlines()[-1].partition("glassformer ")[2].split()
    assert command == ["train", name]
    trained = say(*command)
    assert (trained.status, trained.err) == (0, "")
    (folder,) = (place / "runs").iterdir()
    run = Run.open(folder)
    assert run.name.startswith("plan-")
    parameters = int(re.search(r"parameters +([\d,]+)", said.out)[1].replace(",", ""))
    steps = int(re.search(r"steps +([\d,]+)", said.out)[1].replace(",", ""))
    checkpoint = latest_checkpoint(run.checkpoints)[0]
    assert checkpoint.step == steps == run.config["training"]["max_steps"]
    assert sum(tensor.numel() for tensor in checkpoint.tensors["model"].values()) == parameters
    assert f"{parameters:,} parameters" in trained.out


def test_both_kinds_of_file_hold_the_same_run(say, place):
    for name in ("a.json", "a.toml"):
        assert say(*PLAN, "--compute", "1e13", "--preset", "tiny-transformer", "--out", name).status == 0
    assert read_run_file(place / "a.json") == _with_vocabulary(read_run_file(place / "a.toml"), place / "a.json")
    written = (place / "a.toml").read_text()
    assert "# learning rate = " in written
    assert '"training.max_steps" = ' in written


def _with_vocabulary(config, json_file):
    """A preset's vocabulary is its own until the text is read."""
    return config.override({"model.vocab_size": json.loads(json_file.read_text())["model"]["vocab_size"]})


def test_json_says_every_number_with_its_source(say, place):
    said = say(*PLAN, "--compute", "1e13", "--json")
    tree = json.loads(said.out)
    assert {"value", "unit", "equation", "source"} <= set(tree["numbers"]["tokens"])
    assert {"besiroglu", "kaplan-optimal-parameters"} <= {each["law"] for each in tree["disagreement"]}
    assert not (place / "plan.json").exists()
    model = tree["config"]["model"]
    assert model["vocab_size"] == len(set((place / "words.txt").read_text()))


def test_explain_prints_every_number_with_its_equation(say, place):
    said = say(*PLAN, "--compute", "1e13", "--explain")
    tree = json.loads(say(*PLAN, "--compute", "1e13", "--json").out)
    for name in tree["numbers"]:
        assert re.search(rf"^{re.escape(name)} = ", said.out, re.MULTILINE), name
    assert "table 1" in said.out
    assert "C = 6·N·D" in said.out


@pytest.mark.parametrize("columns", [80, 120])
def test_a_plan_fits_its_terminal(say, place, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    said = say(*PLAN, "--compute", "1e18", "--preset", "nanogpt-shakespeare")
    assert said.status == 0
    assert max(map(len, said.out.splitlines())) <= columns
    assert "kaplan-optimal-parameters" in said.out
    assert "muennighoff" in said.out


def test_a_plan_on_paper_reads_no_text_and_names_none(say, place):
    said = say("scale", "plan", "--compute", "1e25", "--vocab", "50257", "--preset", "gpt2")
    assert said.status == 0
    assert "glassformer train plan.json --data TEXT" in said.out
    assert json.loads((place / "plan.json").read_text())["model"]["vocab_size"] == 50257
    assert "On this machine it would take" in " ".join(said.out.split())


def test_a_file_that_is_no_plan_is_left_alone(say, place):
    (place / "plan.json").write_text('{"mine": 1}')
    said = say(*PLAN, "--compute", "1e13")
    assert said.status == 2
    assert "exists already" in said.err
    assert (place / "plan.json").read_text() == '{"mine": 1}'


def test_a_reader_who_leaves_early_has_the_file(place):
    plan = [sys.executable, "-m", "glassformer", "scale", "plan", "--compute", "1e12", "--vocab", "100"]
    with subprocess.Popen(plan, cwd=place, stdout=subprocess.PIPE) as process:
        process.stdout.close()  # nobody reads a line
    assert process.returncode == 0
    assert (place / "plan.json").is_file()


def test_a_plan_replaces_an_older_plan(say, place):
    widths = []
    for compute in ("1e10", "1e12"):
        assert say(*PLAN, "--compute", compute).status == 0
        widths.append(read_run_file(place / "plan.json").model.d_model)
    assert widths[1] > widths[0]


WRONG = {
    "no budget": ("", "no budget is given"),
    "two budgets": ("--compute 1e18 --hours 2", "may conflict"),
    "negative": ("--compute -1e18", "above 0"),
    "unknown unit": ("--compute '3 PX-days'", "not a unit of compute"),
    "a decimal comma": ("--compute 1,5e13", "Write 1.5e13"),
    "a comma that is either": ("--params 4,129 --tokens 1,5B", "4129 or as 4.129"),
    "other digits": ("--compute １e18", "Write 1e18"),
    "a vocabulary of 400 digits": (f"--compute 1e15 --vocab {'9' * 400}", "--vocab is inf"),
    "too large": ("--compute 1e31", "1e+30"),
    "too small": ("--compute 1e9", "smallest sensible model"),
    "no data": ("--compute 1e15 --data-limit 0", "--data-limit is 0"),
    "unknown law": ("--compute 1e15 --law chinchila", "Did you mean 'chinchilla'?"),
    "a law of something else": ("--compute 1e15 --law kaplan-critical-batch", "how to spend a budget"),
    "unknown rate": ("--compute 1e15 --rate mine", "deepseek, step-law, preset"),
    "translator": ("--compute 1e15 --preset transformer-small", "encoder"),
    "bad suffix": ("--compute 1e15 --out plan.yaml", ".json or .toml"),
    "no such points": ("--compute 1e15 --fit nowhere.csv", "nowhere.csv"),
    "two laws": ("--compute 1e15 --law chinchilla --fit runs.csv", "leave one out"),
    "a file in the way": (
        "--compute 1e10 --set model.max_seq_len=16 --out words.txt/plan.json",
        "Choose another place",
    ),
    "all at once": ("--compute 1e15 --hours 1 --law x --rate y --data-limit 0 --out z", "5 reasons"),
}


@pytest.mark.parametrize(("words", "told"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_planned_is_refused_and_nothing_is_written(say, place, words, told):
    data = [] if "transformer-small" in words else ["--data", "words.txt"]
    said = say("scale", "plan", *data, *shlex.split(words))
    assert said.status == 2
    assert told in " ".join(said.err.split())
    assert "Traceback" not in said.err
    assert not (place / "plan.json").exists()


def test_the_count_of_the_plan_is_that_of_the_built_model(say, place):
    assert say(*PLAN, "--compute", "1e12").status == 0
    model = read_run_file(place / "plan.json").model
    tree = json.loads(say(*PLAN, "--compute", "1e12", "--json").out)
    assert sum(weight.numel() for weight in build_on_meta(model).parameters()) == tree["numbers"]["parameters"]["value"]
