"""The loop: its budgets, its pairing by seed, what it warns of and what it refuses to go on with."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from glassformer.errors import ConfigError, DataError, RunError, TrainingError
from glassformer.models.config import ModelConfig
from glassformer.models.presets import preset, preset_names
from glassformer.registry import load_part_file
from glassformer.runs.checkpoints import latest_checkpoint, list_checkpoints
from glassformer.tasks import opening
from glassformer.tasks.registry import prepare_samples
from glassformer.tasks.run_config import RunConfig
from glassformer.training import execution, session

UNTOUCHED = """
import torch
from torch import nn
from glassformer.registry import register

@register("norm", "with-unused-weight")
class Unused(nn.LayerNorm):
    def __init__(self, d_model, *, eps, bias):
        super().__init__(d_model, eps=eps)
        self.unused = nn.Parameter(torch.ones(3))
"""
BURSTING = """
from torch import nn
from glassformer.registry import register

@register("norm", "bursting")
class Bursting(nn.LayerNorm):
    calls, limit, bad = 0, 10**9, float("inf")

    def __init__(self, d_model, *, eps, bias):
        super().__init__(d_model, eps=eps)

    def forward(self, x):
        if self.training:
            type(self).calls += 1
        y = super().forward(x)
        return y * self.bad if self.calls > self.limit else y
"""


def events(trainer, name):
    return [event for event in trainer.run.events() if event["event"] == name]


# ------------------------------------------------------------------------------------------------ budgets


@pytest.mark.parametrize(("tokens", "steps"), [(1, 1), (48, 1), (49, 2), (480, 10), (481, 11)])
def test_a_token_budget_ends_at_the_first_step_that_reaches_it(runs, configure, tokens, steps):
    trainer = runs.start(configure({"training.max_steps": "none", "training.max_tokens": tokens}))
    outcome = trainer.train()
    assert (outcome.reason, outcome.step) == ("finished", steps)
    assert latest_checkpoint(trainer.run.checkpoints)[0].step == steps


def test_the_first_budget_to_be_used_up_ends_the_run(runs, configure):
    assert runs.start(configure({"training.max_tokens": 48 * 5})).train().step == 5
    assert runs.start(configure({"training.max_tokens": 48 * 500})).train().step == 12


def test_a_time_budget_ends_with_a_validation_and_a_checkpoint(runs, configure):
    trainer = runs.start(
        configure(
            {
                "training.max_steps": "none",
                "training.max_seconds": 0.5,
                "training.telemetry.validate_every": 10_000,
                "training.checkpoints.every": "none",
            }
        )
    )
    outcome = trainer.train()
    assert outcome.reason == "time is up"
    assert outcome.step >= 1
    assert 0.5 <= outcome.seconds < 30
    last = trainer.run.metrics()[-1]
    assert (last["kind"], last["step"]) == ("validation", outcome.step)
    assert list_checkpoints(trainer.run.checkpoints)[-1].name == f"step-{outcome.step:08d}"
    again, _ = session.resume(trainer.run)
    assert again.train().step == outcome.step


def test_patience_ends_after_so_many_validations_without_a_new_best(runs, configure):
    trainer = runs.start(
        configure(
            {
                "training.optimizer.learning_rate": 3.0,
                "training.schedule.warmup_steps": 0,
                "training.telemetry.validate_every": 2,
                "training.patience": 2,
                "training.max_steps": 500,
            }
        )
    )
    assert trainer.train().reason == "stopped early"
    validations = [record for record in trainer.run.metrics() if record["kind"] == "validation"]
    best = max(i for i, record in enumerate(validations) if record["best"])
    assert len(validations) - 1 - best == 2
    trained = [record["loss"] for record in validations if record["step"] > 0]
    assert min(trained) == validations[best]["loss"]


# ------------------------------------------------------------------------------------------- many = one, paired


def weights_after(trainer):
    return {name: weight.detach().clone() for name, weight in trainer.model.named_weights().items()}


def test_a_run_gives_the_same_first_second_and_in_a_process_of_its_own(runs, configure, tmp_path):
    config = configure({"model.dropout": 0.2, "model.norm.kind": "batchnorm"})
    first = weights_after(runs.train(config))
    runs.train(configure({"training.seed": 5, "training.optimizer.kind": "muon"}))
    torch.manual_seed(99)
    second = weights_after(runs.train(config))
    (tmp_path / "config.json").write_text(config.to_json())
    program = """
