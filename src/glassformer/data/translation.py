"""The sentence pairs that a translator is trained, validated and tested on.

A training batch is a pure function of step, seed and limit (:mod:`pair_batching <glassformer.data.pair_batching>`), so
a resumed run continues exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glassformer.data.downloads import sha256_of
from glassformer.data.pair_batching import (
    BatchLimit,
    EpochPlan,
    Ints,
    PairBatch,
    PairSchedule,
    n_positions,
    pair_batch,
    plan_in_order,
)
from glassformer.data.pair_preparation import SIDES, prepare_pairs
from glassformer.data.pair_source import Pair
from glassformer.data.prepared_folders import DamagedError, check_files, open_manifest
from glassformer.data.sentence_tokenizers import PairTokenizer, load_pair_tokenizer
from glassformer.data.spool import Progress
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import DataError, nearest
from glassformer.places import cache_folder


class TranslationData:
    """Prepared sentence pairs: the tokenizers, the ids and texts of each split, and batches of them."""

    def __init__(self, folder: Path, *, warnings: Sequence[str] = ()) -> None:
        """Open a prepared folder (see :mod:`glassformer.data.pair_preparation`); :class:`DataError` if it is damaged.

        ``warnings``: what happened when it was prepared now, for :attr:`notes`.
        """
        self.folder = folder
        self.warnings = list(warnings)
        """What happened now: that the folder was damaged and made again."""
        self.manifest: dict[str, Any] = open_manifest(folder, "translation")
        """Exact counts of pairs, tokens, unknown tokens and bytes of each split, and the SHA-256 of each file."""
        self.tokenizer: PairTokenizer = load_pair_tokenizer(folder)
        try:
            self._sides = {split: tuple(_Side(folder, split, side) for side in SIDES) for split in self.splits}
            for split, (source, target) in self._sides.items():
                if not len(source) == len(target) == self.n_pairs(split):
                    raise DamagedError(folder, f"the {split} pairs are not as many as the manifest says")
            self.config = TranslationConfig.build(self.manifest["config"])
            """The configuration with which the data were prepared."""
            self._fingerprint = str(self.manifest["fingerprint"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedError(folder, f"the manifest lacks what it should say ({error!r})") from error
        self._schedules: dict[tuple[int, BatchLimit], PairSchedule] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """``train``, ``validation``, and whatever there is to test on."""
        return tuple(self.manifest["splits"])

    @property
    def notes(self) -> list[str]:
        """What the user should know: pairs that were left out, words read as <unk>."""
        return [*self.warnings, *self.manifest["notes"]]

    @property
    def digests(self) -> dict[str, str]:
        """A SHA-256 of each split's tokens and of where its sentences end."""
        return {name: str(split["sha256"]) for name, split in self.manifest["splits"].items()}

    @property
    def fingerprint(self) -> str:
        """The identity of these data: the same pairs, settings and splits give the same, wherever the files lie."""
        return self._fingerprint

    def n_pairs(self, split: str) -> int:
        """Number of pairs of a split. Raises :class:`DataError` if there is no such split."""
        return int(self._counts(split)["pairs"])

    def pairs(self, split: str) -> list[Pair]:
        """The texts of a split, in the order of their numbers."""
        self._counts(split)
        path = self.folder / f"{split}.pairs.jsonl"
        try:
            with path.open(encoding="utf-8", newline="\n") as file:
                return [Pair(*json.loads(line)) for line in file]
        except (OSError, ValueError, TypeError) as error:
            raise _unreadable(path, error) from error

    def bytes_per_token(self, split: str) -> float:
        """UTF-8 bytes of target text per target token: bits per byte = nats per token / (ln 2 · bytes per token)."""
        counts = self._counts(split)
        return float(counts["target_bytes"] / counts["target_tokens"])

    def batch(
        self,
        step: int,
        *,
        seed: int,
        batch_size: int | None = None,
        batch_tokens: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> PairBatch:
        """The training batch of a step: a pure function of its arguments.

        One of ``batch_size`` (pairs) and ``batch_tokens`` (rows times the longer of the two padded lengths) limits
        the batch of all ranks together; a rank gets its share, consecutive rows of it, which may be none.
        """
        assert 0 <= rank < world_size, "ranks are 0 … world_size - 1"
        schedule = self._schedule(seed, BatchLimit(batch_size, batch_tokens))
        epoch, index = schedule.locate(step)
        batch = self._batch_of(schedule.plan(epoch)[index], "train")
        n = len(batch.indices)
        return batch if world_size == 1 else batch.rows(n * rank // world_size, n * (rank + 1) // world_size)

    def steps_per_epoch(self, *, seed: int, batch_size: int | None = None, batch_tokens: int | None = None) -> int:
        """Batches of the first epoch. (With ``batch_tokens`` the others may have a few more or fewer.)"""
        return len(self._first_epoch(seed, batch_size, batch_tokens))

    def epoch_of(
        self, step: int, *, seed: int, batch_size: int | None = None, batch_tokens: int | None = None
    ) -> float:
        """Epochs completed before a step: 2.5 is the middle of the third."""
        schedule = self._schedule(seed, BatchLimit(batch_size, batch_tokens))
        epoch, index = schedule.locate(step)
        return epoch + index / len(schedule.plan(epoch))

    def tokens_per_step(self, *, seed: int, batch_size: int | None = None, batch_tokens: int | None = None) -> float:
        """Target tokens, end tokens included, of a batch in the mean over the first epoch."""
        return float(self._sides["train"][1].lengths.sum() / len(self._first_epoch(seed, batch_size, batch_tokens)))

    def padding_share(self, *, seed: int, batch_size: int | None = None, batch_tokens: int | None = None) -> float:
        """The share of positions, source and target, that are pads, over the first epoch."""
        plan = self._first_epoch(seed, batch_size, batch_tokens)
        sides = self._sides["train"]
        positions = sum(n_positions(plan, side.lengths) for side in sides)
        return 1 - sum(int(side.lengths.sum()) for side in sides) / positions

    def validation_batches(
        self, *, batch_tokens: int, max_tokens: int | None = None, split: str = "validation"
    ) -> Iterator[PairBatch]:
        """The pairs of a split, the longest first, always the same, each at most once.

        Pairs longer than ``config.max_length`` are left out. With ``max_tokens``, pairs at even distances, as many
        as have at most that many target tokens together (at least one). Raises :class:`DataError` if none are left.
        """
        self._counts(split)
        source, target = self._sides[split]
        chosen = np.flatnonzero(np.maximum(source.lengths, target.lengths) <= self.config.max_length)
        if not len(chosen):
            raise DataError(
                f"Every pair of the {split} split has more than data.max_length={self.config.max_length:,} tokens on "
                "a side. Use a larger data.max_length, or other pairs."
            )
        if max_tokens is not None:
            chosen = _evenly_spaced(chosen, target.lengths, max_tokens)
        plan = plan_in_order(source.lengths, target.lengths, chosen, limit=BatchLimit(tokens=batch_tokens))
        return (self._batch_of(plan[index], split) for index in range(len(plan)))

    def verify(self) -> None:
        """Read every byte and compare with the manifest's SHA-256. Raises :class:`DataError` if one differs.

        Opening the folder has done so already, but for large files that had not changed since they were read last.
        """
        check_files(self.folder, self.manifest, sha256_of=sha256_of)

    def _counts(self, split: str) -> dict[str, Any]:
        if split not in self.splits:
            raise DataError(f"There is no {split!r} split in these data. {nearest(split, self.splits)}")
        counts: dict[str, Any] = self.manifest["splits"][split]
        return counts

    def _schedule(self, seed: int, limit: BatchLimit) -> PairSchedule:
        if (seed, limit) not in self._schedules:
            source, target = self._sides["train"]
            self._schedules[seed, limit] = PairSchedule(source.lengths, target.lengths, seed=seed, limit=limit)
        return self._schedules[seed, limit]

    def _first_epoch(self, seed: int, batch_size: int | None, batch_tokens: int | None) -> EpochPlan:
        return self._schedule(seed, BatchLimit(batch_size, batch_tokens)).plan(0)

    def _batch_of(self, rows: Ints, split: str) -> PairBatch:
        source, target = self._sides[split]
        return pair_batch(
            (source.ids, source.ends),
            (target.ids, target.ends),
            rows,
            source_pad_id=self.tokenizer.source.pad_id,
            target_pad_id=self.tokenizer.target.pad_id,
            start_id=self.tokenizer.target.start_id,
            split=split,
        )


def prepare_translation(
    config: TranslationConfig,
    cache: Path | None = None,
    progress: Progress | None = None,
    *,
    tokenizer: PairTokenizer | None = None,
) -> TranslationData:
    """The data of a configuration, prepared now or found prepared.

    ``cache``: the folder that holds a folder for each prepared data set (default: ``prepared-pairs`` in
    :func:`glassformer.places.cache_folder`). ``progress(stage, bytes done, bytes in all or None)`` is called now and
    then. ``tokenizer``: one to use instead of what the configuration would learn. Raises :class:`DataError` or
    :class:`DependencyError` with what to do.
    """
    notes: list[str] = []
    cache = cache or cache_folder() / "prepared-pairs"
    data = TranslationData(prepare_pairs(config, cache, progress, tokenizer=tokenizer, notes=notes), warnings=notes)
    data.config = config  # the same but for the paths, where the same pairs lie elsewhere too
    return data


class _Side:
    """The ids of one side of a split, mapped into memory."""

    def __init__(self, folder: Path, split: str, side: str) -> None:
        path = folder / f"{split}.{side}.ids.npy"
        try:
            self.ids: npt.NDArray[np.int32] = np.load(path, mmap_mode="r").view(np.ndarray)
            self.ends: Ints = np.load(folder / f"{split}.{side}.ends.npy")
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        self.lengths: Ints = np.diff(self.ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)


def _evenly_spaced(chosen: Ints, lengths: Ints, max_tokens: int) -> Ints:
    """As many of the chosen, at even distances, as have at most ``max_tokens`` together; at least one."""
    wanted = len(chosen)
    subset = chosen
    while wanted > 1 and (total := int(lengths[subset].sum())) > max_tokens:
        wanted = max(1, min(wanted - 1, wanted * max_tokens // total))
        subset = chosen[np.arange(wanted) * len(chosen) // wanted]
    return subset


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{str(path)!r} cannot be read: {error}. Delete its folder to have it prepared again.")
