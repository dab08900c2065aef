from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.batches import IGNORE
from glassformer.data.byte_pairs import TrainedBytePairTokenizer
from glassformer.data.config import DataConfig
from glassformer.data.language_modeling import prepare
from glassformer.data.masked_batches import MaskedData, masked
from glassformer.data.masked_config import MaskedConfig, MaskingConfig
from glassformer.data.masked_tokenizer import MaskedTokenizer, masked_tokenizer_from_dict
from glassformer.data.masking import TRAINING, VALIDATION, Masking, uniforms
from glassformer.data.tokenizers import ByteTokenizer, CharacterTokenizer
from glassformer.errors import ConfigError, DataError

TEXT = "the cat sat on the mat; it's 3 o'clock in the_house\n"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    letters = np.random.default_rng(0).choice(list("abcdefgh \n"), 12_000)
    (folder / "text").write_text("".join(letters))
    return prepare(DataConfig(source=str(folder / "text")), cache=folder / "cache")


def masking(config: MaskingConfig | None = None) -> Masking:
    return Masking(config or MaskingConfig(), MaskedTokenizer(CharacterTokenizer("abcdefghij")))


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**64 - 1),
    share=st.floats(0.05, 1),
    mask=st.floats(0.1, 1),
    random=st.floats(0, 1),
)
def test_targets_are_the_text_where_a_token_was_chosen_and_the_rest_is_untouched(seed, share, mask, random):
    random = random * (1 - mask)
    chosen = masking(MaskingConfig(share=share, mask=mask, random=random))
    tokens = torch.from_numpy(np.random.default_rng(seed).integers(10, size=(6, 40)))
    inputs, targets = chosen(tokens, uniforms(6, 40, seed=seed, index=0, purpose=TRAINING))
    counted = targets != IGNORE
    assert torch.equal(targets[counted], tokens[counted])
    assert torch.equal(inputs[~counted], tokens[~counted])
    assert int(inputs.max()) <= 10
    assert bool((inputs[~counted] != 10).all())  # [MASK] stands nowhere else


def test_the_shares_are_those_that_were_asked_for():
    config = MaskingConfig(share=0.3, mask=0.5, random=0.3)
    tokens = torch.zeros(2000, 100, dtype=torch.int64)
    inputs, targets = masking(config)(tokens, uniforms(2000, 100, seed=1, index=0, purpose=TRAINING))
    counted = targets != IGNORE
    n = int(counted.sum())
    assert n / tokens.numel() == pytest.approx(0.3, abs=0.005)
    assert int((inputs == 10).sum()) / n == pytest.approx(0.5, abs=0.01)
    # a random token is drawn from the ten of the text, so one in ten is the token itself
    assert int(((inputs != 10) & (inputs != 0)).sum()) / n == pytest.approx(0.3 * 0.9, abs=0.01)


def test_training_masks_depend_on_seed_and_step_and_nothing_else(text):
    data = MaskedData(text, MaskingConfig())
    once = data.batch(5, seed=7, batch_size=8, seq_len=32)
    torch.manual_seed(3)
    again = MaskedData(text, MaskingConfig()).batch(5, seed=7, batch_size=8, seq_len=32)
    assert torch.equal(once.inputs, again.inputs)
    assert torch.equal(once.targets, again.targets)
    assert torch.equal(once.rows(2, 4).inputs, once.inputs[2:4])
    for step, seed in ((6, 7), (5, 8)):
        other = data.batch(step, seed=seed, batch_size=8, seq_len=32)
        assert not torch.equal(once.targets != IGNORE, other.targets != IGNORE)


def test_the_windows_are_those_of_a_language_model_on_the_same_text(text):
    windows = text.batch(4, seed=2, batch_size=5, seq_len=16)
    batch = MaskedData(text, MaskingConfig()).batch(4, seed=2, batch_size=5, seq_len=16)
    unmasked = torch.where(batch.targets != IGNORE, batch.targets, batch.inputs)
    assert torch.equal(unmasked, windows.inputs)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_validation_masks_are_always_the_same_in_batches_of_any_size(text, batch_size):
    data = MaskedData(text, MaskingConfig())

    def rows(size):
        batches = list(data.validation_batches(batch_size=size, seq_len=16, max_tokens=320))
        return torch.cat([each.inputs for each in batches]), torch.cat([each.targets for each in batches])

    for one, other in zip(rows(batch_size), rows(7), strict=True):
        assert torch.equal(one, other)