import json, sys, torch
from pathlib import Path
from glassformer.tasks import opening
from glassformer.training import session
from glassformer.tasks.run_config import RunConfig
torch.set_num_threads(int(sys.argv[2]))
folder = Path(sys.argv[1])
config = RunConfig.build(json.loads((folder / "config.json").read_text()))
session.start(config, root=folder / "elsewhere", name="run", command=[]).train()
"""
    command = [sys.executable, "-c", program, str(tmp_path), str(torch.get_num_threads())]
    subprocess.run(command, check=True, timeout=120)
    (folder,) = (tmp_path / "elsewhere").iterdir()
    alone = latest_checkpoint(folder / "checkpoints")[0].tensors["model"]
    for name, weight in first.items():
        assert torch.equal(second[name], weight), name
        assert torch.equal(alone[name], weight), name


VARIANTS = {
    "no skips": {"model.residual": "none"},
    "feed-forward only": {"model.sublayers": "feedforward"},
    "attention only": {"model.sublayers": "attention"},
    "sinusoidal": {"model.positions.kind": "sinusoidal"},
    "no norm": {"model.norm.placement": "none"},
    "post-norm": {"model.norm.placement": "post"},
    "one layer more": {"model.n_layers": 3},
    "untied": {"model.head.tied": "false"},
    "dropout": {"model.dropout": 0.3},
    "wider feed-forward": {"model.feedforward.d_ff": 96},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_variants_of_one_seed_start_from_the_same_weights(configure, changes):
    steady = {"model.vocab_size": 20, "model.initialisation.scale_residual": False}
    one = opening.build_model(configure(steady)).named_weights()
    other = opening.build_model(configure(steady | changes)).named_weights()
    shared = [name for name in one if name in other and one[name].shape == other[name].shape]
    assert len(shared) >= 3
    assert all(torch.equal(one[name], other[name]) for name in shared)
    reseeded = opening.build_model(configure(steady | changes | {"training.seed": 1})).named_weights()
    assert any(not torch.equal(reseeded[name], other[name]) for name in other)


# ------------------------------------------------------------------------------------------- dead parameters


def part_file(tmp_path, content, name="own.py"):
    (tmp_path / name).write_text(content)
    load_part_file(tmp_path / name)
    return str(tmp_path / name)


def test_a_parameter_without_gradient_is_warned_of_by_name_at_the_first_step(runs, configure, tmp_path):
    own = part_file(tmp_path, UNTOUCHED)
    heard = []
    trainer = runs.train(configure({"model.part_files": own, "model.norm.kind": "with-unused-weight"}), heard.append)
    warned = events(trainer, "warning")
    names = {name for name in dict(trainer.model.named_parameters()) if name.endswith(".unused")}
    assert {event["parameter"] for event in warned} == names
    assert len(names) == 5  # two a block and the last
    assert {event["step"] for event in warned} == {0}
    assert all(event["parameter"] in event["message"] for event in warned)
    assert [record for record in heard if record.get("event") == "warning"] == warned
    assert (trainer.run.path / "parts" / "own.py").read_text() == UNTOUCHED


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_leaves_a_parameter_without_gradient(runs, configure, name):
    sizes = {
        "model.attention.n_heads": 2,
        "model.attention.d_head": "none",
        "model.feedforward.d_ff": "none",
    }
    if preset(name).model.family == "decoder":
        sizes["data.tokenizer"] = "characters"
    group = {} if preset(name).model.attention.n_kv_heads is None else {"model.attention.n_kv_heads": 1}
    trainer = runs.train(configure(sizes | group | {"training.max_steps": 1}, base=name))
    assert [event for event in events(trainer, "warning") if "parameter" in event] == []


# ------------------------------------------------------------------------------------------------ not finite


@pytest.fixture
def bursting(tmp_path):
    """A norm of the user's whose output is not finite from a call on that the test chooses."""
    from glassformer.registry import find

    own = part_file(tmp_path, BURSTING, "bursting.py")
    ModelConfig.build({"vocab_size": 2, "max_seq_len": 2, "d_model": 8, "n_layers": 0, "part_files": (own,)})
    norm = find("norm", "bursting")
    norm.calls, norm.limit, norm.bad = 0, 10**9, float("inf")
    yield norm, {"model.part_files": own, "model.norm.kind": "bursting"}
    norm.limit = 10**9


