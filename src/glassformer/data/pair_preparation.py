"""From sentence pairs to a folder of tokens, once: the vocabularies, the ids, the texts, the manifest.

    <cache>/<fingerprint>/
        tokenizer.json                            with which the ids were made (sentence_tokenizers)
        train.source.ids.npy  train.target.ids.npy      int32 [tokens]: sentence after sentence, each with its end token
        train.source.ends.npy train.target.ends.npy     int64 [pairs]: where in them each sentence stops
        train.pairs.jsonl                         the texts: ["Guten Tag.", "Good day."], a pair a line
        validation.…                              the same of every other split
        manifest.json                             what they are: written last

The vocabularies are learned from the training pairs alone, before any is left out. Of the training pairs, those
with a side that is empty or too long are left out; all pairs of the other splits stay, in their order, so that every
sentence of a test set is translated and scored.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glassformer.data.overlap import overlap_notes, pair_overlap
from glassformer.data.pairs import BUILT_IN, DATES, Pair, PairSource, open_pairs
from glassformer.data.prepared_folders import (
    check_unchanged,
    digest_of,
    prepared_folder,
    prepared_name,
    versions_for,
    write_durably,
    write_manifest,
)
from glassformer.data.sentence_bpe import SentenceBytePairTokenizer
from glassformer.data.sentence_tokenizers import (
    PairTokenizer,
    SentenceCharacterTokenizer,
    SentenceTokenizer,
    WordTokenizer,
)
from glassformer.data.spool import Progress, no_progress
from glassformer.data.tokenizer import utf8
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import DataError

IDENTITY = 1
"""Counts up when the same pairs and settings make other tokens or other splits than before."""

SIDES = ("source", "target")


def prepare_pairs(
    config: TranslationConfig,
    cache: Path,
    progress: Progress | None = None,
    *,
    tokenizer: PairTokenizer | None = None,
    notes: list[str] | None = None,
) -> Path:
    """The folder with the tokens of this configuration below ``cache``; made now unless it is there and whole.

    Args:
        tokenizer: the one to use instead of what the configuration would learn.
        notes: gets a note when the folder was damaged and is made again.

    Raises :class:`DataError` for whatever is wrong with the pairs or the disk.
    """
    source = open_source(config)
    state = source.fingerprint()
    return prepared_folder(
        cache / prepared_name(fingerprint(config, state), tokenizer),
        fill=lambda folder: _fill(folder, config, source, state, progress or no_progress, tokenizer),
        notes=notes,
    )


def fingerprint(config: TranslationConfig, content: str) -> str:
    """The identity of the data: 32 hexadecimal digits of the settings and of the pairs' content, not of their paths."""
    settings = config.to_dict() | {"tokenizer": config.tokenizer_kind, "state": content, "format": IDENTITY}
    if config.source not in BUILT_IN:
        settings |= dict.fromkeys(("source", "validation", "test"))  # which of them are given, the content says
    return digest_of(settings)[:32]


def open_source(config: TranslationConfig) -> PairSource:
    """The pairs that a configuration names, not read yet."""
    dates: dict[str, Any] = {}
    if config.source == DATES:
        named = [name.strip() for name in config.locales.split(",")]
        locales = None if config.locales == "default" else named
        dates = {"locales": locales, "n_pairs": config.n_pairs, "seed": config.seed}
    return open_pairs(
        config.source,
        validation=config.validation,
        test=config.test,
        reverse=config.reverse,
        source_column=config.source_column,
        target_column=config.target_column,
        validation_fraction=config.validation_fraction,
        normalise=_blank(config).normalise,
        **dates,
    )


def train_tokenizer(config: TranslationConfig, pairs: Sequence[Pair]) -> PairTokenizer:
    """The vocabularies of some pairs, as the configuration wants them."""
    sources, targets = [pair.source for pair in pairs], [pair.target for pair in pairs]
    if config.joint:
        both = _train(config, sources + targets)
        return PairTokenizer(both, both)
    return PairTokenizer(_train(config, sources), _train(config, targets))


