"""Sentence pairs to test on, and batches of them in the tokens that a model knows, whatever data it was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glassformer.data.pair_batching import BatchLimit, Ints, PairBatch, pair_batch, plan_in_order
from glassformer.data.pair_files import find_pair_file
from glassformer.data.pair_preparation import open_source
from glassformer.data.pairs import BUILT_IN, Pair
from glassformer.data.sentence_tokenizers import PairTokenizer, SentenceTokenizer
from glassformer.data.translation import TranslationData
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import DataError, nearest

TRAINING = ("train", "validation")


def sets_to_score(config: TranslationConfig, wanted: Sequence[str] = ()) -> dict[str, list[Pair]]:
    """The splits named ``wanted``; else those that are for testing, and if there is none, the validation split.

    Raises :class:`DataError` if there is no such split, or the data cannot be read.
    """
    splits = open_source(config).splits()
    return {name: splits[name] for name in _chosen(list(splits), wanted, config.source)}


def prepared_sets(data: TranslationData, wanted: Sequence[str] = ()) -> dict[str, list[Pair]]:
    """The same of prepared data: every pair of a split to test on, and of ``train`` those that are trained on."""
    return {name: data.pairs(name) for name in _chosen(data.splits, wanted, data.config.source)}


def _chosen(there: Sequence[str], wanted: Sequence[str], source: str) -> list[str]:
    """The names of the splits to score. Raises :class:`DataError` for those that are not there."""
    complaints = [
        f"There is no {name!r} split in {source!r}. {nearest(name, there)}" for name in wanted if name not in there
    ]
    if complaints:
        raise DataError("\n".join(complaints))
    return list(wanted) or [name for name in there if name not in TRAINING] or ["validation"]


def set_of_file(
    source: str,
    notes: list[str],
    *,
    source_column: str | None = None,
    target_column: str | None = None,
    reverse: bool = False,
) -> dict[str, list[Pair]]:
    """All pairs of a file, or of two, under the (first) file's name without its ending; empty sides are kept.

    ``notes`` gets what the user should know, such as pairs that were skipped. Other arguments and errors as of
    :func:`glassformer.data.pairs.open_pairs`.
    """
    complaints: list[str] = []
    file = find_pair_file(source, (source_column, target_column), BUILT_IN, complaints)
    if file is None:
        raise DataError("\n".join(complaints))
    pairs = [Pair(target, source) if reverse else Pair(source, target) for source, target in file.read_all(notes)]
    return {Path(file.paths[0].name.removesuffix(".gz")).stem: pairs}


def batches_of(
    pairs: Sequence[Pair], tokenizer: PairTokenizer, *, batch_tokens: int, max_length: int, split: str = "test"
) -> Iterator[PairBatch]:
    """The pairs with at most ``max_length`` tokens a side, ends included, the longest first, each once.

    A batch has at most ``batch_tokens`` positions a side, pads included. Raises :class:`DataError` if no pair is left.
    """
    sources, targets = (
        _flat(side, texts)
        for side, texts in (
            (tokenizer.source, [pair.source for pair in pairs]),
            (tokenizer.target, [pair.target for pair in pairs]),
        )
    )
    source_lengths, target_lengths = (np.diff(ends, prepend=0) for _, ends in (sources, targets))
    chosen = np.flatnonzero(np.maximum(source_lengths, target_lengths) <= max_length)
    if not len(chosen):
        raise DataError(
            f"Every pair of {split!r} has more than {max_length:,} tokens on a side (data.max_length), so none can be "
            "measured. Use shorter sentences, or train with a larger data.max_length."
        )
    plan = plan_in_order(source_lengths, target_lengths, chosen, limit=BatchLimit(tokens=batch_tokens))
    return (
        pair_batch(
            sources,
            targets,
            plan[index],
            source_pad_id=tokenizer.source.pad_id,
            target_pad_id=tokenizer.target.pad_id,
            start_id=tokenizer.target.start_id,
            split=split,
        )
        for index in range(len(plan))
    )


def _flat(tokenizer: SentenceTokenizer, texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ints]:
    """All ids one after another, each sentence's end token behind it, and where each sentence stops."""
    ids = [[*each, tokenizer.end_id] for each in tokenizer.encode_all(texts)]
    ends = np.cumsum([len(each) for each in ids], dtype=np.int64)
    return np.array([token for each in ids for token in each], dtype=np.int32), ends
