from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.batches import IGNORE
from glassformer.data.pairs import Pair
from glassformer.data.prepared_folders import is_whole
from glassformer.data.translation import TranslationData, prepare_translation
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import DataError

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def number_pairs(start: int, stop: int) -> list[tuple[str, str]]:
    """``4 711`` and ``four, seven one one``."""
    return [
        (f"{n // 1000} {n % 1000}", f"{NUMBERS[n // 1000 % 10]}, {' '.join(NUMBERS[int(d)] for d in str(n % 1000))}")
        for n in range(start, stop)
    ]


def write_tsv(path, pairs) -> str:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return str(path)


@pytest.fixture
def sources(tmp_path) -> dict[str, str]:
    return {
        "source": write_tsv(tmp_path / "train.tsv", number_pairs(1000, 1300)),
        "validation": write_tsv(tmp_path / "valid.tsv", number_pairs(2000, 2020)),
        "test": write_tsv(tmp_path / "test.tsv", number_pairs(3000, 3010)),
    }


def prepared(tmp_path, **options) -> TranslationData:
    return prepare_translation(TranslationConfig.build(options), tmp_path / "cache")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TranslationData:
    folder = tmp_path_factory.mktemp("data")
    source = write_tsv(folder / "train.tsv", number_pairs(1000, 1700))
    return prepared(folder, source=source, tokenizer="words", min_count=1)


@pytest.mark.parametrize("tokenizer", ["bpe", "words", "characters"])
@pytest.mark.parametrize("joint", [True, False])
def test_the_ids_of_every_split_are_its_texts(tmp_path, sources, tokenizer, joint):
    size = {"vocab_size": 400} if tokenizer == "bpe" else {}
    data = prepared(tmp_path, **sources, tokenizer=tokenizer, joint=joint, min_count=1, **size)
    assert data.splits == ("train", "validation", "test")
    assert data.tokenizer.joint == joint
    for split, pairs in (("train", number_pairs(1000, 1300)), ("test", number_pairs(3000, 3010))):
        assert data.pairs(split) == [Pair(*pair) for pair in pairs]
        assert data.n_pairs(split) == len(pairs)
        assert data.manifest["splits"][split]["source_unknown"] == data.manifest["splits"][split]["target_unknown"] == 0
        seen = []
        for batch in data.validation_batches(batch_tokens=500, split=split):
            for row, number in enumerate(batch.indices.tolist()):
                seen.append(number)
                assert batch.source[row, -1] in (data.tokenizer.source.end_id, data.tokenizer.source.pad_id)
                targets = batch.targets[row][batch.targets[row] != IGNORE].tolist()
                assert targets[-1] == data.tokenizer.target.end_id
                source = batch.source[row].tolist()
                read = Pair(data.tokenizer.source.decode(source), data.tokenizer.target.decode(targets))
                assert read == data.pairs(split)[number]
        assert sorted(seen) == list(range(len(pairs)))
    data.verify()


def test_vocabularies_come_from_the_training_pairs_alone(tmp_path):
    source = write_tsv(tmp_path / "train.tsv", [("aaa bbb", "ccc ddd")] * 5)
    other = write_tsv(tmp_path / "other.tsv", [("xxx", "yyy ccc")] * 50)
    for tokenizer, joint in (("words", True), ("words", False), ("characters", True), ("bpe", True)):
        data = prepared(tmp_path, source=source, validation=other, test=other, tokenizer=tokenizer, joint=joint)
        known = data.tokenizer.source.vocabulary + data.tokenizer.target.vocabulary
        assert not any("x" in token or "y" in token for token in known if not token.startswith("<"))
        if tokenizer == "words":
            assert [data.manifest["splits"][split]["source_unknown"] for split in data.splits] == [0, 50, 50]
            assert "validation: 50 tokens (50.0%) of the source side are read as <unk>" in data.notes
            assert "test: 50 tokens (33.3%) of the target side are read as <unk>" in data.notes


