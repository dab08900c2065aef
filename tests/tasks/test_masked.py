"""Masked language models: training, fixed validation, evaluation, filling in; nothing here rests on a loss reached."""

from __future__ import annotations

import json
import math

import pytest
import torch

from glassformer.cli.main import main
from glassformer.data.batches import IGNORE
from glassformer.errors import ConfigError, DataError, RunError
from glassformer.generation.filling import fill
from glassformer.models.build import build
from glassformer.models.config import ModelConfig
from glassformer.runs.folder import Run
from glassformer.scoring.pseudo_likelihood import pseudo_log_likelihood, pseudo_perplexity
from glassformer.tasks.open_run import open_masked, open_model, open_translator
from glassformer.tasks.registry import prepare_samples, task_with
from glassformer.training.recipes import configuration

MASK = 11
MODEL = ModelConfig(family="encoder", vocab_size=12, max_seq_len=16, d_model=16, n_layers=2, attention={"n_heads": 2})
SMALL = [
    "model.d_model=16",
    "model.n_layers=1",
    "model.attention.n_heads=2",
    "model.max_seq_len=16",
    "data.tokenizer=characters",
    "data.bpe_vocab_size=4096",
    "training.batch_size=4",
    "training.compile=off",
    "training.telemetry.validation_tokens=256",
]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat sat on the mat, and the dog sat on the log. " * 60)
    return path


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(MODEL)


@pytest.fixture
def run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLASSFORMER_RUNS", str(tmp_path / "runs"))  # whatever another test has left there
    settings = [each for assignment in SMALL for each in ("--set", assignment)]
    assert main(["train", "masked-small", "--data", str(text), "--steps", "6", "--name", "m", *settings]) == 0
    return Run.open("m")


def test_any_text_that_trains_a_gpt_trains_it(text):
    config = configuration("masked-small", data=str(text), steps=3, seed=None, assignments=SMALL)
    assert config.data.task == "masked-language-modeling"
    samples = prepare_samples(config)
    batch = samples.batch(0)
    assert batch.arguments[0].shape == (4, 16)
    assert samples.with_vocabulary(config).model.vocab_size == samples.data.text.vocab_size + 1
    assert samples.bytes_per_token("validation") is None
    assert task_with("python-stdlib", "encoder").name == "masked-language-modeling"
    assert task_with("python-stdlib", "decoder").name == "language-modeling"


def test_only_chosen_positions_have_a_loss(model):
    from glassformer.scoring.likelihood import summed_nll

    tokens = torch.randint(11, (2, 16))
    targets = tokens.clone()
    targets[:, ::2] = IGNORE
    logits = model(tokens)
    logits.retain_grad()
    summed_nll(logits, targets).backward()
    assert bool((logits.grad[:, ::2] == 0).all())
    assert bool((logits.grad[:, 1::2].abs().sum(-1) > 0).all())


def test_a_run_records_accuracy_and_the_plateau_and_no_bits_per_byte(run):
    validations = [record for record in run.metrics() if record["kind"] == "validation"]
    assert validations
    assert all(0 <= record["accuracy"] <= 1 and "bits_per_byte" not in record for record in validations)
    about = next(event for event in run.events() if event["event"] == "data")
    assert about["unigram"] > 0
    assert about["masking"].startswith("15% of the tokens chosen")
    assert "bigram" not in about  # a masked model reads both sides: the entropy given one of them bounds nothing


