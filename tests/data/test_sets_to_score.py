"""Pairs to score on: which splits, whose files, and batches in the tokens that the model knows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from glassformer.data.batches import IGNORE
from glassformer.data.pairs import Pair
from glassformer.data.sentence_tokenizers import PairTokenizer, WordTokenizer
from glassformer.data.sets_to_score import batches_of, set_of_file, sets_to_score
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


def test_every_pair_of_a_file_is_kept_and_what_was_skipped_is_said(tmp_path):
    path = write(tmp_path / "own.tsv", [*PAIRS, Pair("a", "")])
    notes: list[str] = []
    assert set_of_file(path, notes) == {"own": PAIRS}
    assert len(notes) == 1
    turned = set_of_file(path, [], reverse=True)["own"]
    assert turned == [Pair(pair.target, pair.source) for pair in PAIRS]


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
