"""What norms normalise: along features or along tokens, in numbers that are those of the formulas."""

from __future__ import annotations

import pytest
import torch

from glassformer.errors import ConfigError, DataError
from glassformer.inspection.norm_comparison import KINDS, compare_norms
from glassformer.inspection.normalisation import Spread, model_norms
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.testing.comparing import random_model

SMALL = ModelConfig.build(
    {"vocab_size": 23, "max_seq_len": 12, "d_model": 16, "n_layers": 2, "attention": {"n_heads": 4}}
)
TOKENS = torch.randint(23, (3, 10), generator=torch.Generator().manual_seed(0))
TRANSLATOR = {"n_encoder_layers": 2}


@pytest.fixture
def x():
    """Activations [3, 10, 16], no two tokens and no two features alike in mean or deviation."""
    draw = torch.Generator().manual_seed(1)
    noise, tokens, features = (torch.randn(shape, generator=draw) for shape in ((3, 10, 16), (3, 10, 1), (16,)))
    return 2 * noise * (1 + tokens.abs()) * (1 + features.abs()) + 3 * tokens + 5 * features


def traced(changes):
    model = random_model(SMALL.override(changes))
    return model.trace(*[TOKENS] * (2 if model.config.has_encoder else 1))


# ------------------------------------------------------------------------------------------- side by side


def test_each_norm_is_its_formula(x):
    found = compare_norms(x, row=1)
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    of_features = x.mean((0, 1)), x.var((0, 1), correction=0)
    expected = {
        "before": x,
        "layernorm": (x - mean) / (variance + 1e-5).sqrt(),
        "rmsnorm": x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt(),
        "batchnorm in training": (x - of_features[0]) / (of_features[1] + 1e-5).sqrt(),
        "batchnorm in evaluation": (x - of_features[0]) / (x.var((0, 1)) + 1e-5).sqrt(),
    }
    assert found.kinds == KINDS == tuple(expected)
    for k, kind in enumerate(KINDS):
        torch.testing.assert_close(found.values[k], expected[kind][1], rtol=1e-4, atol=1e-4, msg=kind)


def test_layernorm_makes_every_token_alike_and_batchnorm_every_feature(x):
    found = compare_norms(x)
    for kind, means, deviations, others in (
        ("layernorm", found.spread.token_means, found.spread.token_deviations, found.spread.feature_means),
        (
            "batchnorm in training",
            found.spread.feature_means,
            found.spread.feature_deviations,
            found.spread.token_means,
        ),
    ):
        k = KINDS.index(kind)
        assert means[k].abs().max() < 1e-5
        assert (deviations[k] - 1).abs().max() < 1e-4
        assert others[k].abs().max() > 0.1, f"{kind} leaves the other way as it is"


def test_rmsnorm_leaves_the_mean_and_makes_the_mean_square_one(x):
    spread, k = compare_norms(x).spread, KINDS.index("rmsnorm")
    assert spread.token_means[k].abs().max() > 0.1
    squares = spread.token_means[k] ** 2 + spread.token_deviations[k] ** 2
    torch.testing.assert_close(squares, torch.ones(10), rtol=1e-4, atol=1e-4)


def test_a_louder_token_is_heard_by_all_through_batchnorm_in_training_alone(x):
    found = compare_norms(x, row=2, scaled_token=4)
    assert dict(zip(KINDS, found.others_changed.tolist(), strict=True)) == {
        "before": 0.0,
        "layernorm": 0.0,
        "rmsnorm": 0.0,
        "batchnorm in training": 1.0,
        "batchnorm in evaluation": 0.0,
    }
    for k, kind in enumerate(KINDS):
        changes = found.changes[k]
        assert (changes[torch.arange(10) != 4] > 0).all() == (kind == "batchnorm in training"), kind
    assert found.changes[KINDS.index("before"), 4] == pytest.approx(9 * x[2, 4].abs().max().item(), rel=1e-5)
    # a token's own norm takes its loudness away
    assert found.changes[KINDS.index("layernorm"), 4] < 1e-4 < found.changes[KINDS.index("batchnorm in evaluation"), 4]


def test_the_running_statistics_are_those_of_what_was_gathered(x):
    gathered = 3 * torch.randn(50, 16, generator=torch.Generator().manual_seed(2)) + 1
    k = KINDS.index("batchnorm in evaluation")
    expected = (x[0] - gathered.mean(0)) / (gathered.var(0) + 1e-5).sqrt()
    torch.testing.assert_close(compare_norms(x, gathered=gathered).values[k], expected, rtol=1e-4, atol=1e-4)


def test_a_trace_s_activation_is_compared_by_its_name():
    trace = traced({})
    torch.testing.assert_close(compare_norms(trace).values[0], trace["blocks.1.input"][0])
    found = compare_norms(trace, at="embedding.output", row=2, tokens=list("abcdefghij"))
    torch.testing.assert_close(found.values[0], trace["embedding.output"][2])
    assert found.tokens == tuple("abcdefghij")
    pair = traced(TRANSLATOR)
    torch.testing.assert_close(compare_norms(pair).values[0], pair["decoder.blocks.1.input"][0])
    torch.testing.assert_close(compare_norms(pair, at="encoder.final").values[0], pair["encoder.final"][0])


def test_the_numbers_are_printed_as_a_table(x):
    lines = str(compare_norms(x)).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == list(KINDS)
    assert [line.endswith("100%") for line in lines[1:]] == [kind == "batchnorm in training" for kind in KINDS]


