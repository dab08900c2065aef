"""A part's own loss is trained beside the objective, weighed by its share of the tokens, and recorded by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from glassformer.data.batches import IGNORE
from glassformer.models.config import ModelConfig
from glassformer.registry import load_part_file
from glassformer.testing.comparing import random_model
from glassformer.training.execution import ExecutionConfig
from glassformer.training.progress import Progress
from glassformer.training.step import GradientStep

FILE = Path(__file__).parent.parent / "lossy_parts.py"
load_part_file(FILE)
CONFIG = {
    "vocab_size": 11,
    "max_seq_len": 8,
    "d_model": 8,
    "n_layers": 2,
    "attention": {"n_heads": 2},
    "part_files": [str(FILE)],
}


@dataclass
class Rows:
    """A batch of inputs and targets."""

    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def arguments(self):
        return (self.inputs,)

    @property
    def n_tokens(self):
        return int((self.targets != IGNORE).sum())

    def rows(self, start, stop):
        return Rows(self.inputs[start:stop], self.targets[start:stop])


def taken(kind="test-lossy", *, rows_at_a_time=4, compiled=False, watched=False):
    """A step's losses and gradients, of one batch of four rows."""
    model = random_model(ModelConfig.build(CONFIG | {"feedforward": {"kind": kind}})).train()
    torch.manual_seed(1)
    batch = Rows(torch.randint(11, (4, 8)), torch.randint(11, (4, 8)))
    path = ExecutionConfig("cpu", False, "explicit", compiled, 8 * rows_at_a_time, 1, ())
    step = GradientStep(model, path, precision="fp32", seed=0)
    if watched:
        model.logits.register_forward_hook(lambda *_: None)
    loss = step(0, batch)
    assert step.fell_back is None
    return loss, {name: weight.grad for name, weight in model.named_parameters()}


def test_the_loss_is_in_the_objective_and_not_in_the_likelihood():
    loss, _ = taken()
    assert set(loss.auxiliary) == {"smallness"}
    assert loss.objective == pytest.approx(loss.nll + loss.auxiliary["smallness"], rel=1e-6)
    assert loss.auxiliary["smallness"] > 0.01
    assert taken("relu")[0].auxiliary == {}


@pytest.mark.parametrize(
    "how",
    [
        {"rows_at_a_time": 1},
        {"rows_at_a_time": 3},
        {"watched": True},
        pytest.param({"compiled": True}, marks=pytest.mark.slow(reason="compiles a step")),
    ],
    ids=str,
)
def test_the_gradient_is_the_same_however_the_batch_is_taken(how):
    (expected, gradients), (found, other) = taken(), taken(**how)
    assert found.objective == pytest.approx(expected.objective, rel=1e-5)
    assert found.auxiliary["smallness"] == pytest.approx(expected.auxiliary["smallness"], rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(other[name], gradient, atol=1e-6, rtol=1e-4)


def test_training_makes_it_smaller_and_records_it(runs, configure):
    heard = []
    own = {"model.part_files": str(FILE), "model.feedforward.kind": "test-lossy"}
    runs.train(configure(own), heard.append)
    records = [record for record in heard if record.get("kind") == "train"]
    smallness = [record["auxiliary"]["smallness"] for record in records]
    assert all(record["objective"] > record["loss"] for record in records)
    assert len(smallness) > 1
    assert smallness[-1] != smallness[0]


def test_progress_holds_the_sums_where_there_are_any():
    progress = Progress()
    assert "auxiliary_sums" not in progress.state(), "the checkpoints of other models are as they were"
    progress.add(10, 2.0, 2.5, {"smallness": 0.5})
    progress.add(30, 1.0, 1.1, {"smallness": 0.1})
    assert progress.auxiliary_sums == {"smallness": pytest.approx(8.0)}
    assert Progress.from_state(progress.state(), 20) == progress