def test_separate_vocabularies_know_their_own_side_and_a_joint_one_both(tmp_path):
    source = write_tsv(tmp_path / "train.tsv", [(f"links{n % 2}", f"right{n % 2}") for n in range(50)])
    options = {"source": source, "validation": source, "tokenizer": "words"}
    separate = prepared(tmp_path, **options, joint=False).tokenizer
    assert sorted(separate.source.vocabulary[4:]) == ["links0", "links1"]
    assert sorted(separate.target.vocabulary[4:]) == ["right0", "right1"]
    joint = prepared(tmp_path, **options).tokenizer
    assert joint.source is joint.target
    assert sorted(joint.source.vocabulary[4:]) == ["links0", "links1", "right0", "right1"]


def test_reversed_pairs_are_the_pairs_reversed(tmp_path, sources):
    forth = prepared(tmp_path, **sources, tokenizer="words")
    back = prepared(tmp_path, **sources, tokenizer="words", reverse=True)
    for split in forth.splits:
        assert back.pairs(split) == [Pair(pair.target, pair.source) for pair in forth.pairs(split)]


def test_lower_case_is_for_the_ids_and_the_texts_stay(tmp_path):
    source = write_tsv(tmp_path / "train.tsv", [(f"Ein Mann {n % 9}", f"A Man {n % 9}") for n in range(99)])
    data = prepared(tmp_path, source=source, tokenizer="words", lowercase=True)
    batch = data.batch(0, seed=0, batch_size=1)
    assert data.tokenizer.source.decode(batch.source[0].tolist()).startswith("ein mann ")
    assert data.pairs("train")[batch.indices[0]].source.startswith("Ein Mann ")


@pytest.mark.parametrize("limit", [{"batch_size": 16}, {"batch_tokens": 150}])
def test_an_epoch_has_every_pair_once_with_its_own_ids(data, limit):
    steps = data.steps_per_epoch(seed=3, **limit)
    source, target = data.tokenizer.source, data.tokenizer.target
    texts = data.pairs("train")
    seen, positions, pads, tokens = [], 0, 0, 0
    for step in range(steps):
        batch = data.batch(step, seed=3, **limit)
        assert data.epoch_of(step, seed=3, **limit) == step / steps
        seen += batch.indices.tolist()
        tokens += batch.n_tokens
        positions += batch.source.numel() + batch.targets.numel()
        pads += int(batch.source_padding.sum() + (batch.targets == IGNORE).sum())
        assert torch.equal(batch.source_padding, batch.source == source.pad_id)
        assert torch.equal(batch.inputs[:, 1:][batch.inputs[:, 1:] != target.pad_id], _shifted(batch.targets))
        for row, number in enumerate(batch.indices.tolist()):
            assert source.decode(batch.source[row].tolist()) == texts[number].source
            assert target.decode(batch.inputs[row].tolist()) == texts[number].target
        if "batch_size" in limit:
            assert len(batch.indices) <= limit["batch_size"]
        else:
            assert len(batch.indices) * max(batch.source.shape[1], batch.targets.shape[1]) <= limit["batch_tokens"]
    assert sorted(seen) == list(range(data.n_pairs("train")))
    assert data.epoch_of(steps, seed=3, **limit) == 1
    assert data.tokens_per_step(seed=3, **limit) == pytest.approx(tokens / steps)
    assert data.padding_share(seed=3, **limit) == pytest.approx(pads / positions)
    assert data.manifest["splits"]["train"]["target_tokens"] == tokens


def _shifted(targets: torch.Tensor) -> torch.Tensor:
    """The targets that are also inputs: all but each row's last."""
    follows = torch.cat([targets[:, 1:] != IGNORE, torch.zeros(len(targets), 1, dtype=torch.bool)], dim=1)
    return targets[follows]


