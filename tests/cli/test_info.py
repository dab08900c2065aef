"""``glassformer info``, ``presets`` and ``convert``."""

from __future__ import annotations

import json
import re

import pytest
import torch
from transformers import GPT2LMHeadModel

from glassformer.cli.main import main
from glassformer.data.tokenizers import CharacterTokenizer
from glassformer.models.decoder import Decoder
from glassformer.models.interop import load_gpt2, save_gpt2
from glassformer.models.presets import preset, preset_names
from glassformer.runs.checkpoints import save_checkpoint
from glassformer.runs.folder import Run
from glassformer.tasks.run_config import RunConfig
from glassformer.testing import shrunk


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """A folder of runs with one untrained GPT-2 in it."""
    monkeypatch.setenv("GLASSFORMER_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("COLUMNS", "120")
    config = RunConfig(model=shrunk(preset("gpt2").model).override({"vocab_size": 5}))
    run = Run.create(tmp_path / "runs", "small", config.to_dict(), command=["test"])
    CharacterTokenizer("abcde").save(run.tokenizer)
    save_checkpoint(run.checkpoints, 3, {"model": Decoder(config.model).named_weights()}, {}, is_best=True)
    return run


def told(capsys, *args, status=0):
    assert main(args) == status
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return out.out if status == 0 else out.err


@pytest.mark.parametrize("name", preset_names())
def test_info_says_every_presets_exact_count(name, capsys):
    assert f"{preset(name).n_parameters:,} parameters" in told(capsys, "info", name)


def test_info_takes_settings_with_and_without_the_models_prefix(capsys):
    count = {}
    for setting in ("residual=both", "model.sublayers=feedforward", "sublayers=feedforward"):
        tree = json.loads(told(capsys, "info", "gpt2", "--set", setting, "--json"))
        count[setting] = tree["costs"]["parameters"]["attention"]
    assert list(count.values()) == [28_348_416, 0, 0]


def test_info_as_json_says_under_what_circumstances(capsys):
    args = ("--batch-size", "4", "--seq-len", "32", "--dtype", "bfloat16", "--optimizer", "muon", "--path", "explicit")
    costs = json.loads(told(capsys, "info", "gpt2", *args, "--json"))["costs"]
    assert [costs[name] for name in ("batch_size", "seq_len", "dtype", "optimizer", "path")] == [
        4, 32, "bfloat16", "muon", "explicit",
    ]  # fmt: skip
    assert costs["weight_bytes"] == 2 * preset("gpt2").n_parameters
    assert costs["kv_cache_bytes"] == 4 * 32 * costs["kv_cache_bytes_per_token"] == 4 * 32 * 2 * 12 * 768 * 2


def test_info_shows_the_tree_and_every_probe(capsys):
    shown = told(capsys, "info", "tiny-transformer", "--probes")
    for name in ("blocks.0.attention.weights", "embedding.output", "logits", "MultiHeadAttention", "[128, 64]"):
        assert name in shown
    listed = json.loads(told(capsys, "info", "tiny-transformer", "--probes", "--json"))["probes"]
    assert "blocks.0.attention.weights" in listed


def test_info_says_what_both_stacks_of_a_translator_are_and_cost(capsys):
    shown = " ".join(told(capsys, "info", "transformer-base", "--seq-len", "20", "--source-len", "30").split())
    for line in (
        "encoder: 6 layers of attention + ffn, vocabulary 37000",
        "decoder: 6 layers of attention + cross-attention + ffn, vocabulary 37000",
        "source, target and head embeddings tied",
        "cross attention 6,291,456",
        "FLOPs per target token, of 20 to a source of 30",
        "batch 1 × (30 + 20) tokens",
        "24,576 a target token, 24,576 a source token",
    ):
        assert line in shown
    assert "activations: cross attention" in shown


def test_info_says_what_an_encoder_is_and_of_no_cache(capsys):
    shown = " ".join(told(capsys, "info", "tiny-transformer", "--set", "family=encoder").split())
    assert "encoder: 1 layer of attention + ffn, vocabulary" in shown
    assert "KV cache" not in shown
    assert "KV cache" in told(capsys, "info", "tiny-transformer")


@pytest.mark.parametrize(
    ("settings", "shown_tying"),
    [
        ((), "source, target and head embeddings untied"),
        (("embedding.source=target",), "source and target embeddings tied"),
        (("embedding.source=head",), "source and head embeddings tied"),
        (("head.tied=true",), "target and head embeddings tied"),
    ],
)
def test_info_says_which_matrices_of_a_translator_are_one(settings, shown_tying, capsys):
    shown = told(capsys, "info", "annotated-transformer", *(arg for each in settings for arg in ("--set", each)))
    assert shown_tying in shown


def test_info_as_json_has_a_translators_costs(capsys):
    tree = json.loads(told(capsys, "info", "transformer-tiny", "--seq-len", "16", "--source-len", "32", "--json"))
    costs = tree["costs"]
    assert costs["source_len"] == 32
    assert costs["flops"]["cross_attention_scores"] == 4 * 4 * 32 * 128
    assert costs["kv_cache_bytes"] == 16 * costs["kv_cache_bytes_per_token"] + 32 * costs["cross_cache_bytes_per_token"]


def test_info_shows_a_translators_probes(capsys):
    shown = told(capsys, "info", "transformer-tiny", "--probes")
    for name in ("encoder.blocks.0.attention.weights", "decoder.blocks.3.cross_attention.weights", "CrossAttention"):
        assert name in shown


def test_info_reads_runs_and_files(capsys, runs, tmp_path):
    expected = f"{sum(p.numel() for p in load_any(runs).parameters()):,} parameters"
    file = tmp_path / "model.json"
    file.write_text(json.dumps(runs.config["model"]))
    for what in (runs.path, runs.name, "small", file, runs.path / "config.json"):
        assert expected in " ".join(told(capsys, "info", str(what)).split()), "however long the path, and so the line"


def load_any(run):
    return Decoder(RunConfig.build(run.config).model)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("gtp2",), "Did you mean 'gpt2'"),
        (("gpt2", "--set", "residul=none"), "'residul' is not a setting. Did you mean 'residual'"),
        (("gpt2", "--set", "attention.n_heads=7"), "does not divide into 7 heads"),
        (("gpt2", "--seq-len", "2000"), "does not fit the model's context of 1024"),
        (("gpt2", "--source-len", "20"), "A source of 20 tokens is an encoder's"),
        (("transformer-tiny", "--source-len", "257"), "A source of 257 tokens does not fit .* 256"),
        (("gpt2", "--dtype", "int3", "--optimizer", "lion"), "--dtype is 'int3'.*\n.*--optimizer is 'lion'"),
        (("gpt2", "--batch-size", "0"), "--batch-size"),
        (("BROKEN",), "cannot be read as JSON"),
        (("LIST",), "holds a list"),
        (("EMPTY",), "vocab_size is missing"),
    ],
)
def test_wrong_input_to_info_is_one_message(args, message, capsys, tmp_path):
    for name, text in (("BROKEN", "{"), ("LIST", "[]"), ("EMPTY", "{}")):
        (tmp_path / name).write_text(text)
    args = [str(tmp_path / arg) if arg.isupper() else arg for arg in args]
    assert re.search(message, told(capsys, "info", *args, status=2))


