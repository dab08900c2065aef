"""The planned memory is the peak of a real process, path and validation included."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from glassformer.scaling.plans.allocation import Steps
from glassformer.scaling.plans.machine_costs import Batches
from glassformer.scaling.plans.memory import COMPILER, MIB, PROCESS, peak_memory
from glassformer.training.execution import ExecutionConfig, choose
from glassformer.training.recipes import configuration

VOCABULARY = 96


def config_of(preset: str, *assignments: str):
    run = configuration(preset, data=None, steps=3, seed=None, assignments=("training.compile=off", *assignments))
    return run.override({"model.vocab_size": VOCABULARY})


def execution(tokens: int, **changes) -> ExecutionConfig:
    chosen = {"device": "cpu", "fast_matmul": False, "attention_path": "fused", "compile": False}
    return ExecutionConfig(**(chosen | changes), micro_batch_tokens=tokens, threads=1, reasons=())


def test_the_process_is_in_it_however_small_the_model():
    config = config_of("tiny-transformer")
    pieces = peak_memory(config, execution(64))
    assert pieces["process"] == PROCESS
    assert sum(pieces.values()) < PROCESS + 10 * MIB


def test_explicit_attention_takes_more_and_compiling_adds_the_compiler_and_whole_logits():
    config = config_of("modern-small")
    tokens = 8 * config.seq_len
    fused, explicit, compiled = (
        peak_memory(config, execution(tokens, **changes))
        for changes in ({}, {"attention_path": "explicit"}, {"compile": True})
    )
    assert explicit["activations"] > 1.1 * fused["activations"]
    assert compiled["process"] == fused["process"] + COMPILER
    assert compiled["activations"] - fused["activations"] == pytest.approx(1.25 * 3 * tokens * VOCABULARY * 4, rel=1e-3)


def test_a_large_model_with_a_small_batch_peaks_at_its_update():
    """There are then weights, two moments, gradients and the recorded copy: five values a parameter."""
    config = config_of("nanogpt-shakespeare-cpu", "model.d_model=768", "training.batch_size=1")
    pieces = peak_memory(config, execution(config.seq_len))
    weights = pieces["gradients"]
    assert pieces["weights and optimizer state"] == 3 * weights
    assert pieces["activations"] == weights


def test_on_a_gpu_the_process_is_elsewhere():
    assert peak_memory(config_of("tiny-transformer"), execution(64, device="cuda"))["process"] == 0


SHAPES = {
    "nano": ("nanogpt-shakespeare-cpu",),
    "modern": ("modern-small", "training.batch_size=8"),
    "dropout": ("modern-small", "training.batch_size=8", "model.attention.dropout=0.1"),
    "wide": ("nanogpt-shakespeare-cpu", "model.d_model=512", "model.n_layers=8", "model.attention.n_heads=8"),
}

TRAIN = """
import resource, sys
from pathlib import Path
from glassformer.training.recipes import configuration
from glassformer.training.session import start
root, text, preset, *assignments = sys.argv[1:]
config = configuration(preset, data=text, steps=2, seed=None, assignments=assignments)
start(config, name="peak", root=Path(root)).train()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow(reason="trains four models in processes of their own")
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
@pytest.mark.parametrize("shape", SHAPES)
def test_the_planned_memory_is_within_15_percent_of_the_peak(shape, tmp_path):
    preset, *assignments = SHAPES[shape]
    assignments += ["training.compile=off", "training.telemetry.validation_tokens=16384"]
    text = tmp_path / "text.txt"
    letters = "".join(map(chr, range(32, 32 + VOCABULARY - 1)))
    text.write_text(letters * 600)
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "runs"), str(text), preset, *assignments]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    peak = int(ended.stdout.split()[-1]) * 1024
    config = config_of(preset, *assignments)
    steps = Steps(config.training.batch_size, config.seq_len, 2)
    planned = sum(peak_memory(config, choose(config, Batches(steps, VOCABULARY))).values())
    assert planned == pytest.approx(peak, rel=0.15)
