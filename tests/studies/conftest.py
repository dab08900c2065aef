"""A small text, a small base, and studies of it: what the tests of designs and of their execution need."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from glassformer.models.presets import preset
from glassformer.runs.checkpoints import latest_checkpoint
from glassformer.runs.folder import Run
from glassformer.studies.checking import check
from glassformer.studies.design import study
from glassformer.studies.folder import Study
from glassformer.tasks.run_config import RunConfig

SMALL = {
    "model.d_model": 16,
    "model.n_layers": 2,
    "model.max_seq_len": 16,
    "model.attention.n_heads": 2,
    "training.batch_size": 4,
    "training.max_steps": 8,
    "training.schedule.warmup_steps": 3,
    "training.compile": "off",
    "training.telemetry.log_every": 2,
    "training.telemetry.validate_every": 4,
    "training.telemetry.validation_tokens": 96,
    "training.telemetry.gradients_every": None,
    "training.checkpoints.every": 3,
}
WALL_CLOCK = {"seconds", "tokens_per_second", "flops_per_second", "peak_fraction"}


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory):
    """A cache of our own, no runs or studies of anyone else's, and short measurements of this machine."""
    patch = pytest.MonkeyPatch()
    patch.setenv("GLASSFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("GLASSFORMER_RUNS", str(tmp_path_factory.mktemp("runs")))
    patch.setenv("GLASSFORMER_STUDIES", str(tmp_path_factory.mktemp("studies")))
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """Some thousands of characters of words in no order."""
    draw = random.Random(0)
    words = ["the", "residual", "stream", "carries", "a", "sum", "of", "what", "each", "layer", "wrote.\n"]
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text(" ".join(draw.choice(words) for _ in range(1_000)))
    return path


@pytest.fixture(scope="session")
def base(text) -> RunConfig:
    chosen = preset("nanogpt-shakespeare-cpu")
    return RunConfig(model=chosen.model).override(chosen.recipe | SMALL | {"data.source": str(text)})


@pytest.fixture(scope="session")
def design(base):
    """``design(["model.residual=none"], seeds=2)``: a study of the small base."""

    def design(vary, **options):
        return study(base, vary=vary, **options)

    return design


@pytest.fixture
def create(tmp_path):
    """``create(config)``: the study's folder, everything checked."""

    def create(config) -> Study:
        checked = check(config)
        return Study.create(checked.config, data=checked.data, command=["test"], root=tmp_path / "studies")

    return create


@pytest.fixture(scope="session")
def assert_same_run():
    """``assert_same_run(found, expected)``: the same configuration, weights and records, but for what a clock says."""

    def records(run: Run) -> str:
        kept = [{key: value for key, value in record.items() if key not in WALL_CLOCK} for record in run.metrics()]
        return json.dumps(kept)

    def assert_same_run(found: Run, expected: Run) -> None:
        one, other = latest_checkpoint(found.checkpoints)[0], latest_checkpoint(expected.checkpoints)[0]
        assert one.step == other.step
        for group, named in other.tensors.items():
            assert [name for name in named if not torch.equal(named[name], one.tensors[group][name])] == []
        assert records(found) == records(expected)
        assert found.config == expected.config

    return assert_same_run
