"""The problems of a task that a model is trained and validated on.

No problem is both trained and validated on. A hash of its tokens says, of each problem that there is, whether it is
kept from training (one in eight), whatever its number; so training may go on for ever, and validation, a longer look
at a finished model too, is on problems that it never saw.

Training problems are numbered without end. Each is a pure function of its number and the two seeds, drawn by a
counter-based generator (Philox 4x64-10, Salmon et al. 2011): no state to save, so a resumed run continues
exactly, and the machines of a distributed run agree without communication.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from glassformer.data.batches import IGNORE
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import FILL, Draws, Ids, Mask, Problems, problems
from glassformer.data.synthetic_tokenizer import SymbolTokenizer
from glassformer.errors import ConfigError, DataError

VERSION = 1
"""Counts up when the same configuration makes other problems than before."""

HELD_OUT_BITS = 3
"""One problem in 2³ is kept from training."""

CANDIDATES = 2**14
"""Problems that are drawn at a time when held-out ones are looked for."""

PATIENCE = 64
"""Problems that are drawn for each one wanted, before it is believed that there are no more different ones."""

TRAIN, VALIDATION, FRESH, HASH = range(4)  # what random numbers are for; no two uses share any


@dataclass(frozen=True, slots=True)
class SyntheticBatch:
    """Some problems, as a :class:`glassformer.data.batches.Batch`."""

    inputs: Tensor
    """int64 [B, T]: prompt, separator, answer but for its last token; separators where a problem has ended"""

    targets: Tensor
    """int64 [B, T]: the answer's tokens, each one place before where it is read; :data:`IGNORE` everywhere else"""

    indices: Ids
    """int64 [B]: the numbers of the problems"""

    @property
    def arguments(self) -> tuple[Tensor]:
        """What the model is called with."""
        return (self.inputs,)

    @property
    def n_tokens(self) -> int:
        """Tokens of answers."""
        return int((self.targets != IGNORE).sum())

    def rows(self, start: int, stop: int) -> Self:
        """The problems from ``start`` up to ``stop``."""
        return type(self)(self.inputs[start:stop], self.targets[start:stop], self.indices[start:stop])

    def describe(self) -> str:
        """Which problems these are."""
        shown = ", ".join(f"{number:,}" for number in self.indices[:8].tolist())
        return f"The samples are the problems {shown}{', …' if len(self.indices) > 8 else ''} of the task."


