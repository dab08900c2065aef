from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.config import DataConfig
from glassformer.data.language_modeling import LanguageModelingData, fixed_batches, prepare, random_starts
from glassformer.data.token_files import temporary_token_file
from glassformer.errors import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> LanguageModelingData:
    folder = tmp_path_factory.mktemp("data")
    letters = np.random.default_rng(0).choice(list("abcdefgh \n"), 12_000)
    (folder / "text").write_text("".join(letters))
    return prepare(DataConfig(source=str(folder / "text")), cache=folder / "cache")


def test_a_batch_is_windows_of_the_text_and_the_same_moved_on_by_one(data):
    batch = data.batch(3, seed=1, batch_size=12, seq_len=64)
    assert batch.inputs.shape == batch.targets.shape == (12, 64)
    assert batch.inputs.dtype == batch.targets.dtype == torch.int64
    assert batch.n_tokens == 12 * 64
    for row, start in enumerate(batch.offsets):
        assert batch.inputs[row].tolist() == data.train[start : start + 64].tolist()
        assert batch.targets[row].tolist() == data.train[start + 1 : start + 65].tolist()


def test_a_batch_depends_on_seed_and_step_and_nothing_else(data):
    once = data.batch(5, seed=7, batch_size=8, seq_len=16)
    np.random.default_rng()
    torch.manual_seed(1)
    data.batch(6, seed=7, batch_size=8, seq_len=16)
    again = LanguageModelingData(data.folder).batch(5, seed=7, batch_size=8, seq_len=16)
    assert torch.equal(once.inputs, again.inputs)
    for step, seed in ((6, 7), (5, 8)):
        assert not np.array_equal(once.offsets, data.batch(step, seed=seed, batch_size=8, seq_len=16).offsets)


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox 4x64-10 in plain integers (Salmon et al. 2011, §3.3 and table 2)."""
    low = (1 << 64) - 1
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [(second >> 64) ^ counter[1] ^ key[0], second & low, (first >> 64) ^ counter[3] ^ key[1], first & low]
        key = [(key[0] + 0x9E3779B97F4A7C15) & low, (key[1] + 0xBB67AE8584CAA73B) & low]
    return counter


@given(step=st.integers(0, 2**63), seed=st.integers(0, 2**128 - 1), places=st.integers(1, 2**40))
def test_starts_are_what_philox_gives_for_seed_and_step(step, seed, places):
    raw = [word for block in (1, 2) for word in philox([block, step, 0, 0], [seed & (2**64 - 1), seed >> 64])]
    expected = [int((word >> 11) * 2.0**-53 * places) for word in raw]
    assert random_starts(step, seed=seed, count=8, places=places).tolist() == expected


def test_the_order_of_samples_is_fixed_for_good():
    assert random_starts(0, seed=0, count=4, places=1_000_000).tolist() == [11546, 241549, 111425, 564414]
    assert random_starts(1000, seed=1337, count=4, places=1_000_000).tolist() == [75548, 120048, 355568, 846743]


@settings(max_examples=50)
@given(step=st.integers(0, 2**62), seed=st.integers(0, 2**128 - 1), world_size=st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_every_world_size_gives_the_same_global_batch(data, step, seed, world_size):
    whole = data.batch(step, seed=seed, batch_size=12, seq_len=9)
    parts = [
        data.batch(step, seed=seed, batch_size=12, seq_len=9, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert torch.equal(torch.cat([part.inputs for part in parts]), whole.inputs)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)


def test_starts_are_uniform_over_all_places_with_both_ends():
    starts = np.concatenate([random_starts(step, seed=3, count=100, places=50) for step in range(1000)])
    counts = np.bincount(starts, minlength=50)
    assert len(counts) == 50
    chi_squared = ((counts - 2000) ** 2 / 2000).sum()
    assert chi_squared < 86  # 49 degrees of freedom: 0.1 % of fair draws are above


def test_the_last_place_lets_the_last_token_be_predicted(data):
    seq_len = len(data.train) - 2
    offsets = np.concatenate([data.batch(step, seed=0, batch_size=8, seq_len=seq_len).offsets for step in range(4)])
    assert set(offsets) == {0, 1}
    assert set(data.batch(0, seed=0, batch_size=8, seq_len=len(data.train) - 1).offsets) == {0}


@settings(max_examples=60)
@given(count=st.integers(6, 200), seq_len=st.integers(1, 5), batch_size=st.integers(1, 7))
def test_validation_predicts_every_token_but_the_first_exactly_once(count, seq_len, batch_size):
    ids = np.arange(count)
    batches = list(fixed_batches(temporary_token_file([ids], 1000), batch_size=batch_size, seq_len=seq_len))
    assert torch.cat([batch.targets.ravel() for batch in batches]).tolist() == ids[1:].tolist()
    assert torch.cat([batch.inputs.ravel() for batch in batches]).tolist() == ids[:-1].tolist()
    assert all(len(batch.inputs) <= batch_size for batch in batches)


@settings(max_examples=60)
@given(count=st.integers(6, 300), seq_len=st.integers(1, 5), max_tokens=st.integers(1, 320))
def test_a_part_of_the_validation_is_windows_evenly_spaced_and_within_the_limit(count, seq_len, max_tokens):
    tokens = temporary_token_file([np.arange(count)], 1000)
    batches = list(fixed_batches(tokens, batch_size=4, seq_len=seq_len, max_tokens=max_tokens))
    assert sum(batch.n_tokens for batch in batches) <= max(max_tokens, seq_len)
    starts = np.concatenate([batch.offsets for batch in batches])
    assert starts[0] == 0
    assert (starts % seq_len == 0).all()
    if max_tokens < count - 1 and len(starts) > 1:
        gaps = np.diff(starts) // seq_len
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_validation_is_the_same_every_time_and_leaves_every_generator_alone(data):
    before = torch.get_rng_state()
    first, second = (list(data.validation_batches(batch_size=8, seq_len=32, max_tokens=500)) for _ in range(2))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_split_shorter_than_a_window_says_what_to_do(data):
    with pytest.raises(DataError, match=r"validation text has 1,200 tokens.*1,200 needs 1,201.*validation_fraction"):
        data.validation_batches(batch_size=1, seq_len=1200)
    with pytest.raises(DataError, match="training text has"):
        data.batch(0, seed=0, batch_size=1, seq_len=len(data.train))


def test_importing_the_configuration_imports_neither_torch_nor_tokenizers():
    program = (
        "import sys; from glassformer.data import DataConfig; DataConfig();"
        "print([name for name in ('torch', 'tokenizers', 'datasets', 'pooch') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
