"""Masked tokens: which are chosen, and what a model reads in their places (Devlin et al. 2019, §3.1).

The masks of a training batch are a pure function of (seed, step), those of a validation window of where it begins: a
resumed run, the machines of a distributed run and the variants of a study see the same ones. They are drawn by a
counter-based generator (Philox 4x64-10), as the windows themselves are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from glassformer.data.batches import IGNORE
from glassformer.data.masked_config import MaskingConfig
from glassformer.data.masked_tokenizer import MaskedTokenizer

TRAINING, VALIDATION = 1, 2
"""The third word of the generator's counter: 0 are the windows' own draws."""

Uniform = npt.NDArray[np.float64]


def uniforms(rows: int, length: int, *, seed: int, index: int, purpose: int) -> Uniform:
    """Draws from [0, 1), float64 [rows, length, 3]: a pure function of the arguments."""
    key = np.array([seed & 0xFFFF_FFFF_FFFF_FFFF, seed >> 64], dtype=np.uint64)
    raw = np.random.Philox(key=key, counter=[0, index, purpose, 0]).random_raw(rows * length * 3)
    draws: Uniform = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return draws.reshape(rows, length, 3)


class Masking:
    """Chooses tokens and replaces them.

    Args:
        tokenizer: its [MASK] is what masked tokens become; random ones are drawn from the tokens of its text.
    """

    def __init__(self, config: MaskingConfig, tokenizer: MaskedTokenizer) -> None:
        self.config, self.text, self.mask_id = config, tokenizer.text, tokenizer.mask_id

    def __call__(self, tokens: Tensor, draws: Uniform) -> tuple[Tensor, Tensor]:
        """Token ids [B, T] and draws [B, T, 3] → what the model reads, and its targets: IGNORE where none is chosen."""
        ids = tokens.numpy()
        which = draws[..., 0]
        if self.config.whole_words:
            which = np.take_along_axis(which, self.word_starts(ids), axis=1)
        chosen = which < self.config.share
        how = draws[..., 1]
        random = (draws[..., 2] * self.text.vocab_size).astype(np.int64)
        masked = chosen & (how < self.config.mask)
        replaced = chosen & ~masked & (how < self.config.mask + self.config.random)
        inputs = np.where(masked, self.mask_id, np.where(replaced, random, ids))
        return torch.from_numpy(inputs), torch.from_numpy(np.where(chosen, ids, IGNORE))

    def word_starts(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """For each token [B, T], the place of the first token of its word; a token outside words is its own word."""
        opens, inside, ends = self._classes
        begins = np.ones(ids.shape, dtype=bool)
        begins[:, 1:] = ~inside[ids[:, 1:]] | opens[ids[:, 1:]] | ~ends[ids[:, :-1]]
        places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        return np.maximum.accumulate(np.where(begins, places, 0), axis=1)

    @cached_property
    def _classes(self) -> tuple[npt.NDArray[np.bool_], ...]:
        """By id: whether a token opens a word (a space before a letter), has a word's character, ends in one."""
        texts = [token.decode("utf-8", errors="replace") for token in self.text.token_bytes]
        return (
            _table(texts, lambda text: not _is_word(text[:1]) and any(map(_is_word, text))),
            _table(texts, lambda text: any(map(_is_word, text))),
            _table(texts, lambda text: _is_word(text[-1:])),
        )


def _is_word(character: str) -> bool:
    """Letters, digits, _; and the bytes of a character that is cut over several tokens."""
    return character.isalnum() or character in ("_", "\ufffd") if character else False


def _table(texts: Sequence[str], holds: object) -> npt.NDArray[np.bool_]:
    assert callable(holds)
    return np.array([bool(holds(text)) for text in texts], dtype=bool)