@settings(max_examples=30)
@given(
    step=st.integers(0, 5000),
    seed=st.integers(0, 2**128 - 1),
    limit=st.sampled_from([{"batch_size": 12}, {"batch_tokens": 100}]),
    before=st.lists(st.integers(0, 300), max_size=3),
)
def test_a_batch_depends_on_its_arguments_and_nothing_else(data, step, seed, limit, before):
    step %= 300 if "batch_tokens" in limit else 5001
    for other in before:
        data.batch(other, seed=seed, **limit)
    torch.manual_seed(1)
    once = data.batch(step, seed=seed, **limit)
    again = TranslationData(data.folder).batch(step, seed=seed, **limit)
    for name in ("source", "source_padding", "inputs", "targets"):
        assert torch.equal(getattr(once, name), getattr(again, name))
    assert once.indices.tolist() == again.indices.tolist()
    assert once.indices.tolist() != data.batch(step, seed=seed ^ 1, **limit).indices.tolist()


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("limit", [{"batch_size": 12}, {"batch_tokens": 100}])
def test_every_world_size_gives_the_same_global_batch(data, limit, world_size):
    for step in (0, 7, 200):
        whole = data.batch(step, seed=1, **limit)
        parts = [data.batch(step, seed=1, **limit, rank=rank, world_size=world_size) for rank in range(world_size)]
        assert torch.equal(torch.cat([part.source for part in parts]), whole.source)
        assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
        assert np.concatenate([part.indices for part in parts]).tolist() == whole.indices.tolist()


