"""A place of our own for every test of the command line, and one small trained run to use and to damage."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from glassformer.cli.main import main

SMALL = {
    "model.d_model": 16,
    "model.n_layers": 1,
    "model.max_seq_len": 16,
    "model.attention.n_heads": 2,
    "training.batch_size": 4,
    "training.compile": "off",
    "training.schedule.warmup_steps": 2,
    "training.telemetry.log_every": 4,
    "training.telemetry.validate_every": 4,
    "training.telemetry.validation_tokens": 128,
    "training.telemetry.gradients_every": 4,
    "training.checkpoints.every": 4,
}


@dataclass
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str


@pytest.fixture
def say(capfd):
    """``say("info", "gpt2")``: run a command in this process."""

    def say(*words) -> Said:
        capfd.readouterr()
        status = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Said(status, out, err)

    return say


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path, monkeypatch, shared_cache) -> Path:
    """An empty working directory with a small text, ``words.txt``, in it; runs go to ``runs`` there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLASSFORMER_CACHE", str(shared_cache))
    monkeypatch.delenv("GLASSFORMER_RUNS", raising=False)
    monkeypatch.delenv("GLASSFORMER_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("glassformer.speed.SECONDS", 0.01)
    draw = random.Random(0)
    words = ["the", "residual", "stream", "carries", "a", "sum", "of", "what", "each", "layer", "wrote.\n"]
    (tmp_path / "words.txt").write_text(" ".join(draw.choice(words) for _ in range(1_000)))
    return tmp_path


@pytest.fixture(scope="session")
def small():
    """The options that make a training take a moment."""
    return [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, shared_cache, small):
    """A run of eight steps, trained by the command line; to be copied, not touched."""
    place = tmp_path_factory.mktemp("trained")
    patch = pytest.MonkeyPatch()
    patch.setenv("GLASSFORMER_CACHE", str(shared_cache))
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    draw = random.Random(1)
    text = place / "letters.txt"
    text.write_text("".join(draw.choice(["abc ", "bad ", "hedge ", "fig\n", "ajar "]) for _ in range(1_000)))
    words = [
        "train",
        "nanogpt-shakespeare-cpu",
        "--data",
        text,
        "--steps",
        8,
        "--runs",
        place / "runs",
        "--name",
        "small",
    ]
    assert main([str(word) for word in [*words, *small]]) == 0
    patch.undo()
    (run,) = (place / "runs").iterdir()
    return run


@pytest.fixture
def run(place, trained) -> Path:
    """A copy of the trained run in ``runs`` of the working directory."""
    shutil.copytree(trained, place / "runs" / trained.name)
    return place / "runs" / trained.name
