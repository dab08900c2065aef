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

SMALL_TRANSLATOR = {
    "data.tokenizer": "words",
    "data.max_length": 32,
    "model.d_model": 32,
    "model.n_layers": 1,
    "model.n_encoder_layers": 1,
    "model.max_seq_len": 32,
    "model.attention.n_heads": 2,
    "model.feedforward.d_ff": 64,
    "model.dropout": 0,
    "training.batch_tokens": 512,
    "training.compile": "off",
    "training.optimizer.learning_rate": 0.01,
    "training.schedule.warmup_steps": 10,
    "training.telemetry.log_every": 40,
    "training.telemetry.validate_every": 40,
    "training.telemetry.gradients_every": "none",
    "training.checkpoints.every": 40,
    "training.checkpoints.keep_last": 3,
}
ENGLISH = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
GERMAN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]


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
    monkeypatch.setenv("GLASSFORMER_REPORTS", str(shared_cache.parent / "reports"))
    monkeypatch.delenv("GLASSFORMER_RUNS", raising=False)
    monkeypatch.delenv("GLASSFORMER_STUDIES", raising=False)
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


@pytest.fixture(scope="session")
def masked(tmp_path_factory, shared_cache, small):
    """A masked language model of characters, of four steps; to be copied, not touched."""
    place = tmp_path_factory.mktemp("masked")
    patch = pytest.MonkeyPatch()
    patch.setenv("GLASSFORMER_CACHE", str(shared_cache))
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    text = place / "letters.txt"
    text.write_text("one two three four\n" * 200)
    words = ["train", "masked-small", "--data", text, "--steps", 4, "--runs", place / "runs", "--name", "masked"]
    characters = ["--set", "data.tokenizer=characters", "--set", "data.bpe_vocab_size=4096"]
    assert main([str(word) for word in [*words, *small, *characters]]) == 0
    patch.undo()
    (run,) = (place / "runs").iterdir()
    return run


@pytest.fixture
def run(place, trained) -> Path:
    """A copy of the trained run in ``runs`` of the working directory."""
    shutil.copytree(trained, place / "runs" / trained.name)
    return place / "runs" / trained.name


def counted(n: int, seed: int) -> str:
    """Pairs of one to four numbers in words, English and German, a pair a line with a TAB between; each once."""
    draw = random.Random(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < n:
        numbers = [draw.randrange(10) for _ in range(draw.randint(1, 4))]
        pairs[" ".join(ENGLISH[number] for number in numbers)] = " ".join(GERMAN[number] for number in numbers)
    return "".join(f"{english}\t{german}\n" for english, german in pairs.items())


@pytest.fixture(scope="session")
def small_translator():
    """The options that make a translator train in seconds."""
    return [word for name, value in SMALL_TRANSLATOR.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="session")
def translators(tmp_path_factory, shared_cache, small_translator):
    """Runs to be copied, not touched: one that has learned to translate numbers, and one of other words, untrained."""
    place = tmp_path_factory.mktemp("translators")
    patch = pytest.MonkeyPatch()
    patch.setenv("GLASSFORMER_CACHE", str(shared_cache))
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    (place / "numbers.tsv").write_text(counted(400, seed=0), encoding="utf-8")
    (place / "test.tsv").write_text(counted(30, seed=1), encoding="utf-8")
    (place / "other.tsv").write_text("a b\tc d\nb a\td c\na\tc\nb\td\n" * 3, encoding="utf-8")
    found = {}
    for name, steps, test in (("numbers", 120, "test.tsv"), ("other", 1, "other.tsv")):
        words = ["train", "transformer-tiny", "--data", place / f"{name}.tsv", "--steps", steps, "--name", name]
        words += ["--runs", place / "runs", "--set", f"data.test={place / test}", *small_translator]
        assert main([str(word) for word in words]) == 0
        (found[name],) = (place / "runs").glob(f"{name}-*")
    patch.undo()
    return found


@pytest.fixture
def translator(place, translators) -> Path:
    """A copy of the translator of numbers in ``runs`` of the working directory, and its test pairs, ``test.tsv``."""
    shutil.copytree(translators["numbers"], place / "runs" / translators["numbers"].name)
    (place / "test.tsv").write_text(counted(30, seed=1), encoding="utf-8")
    return place / "runs" / translators["numbers"].name


@pytest.fixture
def other_translator(place, translators) -> Path:
    """A copy of the untrained translator of other words."""
    shutil.copytree(translators["other"], place / "runs" / translators["other"].name)
    return place / "runs" / translators["other"].name