CALLS = 5  # of the norm a step: two a block and the last


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_stops_before_the_update(runs, configure, resume, bursting, assert_same_end, bad):
    norm, changes = bursting
    config = configure(changes)
    whole = runs.train(config)
    trainer = runs.start(config)
    norm.calls, norm.limit, norm.bad = 0, 7 * CALLS, bad  # the eighth step goes wrong
    with pytest.raises(TrainingError) as caught:
        trainer.train()
    message = str(caught.value)
    assert "loss of step 7 is not finite" in message
    assert "blocks.0" in message, "the first bad module is named"
    offsets = trainer.samples.data.batch(7, seed=0, batch_size=4, seq_len=12).offsets
    assert all(str(offset) in message for offset in offsets)
    assert str(trainer.run.path) in message
    (event,) = events(trainer, "not finite")
    assert (event["step"], event["message"]) == (7, message)
    checkpoint, _ = latest_checkpoint(trainer.run.checkpoints)
    assert checkpoint.step == 7
    assert all(torch.isfinite(weight).all() for weight in checkpoint.tensors["model"].values())
    norm.limit = 10**9  # the cause is mended, and the run goes on as if nothing had been
    assert_same_end(resume(trainer.run)[0], whole)


def test_running_statistics_are_saved_as_they_were_before_the_bad_step(runs, configure, resume, assert_same_end):
    config = configure({"model.norm.kind": "batchnorm"})
    whole = runs.train(config)
    trainer = runs.start(config)
    gradient = trainer.gradient

    add = gradient._add_gradient

    def failing(*arguments):
        losses = add(*arguments)
        return (losses[0] * float("nan"), *losses[1:]) if trainer.progress.step == 5 else losses

    gradient._add_gradient = failing
    with pytest.raises(TrainingError, match="loss of step 5 is not finite"):
        trainer.train()
    assert_same_end(resume(trainer.run)[0], whole)


def test_a_gradient_that_is_not_finite_names_the_parameter(runs, configure):
    trainer = runs.start(configure())
    weight = dict(trainer.model.named_parameters())["blocks.1.feedforward.w_1.weight"]
    weight.register_hook(lambda gradient: gradient * float("nan"))
    before = weights_after(trainer)
    with pytest.raises(TrainingError, match="gradient of step 0 is not finite") as caught:
        trainer.train()
    assert "the gradient of blocks.1.feedforward.w_1.weight" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in weights_after(trainer).items())
    assert latest_checkpoint(trainer.run.checkpoints)[0].step == 0


def test_an_absurd_learning_rate_ends_in_a_clear_message(runs, configure):
    trainer = runs.start(configure({"training.optimizer.learning_rate": 1e30, "training.optimizer.kind": "sgd"}))
    with pytest.raises(TrainingError, match=r"is not finite .*Lower training.optimizer.learning_rate"):
        trainer.train()


def test_a_last_update_that_went_too_far_is_warned_of(runs, configure):
    changes = {"training.optimizer.learning_rate": 1e30, "training.max_steps": 1, "training.grad_clip": "none"}
    trainer = runs.train(configure(changes))
    messages = [event["message"] for event in events(trainer, "warning")]
    assert sum("the validation loss after step 1 is nan" in message for message in messages) == 1
    assert trainer.run.metrics()[-1]["best"] is False
    assert list_checkpoints(trainer.run.checkpoints)[-1].name == "step-00000001"


