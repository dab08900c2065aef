"""Tasks on the command line: trained by their names, evaluated by length, sampled like any text."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import redirect_stdout
from io import StringIO

import pytest

from glassformer.cli.main import main
from glassformer.runs.folder import Run
from glassformer.training.recipes import configuration

OPTIONS = {
    "model.d_model": 32,
    "model.n_layers": 2,
    "model.max_seq_len": 24,
    "model.attention.n_heads": 2,
    "training.batch_size": 32,
    "training.compile": "off",
    "training.optimizer.learning_rate": 5e-3,
    "training.schedule.warmup_steps": 10,
    "training.telemetry.log_every": 50,
    "training.telemetry.validate_every": 100,
    "training.telemetry.gradients_every": "none",
    "training.checkpoints.every": 100,
    "data.length": 5,
    "data.vocab_size": 6,
}
SMALL = [word for name, value in OPTIONS.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run that has learned to copy, trained by the command line; to be copied, not touched."""
    place = tmp_path_factory.mktemp("learned")
    patch = pytest.MonkeyPatch()
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    words = ["train", "nanogpt-shakespeare-cpu", "--data", "copy", "--steps", "200", "--name", "copier", *SMALL]
    with redirect_stdout(StringIO()) as out:
        assert main([*words, "--runs", str(place / "runs")]) == 0
    patch.undo()
    (folder,) = (place / "runs").iterdir()
    return folder, out.getvalue()


@pytest.fixture
def copier(place, learned):
    """A copy of it in ``runs`` of the working directory, and what the training said."""
    folder, said = learned
    shutil.copytree(folder, place / "runs" / folder.name)
    return Run.open(place / "runs" / folder.name), said


def test_a_task_is_trained_evaluated_sampled_drawn_and_resumed(say, place, copier):
    run, out = copier
    assert run.config["data"]["task"] == "synthetic"
    assert run.config["model"]["vocab_size"] == 7
    assert "copy: length 5" in out
    assert "of tokens right" in out
    assert "evaluate        glassformer evaluate" in out

    (whole,) = json.loads(say("evaluate", run.name, "--json").out)["problems"]
    assert (whole["length"], whole["exact"] > 0.9, whole["accuracy"] > 0.9) == ("5", True, True)
    said = say("evaluate", run.name, "--length", 3, "--length", 5, "--length", 12, "--problems", 40, "--json")
    by_length = {row["length"]: row for row in json.loads(said.out)["problems"]}
    assert 0 < by_length["3"]["problems"] <= 40, "there are not more of so short ones"
    assert [by_length[length]["problems"] for length in ("5", "12")] == [40, 40]
    assert by_length["5"]["exact"] > 0.9
    assert by_length["12"]["exact"] < 0.5, "longer than it ever saw"
    table = say("evaluate", run.name, "--length", 5, "--length", 12).out
    assert "exact match" in table

    said = say("sample", run.name, "--prompt", "a c b b f | ", "-n", 5, "--temperature", 0, "--compile", "off")
    assert said.out == "a c b b f | acbbf\n"
    assert say("chart", run.name, "-o", "loss.svg").status == 0
    assert "nothing left to train" in say("resume", run.name).out


def test_a_task_s_name_goes_before_a_file_s_and_its_path_names_the_file(place):
    def data(name):
        config = configuration("nanogpt-shakespeare-cpu", data=name, steps=None, seed=None, assignments=[])
        return config.data.to_dict()

    (place / "copy").write_text("a text named copy")
    assert data("copy")["task"] == "synthetic"
    assert data("./copy") == data("python-stdlib") | {"source": "./copy"}


def test_set_chooses_a_task_too():
    def config(data, *assignments):
        return configuration("gpt-nano", data=data, steps=3, seed=None, assignments=assignments)

    named = config("sort", "data.length=9")
    assert config(None, "data.kind=sort", "data.length=9") == config(None, "data.source=sort", "data.length=9") == named
    assert named.training.optimizer.learning_rate == 3e-4, "the preset's recipe, but for its data"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train gpt-nano --data cpoy", "no file, folder, text or task named 'cpoy'. Did you mean 'copy'?"),
        ("train transformer-small --data copy", "'copy' .* trains a decoder-only model"),
        ("train gpt-nano --data copy --set data.kind=sort", "data.kind is given twice"),
        ("train gpt-nano --data words.txt --set data.kind=sort", "choose one of them"),
        ("train gpt-nano --set data.kind=soort", "data.kind is 'soort'; expected 'copy'"),
        ("train gpt-nano --data copy --set data.tokenizer=bytes", "'data.tokenizer' is not a setting"),
        ("train tiny-transformer --data copy --set data.length=40", "set model.max_seq_len=80"),
        ("train gpt-nano --data copy --set data.length=1 --set data.vocab_size=2", "too few different problems"),
        ("evaluate {run} --length 3", "--length has no effect: .* has learned from a text"),
    ],
)
def test_a_mistake_ends_with_one_clear_message_and_leaves_nothing(say, place, run, command, message):
    before = sorted(place.rglob("*"))
    said = say(*command.format(run=run).split())
    assert said.status == 2
    assert "Traceback" not in said.err
    assert re.search(message, " ".join(said.err.split())), said.err
    assert sorted(path for path in place.rglob("*") if path.name != ".lock") == [
        path for path in before if path.name != ".lock"
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--length", 100], "length 100 takes 200 positions, more than the context length 24"),
        (["--problems", 3], "--problems has no effect: there is no --length"),
        (["--data", "words.txt"], "--data has no effect: .* has learned from the problems"),
        (["--beam", 3], "--beam has no effect"),
        (["--length", 0], "expected greater than or equal to 1"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(say, place, copier, options, message):
    run, _ = copier
    said = say("evaluate", run.name, *options)
    assert said.status == 2
    assert re.search(message, " ".join(re.sub("│", " ", said.err).split())), said.err
