from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.data import entropy, token_files
from glassformer.data.config import DataConfig
from glassformer.data.entropy import bigram_entropy, unigram_entropy
from glassformer.data.language_modeling import prepare
from glassformer.data.token_files import temporary_token_file


def test_the_bigram_entropy_of_tinyshakespeares_training_characters(glassformer_data, tmp_path):
    data = prepare(DataConfig(source="tinyshakespeare"), cache=tmp_path)
    assert bigram_entropy(data.train, data.vocab_size) == pytest.approx(2.4519, abs=5e-5)


def test_entropies_that_are_known_exactly():
    assert unigram_entropy(np.array([0, 1, 2, 3] * 5), 4) == pytest.approx(math.log(4))
    assert unigram_entropy(np.array([2, 2, 2]), 4) == pytest.approx(0)
    assert bigram_entropy(np.array([0, 1, 2, 3] * 5), 4) == pytest.approx(0)
    assert bigram_entropy(np.array([0, 0, 1, 1, 0]), 2) == pytest.approx(math.log(2))


@given(st.lists(st.integers(0, 6), min_size=2, max_size=60))
def test_both_ways_of_counting_agree_with_the_definition(ids):
    pairs = Counter(itertools.pairwise(ids))
    current = Counter(ids[:-1])
    defined = -sum(n / (len(ids) - 1) * math.log(n / current[pair[0]]) for pair, n in pairs.items())
    tokens = np.array(ids)
    assert bigram_entropy(tokens, 7) == pytest.approx(defined, abs=1e-9)
    assert bigram_entropy(tokens, 100_000) == pytest.approx(defined, abs=1e-9)  # too large for a table
    assert unigram_entropy(tokens, 7) == pytest.approx(unigram_entropy(tokens, 100_000))


@pytest.mark.parametrize("vocab_size", [9, 5000])
def test_counting_in_chunks_counts_each_pair_once(monkeypatch, vocab_size):
    ids = np.random.default_rng(0).integers(0, 9, 500)
    whole = bigram_entropy(ids, vocab_size)
    monkeypatch.setattr(entropy, "CHUNK_TOKENS", 7)
    assert bigram_entropy(ids, vocab_size) == pytest.approx(whole)
    monkeypatch.setattr(token_files.TokenFile.chunks, "__defaults__", (7,))
    assert bigram_entropy(temporary_token_file([ids], vocab_size), vocab_size) == pytest.approx(whole)


def test_beyond_the_cap_only_the_beginning_is_counted(monkeypatch):
    monkeypatch.setattr(entropy, "SPARSE_TOKENS", 6)
    monkeypatch.setattr(entropy, "CHUNK_TOKENS", 4)
    ids = np.array([0, 1, 0, 2, 0, 1, 0, 3, 3, 1, 2])
    assert bigram_entropy(ids, 10_000) == pytest.approx(bigram_entropy(ids[:7], 4))