def test_validation_does_not_see_the_masks_of_training():
    drawn = [uniforms(1, 8, seed=0, index=3, purpose=purpose) for purpose in (TRAINING, VALIDATION)]
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize(
    "tokenizer",
    [CharacterTokenizer(TEXT), ByteTokenizer(), TrainedBytePairTokenizer.train([TEXT * 20], 300)],
    ids=["characters", "bytes", "bpe"],
)
def test_a_word_is_chosen_whole_or_not_at_all(tokenizer):
    masked_tokenizer = MaskedTokenizer(tokenizer)
    whole = Masking(MaskingConfig(share=0.4, whole_words=True), masked_tokenizer)
    ids = torch.from_numpy(np.tile(tokenizer.encode(TEXT), (50, 1)))
    _, targets = whole(ids, uniforms(*ids.shape, seed=0, index=0, purpose=TRAINING))
    pieces = [tokenizer.decode([token]) for token in ids[0].tolist()]
    start = "".join(pieces).index("the_house")
    ends = np.cumsum([len(piece) for piece in pieces])
    of_word = [i for i, end in enumerate(ends) if start < end <= start + len("the_house")]
    counted = (targets != IGNORE)[:, of_word]
    assert bool((counted.all(1) == counted.any(1)).all())
    assert 0 < int(counted.all(1).sum()) < 50
    others = (targets != IGNORE).float().mean()
    assert float(others) == pytest.approx(0.4, abs=0.08)


def test_mask_stands_for_the_space_before_it_where_tokens_begin_with_one():
    pairs = MaskedTokenizer(TrainedBytePairTokenizer.train([TEXT * 20], 300))
    ids = pairs.encode("the [MASK] sat").tolist()
    assert ids.count(pairs.mask_id) == 1
    before, after = (pairs.text.encode(piece).tolist() for piece in ("the", " sat"))
    assert ids == [*before, pairs.mask_id, *after]
    assert pairs.decode(ids) == "the [MASK] sat"


@pytest.mark.parametrize("typed", ["[MASK]", "[MASK][MASK]", "a[MASK]t", "the [MASK][MASK] sat", "", "cat"])
def test_what_is_typed_comes_back(typed):
    tokenizer = MaskedTokenizer(CharacterTokenizer(TEXT))
    assert tokenizer.decode(tokenizer.encode(typed)) == typed
    assert tokenizer.vocab_size == tokenizer.text.vocab_size + 1
    again = masked_tokenizer_from_dict(tokenizer.to_dict())
    assert again.encode(typed).tolist() == tokenizer.encode(typed).tolist()


def test_another_tokenizer_is_not_taken_for_a_masked_one():
    with pytest.raises(DataError, match="kind 'bytes', and a masked language model's is expected"):
        masked_tokenizer_from_dict(ByteTokenizer().to_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": 0}, "share"),
        ({"share": 1.5}, "share"),
        ({"mask": 0.9, "random": 0.2}, "together more than 1"),
        ({"mask": 0, "random": 0}, "leave every token as it is"),
        ({"random": -0.1}, "random"),
    ],
)
def test_wrong_shares_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        MaskedConfig.build({"masking": changes})


def test_the_text_of_a_masked_model_is_prepared_as_that_of_a_language_model():
    config = MaskedConfig(source="notes.txt", tokenizer="bpe", bpe_vocab_size=300)
    assert config.text == DataConfig(source="notes.txt", tokenizer="bpe", bpe_vocab_size=300)


def test_windows_of_a_given_text_are_masked_too(text):
    windows = list(text.validation_batches(batch_size=2, seq_len=16, max_tokens=64))
    found = list(masked(windows, Masking(MaskingConfig(share=0.5), MaskedTokenizer(text.tokenizer))))
    assert [each.inputs.shape for each in found] == [each.inputs.shape for each in windows]
    assert sum(each.n_tokens for each in found) > 0
