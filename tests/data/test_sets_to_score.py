"""Pairs to score on: which splits, whose files, and batches in the tokens that the model knows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glassformer.data.batches import IGNORE
from glassformer.data.pairs import Pair
from glassformer.data.sentence_tokenizers import PairTokenizer, WordTokenizer
from glassformer.data.sets_to_score import batches_of, prepared_sets, set_of_file, sets_to_score
from glassformer.data.translation import prepare_translation
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import DataError

PAIRS = [Pair("a b c d e", "x"), Pair("a", "x y z"), Pair("b", "z"), Pair("unheard a", "y y")]


@pytest.fixture
def tokenizer():
    return PairTokenizer(WordTokenizer.train(["a b c d e"]), WordTokenizer.train(["x y z"]))


def write(path, pairs):
    path.write_text("".join(f"{pair.source}\t{pair.target}\n" for pair in pairs), encoding="utf-8")
    return str(path)


def test_the_test_split_is_taken_or_without_one_the_validation_split(tmp_path):
    source, test = write(tmp_path / "train.tsv", PAIRS), write(tmp_path / "test.tsv", PAIRS[:2])
    assert sets_to_score(TranslationConfig(source=source, test=test)) == {"test": PAIRS[:2]}
    assert list(sets_to_score(TranslationConfig(source=source))) == ["validation"]
    both = sets_to_score(TranslationConfig(source=source, test=test), ["train", "test"])
    assert list(both) == ["train", "test"]
    with pytest.raises(DataError, match="no 'tset' split in .*Did you mean 'test'"):
        sets_to_score(TranslationConfig(source=source, test=test), ["tset"])


@pytest.mark.parametrize("side", ["source", "target"])
def test_every_pair_of_a_file_is_kept_with_an_empty_side_too(tmp_path, side):
    pairs = [*PAIRS[:2], Pair("a", "") if side == "target" else Pair("", "x"), *PAIRS[2:]]
    notes: list[str] = []
    assert set_of_file(write(tmp_path / "own.tsv", pairs), notes) == {"own": pairs}
    assert notes == []
    turned = set_of_file(write(tmp_path / "own.tsv", pairs), [], reverse=True)["own"]
    assert turned == [Pair(pair.target, pair.source) for pair in pairs]


def test_two_files_keep_their_lines_and_blank_lines_of_one_file_are_no_pairs(tmp_path):
    (tmp_path / "a.en").write_text("one\n\n\nfour\n")
    (tmp_path / "a.de").write_text("eins\n\ndrei\n\n")
    notes: list[str] = []
    pairs = set_of_file(f"{tmp_path / 'a.en'},{tmp_path / 'a.de'}", notes)["a"]
    assert pairs == [Pair("one", "eins"), Pair("", ""), Pair("", "drei"), Pair("four", "")]
    assert notes == []
    (tmp_path / "own.tsv").write_text("a\tx\n\n\t\nb\t\n")
    assert set_of_file(str(tmp_path / "own.tsv"), notes)["own"] == [Pair("a", "x"), Pair("b", "")]
    assert "2 pairs" in notes[0]
    assert "lines 2, 3" in notes[0]


def test_the_test_split_of_prepared_pairs_keeps_every_pair_and_its_notes_count_the_empty_ones(tmp_path):
    train = write(tmp_path / "train.tsv", [Pair(f"a {n}", f"b {n}") for n in range(30)])
    test = write(tmp_path / "test.tsv", [*PAIRS, Pair("a", ""), Pair("", "x")])
    data = prepare_translation(TranslationConfig(source=train, test=test), tmp_path / "cache")
    assert prepared_sets(data) == {"test": [*PAIRS, Pair("a", ""), Pair("", "x")]}
    assert list(prepared_sets(data, ["validation"])) == ["validation"]
    assert "test: 2 pairs with an empty side are scored as they are" in data.notes
    with pytest.raises(DataError, match="Did you mean 'test'"):
        prepared_sets(data, ["tset"])


def test_batches_hold_each_pair_once_in_the_tokenizers_own_ids(tokenizer):
    batches = list(batches_of(PAIRS, tokenizer, batch_tokens=8, max_length=10))
    numbers = np.concatenate([batch.indices for batch in batches])
    assert sorted(numbers.tolist()) == [0, 1, 2, 3]
    for batch in batches:
        assert max(batch.source.numel(), batch.inputs.numel()) <= 8
        for row, number in enumerate(batch.indices):
            source, target = (
                [*side.encode(text), side.end_id]
                for side, text in (
                    (tokenizer.source, PAIRS[number].source),
                    (tokenizer.target, PAIRS[number].target),
                )
            )
            assert batch.source[row][~batch.source_padding[row]].tolist() == source
            counted = batch.targets[row] != IGNORE
            assert batch.targets[row][counted].tolist() == target
            assert batch.inputs[row, : len(target)].tolist() == [tokenizer.target.start_id, *target[:-1]]
            assert torch.equal(batch.inputs[row, 1:][counted[1:]], batch.targets[row, :-1][counted[1:]])


def test_longer_pairs_are_left_out_and_if_all_are_that_is_an_error(tokenizer):
    batches = list(batches_of(PAIRS, tokenizer, batch_tokens=100, max_length=4))
    assert sorted(number for batch in batches for number in batch.indices.tolist()) == [1, 2, 3]
    with pytest.raises(DataError, match="Every pair of 'test' has more than 2 tokens"):
        batches_of(PAIRS[:2], tokenizer, batch_tokens=100, max_length=2)
