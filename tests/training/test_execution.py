"""What a checkpoint says of its training, read back: the path it took and how far it had come."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from glassformer.errors import CheckpointError, ConfigError
from glassformer.training.execution import ExecutionConfig
from glassformer.training.progress import Progress

PATH = ExecutionConfig("cpu", False, "fused", False, 64, 1, ("a reason",))


def test_a_path_comes_back_as_it_was_written():
    assert ExecutionConfig.from_dict(PATH.to_dict()) == PATH


@pytest.mark.parametrize("odd", [None, [], {}, "abc", -1, 0.5, 10**40, True, [[1]]], ids=str)
@pytest.mark.parametrize("name", PATH.to_dict())
def test_an_odd_value_in_a_path_is_a_damaged_checkpoint_or_a_device_that_is_not_here(name, odd):
    tree = PATH.to_dict() | {name: odd}
    if (name in ("fast_matmul", "compile") and odd is True) or (name == "reasons" and odd == []):
        ExecutionConfig.from_dict(tree)
        return
    with pytest.raises((CheckpointError, ConfigError), match=rf"{name} is|training.device is"):
        ExecutionConfig.from_dict(tree)


@pytest.mark.parametrize("tree", [None, [], "abc", 3, {}, {"device": "cpu"}, PATH.to_dict() | {"more": 1}], ids=str)
def test_another_thing_than_a_path_is_a_damaged_checkpoint(tree):
    with pytest.raises(CheckpointError, match=r"'acceleration'.*damaged"):
        ExecutionConfig.from_dict(tree)


def test_a_run_of_a_machine_with_a_gpu_says_what_is_missing_here():
    with pytest.raises(ConfigError, match="finds none on this machine"):
        ExecutionConfig.from_dict(PATH.to_dict() | {"device": "mps" if torch.cuda.is_available() else "cuda:7"})


@pytest.mark.parametrize("odd", [[], {}, "abc", -1, 10**400, True, "NaN"])
@pytest.mark.parametrize("name", asdict(Progress()))
def test_an_odd_value_in_the_progress_is_a_damaged_checkpoint(name, odd):
    if (odd == {} and name == "auxiliary_sums") or (
        odd == -1 and name in ("seconds", "nll_sum", "objective_sum", "best_loss")
    ):
        return
    with pytest.raises(CheckpointError, match="'progress', is damaged"):
        Progress.from_state(asdict(Progress()) | {name: odd}, 16.0)


@pytest.mark.parametrize("tree", [None, [], "abc", 3, {"steps": 1}], ids=str)
def test_another_thing_than_progress_is_a_damaged_checkpoint(tree):
    with pytest.raises(CheckpointError, match="'progress', is damaged"):
        Progress.from_state(tree, 16.0)


def test_progress_comes_back_as_it_was_written():
    made = Progress(step=3, tokens=12, seconds=0.5, nll_sum=1.0, objective_sum=1.0, token_sum=1, best_loss=2.0)
    assert Progress.from_state(asdict(made), 16.0) == made
