"""Gradients over a run are what its telemetry holds, in the order of the forward pass, and say what became of depth."""

from __future__ import annotations

import json
import math
import random
import shutil

import numpy as np
import pytest
import torch

from glassformer.charts.loss import smoothed
from glassformer.data.config import DataConfig
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import ConfigError, RunError
from glassformer.inspection.gradients import in_depth_order, is_matrix, training_gradients
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.registry import load_part_file
from glassformer.runs.folder import Run
from glassformer.tasks import opening
from glassformer.tasks.run_config import RunConfig
from glassformer.training import session

MODEL = {"vocab_size": 30, "max_seq_len": 12, "d_model": 16, "n_layers": 3, "attention": {"n_heads": 2}}
TRAINING = {
    "training.batch_size": 4,
    "training.max_steps": 30,
    "training.schedule.warmup_steps": 3,
    "training.compile": "off",
    "training.telemetry.log_every": 2,
    "training.telemetry.validate_every": 10,
    "training.telemetry.validation_tokens": 96,
    "training.telemetry.gradients_every": 5,
    "training.checkpoints.every": None,
}
ALL_STEPS = [1, 5, 10, 15, 20, 25, 30]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """``train("name", {"model.residual": "none"})``: the run of a small model, trained for a moment."""
    patch = pytest.MonkeyPatch()
    patch.setenv("GLASSFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr("glassformer.speed.SECONDS", 0.01)
    folder, draw = tmp_path_factory.mktemp("runs"), random.Random(0)
    words = ["the", "residual", "stream", "carries", "a", "sum", "of", "what", "each", "layer", "wrote\n"]
    text, pairs = folder / "words.txt", folder / "pairs.tsv"
    text.write_text(" ".join(draw.choice(words) for _ in range(2_000)))
    lines = [[draw.choice(words).strip() for _ in range(draw.randint(1, 7))] for _ in range(300)]
    pairs.write_text("".join(f"{' '.join(line)}\t{' '.join(reversed(line))}\n" for line in lines))

    def run_of(name, changes=None):
        changes = dict(changes or {})
        model = ModelConfig.build(MODEL)
        if "model.n_encoder_layers" in changes:
            data, own = (
                TranslationConfig(),
                {"data.source": str(pairs), "data.max_length": 12, "data.tokenizer": "words"},
            )
        else:
            data, own = DataConfig(), {"data.source": str(text), "training.seq_len": 12}
        config = RunConfig(model=model.override(_of(changes, "model.")), data=data.override(_of(own, "data.")))
        config = config.override(TRAINING | {k: v for k, v in (own | changes).items() if k.startswith("training.")})
        trainer = session.start(config, root=folder / "runs", name=name, command=["test"])
        if config.training.max_steps > 1:
            trainer.train()
        return trainer.run

    yield run_of
    patch.undo()


def _of(changes, prefix):
    return {name.removeprefix(prefix): value for name, value in changes.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def run(train):
    return train("plain")


def records(run, kind):
    return [record for record in run.metrics() if record.get("kind") == kind]


def rewritten(run, tmp_path, change):
    """A copy of the run whose records of gradients ``change(name, values, step)`` has changed."""
    folder = shutil.copytree(run.path, tmp_path / run.name)
    lines = []
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, values in record.get("parameters", {}).items() if record.get("kind") == "gradients" else ():
            change(name, values, record["step"])
        lines.append(json.dumps(record))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return Run.open(folder)


def test_every_number_of_the_telemetry_is_at_its_parameter_and_step(run):
    found = training_gradients(run)
    assert found.steps.tolist() == ALL_STEPS
    assert sorted(found.parameters) == sorted(build(opening.run_config(run).model).named_weights())
    fields = {
        "gradient_norm": found.gradient_norms,
        "update_ratio": found.update_ratios,
        "weight_norm": found.weight_norms,
    }
    for at, record in enumerate(records(run, "gradients")):
        for row, name in enumerate(found.parameters):
            for field, values in fields.items():
                assert values[row, at] == record["parameters"][name][field], (name, field)


def test_an_update_of_a_weight_that_was_zero_is_infinite_as_it_was_written(run):
    found = training_gradients(run)
    row = found.parameters.index("blocks.0.attention_norm.bias")
    assert '"update_ratio": "Infinity"' in run.metrics_path.read_text()
    assert found.update_ratios[row, 0] == math.inf
    assert found.update_ratios[row, 1:].isfinite().all()


def test_losses_are_the_run_s_the_training_loss_smoothed(run):
    found = training_gradients(run)
    (steps, values), (validated, losses) = found.training_loss, found.validation_loss
    logged = records(run, "train")
    assert steps.tolist() == [record["step"] for record in logged]
    assert torch.equal(values, torch.from_numpy(smoothed(np.array([record["loss"] for record in logged]))))
    assert validated.tolist() == [record["step"] for record in records(run, "validation")]
    assert losses.tolist() == [record["loss"] for record in records(run, "validation")]


@pytest.mark.parametrize("placement", ["pre", "post"])
@pytest.mark.parametrize("n_encoder_layers", [None, 2])
def test_parameters_stand_in_the_order_in_which_a_forward_pass_meets_them(placement, n_encoder_layers):
    changes = {"norm.placement": placement, "n_encoder_layers": n_encoder_layers, "n_layers": 12, "head.tied": False}
    model = build(ModelConfig.build(MODEL).override(changes)).eval()
    owners = {module: name for name, module in model.named_modules()}
    met = []
    handles = [
        module.register_forward_hook(lambda module, _inputs, _output: met.append(owners[module]))
        for module in owners
        if any(True for _ in module.parameters(recurse=False))
    ]
    tokens = torch.zeros(1, 4, dtype=torch.long)
    model(*[tokens] * (2 if n_encoder_layers else 1))
    for handle in handles:
        handle.remove()
    names = list(model.named_weights())
    shuffled = random.Random(0).sample(names, len(names))
    ordered = in_depth_order(shuffled, post_norm=placement == "post")
    # what belongs to one embedding or one sublayer has no order of its own
    coarse = [_sublayer(name) for name in ordered]
    assert list(dict.fromkeys(coarse)) == list(dict.fromkeys(_sublayer(name) for name in met if _is_own(name, names)))
    assert sorted(ordered) == sorted(names)


def _sublayer(name):
    words = [word for word in name.split(".") if word not in ("weight", "bias")]
    return ".".join(words[: words.index("blocks") + 3] if "blocks" in words else [w for w in words if w not in
                    ("tokens", "positions", "table")])  # fmt: skip


def _is_own(module, names):
    """Not a module all of whose weights are another's, as a tied table's."""
    return any(name.startswith(f"{module}.") for name in names)


def test_matrices_are_what_has_two_axes_or_more():
    for changes in ({}, {"attention.qk_norm": "rmsnorm", "norm.kind": "batchnorm", "feedforward.kind": "swiglu"}):
        model = build(ModelConfig.build(MODEL).override(changes))
        for name, parameter in model.named_parameters():
            assert is_matrix(name) == (parameter.dim() >= 2), name


def test_the_end_is_the_median_of_the_last_tenth(run, tmp_path):
    def change(name, values, step):
        values["gradient_norm"] = float(step)

    last = training_gradients(rewritten(run, tmp_path / "few", change)).at_end()
    assert set(last.values()) == {30.0}  # of 7 records the last alone
    lines = [
        {"kind": "gradients", "step": step, "parameters": {"head.weight": {"gradient_norm": float(step)}}}
        for step in range(1, 51)
    ]
    folder = shutil.copytree(run.path, tmp_path / "many")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training_gradients(Run.open(folder)).at_end() == {"head.weight": 48.0}  # of 46 … 50


def test_the_range_of_the_matrices_is_between_the_least_and_the_largest(run):
    found = training_gradients(run)
    (least, low), (largest, high) = found.matrix_range()
    last = records(run, "gradients")[-1]["parameters"]
    norms = {name: values["gradient_norm"] for name, values in last.items() if is_matrix(name)}
    assert (low, high) == (min(norms.values()), max(norms.values())) == (norms[least], norms[largest])
    assert f"{low:.3g} ({least}) to {high:.3g} ({largest})" in str(found)


IDLE = """
import torch
from glassformer.parts.norms import LayerNorm
from glassformer.registry import register

@register("norm", "idle-gain")
class IdleGain(LayerNorm):
    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__(d_model, eps=eps, bias=bias)
        self.gain = torch.nn.Parameter(torch.ones(d_model))
        self.offset = torch.nn.Parameter(torch.zeros(d_model))

    def forward(self, x):
        return super().forward(x) + 0.0 * self.offset
"""


def test_parameters_on_which_the_loss_does_not_depend_are_named(train, tmp_path):
    """A gain that nobody multiplies with gets no gradient, and an offset that is multiplied by zero gets zeros."""
    (tmp_path / "idle.py").write_text(IDLE)
    load_part_file(tmp_path / "idle.py")
    changes = {"model.part_files": [str(tmp_path / "idle.py")], "model.norm.kind": "idle-gain", "model.n_layers": 1}
    found = training_gradients(train("idle", changes))
    norms = ("blocks.0.attention_norm", "blocks.0.feedforward_norm", "final_norm")
    assert found.without_gradient() == [f"{norm}.{name}" for norm in norms for name in ("gain", "offset")]
    rows = [found.parameters.index(f"final_norm.{name}") for name in ("gain", "offset")]
    assert found.gradient_norms[rows[0]].isnan().all()
    assert not found.gradient_norms[rows[1]].any()
    assert "without gradient: blocks.0.attention_norm.gain" in str(found)


def test_a_bias_of_the_keys_has_no_gradient_but_rounding_unless_keys_are_turned(train):
    found = training_gradients(train("keys", {"model.attention.projection": "separate"}))
    assert found.without_gradient() == []
    assert found.only_rounding() == [f"blocks.{layer}.attention.w_k.bias" for layer in range(3)]
    turned = {"model.attention.projection": "separate", "model.positions.kind": "rotary"}
    assert training_gradients(train("turned", turned)).only_rounding() == []


def test_gradients_vanish_without_skips_and_stay_with_them(train):
    """8 layers without norms: the first block's gradient is many powers of ten below the last one's."""
    deep = {"model.n_layers": 8, "model.norm.placement": "none", "training.max_steps": 2}
    deep |= {"model.initialisation.std": 0.1, "model.initialisation.scale_residual": False}
    without = training_gradients(train("without", deep | {"model.residual": "none"}))
    with_them = training_gradients(train("with", deep))
    assert 1e6 < without.depth_ratio() < math.inf
    assert 0.01 < with_them.depth_ratio() < 100


def test_a_layer_s_norm_is_that_of_all_its_parameters(run):
    found = training_gradients(run)
    norms = found.layer_norms()
    assert norms.shape == (3, len(ALL_STEPS))
    for layer in range(3):
        rows = [row for row, name in enumerate(found.parameters) if name.startswith(f"blocks.{layer}.")]
        assert len(rows) > 8
        torch.testing.assert_close(norms[layer], found.gradient_norms[rows].norm(dim=0))
    assert found.depth_ratio() == pytest.approx(float(norms[2, -1] / norms[0, -1]))


def test_a_translator_has_two_sides_the_encoder_first(train):
    found = training_gradients(train("pairs", {"model.n_encoder_layers": 2}))
    sides = [name.split(".")[0] for name in found.parameters]
    assert sides == sorted(sides, key=["encoder", "decoder", "head"].index)
    assert found.layer_norms("encoder").shape[0] == 2
    assert found.layer_norms("decoder").shape[0] == 3
    assert "last block of the encoder over first" in str(found)


def test_an_encoder_that_is_not_there_is_refused(run):
    with pytest.raises(ConfigError, match="no encoder"):
        training_gradients(run).layer_norms("encoder")


# ------------------------------------------------------------------------------------------- runs without telemetry


def test_telemetry_switched_off_says_how_to_switch_it_on(train):
    run = train("off", {"training.telemetry.gradients_every": None, "training.max_steps": 2})
    with pytest.raises(RunError, match=r"gradients_every was none\. Train with --set training\.telemetry\."):
        training_gradients(run)


def test_a_run_that_has_not_begun_says_so(train):
    run = train("young", {"training.max_steps": 1})  # started, and not trained
    with pytest.raises(RunError, match="imported, or its training has not begun"):
        training_gradients(run)
    with run.metrics_writer() as writer:
        writer.append({"event": "start", "step": 0})
    with pytest.raises(RunError, match="yet: the first is written after the first update"):
        training_gradients(run)


def test_a_resumed_run_counts_no_step_twice(run, tmp_path):
    folder = shutil.copytree(run.path, tmp_path / "resumed")
    again = [json.dumps(record) for record in records(run, "gradients") if record["step"] > 15]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("\n".join([json.dumps({"event": "resumed", "step": 15}), *again]) + "\n")
    assert training_gradients(Run.open(folder)).steps.tolist() == ALL_STEPS


# ------------------------------------------------------------------------------------------- the picture


def test_the_picture_has_a_row_for_each_parameter_and_the_losses_beside_it(run):
    found = training_gradients(run)
    (figure,) = found.figures()
    drawn = figure.data()
    assert drawn["rows"] == list(found.parameters)
    assert drawn["steps"] == ALL_STEPS
    assert list(drawn["quantities"]) == ["gradient norm", "update / weight", "weight norm"]
    assert {what: loss["steps"] for what, loss in drawn["losses"].items()} == {
        "training": found.training_loss[0].tolist(),
        "validation": [0, 10, 20, 30],
    }
    expected = np.log10(found.gradient_norms.numpy())
    np.testing.assert_allclose(figure.logarithms["gradient norm"], expected, rtol=1e-5, atol=1e-5)


def test_the_picture_is_saved_and_shows_itself(run, tmp_path):
    found = training_gradients(run)
    assert found.figures()[0].save(tmp_path / "gradients.svg").stat().st_size > 1_000
    assert "blocks.0.attention" in found._repr_html_()


def test_rounding_errors_are_left_out_of_the_picture_and_vanishing_gradients_are_not(train):
    keys = training_gradients(train("keys in a picture", {"model.attention.projection": "separate"}))
    drawn = np.isfinite(keys.figures()[0].logarithms["gradient norm"]).all(1)
    left_out = [name for name, is_drawn in zip(keys.parameters, drawn, strict=True) if not is_drawn]
    assert left_out == [f"blocks.{layer}.attention.w_k.bias" for layer in range(3)]
    deep = {"model.n_layers": 6, "model.norm.placement": "none", "model.residual": "none", "training.max_steps": 2}
    vanishing = training_gradients(train("vanishing", deep | {"model.initialisation.std": 0.1}))
    values = dict(zip(vanishing.parameters, vanishing.figures()[0].logarithms["gradient norm"], strict=True))
    first, last = (values[f"blocks.{layer}.feedforward.w_2.bias"] for layer in (0, 5))
    assert np.isfinite(first).all()
    assert first.max() < last.min() - 4  # powers of ten


def test_two_runs_are_two_pictures_with_their_names(run, train):
    other = training_gradients(train("other", {"training.max_steps": 2}))
    figures = type(other).figures_of([training_gradients(run), other])
    assert [figure.title for figure in figures] == [f"Gradients during training, {each.name}" for each in (run, other)]
