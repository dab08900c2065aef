"""The public surface of ``glassformer``: frozen here, so that it changes on purpose or not at all."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import glassformer

PUBLIC = [
    "BeamSearchConfig",
    "CheckpointError",
    "ConfigError",
    "DataConfig",
    "DataError",
    "Decoder",
    "DecodingConfig",
    "DependencyError",
    "Encoder",
    "EncoderDecoder",
    "GlassformerError",
    "Intervention",
    "MaskedConfig",
    "ModelConfig",
    "PlanRequest",
    "Points",
    "Run",
    "RunConfig",
    "RunError",
    "SamplingConfig",
    "Trace",
    "TrainingConfig",
    "TrainingError",
    "TranslationConfig",
    "Translator",
    "attention_page",
    "beam_search",
    "build",
    "costs",
    "describe",
    "evaluate",
    "fill",
    "fit",
    "from_pretrained",
    "generate",
    "inspect",
    "intervene",
    "law",
    "load_gpt2",
    "load_marian",
    "load_part_file",
    "loss_chart",
    "open_masked",
    "open_model",
    "open_subject",
    "open_translator",
    "paired_difference",
    "plan",
    "prepare",
    "prepare_translation",
    "preset",
    "preset_names",
    "probe_points",
    "read_points",
    "record",
    "register",
    "registered",
    "resume",
    "save_chart",
    "save_gpt2",
    "save_marian",
    "save_pretrained",
    "score_translations",
    "start",
    "stream",
    "study",
    "translate",
    "watch",
]
HEAVY = ("torch", "transformers", "datasets", "altair", "tokenizers", "scipy", "tensorboard", "pydantic", "typer")


def test_every_name_is_listed_once_and_seen_by_dir():
    assert len(glassformer.__all__) == len(set(glassformer.__all__))
    assert set(glassformer.__all__) == {"__version__", *PUBLIC}
    assert set(glassformer.__all__) <= set(dir(glassformer))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_imports_from_its_room_and_is_documented(name):
    value = getattr(glassformer, name)
    assert value is getattr(importlib.import_module(glassformer._EXPORTS[name]), name)
    if inspect.isclass(value) or inspect.isroutine(value):
        documentation = inspect.getdoc(value) or ""
        assert documentation.strip(), f"{name} has no docstring"
        assert value.__doc__, f"{name} has no docstring of its own"
    assert not name.startswith("_")


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = glassformer.nothing


def test_importing_glassformer_imports_nothing_heavy():
    program = f"import sys, glassformer; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