def test_evaluation_gives_the_same_numbers_whatever_the_batch_size(run, capsys):
    found = []
    for size in ("1", "5"):
        capsys.readouterr()
        assert main(["evaluate", "m", "--batch-size", size, "--pseudo-perplexity", "2", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    for name in ("loss", "accuracy", "pseudo_perplexity"):
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-5)
    assert found[0]["n_tokens"] == found[1]["n_tokens"]
    assert found[0]["pseudo_n_tokens"] == 32
    assert found[0]["masking"] == "15% of the tokens chosen: 80% masked, 10% random, 10% kept"


def test_fill_on_the_command_line(run, capsys):
    capsys.readouterr()
    assert main(["fill", "m", "--text", "the c[MASK]t s[MASK]t", "--top", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [blank["position"] for blank in found["blanks"]] == [5, 9]
    for blank in found["blanks"]:
        shares = [each["probability"] for each in blank["predictions"]]
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert all(each["token"] != "[MASK]" for each in blank["predictions"])
    assert found["filled"].startswith("the c")
    assert "[MASK]" not in found["filled"]
    assert main(["fill", "m", "--text", "the c[MASK]t"]) == 0
    said = capsys.readouterr().out
    assert "%" in said
    assert "\n[MASK]  predictions" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fill", "m"], "there is no text to fill in"),
        (["fill", "m", "--text", "the cat"], "has no [MASK]"),
        (["fill", "m", "--text", ""], "has no [MASK]"),
        (["fill", "m", "--text", "[MASK] " * 40], "context length is 16"),
        (["fill", "m", "--text", "[MASK]é"], "outside the vocabulary"),
        (["fill", "m", "--text", "[MASK]", "--top", "0"], "--top"),
        (["sample", "m"], "is a masked language model, and a language model is needed here"),
        (["translate", "m", "--text", "a"], "is a masked language model, and a translator is needed here"),
        (["evaluate", "m", "--length", "3"], "--length has no effect"),
        (["evaluate", "m", "--pseudo-perplexity", "0"], "--pseudo-perplexity"),
        (["train", "masked-small", "--data", "copy"], "trains a decoder-only model"),
        (["train", "masked-small", "--set", "data.masking.share=2"], "share"),
        (["train", "masked-small", "--set", "data.masking.share=1e-9"], "None of the validation tokens is chosen"),
        (["train", "masked-small", "--set", "data.masking.shar=0.2"], "Did you mean 'share'?"),
        (["train", "tiny-transformer", "--set", "data.masking.share=0.2"], "masking"),
        (["train", "masked-small", "--set", "data.masking.random=0.5"], "together more than 1"),
        (["train", "gpt2", "--set", "data.task=masked-language-modeling"], "learns from"),
    ],
)
def test_what_does_not_work_is_said_in_one_message(run, arguments, message, capsys):
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_text_without_a_chosen_token_has_no_loss(run, tmp_path, capsys):
    (tmp_path / "short.txt").write_text("the")
    capsys.readouterr()
    assert main(["evaluate", "m", "--data", "short.txt"]) == 2
    assert "short.txt has 3 tokens, and none of them is chosen to be filled in" in capsys.readouterr().err


def test_the_run_is_opened_as_what_it_is(run):
    opened = open_masked(run)
    assert opened.tokenizer.mask_id == opened.model.config.vocab_size - 1
    for wrong in (open_model, open_translator):
        with pytest.raises(RunError, match="masked language model"):
            wrong(run)


def test_filling_takes_the_most_certain_first_and_gives_the_probabilities_of_all_masks_at_once(model):
    tokens = torch.tensor([1, MASK, 3, 4, MASK, 6])
    found = fill(model, tokens, MASK, top=4)
    with torch.no_grad():
        logits = model(tokens[None])[0].double()
    logits[:, MASK] = -torch.inf
    probabilities = logits.softmax(-1)
    for blank in found.blanks:
        best = probabilities[blank.position].topk(4)
        assert list(blank.tokens) == best.indices.tolist()
        assert blank.probabilities == pytest.approx(best.values.tolist(), rel=1e-4)
    first = max(found.blanks, key=lambda blank: blank.probabilities[0])
    assert int(found.tokens[first.position]) == first.tokens[0]
    assert MASK not in found.tokens.tolist()
    kept = [0, 2, 3, 5]
    assert found.tokens[kept].tolist() == tokens[kept].tolist()


def test_nothing_to_fill_in_is_an_error(model):
    with pytest.raises(DataError, match=r"no \[MASK\]"):
        fill(model, torch.tensor([1, 2]), MASK)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_pseudo_likelihood_masks_one_token_at_a_time(model, batch_size):
    tokens = torch.randint(11, (9,))
    found = pseudo_log_likelihood(model, tokens, MASK, batch_size=batch_size)
    for place, token in enumerate(tokens.tolist()):
        masked = tokens.clone()
        masked[place] = MASK
        with torch.no_grad():
            expected = model(masked[None])[0, place].log_softmax(-1)[token]
        assert float(found[place]) == pytest.approx(float(expected), rel=1e-4)
    whole = pseudo_perplexity(model, [tokens], MASK, batch_size=batch_size)
    assert whole.perplexity == pytest.approx(math.exp(-float(found.mean())), rel=1e-5)


def test_an_unknown_task_is_refused():
    with pytest.raises(ConfigError, match="data.task is"):
        configuration("masked-small", data=None, steps=1, seed=None, assignments=["data.task=masked"])
