"""There is always a checkpoint to use, a loss is that of weights one can have, and no number is made of NaN."""

from __future__ import annotations

import json
import math
import re
import shutil

import pytest
import torch

from glassformer.runs.checkpoints import list_checkpoints, open_checkpoint, save_checkpoint
from glassformer.runs.folder import Run
from glassformer.strict_json import strict_json

WORSE = {
    "ever worse": ["training.optimizer.learning_rate=3", "training.schedule.warmup_steps=0"],
    "one validation": ["training.optimizer.learning_rate=3", "training.telemetry.validate_every=1000"],
    "no checkpoint between": ["training.optimizer.learning_rate=3", "training.checkpoints.every=none"],
    "impatient": ["training.optimizer.learning_rate=3", "training.patience=1"],
    "every step": ["training.optimizer.learning_rate=3", "training.telemetry.validate_every=1"],
    "better": ["training.optimizer.learning_rate=0.003"],
}


@pytest.mark.parametrize("settings", WORSE.values(), ids=WORSE.keys())
def test_a_run_that_only_got_worse_has_a_best_checkpoint_and_its_last_sentence_is_true(say, place, small, settings):
    chosen = [word for each in settings for word in ("--set", each)]
    said = say("train", "nanogpt-shakespeare-cpu", "--data", "words.txt", "--steps", 8, "--name", "w", *small, *chosen)
    assert said.status == 0
    (folder,) = (place / "runs").iterdir()
    validations = [record for record in Run.open(folder).metrics() if record["kind"] == "validation"]
    first, trained = validations[0]["loss"], [each for each in validations if each["step"] > 0]
    best = min(trained, key=lambda each: each["loss"])
    assert f"best validation loss {best['loss']:.4f} nats/token (step {best['step']})" in said.out
    assert ("did not lower the validation loss" in said.err) == (first <= best["loss"])
    checkpoint, notes = open_checkpoint(folder / "checkpoints", "best")
    assert (checkpoint.step, checkpoint.is_best, notes) == (best["step"], True, [])
    sampled = say("sample", folder, "-n", 3, "--compile", "off")
    assert sampled.status == 0
    assert f"step {best['step']}, the best" in sampled.err


def test_a_run_without_a_finite_validation_is_sampled_at_its_latest_and_says_so(say, place, run):
    for path in list_checkpoints(run / "checkpoints"):
        checkpoint = open_checkpoint(run / "checkpoints", int(path.name.removeprefix("step-")))[0]
        shutil.rmtree(path)
        save_checkpoint(run / "checkpoints", checkpoint.step, checkpoint.tensors, checkpoint.state)
    for command in (["sample", run, "-n", 3, "--compile", "off"], ["evaluate", run]):
        said = say(*command)
        assert said.status == 0
        assert "No checkpoint is marked as the best" in said.err
        assert "latest, of step 8" in " ".join(said.err.split())


BAD = {
    "one NaN": (lambda weight: weight.view(-1)[:1].fill_(math.nan), "(1 of"),
    "all NaN": (lambda weight: weight.fill_(math.nan), "not finite"),
    "an infinity": (lambda weight: weight.view(-1)[-1:].fill_(math.inf), "(1 of"),
    "minus infinity": (lambda weight: weight.view(-1)[:2].fill_(-math.inf), "(2 of"),
    "a mixture": (lambda weight: weight.view(-1)[:3].copy_(torch.tensor([math.nan, math.inf, -math.inf])), "(3 of"),
}


def damage(run, change) -> None:
    checkpoint, _ = open_checkpoint(run / "checkpoints", "best")
    change(next(weight for weight in checkpoint.tensors["model"].values() if weight.is_floating_point()))
    for path in list_checkpoints(run / "checkpoints"):
        shutil.rmtree(path)
    save_checkpoint(run / "checkpoints", checkpoint.step, checkpoint.tensors, checkpoint.state, is_best=True)


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("command", ["evaluate {}", "evaluate {} --json", "sample {} -n 3"])
def test_weights_that_are_not_finite_are_an_error_of_one_message(say, run, command, change, words):
    damage(run, change)
    said = say(*command.format(run).split(" "))
    assert (said.status, said.out) == (2, "")
    text = " ".join(said.err.split())
    assert "not finite" in text
    assert words in text
    assert "--checkpoint" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("command", ["evaluate {} --json", "translate {} --text one"])
def test_a_translator_s_too(say, translator, command):
    damage(translator, lambda weight: weight.fill_(math.nan))
    said = say(*command.format(translator).split(" "))
    assert (said.status, said.out) == (2, "")
    assert "not finite" in said.err


def test_finite_weights_whose_loss_overflows_are_an_error_too(say, run):
    damage(run, lambda weight: weight.fill_(3e38))
    said = say("evaluate", run, "--json")
    assert (said.status, said.out) == (2, "")
    assert "overflow" in said.err


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


COMMANDS = ["evaluate {run} --json", "info {run} --json", "info gpt2 --json --probes", "presets --json"]
COMMANDS += ["doctor --json --no-measure", "scale plan --compute 1e15 --vocab 65 --json"]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_prints_as_json_is_json_to_every_reader(say, run, command):
    said = say(*command.format(run=run).split(" "))
    assert said.status == 0, said.err
    json.loads(said.out, parse_constant=refuse)


def test_a_translation_without_a_score_is_null(say, translator):
    said = say("translate", translator, "--text", "one", "--text", "two", "--json", "--n-best", 2)
    assert said.status == 0
    for line in said.out.splitlines():
        json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "null"),
        ([1.5, -math.inf], "[1.5, null]"),
        ({"a": (math.inf, {"b": math.nan})}, '{"a": [null, {"b": null}]}'),
        ({"é": True, "n": None, "i": 3}, '{"é": true, "n": null, "i": 3}'),
        ("NaN", '"NaN"'),
    ],
)
def test_strict_json_has_null_for_what_is_not_finite(value, text):
    assert strict_json(value) == text
    json.loads(strict_json(value), parse_constant=refuse)


def test_no_command_prints_json_in_another_way():
    from pathlib import Path

    import glassformer.cli

    for path in Path(glassformer.cli.__file__).parent.glob("*.py"):
        printed = re.findall(r"print\(\s*json\.dumps", path.read_text(encoding="utf-8"))
        assert not printed, f"{path.name} prints JSON with json.dumps: use strict_json"
