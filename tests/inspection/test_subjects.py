"""Runs, checkpoints and Hugging Face folders are opened, and texts read, as training and generation would."""

from __future__ import annotations

import shutil

import pytest
import torch
from transformers import GPT2LMHeadModel

from glassformer.errors import CheckpointError, DataError, RunError
from glassformer.generation import BeamSearchConfig, translate
from glassformer.inspection.subjects import MOST_SNAPSHOTS, open_subject, readable
from glassformer.runs.checkpoints import list_checkpoints, load_checkpoint, save_checkpoint
from glassformer.runs.folder import Run
from glassformer.tasks.open_run import open_model, open_translator
from glassformer.tasks.opening import build_model, run_config


def damage(checkpoint):
    for path in checkpoint.glob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.fixture
def copy(language_run, tmp_path):
    return Run.open(shutil.copytree(language_run.path, tmp_path / language_run.name))


def test_all_snapshots_are_the_start_and_every_checkpoint(language_run):
    subject = open_subject(language_run.path, checkpoint="all")
    found = []
    for snapshot in subject.snapshots():
        weights = {name: weight.clone() for name, weight in subject.model.named_weights().items()}
        found.append((snapshot.step, snapshot.label, weights))
    assert [step for step, _, _ in found] == [0, 4, 8, 12]
    assert [label for _, label, _ in found][:2] == ["step 0, the start", "step 4"]
    start = build_model(run_config(language_run)).named_weights()
    assert all(torch.equal(found[0][2][name], weight) for name, weight in start.items())
    for path, (_, _, weights) in zip(list_checkpoints(language_run.checkpoints), found[1:], strict=True):
        saved = load_checkpoint(path).tensors["model"]
        assert all(torch.equal(weights[name], weight) for name, weight in saved.items())


@pytest.mark.parametrize("checkpoint", ["latest", "best", "8", "average-2"])
def test_one_snapshot_has_the_weights_that_sampling_would_use(language_run, checkpoint):
    subject = open_subject(language_run.path, checkpoint=checkpoint)
    (snapshot,) = subject.snapshots()
    expected = open_model(language_run, checkpoint)
    assert snapshot.step == expected.step
    for name, weight in expected.model.named_weights().items():
        assert torch.equal(subject.model.named_weights()[name], weight)


def test_a_damaged_checkpoint_is_passed_over_and_told(copy):
    damage(list_checkpoints(copy.checkpoints)[1])
    subject = open_subject(copy.path, checkpoint="all")
    assert [snapshot.step for snapshot in subject.snapshots()] == [0, 4, 12]
    assert "step-00000008" in " ".join(subject.warnings)


def test_a_damaged_newest_checkpoint_still_opens_the_run(copy):
    damage(list_checkpoints(copy.checkpoints)[-1])
    subject = open_subject(copy.path)
    assert [snapshot.step for snapshot in subject.snapshots()] == [8]
    assert subject.warnings


def test_a_run_that_is_damaged_throughout_is_refused(copy):
    for path in list_checkpoints(copy.checkpoints):
        damage(path)
    with pytest.raises(CheckpointError, match="No checkpoint"):
        open_subject(copy.path, checkpoint="all")


def test_many_checkpoints_are_thinned_and_it_is_said(copy):
    weights = load_checkpoint(list_checkpoints(copy.checkpoints)[-1]).tensors["model"]
    for step in range(13, 43):
        save_checkpoint(copy.checkpoints, step, {"model": weights}, {}, is_best=False)
    subject = open_subject(copy.path, checkpoint="all")
    steps = [snapshot.step for snapshot in subject.chosen]
    assert len(steps) == MOST_SNAPSHOTS
    assert (steps[0], steps[-1]) == (0, 42)
    assert "34 snapshots; 12 of them" in subject.warnings[0]


def test_a_text_is_read_as_the_model_reads_it(language_run):
    subject = open_subject(language_run.path)
    encoded = subject.read("bad fig\n")
    assert encoded.tokens == ["b", "a", "d", "␣", "f", "i", "g", "⏎"]
    assert encoded.ids == open_model(language_run).tokenizer.encode("bad fig\n").tolist()
    assert encoded.next_tokens == [*encoded.ids[1:], -1]
    assert subject.token_label(encoded.ids[3]) == "␣"


def test_a_translator_reads_a_pair_between_its_start_and_end(translator_run):
    subject = open_subject(translator_run.path)
    encoded = subject.read("one two three", "three two one")
    tokenizer = open_translator(translator_run).tokenizer
    assert encoded.source_ids == [*tokenizer.source.encode("one two three"), tokenizer.source.end_id]
    assert encoded.ids == [tokenizer.target.start_id, *tokenizer.target.encode("three two one")]
    assert encoded.next_tokens == [*encoded.ids[1:], tokenizer.target.end_id]
    assert len(encoded.tokens) == 4
    assert len(encoded.source) == 4


def test_a_translator_reads_its_own_translation_unless_given_one(translator_run):
    subject = open_subject(translator_run.path, checkpoint="all")
    opened = open_translator(translator_run)
    (expected,) = translate(opened.model, opened.tokenizer, ["one two"], BeamSearchConfig(beam_size=1))
    encoded = subject.read("one two")
    limit = subject.model.config.max_seq_len - 1
    assert encoded.ids[1:] == expected.hypotheses[0].tokens[:limit]


def test_a_gpt2_folder_is_opened_as_it_is(gpt2_folder):
    subject = open_subject(gpt2_folder)
    assert [snapshot.label for snapshot in subject.snapshots()] == ["as imported"]
    encoded = subject.read("then the")
    assert encoded.tokens == ["th", "e", "n", "␣", "th", "e"]
    theirs = GPT2LMHeadModel.from_pretrained(gpt2_folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            subject.trace(encoded).logits, theirs(encoded.arguments[0]).logits, rtol=1e-5, atol=1e-5
        )


def test_what_cannot_be_read_is_refused(language_run, translator_run, gpt2_folder):
    language, translator = open_subject(language_run.path), open_subject(translator_run.path)
    for read, words in (
        (lambda: language.read(""), "empty"),
        (lambda: language.read("Q"), "'Q'"),
        (lambda: language.read("abc " * 7), "28 tokens.*letters-.* 24"),
        (lambda: language.read("abc", "abc"), "is a language model"),
        (lambda: translator.read(""), "source is empty"),
        (lambda: translator.read("one " * 24), "source has 25 tokens"),
        (lambda: translator.read("one", "one " * 24), "target has 25 tokens"),
    ):
        with pytest.raises(DataError, match=words):
            read()
    with pytest.raises(CheckpointError, match="only one model"):
        open_subject(gpt2_folder, checkpoint="7")
    with pytest.raises(RunError):
        open_subject("nothing-of-that-name", runs=language_run.path.parent)


def test_white_space_is_shown():
    assert readable(" the\n\t") == "␣the⏎⇥"


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("\x07", "⟨0007⟩"),
        ("a\u202eb", "a⟨202E⟩b"),  # turns what follows from right to left
        ("\u2028", "⟨2028⟩"),
        ("\u200d", "⟨200D⟩"),
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),  # one emoji of two
        ("שלום", "שלום"),
    ],
)
def test_what_would_act_on_the_text_around_it_is_written_out(token, shown):
    assert readable(token) == shown