def test_validation_is_always_the_same_and_a_part_of_it_is_evenly_spaced(data):
    batches = list(data.validation_batches(batch_tokens=60))
    again = list(data.validation_batches(batch_tokens=60))
    assert [batch.indices.tolist() for batch in batches] == [batch.indices.tolist() for batch in again]
    everything = np.concatenate([batch.indices for batch in batches])
    assert sorted(everything.tolist()) == list(range(data.n_pairs("validation")))
    widths = [max(batch.source.shape[1], batch.targets.shape[1]) for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for most in (1, 50, 137, 10**9):
        part = list(data.validation_batches(batch_tokens=60, max_tokens=most))
        numbers = np.sort(np.concatenate([batch.indices for batch in part]))
        n_tokens = sum(batch.n_tokens for batch in part)
        assert len(set(numbers.tolist())) == len(numbers) >= 1
        assert n_tokens <= most or len(numbers) == 1
        assert np.ptp(np.diff(numbers)) <= 1 if len(numbers) > 2 else True
        if most == 137:
            assert n_tokens > 137 / 2
    assert "of the validation split" in batches[0].describe()


def test_long_pairs_are_left_out_of_training_and_loss_but_not_of_the_texts(tmp_path):
    pairs = [("a " * n, "b " * (9 - n)) for n in range(1, 9) for _ in range(10)]
    train = write_tsv(tmp_path / "train.tsv", pairs)
    other = write_tsv(tmp_path / "other.tsv", pairs)
    data = prepared(tmp_path, source=train, validation=other, tokenizer="words", max_length=7)  # 6 words and the end
    assert data.n_pairs("train") == 40
    assert {len(pair.source.split()) for pair in data.pairs("train")} == {3, 4, 5, 6}
    assert data.n_pairs("validation") == 80
    assert sum(len(batch.indices) for batch in data.validation_batches(batch_tokens=99)) == 40
    assert "train: 40 pairs with more than 7 tokens on a side are left out of training" in data.notes
    assert any(note.startswith("validation: 40 pairs with more than 7 tokens") for note in data.notes)
    with pytest.raises(DataError, match=r"All 80 training pairs .* 0 have an empty side, and 80 have more than"):
        prepared(tmp_path, source=train, validation=other, tokenizer="words", max_length=5)
    long = write_tsv(tmp_path / "long.tsv", [("a " * 20, "b")])
    data = prepared(tmp_path, source=train, validation=long, tokenizer="words", max_length=7)
    with pytest.raises(DataError, match="Every pair of the validation split has more than"):
        data.validation_batches(batch_tokens=99)


def test_a_pair_that_normalising_empties_is_not_trained_on(tmp_path):
    source = write_tsv(tmp_path / "train.tsv", [("a b", "c d")] * 10 + [("▁", "c")] * 3)
    other = write_tsv(tmp_path / "other.tsv", [("▁", "c d")])
    data = prepared(tmp_path, source=source, validation=other, tokenizer="bpe")
    assert (data.n_pairs("train"), data.n_pairs("validation")) == (10, 1)
    assert "train: 3 pairs with an empty side are left out of training" in data.notes
    (batch,) = data.validation_batches(batch_tokens=99)
    assert batch.source.tolist() == [[data.tokenizer.source.end_id]]


def test_a_vocabulary_that_came_out_smaller_is_noted(tmp_path, sources):
    notes = prepared(tmp_path, **sources).notes
    assert any("byte-pair tokens, not vocab_size=8,000" in note for note in notes)


def test_bits_per_byte_count_the_target_text(data):
    texts = data.pairs("validation")
    counts = data.manifest["splits"]["validation"]
    assert counts["target_bytes"] == sum(len(pair.target.encode()) for pair in texts)
    assert data.bytes_per_token("validation") == pytest.approx(counts["target_bytes"] / counts["target_tokens"])


def test_a_split_that_is_not_there_is_a_data_error_with_the_nearest(data):
    for ask in (data.n_pairs, data.pairs, data.bytes_per_token):
        with pytest.raises(DataError, match="Did you mean 'validation'"):
            ask("validaton")
    with pytest.raises(DataError, match="There is no 'test' split"):
        data.validation_batches(batch_tokens=99, split="test")


def test_prepared_pairs_are_reused_until_something_changes(tmp_path, sources):
    first = prepared(tmp_path, **sources)
    written = first.folder.stat().st_mtime_ns
    assert prepared(tmp_path, **sources).folder == first.folder
    assert prepared(tmp_path, **sources, tokenizer="bpe").folder == first.folder  # which auto is
    assert first.folder.stat().st_mtime_ns == written
    folders = {first.folder, prepared(tmp_path, **sources, vocab_size=500).folder}
    folders.add(prepared(tmp_path, **sources, joint=False).folder)
    write_tsv(tmp_path / "test.tsv", number_pairs(4000, 4010))
    folders.add(prepared(tmp_path, **sources).folder)
    assert len(folders) == 4
    assert first.fingerprint == first.folder.name
    assert first.config == TranslationConfig(**sources)


def test_two_preparations_are_the_same_to_the_last_byte(tmp_path, sources):
    config = TranslationConfig(**sources)
    folders = [prepare_translation(config, tmp_path / name).folder for name in "ab"]
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


def test_damaged_prepared_pairs_are_found_and_prepared_again(tmp_path, sources):
    folder = prepared(tmp_path, **sources).folder
    for name in ("train.source.ids.npy", "tokenizer.json", "test.pairs.jsonl", "manifest.json"):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(good[:-3])
        assert not is_whole(folder)
        assert (prepared(tmp_path, **sources).folder / name).read_bytes() == good
        (folder / name).unlink()
        with pytest.raises(DataError):
            TranslationData(folder).pairs("test")
        assert (prepared(tmp_path, **sources).folder / name).read_bytes() == good
    content = bytearray((folder / "train.target.ids.npy").read_bytes())
    content[-3] ^= 1
    (folder / "train.target.ids.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"are damaged: train\.target\.ids\.npy has another SHA-256"):
        TranslationData(folder)


PREPARE = """
import sys
from pathlib import Path
from glassformer.data.translation import prepare_translation
from glassformer.data.translation_config import TranslationConfig
prepare_translation(TranslationConfig(source=sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_killed_preparation_is_not_taken_for_whole_and_is_cleared_away(tmp_path):
    source = write_tsv(tmp_path / "train.tsv", number_pairs(1000, 20_000))
    cache = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", PREPARE, source, str(cache)])
    while not list(cache.glob(".preparing-*/tokenizer.json")):
        assert process.poll() is None, "it finished before it could be killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [path.name[:11] for path in cache.iterdir()] == [".preparing-"]
    write_tsv(tmp_path / "train.tsv", number_pairs(1000, 2000))
    data = prepared(tmp_path, source=source)
    data.verify()
    assert list(cache.iterdir()) == [data.folder]


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path, sources):
    def change(stage, done, total):
        (tmp_path / "train.tsv").write_text("more\tmehr\nand more\tund mehr\n")

    with pytest.raises(DataError, match="changed while it was read"):
        prepare_translation(TranslationConfig(**sources), tmp_path / "cache", progress=change)
    assert list((tmp_path / "cache").iterdir()) == []


def test_progress_tells_what_is_done_to_the_end(tmp_path, sources):
    told = []
    prepare_translation(TranslationConfig(**sources), tmp_path / "cache", progress=lambda *what: told.append(what))
    assert [stage for stage, _, _ in told] == ["reading", "tokenizer", *["encoding"] * 4]
    size = sum(path.stat().st_size - 2 * path.read_text().count("\n") for path in tmp_path.glob("*.tsv"))
    assert told[-1] == ("encoding", size, size)


def test_by_default_pairs_are_prepared_in_the_users_cache(tmp_path, sources, monkeypatch):
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "mine"))
    folder = prepare_translation(TranslationConfig(**sources)).folder
    assert folder.parent == tmp_path / "mine" / "prepared-pairs"


def test_a_language_models_data_are_not_taken_for_pairs(tmp_path):
    from glassformer.data.config import DataConfig
    from glassformer.data.language_modeling import prepare

    (tmp_path / "text").write_text("some text " * 50)
    folder = prepare(DataConfig(source=str(tmp_path / "text")), cache=tmp_path / "cache").folder
    with pytest.raises(DataError, match="of the task 'language-modeling'"):
        TranslationData(folder)


def test_dates_are_characters_without_asking(tmp_path):
    data = prepared(tmp_path, n_pairs=300, locales="de_DE,en_US")
    assert data.manifest["tokenizer"] == "characters"
    assert data.n_pairs("train") == 300
    batch = data.batch(0, seed=0, batch_size=8)
    assert batch.targets.shape == (8, len("2026-11-05") + 1)
    assert data.tokenizer.target.pieces(batch.targets[0].tolist())[-1] == "</s>"


def test_manifests_hold_no_time_and_no_command(data):
    manifest = json.loads((data.folder / "manifest.json").read_text())
    assert set(manifest) == {
        "format", "task", "fingerprint", "config", "source_fingerprint", "tokenizer", "joint", "vocab_size",
        "splits", "made_with", "files", "notes", "seal",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "at_most"), [({"batch_tokens": 2000}, 0.05), ({"batch_tokens": 8000}, 0.06), ({"batch_size": 128}, 0.06)]
)
def test_multi30k_is_padded_little(glassformer_data, multi30k, limit, at_most):
    assert (multi30k.n_pairs("train"), multi30k.n_pairs("validation"), multi30k.n_pairs("test")) == (29_000, 1014, 1000)
    share = multi30k.padding_share(seed=0, **limit)
    assert 0 < share < at_most
    source, target = multi30k._sides["train"]
    unsorted = np.random.default_rng(0).permutation(29_000)[: 29_000 // 128 * 128].reshape(-1, 128)
    positions = sum(side.lengths[unsorted].max(axis=1).sum() * 128 for side in (source, target))
    tokens = sum(side.lengths[unsorted].sum() for side in (source, target))
    assert share < (1 - tokens / positions) / 5


@pytest.fixture(scope="module")
def multi30k(glassformer_data, tmp_path_factory) -> TranslationData:
    config = TranslationConfig(source="multi30k-de-en", tokenizer="words", joint=False, lowercase=True)
    return prepare_translation(config, tmp_path_factory.mktemp("multi30k"))