# ----------------------------------------------------------------------------- refused before there is a folder


def refused(runs, config, error, match):
    with pytest.raises(error, match=match):
        runs.start(config)
    assert not runs.root.exists()


def test_a_text_shorter_than_a_window_is_refused_before_a_folder_is_made(runs, configure, tmp_path):
    (tmp_path / "short.txt").write_text("to be or not to be, that is the question")
    refused(runs, configure({"data.source": str(tmp_path / "short.txt")}), DataError, "validation text has 4 tokens")


@pytest.mark.parametrize(
    "changes",
    [
        {"training.batch_size": 10**9, "training.micro_batch_size": "none"},
        {"training.batch_size": 10**7, "training.micro_batch_size": 10**7},
        {"model.n_layers": 2_000, "model.d_model": 10**6},
        {"model.feedforward.d_ff": 10**9},
        {"model.max_seq_len": 10**9},
        {"model.pad_vocab_to": 10**9},
    ],
    ids=str,
)
def test_what_cannot_fit_the_memory_is_refused_before_it_is_tried(runs, configure, changes):
    refused(runs, configure(changes), TrainingError, r"needs about .* GB of memory .* has .* GB")


def test_matrices_that_torch_cannot_address_are_refused_before_they_are_counted(runs, configure):
    refused(runs, configure({"model.d_model": 10**9}), ConfigError, "no matrix can be so large")


def test_two_part_files_of_one_name_are_refused(runs, configure, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    files = [part_file(tmp_path / "a", "one = 1\n"), part_file(tmp_path / "b", "two = 2\n")]
    refused(runs, configure({"model.part_files": ",".join(files)}), RunError, "Two part files have the same name")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_refused(runs, configure, device):
    refused(runs, configure({"training.device": device}), ConfigError, f"training.device is '{device}'")


# ------------------------------------------------------------------------------------------------- execution


@pytest.mark.parametrize("batch", [1, 7, 12, 64, 10**9])
def test_the_micro_batch_divides_the_batch_and_fits_the_cache(configure, batch):
    config = configure({"training.batch_size": batch, "training.micro_batch_size": "none"})
    chosen = execution.choose(config, prepare_samples(config))
    micro, rest = divmod(chosen.micro_batch_tokens, config.seq_len)
    assert rest == 0
    assert batch % micro == 0
    assert micro == 1 or 4 * config.model.d_ff * config.seq_len * micro <= execution.CACHE_SIZED
    assert execution.ExecutionConfig.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen


def test_a_configuration_read_back_is_the_same(configure):
    config = configure()
    assert RunConfig.build(json.loads(config.to_json())) == config


def test_dropout_is_off_in_evaluation_and_on_in_training(runs, configure):
    trainer = runs.start(configure({"model.dropout": 0.5, "model.attention.dropout": 0.5}))
    tokens = trainer.samples.data.batch(0, seed=0, batch_size=2, seq_len=12).inputs
    for path in ("fused", "explicit"):
        trainer.model.set_attention_path(path)
        trainer.model.eval()
        assert torch.equal(trainer.model(tokens), trainer.model(tokens))
        trainer.model.train()
        assert not torch.equal(trainer.model(tokens), trainer.model(tokens))


def test_checkpoints_at_multiples_are_kept_over_the_whole_training(runs, configure):
    trainer = runs.train(
        configure(
            {"training.checkpoints.every": 2, "training.checkpoints.keep_last": 1, "training.checkpoints.keep_every": 4}
        )
    )
    steps = {int(path.name.removeprefix("step-")) for path in list_checkpoints(trainer.run.checkpoints)}
    assert {4, 8, 12} <= steps
    assert len(steps - {4, 8, 12}) <= 1  # the best, if it is another
