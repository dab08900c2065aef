"""The batches a masked language model is trained and validated on: a text's windows with tokens masked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from glassformer.data.language_modeling import LanguageModelingData, TokenBatch
from glassformer.data.masked_config import MaskingConfig
from glassformer.data.masked_tokenizer import MaskedTokenizer
from glassformer.data.masking import TRAINING, VALIDATION, Masking, uniforms


def masked(windows: Iterable[TokenBatch], masking: Masking) -> Iterator[TokenBatch]:
    """Windows to be validated on, with masks that depend on nothing but where each window begins."""
    for batch in windows:
        length = batch.inputs.shape[1]
        draws = [uniforms(1, length, seed=0, index=int(start), purpose=VALIDATION) for start in batch.offsets]
        yield TokenBatch(*masking(batch.inputs, np.concatenate(draws)), batch.offsets)


class MaskedData:
    """A prepared text whose tokens are to be filled in."""

    def __init__(self, text: LanguageModelingData, config: MaskingConfig) -> None:
        self.text, self.config = text, config
        self.tokenizer = MaskedTokenizer(text.tokenizer)
        self.masking = Masking(config, self.tokenizer)

    @property
    def vocab_size(self) -> int:
        """The text's tokens, and [MASK]."""
        return self.tokenizer.vocab_size

    @property
    def notes(self) -> list[str]:
        """What the user should know of the text."""
        return self.text.notes

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each split's tokens."""
        return self.text.digests

    @property
    def fingerprint(self) -> str:
        """The identity of the text; the masking is part of the configuration."""
        return self.text.fingerprint

    def batch(self, step: int, *, seed: int, batch_size: int, seq_len: int) -> TokenBatch:
        """The training batch of a step: a pure function of its arguments."""
        windows = self.text.batch(step, seed=seed, batch_size=batch_size, seq_len=seq_len)
        draws = uniforms(batch_size, seq_len, seed=seed, index=step, purpose=TRAINING)
        inputs, targets = self.masking(windows.inputs, draws)
        return TokenBatch(inputs, targets, windows.offsets)

    def validation_batches(
        self, *, batch_size: int, seq_len: int, max_tokens: int | None = None
    ) -> Iterator[TokenBatch]:
        """The validation split as :func:`fixed_batches` gives it, always with the same masks.

        Args:
            max_tokens: of text, masked or not.
        """
        windows = self.text.validation_batches(batch_size=batch_size, seq_len=seq_len, max_tokens=max_tokens)
        return masked(windows, self.masking)
