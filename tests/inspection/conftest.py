"""Real runs of both families and a GPT-2 folder, each made in a moment, to be opened and looked at."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from glassformer.data.config import DataConfig
from glassformer.data.translation_config import TranslationConfig
from glassformer.models.presets import preset
from glassformer.runs.folder import Run
from glassformer.tasks.run_config import RunConfig
from glassformer.training import session

COMMON = {
    "model.d_model": 16,
    "model.n_layers": 2,
    "model.max_seq_len": 24,
    "model.attention.n_heads": 2,
    "training.max_steps": 12,
    "training.compile": "off",
    "training.schedule.warmup_steps": 2,
    "training.telemetry.log_every": 2,
    "training.telemetry.validate_every": 4,
    "training.telemetry.validation_tokens": 128,
    "training.telemetry.gradients_every": 2,
    "training.checkpoints.every": 4,
    "training.checkpoints.keep_last": 3,
}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Path:
    """A folder with a cache of its own; this machine is measured only briefly."""
    place = tmp_path_factory.mktemp("inspection")
    patch = pytest.MonkeyPatch()
    patch.setenv("GLASSFORMER_CACHE", str(place / "cache"))
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    yield place
    patch.undo()


def trained(root: Path, name: str, config: RunConfig) -> Run:
    trainer = session.start(config, root=root / "runs", name=name, command=["test"])
    trainer.train()
    return trainer.run


@pytest.fixture(scope="session")
def language_run(workshop) -> Run:
    """A language model with checkpoints at 4, 8 and 12 steps and telemetry; of letters, spaces and line ends."""
    draw = random.Random(1)
    text = workshop / "letters.txt"
    text.write_text("".join(draw.choice(["abc ", "bad ", "hedge ", "fig\n", "ajar "]) for _ in range(1_000)))
    chosen = preset("nanogpt-shakespeare-cpu")
    settings = chosen.recipe | COMMON | {"data.source": str(text), "training.batch_size": 4, "training.seq_len": 16}
    return trained(workshop, "letters", RunConfig(model=chosen.model, data=DataConfig()).override(settings))


@pytest.fixture(scope="session")
def translator_run(workshop) -> Run:
    """A translator that puts words in the reverse order, with checkpoints at 4, 8 and 12 steps and telemetry."""
    draw = random.Random(0)
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    lines = []
    for _ in range(300):
        sentence = [draw.choice(words) for _ in range(draw.randint(1, 7))]
        lines.append(" ".join(sentence) + "\t" + " ".join(reversed(sentence)) + "\n")
    pairs = workshop / "reversed.tsv"
    pairs.write_text("".join(lines))
    chosen = preset("transformer-tiny")
    settings = COMMON | {
        "model.n_encoder_layers": 2,
        "model.feedforward.d_ff": 32,
        "data.source": str(pairs),
        "data.tokenizer": "words",
        "data.max_length": 16,
        "training.batch_tokens": 64,
    }
    config = RunConfig(model=chosen.model, data=TranslationConfig()).override(settings)
    return trained(workshop, "reversed", config)


@pytest.fixture(scope="session")
def gpt2_folder(workshop) -> Path:
    """A small GPT-2 of random weights as transformers writes it, with a tokenizer of single bytes and one merge."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = workshop / "gpt2"
    torch.manual_seed(0)
    letters = [*sorted(ByteLevel.alphabet()), "th"]
    sizes = {"vocab_size": len(letters), "n_positions": 32, "n_embd": 24, "n_layer": 2, "n_head": 3}
    config = GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n")
    return folder