def _train(config: TranslationConfig, texts: Sequence[str]) -> SentenceTokenizer:
    if config.tokenizer_kind == "words":
        return WordTokenizer.train(texts, min_count=config.min_count, lowercase=config.lowercase)
    if config.tokenizer_kind == "characters":
        return SentenceCharacterTokenizer.train(texts, min_count=config.min_count, lowercase=config.lowercase)
    return SentenceBytePairTokenizer.train(
        texts, config.vocab_size, min_count=config.min_count, lowercase=config.lowercase
    )


def _blank(config: TranslationConfig) -> SentenceTokenizer:
    """A tokenizer of the configuration's kind that has learned nothing, for how it normalises."""
    kinds: dict[str, type[SentenceTokenizer]] = {
        each.kind: each for each in (WordTokenizer, SentenceCharacterTokenizer, SentenceBytePairTokenizer)
    }
    return kinds[config.tokenizer_kind].blank(lowercase=config.lowercase)


def _fill(
    folder: Path,
    config: TranslationConfig,
    source: PairSource,
    state: str,
    progress: Progress,
    tokenizer: PairTokenizer | None,
) -> None:
    """Write everything into an empty folder, the manifest last."""
    progress("reading", 0, None)
    splits = source.splits()
    check_unchanged(source, state)
    if empty := [split for split in ("train", "validation") if not splits.get(split)]:
        raise DataError(
            f"The source '{config.source}' has no pairs for {' and '.join(empty)}. "
            "Use more pairs, or another data.validation_fraction."
        )
    progress("tokenizer", 0, None)
    tokenizer = tokenizer or train_tokenizer(config, splits["train"])
    tokenizer.save(folder)
    notes = list(source.notes)
    if source.holds_out:
        splits["validation"], left_out = without_known(tokenizer, splits["train"], splits["validation"])
        notes += left_out
    counts = {}
    total, done = sum(map(_text_bytes, splits.values())), 0
    for split, pairs in splits.items():
        progress("encoding", done, total)
        counts[split] = _write_split(folder, split, pairs, tokenizer, config)
        done += _text_bytes(pairs)
    progress("encoding", total, total)
    for split, pairs in splits.items():
        if split != "train":
            sides = (tokenizer.source.normalise, tokenizer.target.normalise)
            notes += overlap_notes(split, pair_overlap(splits["train"], pairs, *sides))
    write_manifest(
        folder,
        {
            "task": config.task,
            "fingerprint": fingerprint(config, state),
            "config": config.to_dict(),
            "source_fingerprint": state,
            "tokenizer": config.tokenizer_kind,
            "joint": config.joint,
            "vocab_size": {"source": tokenizer.source.vocab_size, "target": tokenizer.target.vocab_size},
            "splits": counts,
            "made_with": versions_for(config.source),
            "notes": [*notes, *_notes(config, tokenizer, counts)],
        },
    )


def without_known(
    tokenizer: PairTokenizer, train: Sequence[Pair], validation: Sequence[Pair]
) -> tuple[list[Pair], list[str]]:
    """The validation pairs whose source no training source equals token for token, and a note of the others.

    They were chosen so that none is equal as text. Two can still be one to the model, where what differs is read as
    <unk>. If all are such, all stay, and the note says that.
    """
    side = tokenizer.source
    known = {tuple(ids) for ids in side.encode_all([pair.source for pair in train])}
    encoded = side.encode_all([pair.source for pair in validation])
    kept = [pair for pair, ids in zip(validation, encoded, strict=True) if tuple(ids) not in known]
    if len(kept) == len(validation):
        return list(validation), []
    count = f"{len(validation) - len(kept):,} of {len(validation):,}"
    reason = "read as a source in training does, once rare words are <unk>"
    if kept:
        return kept, [f"validation: {count} pairs held out are left out: their sources {reason}"]
    return list(validation), [f"validation: the sources of all pairs held out {reason}; use another data.tokenizer"]


