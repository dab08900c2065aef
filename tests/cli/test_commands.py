"""The commands on a small text of one's own, from training to chart, as a user types them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from glassformer.models.presets import preset_names
from glassformer.runs.checkpoints import latest_checkpoint, list_checkpoints
from glassformer.runs.folder import Run
from glassformer.runs.metrics import read_events, read_metrics
from glassformer.training.recipes import configuration

TRAIN = ("train", "nanogpt-shakespeare-cpu", "--data", "words.txt")


def the_run(place) -> Run:
    (folder,) = (place / "runs").iterdir()
    return Run.open(folder)


def test_train_goes_from_a_text_to_a_run(say, place, small):
    said = say(*TRAIN, "--steps", 8, "--seed", 3, "--name", "first", *small)
    assert (said.status, said.err) == (0, "")
    run = the_run(place)
    assert run.name.startswith("first-")
    assert run.config["training"]["seed"] == 3
    assert run.config["training"]["max_steps"] == 8
    assert run.config["model"]["vocab_size"] == len(set((place / "words.txt").read_text()))
    assert latest_checkpoint(run.checkpoints)[0].step == 8
    for line in (
        "words.txt: ",
        "training tokens",
        "step      4",
        "validation",
        "finished at step 8",
        f"chart {run.name}",
    ):
        assert line in said.out
    assert run.environment()["command"]


def test_train_says_which_texts_it_skipped(say, place, small):
    (place / "texts").mkdir()
    (place / "texts" / "a.txt").write_text((place / "words.txt").read_text())
    (place / "texts" / "b.bin").write_bytes(b"\0\1\2")
    said = say("train", "nanogpt-shakespeare-cpu", "--data", "texts", "--steps", 1, *small)
    assert said.status == 0
    assert "skipped: b.bin is binary" in said.out


def test_a_path_with_spaces_and_letters_of_any_language_is_read(say, place, small):
    (place / "나의 글 😀.txt").write_text("가나다라 마바사 " * 300)
    said = say("train", "nanogpt-shakespeare-cpu", "--data", "나의 글 😀.txt", "--steps", 1, "--name", "실험 1", *small)
    assert said.status == 0
    assert the_run(place).name.startswith("실험 1-")
    assert say("evaluate", "latest", "--json").status == 0


def test_show_gradients_prints_the_norms_of_every_parameter(say, place, small):
    said = say(*TRAIN, "--steps", 4, "--show-gradients", *small)
    run = the_run(place)
    recorded = [record for record in run.metrics() if record["kind"] == "gradients"]
    assert [record["step"] for record in recorded] == [1, 4]
    for record in recorded:
        assert f"gradients at step {record['step']}" in said.out
        for name, values in record["parameters"].items():
            numbers = [f"{values[key]:.3e}" for key in ("gradient_norm", "update_ratio", "weight_norm")]
            assert re.search(rf"{re.escape(name)}\s+" + r"\s+".join(map(re.escape, numbers)), said.out), name
    assert "gradients at step" not in say(*TRAIN, "--steps", 1, *small).out


def test_the_command_line_changes_the_preset_and_nothing_else():
    plain = configuration("nanogpt-shakespeare-cpu", data=None, steps=None, seed=None, assignments=[])
    changed = configuration(
        "nanogpt-shakespeare-cpu", data="a.txt", steps=7, seed=3, assignments=["model.residual=none"]
    )
    assert changed == plain.override(
        {"data.source": "a.txt", "training.max_steps": 7, "training.seed": 3, "model.residual": "none"}
    )
    assert plain.training.batch_size == 12  # nanoGPT's recipe


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_s_recipe_is_a_configuration_that_works(name):
    assert configuration(name, data=None, steps=3, seed=None, assignments=[]).training.max_steps == 3


def test_resume_says_when_nothing_is_left(say, place, run):
    said = say("resume", run.name)
    assert said.status == 0
    assert f"{run.name} has nothing left to train: finished at step 8" in said.out


def test_resume_warns_of_a_damaged_checkpoint_and_trains_on(say, place, run):
    newest = list_checkpoints(run / "checkpoints")[-1]
    expected = latest_checkpoint(run / "checkpoints")[0].tensors["model"]
    (newest / "model.safetensors").write_bytes(b"nothing")
    said = say("resume", "latest")
    assert said.status == 0, said
    assert "warning: The checkpoint" in said.err
    assert "Went back to step-00000004" in said.err
    assert "from step 4" in said.out
    found = latest_checkpoint(run / "checkpoints")[0]
    assert found.step == 8
    assert all(torch.equal(found.tensors["model"][name], expected[name]) for name in expected)


def test_evaluate_measures_the_run_s_own_validation_split(say, place, run):
    said = say("evaluate", run.name, "--json")
    assert (said.status, said.err) == (0, "")
    figures = json.loads(said.out)
    best = min(
        (record for record in read_metrics(run / "metrics.jsonl") if record["kind"] == "validation"),
        key=lambda record: record["loss"],
    )
    assert figures["step"] == best["step"]
    assert figures["loss"] == pytest.approx(best["loss"], abs=0.2)  # there 128 tokens of the split, here all
    assert figures["n_tokens"] > best["n_tokens"]
    assert figures["perplexity"] == pytest.approx(2.718281828 ** figures["loss"])
    table = say("evaluate", run.name)
    assert f"{figures['loss']:.4f} nats/token" in table.out
    assert json.loads(say("evaluate", run.name, "--json", "--batch-size", 1).out)["loss"] == pytest.approx(
        figures["loss"]
    )


def test_evaluate_measures_another_text(say, place, run):
    (place / "other.txt").write_text("abc bad hedge fig\n" * 40)
    figures = json.loads(say("evaluate", run, "--data", "other.txt", "--json").out)
    assert (figures["data"], figures["n_tokens"]) == ("other.txt", 40 * 18 - 1)
    assert json.loads(say("evaluate", run, "--data", "other.txt", "--json", "--checkpoint", 4).out)["step"] == 4
    (place / "two.txt").write_text("ab")
    assert json.loads(say("evaluate", run, "--data", "two.txt", "--json").out)["n_tokens"] == 1


@pytest.mark.parametrize(("name", "beginning"), [("a.html", b"<!"), ("b.png", b"\x89PNG"), ("new/c.svg", b"<svg")])
def test_chart_draws_runs(say, place, run, name, beginning):
    said = say("chart", run.name, "-o", name)
    assert (said.status, said.out) == (0, f"{name}\n")
    assert (place / name).read_bytes().lstrip()[:4].startswith(beginning)


def test_chart_goes_into_the_run_unless_told_otherwise_and_compares(say, place, run, small):
    assert say("chart", "latest").status == 0
    assert (run / "loss.html").stat().st_size > 10_000
    assert say(*TRAIN, "--steps", 2, "--name", "other", *small).status == 0
    said = say("chart", run.name, "other", "-o", "both.json", "--theme", "dark")
    assert said.status == 0
    assert "different texts" in said.out
    drawn = (place / "both.json").read_text()
    assert run.name in drawn
    assert "other-" in drawn


def test_sample_writes_the_same_for_the_same_seed(say, place, run):
    said = say("sample", run, "--prompt", "abc", "-n", 20, "--seed", 5, "--compile", "off")
    assert said.status == 0
    assert said.err.startswith(f"{run.name}, step ")
    assert "the best" in said.err
    assert said.out.startswith("abc")
    assert len(said.out) == len("abc") + 20 + 1
    assert set(said.out) <= set("abcdefghijr \n")
    assert say("sample", run, "--prompt", "abc", "-n", 20, "--seed", 5, "--compile", "off").out == said.out
    assert say("sample", run, "--prompt", "abc", "-n", 20, "--seed", 6, "--compile", "off").out != said.out


def test_sample_takes_several_prompts(say, place, run):
    said = say("sample", run, "--prompt", "abc", "--prompt", "hedge fig", "-n", 5, "--compile", "off")
    assert said.status == 0
    assert "1 of 2" in said.out
    assert "\nabc" in said.out
    assert "\nhedge fig" in said.out


def test_info_knows_presets_and_runs(say, place, run):
    assert "124,439,808 parameters" in say("info", "gpt2").out
    figures = json.loads(say("info", run, "--json").out)
    model = Run.open(run).config["model"]
    assert figures["model"] == model
    weights = latest_checkpoint(run / "checkpoints")[0].tensors["model"]
    assert figures["costs"]["parameters"]["total"] == sum(weight.numel() for weight in weights.values())


def test_presets_lists_every_one(say):
    rows = json.loads(say("presets", "--json").out)
    assert [row["name"] for row in rows] == preset_names()
    assert all(name in say("presets").out for name in preset_names())


@pytest.mark.slow(reason="the whole demo")
def test_demo_trains_on_python_s_own_source_and_writes(say, place):
    said = say("demo", "--seconds", 3, "--study-steps", 4)
    assert said.status == 0, said
    assert "time is up" in said.out
    assert "\ndef " in said.out
    assert f"glassformer sample {the_run(place).name}" in said.out
    assert the_run(place).metrics()[-1]["seconds"] < 60
    (report,) = place.glob("studies/demo-residual-*/report.html")
    assert str(report.relative_to(place)) in said.out
    assert "no attention" in said.out


# ----------------------------------------------------------------------------------------- Ctrl-C, real processes


def process(place, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "glassformer", *map(str, words)],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for(child, condition, what, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < until, f"no {what} within {seconds} s"
        time.sleep(0.02)


def updates(place) -> int:
    return sum(
        record["kind"] == "train" for file in place.glob("runs/*/metrics.jsonl") for record in read_metrics(file)
    )


@pytest.fixture
def one_thread():
    """As many as the processes here have: with others, sums are rounded differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow(reason="a process; Ctrl-C is handled alike")),
    ],
)
def test_a_signal_saves_leaves_and_the_run_resumes_to_the_same_end(place, small, say, one_thread, number, status):
    steps = ("--steps", 200, *small, "--set", "training.checkpoints.every=none", "--set", "model.dropout=0.1")
    child = process(place, *TRAIN, *steps)
    wait_for(child, lambda: updates(place) >= 1, "update")
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (status, "")
    run = the_run(place)
    assert f"stopped by {number.name} and saved" in out
    assert f"glassformer resume {run.name}" in out
    stopped_at = latest_checkpoint(run.checkpoints)[0].step
    assert 1 <= stopped_at < 200

    said = say("resume", run.name)
    assert (said.status, said.err) == (0, "")
    assert f"from step {stopped_at}" in said.out
    assert say(*TRAIN, *steps, "--name", "whole").status == 0
    found, expected = (
        latest_checkpoint(path / "checkpoints")[0] for path in (run.path, next(place.glob("runs/whole-*")))
    )
    assert found.step == expected.step == 200
    for group, named in expected.tensors.items():
        assert all(torch.equal(found.tensors[group][name], value) for name, value in named.items())
    assert [event["event"] for event in read_events(run.metrics_path)].count("end") == 2


def test_a_second_ctrl_c_leaves_at_once(place, small):
    # one update takes minutes here, so the first signal cannot have been answered when the second comes
    child = process(
        place, *TRAIN, *small, "--set", "training.batch_size=2000000", "--set", "training.micro_batch_size=100"
    )
    wait_for(child, lambda: any('"start"' in file.read_text() for file in place.glob("runs/*/metrics.jsonl")), "start")
    wait_for(
        child,
        lambda: any('"validation"' in file.read_text() for file in place.glob("runs/*/metrics.jsonl")),
        "validation",
    )
    child.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert child.poll() is None, "the first Ctrl-C waits for the update"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 130
    assert "Traceback" not in err


@pytest.mark.slow(reason="a process that trains; tests/cli/test_wrong_inputs.py holds the lock itself")
def test_the_run_in_use_is_refused_from_another_process(place, small, say):
    child = process(place, *TRAIN, "--steps", 100_000, *small)
    wait_for(child, lambda: updates(place) >= 1, "update")
    run = the_run(place)
    said = say("resume", run.name)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert said.status == 2
    assert f"is being trained already, by process {child.pid}" in said.err