def test_what_cannot_be_compared_is_refused(x):
    with pytest.raises(DataError, match=r"\[batch, tokens, features\].*\[10, 16\]"):
        compare_norms(x[0])
    with pytest.raises(DataError, match="there are 2 texts"):
        compare_norms(x, tokens=["a", "b"])
    with pytest.raises(DataError, match="no row 3"):
        compare_norms(x, row=3)
    with pytest.raises(DataError, match="no token 10"):
        compare_norms(x, scaled_token=10)
    with pytest.raises(DataError, match="at least 2"):
        compare_norms(x[:1, :1])
    with pytest.raises(ConfigError, match=r"does not hold 'blocks\.9\.input'"):
        compare_norms(traced({}), at="blocks.9.input")


# ------------------------------------------------------------------------------------------- a model's own


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm", "annotated-layernorm", "batchnorm"])
@pytest.mark.parametrize("placement", ["pre", "post", "none"])
@pytest.mark.parametrize("residual", ["both", "none"])
@pytest.mark.parametrize("encoder", [{}, TRANSLATOR], ids=["decoder-only", "encoder-decoder"])
def test_every_norm_s_input_and_output_are_what_its_module_was_given_and_gave(kind, placement, residual, encoder):
    model = random_model(
        SMALL.override({"norm.kind": kind, "norm.placement": placement, "residual": residual} | encoder)
    )
    passed = {}
    for name, module in model.named_modules():
        if name.endswith(("attention_norm", "feedforward_norm", "final_norm")) and any(
            True for _ in module.parameters()
        ):
            module.register_forward_hook(lambda _m, inputs, y, name=name: passed.update({name: (inputs[0], y)}))
    trace = model.trace(*[TOKENS] * (2 if encoder else 1))
    measured = [model_norms(trace, side=side, row=1) for side in (("encoder", "decoder") if encoder else ("decoder",))]
    assert [name for found in measured for name in found.norms] == list(passed)
    for found in measured:
        for n, name in enumerate(found.norms):
            for spread, x in zip((found.before, found.after), passed[name], strict=True):
                torch.testing.assert_close(spread.token_means[n], x[1].mean(-1), rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(spread.token_deviations[n], x[1].std(-1, correction=0), rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(spread.feature_means[n], x.mean((0, 1)), rtol=1e-4, atol=1e-5)
                every = x.flatten(0, 1).std(0, correction=0)
                torch.testing.assert_close(spread.feature_deviations[n], every, rtol=1e-4, atol=1e-5)


def test_a_fresh_layernorm_s_outputs_have_mean_0_and_deviation_1():
    torch.manual_seed(0)
    found = model_norms(build(SMALL.override({"initialisation.std": 0.5})).eval().trace(TOKENS))
    assert found.after.token_means.abs().max() < 1e-5
    assert (found.after.token_deviations - 1).abs().max() < 1e-3
    assert (found.before.token_deviations - 1).abs().max() > 0.1
    assert str(found).splitlines()[1].startswith("blocks.0.attention_norm ")


def test_a_model_without_norms_says_so():
    with pytest.raises(ConfigError, match="no norms"):
        model_norms(traced({"norm.placement": "none", "norm.final": False}))
    with pytest.raises(ConfigError, match="no norms"):
        model_norms(traced({"norm.kind": "none"}))
    with pytest.raises(ConfigError, match="no encoder"):
        model_norms(traced({}), side="encoder")


def test_a_trace_that_kept_too_little_names_what_is_missing():
    model = random_model(SMALL)
    with pytest.raises(ConfigError, match=r"does not hold 'blocks\.0\.attention_input'"):
        model_norms(model.trace(TOKENS, only=("blocks.*.input", "embedding.output")))


def test_deviations_are_over_features_of_a_token_and_over_tokens_of_a_feature():
    x = torch.tensor([[[1.0, 3.0], [2.0, 8.0]], [[5.0, 5.0], [0.0, 4.0]]])  # [2, 2, 2]
    spread = Spread.of(x, row=0)
    assert spread.token_means.tolist() == [2.0, 5.0]
    assert spread.token_deviations.tolist() == [1.0, 3.0]
    assert spread.feature_means.tolist() == [2.0, 5.0]
    torch.testing.assert_close(spread.feature_deviations, torch.tensor([3.5, 3.5]).sqrt())


# ------------------------------------------------------------------------------------------- pictures


def test_pictures_have_a_frame_for_each_checkpoint(x):
    compared = [compare_norms(x), compare_norms(2 * x)]
    norms = [model_norms(random_model(SMALL, seed=seed).trace(TOKENS)) for seed in range(2)]
    for results in (compared, norms):
        for figure in type(results[0]).figures_of(results):
            assert figure.n_frames == 2
        assert results[0]._repr_html_().startswith("<iframe")


def test_the_map_s_input_is_in_units_of_its_rms_and_a_silence_is_nothing(x):
    values, _, changes = compare_norms(100 * x, scaled_token=2).figures()
    assert (values.values[0, 0] ** 2).mean() == pytest.approx(1.0, rel=1e-4)
    assert changes.values.shape == (1, len(KINDS), 10)
    drawn = torch.from_numpy(changes.values[0]).isfinite()
    assert drawn[KINDS.index("before")].nonzero().tolist() == [[2]]
    assert drawn[KINDS.index("batchnorm in training")].all()


def test_long_texts_and_wide_models_are_thinned_to_what_can_be_seen():
    x = torch.randn(1, 200, 300, generator=torch.Generator().manual_seed(0))
    values, points, changes = compare_norms(x, scaled_token=150).figures()
    assert values.values.shape == (1, len(KINDS), 64, 64)
    assert (values.rows[0], values.rows[-1], values.columns[-1]) == ("0 0", "199 199", "299")
    assert changes.values.shape == (1, len(KINDS), 65)
    assert "150 150" in changes.columns
    (drawn,) = points.chart().to_dict()["datasets"].values()
    assert len(drawn) == len(KINDS) * 128