class SyntheticData:
    """A task's problems: endless ones to train on, others to validate on.

    Raises:
        DataError: the task has so few different problems that none is left for training or for validation.
    """

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self.task = config.rules
        self.tokenizer = SymbolTokenizer(self.task.names)
        self._check_enough()

    @property
    def vocab_size(self) -> int:
        """Symbols and signs."""
        return self.tokenizer.vocab_size

    @property
    def fingerprint(self) -> str:
        """The name of these data: the same configuration gives the same."""
        tree = json.dumps([VERSION, self.config.to_dict()], sort_keys=True)
        return f"{self.config.kind}-{hashlib.sha256(tree.encode()).hexdigest()[:16]}"

    @property
    def answer_tokens(self) -> float:
        """Tokens of an answer, in the mean over all lengths."""
        lengths = range(self.config.shortest, self.config.longest + 1)
        return float(np.mean([len(self.task.answered(length)) for length in lengths]))

    @cached_property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of a token of the validation problems' answers: 1, where a letter stands for each."""
        return float(self.tokenizer.byte_lengths[self.validation.tokens[self.validation.answered]].mean())

    def batch(self, step: int, *, seed: int, batch_size: int, rank: int = 0, world_size: int = 1) -> SyntheticBatch:
        """The training batch of a step: a pure function of its arguments.

        ``batch_size`` problems are counted for all ranks together; a rank gets its share, consecutive ones of them
        (B = batch_size / world_size).
        """
        assert step >= 0, "steps count from 0"
        assert 0 <= rank < world_size, "ranks are 0 … world_size - 1"
        assert batch_size % world_size == 0, "every rank gets the same number of samples"
        share = batch_size // world_size
        start = step * batch_size + rank * share
        return self._batch(self.training_problems(start, share, seed=seed), start)

    def training_problems(self, start: int, count: int, *, seed: int) -> Problems:
        """The problems ``start`` … ``start + count − 1``. One that is held out gives way to the next that is not."""
        found = self._draw(TRAIN, start, count, seed=seed)
        attempt = 1
        while (held_out := self.is_held_out(found)).any():
            found = found.replaced(held_out, self._draw(TRAIN, start, count, seed=seed, attempt=attempt))
            attempt += 1
        return found

    @cached_property
    def validation(self) -> Problems:
        """The validation problems, all different, always the same."""
        return self._held_out(VALIDATION, self.config.n_validation, self.config.shortest, self.config.longest)

    def fresh(self, count: int, *, length: int) -> Problems:
        """Up to ``count`` different problems of one length, of those that are never trained on; always the same.

        Raises:
            ConfigError: the task has no problems of this length.
            DataError: none of them is held out, so few are there.
        """
        if complaints := list(self.task.complaints(length)):
            raise ConfigError(complaints, subject="task")
        found = self._held_out(FRESH, count, length, length)
        if not len(found):
            raise DataError(_too_few(f"of {self.config.kind} of length {length}", "every one is trained on"))
        return found

    def batches(self, chosen: Problems, *, batch_size: int, max_tokens: int | None = None) -> Iterator[SyntheticBatch]:
        """Problems in their order; with ``max_tokens``, the first that have no more answer tokens (at least one)."""
        if max_tokens is not None:
            ends = np.cumsum(chosen.answered.sum(1))
            chosen = chosen[: max(1, int((ends <= max_tokens).sum()))]
        for start in range(0, len(chosen), batch_size):
            yield self._batch(chosen[start : start + batch_size], start)

    def is_held_out(self, of: Problems) -> Mask:
        """Which problems are kept from training: bool [n].

        A multilinear hash of the tokens (Carter & Wegman 1979) with its bits mixed by the finalizer of SplitMix64
        (Steele, Lea & Flood 2014). What a row is filled up with does not count.
        """
        factors = self._philox(HASH).random_raw(of.tokens.shape[1])
        terms = np.where(of.tokens == FILL, 0, of.tokens + 1).astype(np.uint64)
        code = (terms * factors).sum(1, dtype=np.uint64)  # modulo 2⁶⁴, here and below
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            code = (code ^ (code >> np.uint64(shift))) * np.uint64(factor)
        return np.asarray(code >> np.uint64(64 - HELD_OUT_BITS) == 0)

    def _check_enough(self) -> None:
        sample = self._draw(TRAIN, 0, 4_096)
        if self.is_held_out(sample).all():
            raise DataError(_too_few(f"of {self.config.kind}", "every one is kept for validation"))
        if not len(self.validation):
            raise DataError(_too_few(f"of {self.config.kind}", "none is left for validation"))

    def _held_out(self, use: int, count: int, shortest: int, longest: int) -> Problems:
        """The first ``count`` different problems that are held out, or as many as turn up."""
        found, seen = [self._draw(use, 0, 0, lengths=(shortest, longest))], set[bytes]()
        size = min(CANDIDATES, 2**HELD_OUT_BITS * count)
        for start in range(0, PATIENCE * max(PATIENCE, count), size):
            candidates = self._draw(use, start, size, lengths=(shortest, longest))
            candidates = candidates[self.is_held_out(candidates)]
            new = []
            for row, tokens in enumerate(candidates.tokens):
                if len(seen) < count and (key := tokens.tobytes()) not in seen:
                    seen.add(key)
                    new.append(row)
            found.append(candidates[np.array(new, dtype=np.int64)])
            if len(seen) == count:
                break
        return Problems(
            np.concatenate([each.tokens for each in found]), np.concatenate([each.answered for each in found])
        )

    def _draw(
        self,
        use: int,
        start: int,
        count: int,
        *,
        seed: int = 0,
        attempt: int = 0,
        lengths: tuple[int, int] | None = None,
    ) -> Problems:
        """Problems by number, held out or not."""
        shortest, longest = lengths or (self.config.shortest, self.config.longest)
        return problems(self.task, self._random(use, start, count, longest, seed, attempt), shortest, longest)

    def _random(self, use: int, start: int, count: int, longest: int, seed: int, attempt: int) -> Draws:
        """Random numbers for consecutive problems: uint64 [count, enough]. Each problem's are its own."""
        blocks = -(-(1 + self.task.n_draws(longest)) // 4)  # of four numbers; the first is for the length
        raw = self._philox(use, seed=seed, attempt=attempt, block=start * blocks).random_raw(4 * blocks * count)
        return raw.reshape(count, 4 * blocks)

    def _philox(self, use: int, *, seed: int = 0, attempt: int = 0, block: int = 0) -> np.random.Philox:
        """Only its raw output is used, which NumPy promises never to change."""
        key = np.array([seed, self.config.seed], dtype=np.uint64)
        return np.random.Philox(key=key, counter=np.array([block, attempt, use, 2], dtype=np.uint64))

    def _batch(self, chosen: Problems, start: int) -> SyntheticBatch:
        inputs = np.where(chosen.tokens == FILL, self.task.separator, chosen.tokens)[:, :-1]
        targets = np.where(chosen.answered, chosen.tokens, IGNORE)[:, 1:]
        return SyntheticBatch(
            torch.from_numpy(np.ascontiguousarray(inputs)),
            torch.from_numpy(np.ascontiguousarray(targets)),
            np.arange(start, start + len(chosen)),
        )


def _too_few(which: str, why: str) -> str:
    return (
        f"There are too few different problems {which} for one in {2**HELD_OUT_BITS} of them to be kept from "
        f"training: {why}. Use a larger data.length or data.vocab_size, or another data.seed."
    )
