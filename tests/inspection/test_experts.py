"""Figures of experts: which tokens go to which, and the loads of a training, against the numbers they are made from."""

from __future__ import annotations

import math

import pytest
import torch
from small_runs import configure, pairs, runs, text  # noqa: F401 - fixtures

from glassformer.errors import ConfigError, RunError
from glassformer.inspection.chapters import CHAPTERS
from glassformer.inspection.experts import expert_loads, expert_routing
from glassformer.inspection.page import inspect
from glassformer.inspection.subjects import open_subject
from glassformer.models.config import ModelConfig
from glassformer.testing.comparing import random_model

TREE = {
    "vocab_size": 11,
    "max_seq_len": 12,
    "d_model": 16,
    "n_layers": 4,
    "attention": {"n_heads": 4},
    "feedforward": {"kind": "gelu", "d_ff": 24, "experts": {"n_experts": 5, "n_active": 2, "every": 2}},
}
TOKENS = torch.randint(11, (2, 8), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("router", ["softmax", "sigmoid"])
def test_the_routing_is_that_of_the_pass(router):
    model = random_model(ModelConfig.build(TREE).override({"feedforward.experts.router": router}))
    trace = model.trace(TOKENS)
    found = expert_routing(trace, row=1, tokens=list("abcdefgh"))
    assert found.layers == ("layer 1", "layer 3")
    assert found.weights.shape == found.probabilities.shape == (2, 5, 8)
    assert (found.weights != 0).sum(1).eq(2).all()
    torch.testing.assert_close(found.weights[1], trace["blocks.3.feedforward.router.gates"][1].T)
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(2, 8))
    assert (found.entropy > 0).all()
    assert (found.entropy <= math.log(5) + 1e-6).all()
    torch.testing.assert_close(found.load().sum(-1), torch.ones(2, dtype=torch.float64))
    weights, entropy = found.figures()
    assert weights.values.shape == (1, 2, 5, 8)
    assert entropy.values.shape == (1, 2, 8)
    assert "layer 3" in str(found)


def test_a_model_without_experts_says_so():
    model = random_model(ModelConfig.build(TREE).override({"feedforward.experts": None}))
    with pytest.raises(ConfigError, match="no experts in this model"):
        expert_routing(model.trace(TOKENS))


def test_an_encoders_experts_are_its_own():
    model = random_model(ModelConfig.build(TREE | {"n_encoder_layers": 2}))
    trace = model.trace(TOKENS, TOKENS.flip(1))
    assert expert_routing(trace, side="encoder").layers == ("layer 1",)
    assert expert_routing(trace, side="decoder").layers == ("layer 1", "layer 3")


def test_the_loads_are_those_that_the_training_recorded_and_a_page_draws_them(runs, configure):  # noqa: F811
    own = {"model.feedforward.experts.n_experts": 4}
    run = runs.train(configure(own)).run
    loads = expert_loads(run)
    records = [record for record in run.metrics() if record.get("kind") == "experts"]
    assert loads.steps.tolist() == [record["step"] for record in records] == [5, 10, 12]
    assert loads.load.shape == (2, 4, 3)
    last = records[-1]["layers"]["blocks.1.feedforward"]
    assert loads.load[1, :, -1].tolist() == pytest.approx([4 * share for share in last["load"]])
    assert float(loads.max_violation[1, -1]) == last["max_violation"]
    torch.testing.assert_close(loads.load.mean(1), torch.ones(2, 3, dtype=torch.float64))
    chapters = [chapter for chapter in CHAPTERS if chapter.title.startswith("Experts")]
    page = inspect(open_subject(str(run.path)), text="the residual", chapters=chapters)
    figures = [figure.title for section in page.sections for column in section.columns for figure in column.figures]
    assert figures == [
        "Experts of each token",
        "Router entropy",
        "Load of each expert during training",
        "Largest excess of load during training",
    ]


def test_a_run_without_experts_has_no_loads(runs, configure):  # noqa: F811
    run = runs.train(configure({"training.max_steps": 1})).run
    with pytest.raises(RunError, match="no record of experts"):
        expert_loads(run)