def test_presets_lists_all_with_their_sources(capsys):
    shown = told(capsys, "presets")
    rows = json.loads(told(capsys, "presets", "--json"))
    assert [row["name"] for row in rows] == preset_names()
    for row in rows:
        assert row["name"] in shown
        assert f"{row['n_parameters']:,}" in shown
    assert "6 + 6 layers (encoder + decoder), 8 heads, width 512" in shown


@torch.no_grad()
def test_a_run_goes_out_and_comes_back(capsys, runs, tmp_path):
    out = tmp_path / "hf"
    told(capsys, "convert", "small", "--to-hf", str(out))
    tokens = torch.tensor([[0, 1, 2, 3, 4]])
    expected = load_gpt2(out)(tokens)
    torch.testing.assert_close(GPT2LMHeadModel.from_pretrained(out)(tokens).logits, expected, atol=1e-5, rtol=0)
    told(capsys, "convert", str(out), "--to-run", "back")
    from glassformer.tasks.open_run import open_model

    opened = open_model(Run.open("back"), "best", device="cpu")
    assert torch.equal(opened.model(tokens), expected)
    assert opened.tokenizer.decode([0, 4]) == "ae"
    assert opened.config.model.to_dict() == runs.config["model"]
    assert "was imported" in told(capsys, "resume", "back", status=2)


def test_a_gpt2_from_elsewhere_brings_gpt2s_tokenizer(capsys, glassformer_data, tmp_path, monkeypatch):
    model = Decoder(shrunk(preset("gpt2").model).override({"vocab_size": 50_257}))
    save_gpt2(model, tmp_path / "hf")
    monkeypatch.setenv("GLASSFORMER_DATA", str(glassformer_data))
    told(capsys, "convert", str(tmp_path / "hf"), "--to-run", "gpt2")
    from glassformer.tasks.open_run import open_model

    opened = open_model(Run.open("gpt2"), device="cpu")
    assert opened.tokenizer.encode("Hello world").tolist() == [15496, 995]
    told(capsys, "convert", "gpt2", "--to-hf", str(tmp_path / "again"))
    from transformers import GPT2Tokenizer

    assert GPT2Tokenizer.from_pretrained(tmp_path / "again").encode("Hello world") == [15496, 995]


def test_wrong_input_to_convert_is_one_message(capsys, runs, tmp_path):
    save_gpt2(Decoder(shrunk(preset("gpt2").model)), tmp_path / "hf")
    for args, message in (
        (("small",), "convert needs one direction"),
        (("small", "--to-hf", "x", "--to-run", "y"), "convert needs one direction"),
        (("smll", "--to-hf", str(tmp_path / "x")), "smll"),
        ((str(tmp_path), "--to-run", "x"), "no config.json"),
        ((str(tmp_path / "hf"), "--to-run", "x"), "holds no tokenizer"),
        (("small", "--to-hf", str(tmp_path / "x"), "--checkpoint", "9"), "9"),
    ):
        assert message in told(capsys, "convert", *args, status=2)