def _write_split(
    folder: Path, split: str, pairs: Sequence[Pair], tokenizer: PairTokenizer, config: TranslationConfig
) -> dict[str, Any]:
    """Write the ids and texts of a split, and return its counts."""
    encoded = {
        "source": tokenizer.source.encode_all([pair.source for pair in pairs]),
        "target": tokenizer.target.encode_all([pair.target for pair in pairs]),
    }
    lengths = np.array([[len(ids) + 1 for ids in encoded[side]] for side in SIDES], dtype=np.int64)  # [2, pairs]
    too_long = (lengths > config.max_length).any(axis=0)
    empty = (lengths == 1).any(axis=0)
    kept = ~(too_long | empty) if split == "train" else np.ones(len(pairs), dtype=np.bool_)
    counts: dict[str, Any] = {"empty": int(empty.sum()), "too_long": int((too_long & ~empty).sum())}
    if not kept.any():
        raise DataError(
            f"All {len(pairs):,} training pairs of the source '{config.source}' are left out: {counts['empty']:,} have "
            f"an empty side, and {counts['too_long']:,} have more than data.max_length={config.max_length:,} tokens on "
            "a side. Use a larger data.max_length, or other pairs."
        )
    numbers = np.flatnonzero(kept).tolist()
    counts["pairs"] = len(numbers)
    digest = hashlib.sha256()
    for side, of_side in zip(SIDES, (tokenizer.source, tokenizer.target), strict=True):
        ids, ends = _flat([encoded[side][number] for number in numbers], of_side.end_id)
        for what, array in (("ids", ids), ("ends", ends)):
            with (folder / f"{split}.{side}.{what}.npy").open("wb") as file:
                np.save(file, array)
                os.fsync(file.fileno())
        counts[f"{side}_tokens"] = len(ids)
        counts[f"{side}_unknown"] = int((ids == of_side.unknown_id).sum())
        counts[f"{side}_bytes"] = sum(len(getattr(pairs[number], side).encode()) for number in numbers)
        digest.update(ids.tobytes() + ends.tobytes())
    counts["sha256"] = digest.hexdigest()
    texts = (json.dumps([pairs[number].source, pairs[number].target], ensure_ascii=False) for number in numbers)
    write_durably(folder / f"{split}.pairs.jsonl", "".join(text + "\n" for text in texts))
    return counts


def _text_bytes(pairs: Sequence[Pair]) -> int:
    return sum(len(utf8(pair.source)) + len(utf8(pair.target)) for pair in pairs)


def _flat(sentences: Sequence[list[int]], end_id: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """All ids one after another, each sentence followed by its end token, and where each sentence stops."""
    ends = np.cumsum([len(ids) + 1 for ids in sentences], dtype=np.int64)
    end = [end_id]
    flat = chain.from_iterable(part for ids in sentences for part in (ids, end))
    return np.fromiter(flat, dtype=np.int32, count=int(ends[-1])), ends


def _notes(config: TranslationConfig, tokenizer: PairTokenizer, splits: dict[str, dict[str, Any]]) -> list[str]:
    """What the user did not ask for and should know."""
    notes = []
    for split, counts in splits.items():
        if long := counts["too_long"]:
            what = "left out of training" if split == "train" else "left out of the loss (they are still translated)"
            notes.append(f"{split}: {long:,} pairs with more than {config.max_length:,} tokens on a side are {what}")
        if empty := counts["empty"]:
            what = "left out of training" if split == "train" else "scored as they are"
            notes.append(f"{split}: {empty:,} pairs with an empty side are {what}")
    for side in SIDES:
        for split, counts in splits.items():
            if split != "train" and (unknown := counts[f"{side}_unknown"]):
                share = unknown / counts[f"{side}_tokens"]
                notes.append(f"{split}: {unknown:,} tokens ({share:.1%}) of the {side} side are read as <unk>")
    sizes = {tokenizer.source.vocab_size, tokenizer.target.vocab_size}
    if config.tokenizer_kind == "bpe" and min(sizes) < config.vocab_size:
        found = " and ".join(f"{size:,}" for size in sorted(sizes))
        notes.append(f"the training text supports only {found} byte-pair tokens, not vocab_size={config.vocab_size:,}")
    return notes
