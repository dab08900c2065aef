"""Promises about use: what counts, trains, records, saves and opens models takes every part, whatever weights it has.

Weights of real parts are not all matrices: a scalar (α of a dynamic tanh), a list of parameters, one that is frozen or
that the loss does not reach, a buffer of integers or booleans, memory that is not contiguous, no weight at all.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import torch

from glassformer.data.synthetic_tokenizer import SymbolTokenizer
from glassformer.inspection.page import inspect
from glassformer.inspection.subjects import InspectedModel
from glassformer.models.build import Model
from glassformer.models.config import ModelConfig
from glassformer.models.costs import Optimizer as OptimizerName
from glassformer.models.costs import costs, optimizer_values
from glassformer.models.family import family_of
from glassformer.runs.checkpoints import load_checkpoint, save_checkpoint
from glassformer.tasks.training_config import OptimizerConfig
from glassformer.testing.cases import Case, longest, random_case
from glassformer.testing.comparing import assert_close, random_model
from glassformer.testing.configs import without_dropout
from glassformer.training.optimizers import Optimizer
from glassformer.training.telemetry import ParameterTelemetry, clip_gradients, gradient_norm

SEEN = 1e-3
"""A gradient that even plain gradient descent turns into a change above rounding."""
KINDS = get_args(OptimizerConfig.model_fields["kind"].annotation)


def costs_are_counted(config: ModelConfig) -> None:
    """Parameters, FLOPs and bytes are counted, for every optimizer, and the parameters are those that are there."""
    there = sum(parameter.numel() for parameter in random_model(config).parameters())
    found = costs(config, batch_size=2, seq_len=longest(config, 8))
    assert found.parameters.total == there, f"{found.parameters.total} parameters are counted, of {there}"
    assert found.training_bytes >= found.weight_bytes > 0, "training takes less memory than the weights"
    for optimizer in get_args(OptimizerName):
        kept = optimizer_values(found.parameters, optimizer, momentum=True)
        assert there <= kept <= 2 * there, f"{optimizer} keeps {kept} values for {there} parameters"


def trains_with_every_optimizer(config: ModelConfig) -> None:
    """One update changes what has a gradient and nothing else, is recorded, and leaves finite weights."""
    config = without_dropout(config)
    case = random_case(config, 2, longest(config, 8))
    for kind in KINDS:
        model = random_model(config).train()
        before = {name: value.detach().clone() for name, value in model.named_parameters()}
        optimizer = Optimizer(OptimizerConfig(kind=kind, learning_rate=1e-3), model)
        recorded = _update(model, optimizer, case)
        assert recorded.keys() == optimizer.parameters.keys(), f"{kind}: the records are of other parameters"
        for name, parameter in model.named_parameters():
            assert torch.isfinite(parameter).all(), f"{kind} made {name} something that is not finite"
            trained = parameter.requires_grad and parameter.grad is not None
            if not trained:
                assert torch.equal(parameter, before[name]), f"{kind} changed {name}, which has no gradient"
            elif parameter.grad is not None and parameter.grad.abs().max() > SEEN:
                assert not torch.equal(parameter, before[name]), f"{kind} left {name} as it was"


def saved_equals_loaded(config: ModelConfig) -> None:
    """A checkpoint gives back every weight, buffer and optimizer state, and training continues from it bit for bit."""
    config = without_dropout(config)
    case = random_case(config, 2, longest(config, 8))
    model, other = (random_model(config, seed=seed).train() for seed in (0, 1))
    chosen = OptimizerConfig(learning_rate=1e-3)
    optimizer, resumed = Optimizer(chosen, model), Optimizer(chosen, other)
    _update(model, optimizer, case)
    with TemporaryDirectory() as folder:
        groups = {"model": model.named_weights(), "optimizer": optimizer.state()}
        kept = load_checkpoint(save_checkpoint(Path(folder), 1, groups, {})).tensors
    other.load_weights(kept["model"])
    resumed.load_state(kept["optimizer"])
    assert_close(other.named_weights(), model.named_weights(), 0.0, "loading")
    for each, its in ((model, optimizer), (other, resumed)):
        its.zero_grad()
        _update(each, its, case)
    assert_close(other.named_weights(), model.named_weights(), 0.0, "an update after loading")


def opens_as_a_page(config: ModelConfig) -> None:
    """The page of ``glassformer inspect``, every chapter. It takes seconds, so it stands apart from the promises.

    Of models with one stack and with attention; others are not opened.
    """
    if len(family_of(config).stacks) > 1 or not config.has_attention:
        return
    model = random_model(without_dropout(config))
    tokenizer = SymbolTokenizer([chr(ord("a") + index) for index in range(config.vocab_size)])
    text = tokenizer.decode([index % config.vocab_size for index in range(longest(config, 6))])
    inspect(InspectedModel("part", model, tokenizer), text=text)


def _update(model: Model, optimizer: Optimizer, case: Case) -> dict[str, dict[str, float]]:
    """One update as the trainer makes it; what is recorded of each parameter."""
    case.loss(case.run(model)).backward()  # type: ignore[no-untyped-call]
    clip_gradients(optimizer.parameters, gradient_norm(optimizer.parameters), 1.0)
    telemetry = ParameterTelemetry(optimizer.parameters)
    optimizer.step()
    return telemetry.after_update()
