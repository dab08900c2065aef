"""A small text, a small model, and runs of them: what every test of the training room needs."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from glassformer.data.config import DataConfig
from glassformer.data.masked_config import MaskedConfig
from glassformer.data.translation_config import TranslationConfig
from glassformer.models.presets import preset
from glassformer.tasks.run_config import RunConfig
from glassformer.training import session

WALL_CLOCK = {"seconds", "tokens_per_second", "flops_per_second", "peak_fraction"}
SMALL = {
    "model.d_model": 16,
    "model.n_layers": 2,
    "model.max_seq_len": 16,
    "model.attention.n_heads": 2,
    "training.batch_size": 4,
    "training.max_steps": 12,
    "training.schedule.warmup_steps": 3,
    "training.compile": "off",
    "training.telemetry.log_every": 5,
    "training.telemetry.validate_every": 4,
    "training.telemetry.validation_tokens": 96,
    "training.telemetry.gradients_every": 6,
    "training.checkpoints.every": 3,
}
OF_TEXT = {"training.seq_len": 12, "training.micro_batch_size": 4}
OF_PAIRS = {"model.n_encoder_layers": 2, "data.max_length": 16, "training.batch_tokens": 48, "data.tokenizer": "words"}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """A cache of our own, and measurements of this machine that are kept short."""
    patch = pytest.MonkeyPatch()
    patch.setenv("GLASSFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """Some thousands of characters of words in no order."""
    draw = random.Random(0)
    words = ["the", "residual", "stream", "carries", "a", "sum", "of", "what", "each", "layer", "wrote,", "unnormed.\n"]
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(draw.choice(words) for _ in range(2_000)))
    return path


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> Path:
    """Some hundreds of sentences of 1 to 9 words, and each one's words in the reverse order."""
    draw = random.Random(0)
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    lines = []
    for _ in range(400):
        sentence = [draw.choice(words) for _ in range(draw.randint(1, 9))]
        lines.append(" ".join(sentence) + "\t" + " ".join(reversed(sentence)) + "\n")
    path = tmp_path_factory.mktemp("pairs") / "reversed.tsv"
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="session")
def configure(text, pairs):
    """``configure({"model.residual": "none"})``: the small run with changes, dotted names as on the command line."""

    def build(changes=None, *, base="nanogpt-shakespeare-cpu") -> RunConfig:
        chosen = preset(base)
        data, own = {
            "decoder": (DataConfig(), OF_TEXT | {"data.source": str(text)}),
            "encoder": (MaskedConfig(), OF_TEXT | {"data.source": str(text), "data.bpe_vocab_size": 300}),
            "encoder-decoder": (TranslationConfig(), OF_PAIRS | {"data.source": str(pairs)}),
        }[chosen.model.family]
        recipe = {name: value for name, value in chosen.recipe.items() if name != "data.vocab_size"}
        return RunConfig(model=chosen.model, data=data).override(recipe | SMALL | own | (changes or {}))

    return build


class Runs:
    """Starts, trains and resumes runs below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def start(self, config: RunConfig, *observers, name="run"):
        return session.start(config, root=self.root, name=name, command=["test"], observers=observers)

    def train(self, config: RunConfig, *observers, name="run"):
        trainer = self.start(config, *observers, name=name)
        trainer.train()
        return trainer

    def train_until(self, config: RunConfig, step: int):
        """A run that is stopped by SIGTERM while it makes update ``step``."""
        trainer = self.start(config)
        stop_at(trainer, step)
        trainer.train()
        return trainer


def stop_at(trainer, step: int) -> None:
    import signal

    update = trainer._update

    def update_then_stop() -> None:
        update()
        if trainer.progress.step == step:
            signal.raise_signal(signal.SIGTERM)

    trainer._update = update_then_stop


@pytest.fixture
def runs(tmp_path) -> Runs:
    return Runs(tmp_path / "runs")


def measured(run) -> list[dict]:
    """A run's records without what a clock says."""
    return [{key: value for key, value in record.items() if key not in WALL_CLOCK} for record in run.metrics()]


@pytest.fixture(scope="session")
def assert_same_end():
    """Two trainers ended in the same state, bit for bit, having measured the same."""

    def check(one, other) -> None:
        assert one.progress.step == other.progress.step
        found, expected = one.tensors(), other.tensors()
        wrong = [
            f"{group}: {name}"
            for group in expected
            for name in expected[group]
            if not torch.equal(found[group][name], expected[group][name])
        ]
        assert found.keys() == expected.keys()
        assert not wrong, wrong[:5]
        assert json.dumps(measured(one.run)) == json.dumps(measured(other.run))

    return check


@pytest.fixture(scope="session")
def resume():
    def resume(run, *observers):
        trainer, warnings = session.resume(run, observers=observers)
        trainer.train()
        return trainer, warnings

    return resume


@pytest.fixture(scope="session")
def stop():
    """``stop(trainer, step)``: SIGTERM comes while the trainer makes that update."""
    return stop_at
