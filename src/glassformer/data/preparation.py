"""From a source to a folder of tokens, once: the spool, the split, the tokenizer, the token files, the manifest.

    <cache>/<fingerprint>/
        train.bin  validation.bin     ids (token_files)
        tokenizer.json                with which they were made
        manifest.json                 what they are: written last

The fingerprint is the data's identity: a hash of the text's content and of the settings. A run that carries another
tokenizer than would be learned now (another version of the library learned it) has its text encoded with its own, in
``<fingerprint>-<hash of the tokenizer>``.

The split is by characters: the first ``int(n · (1 - validation_fraction))`` are training, the rest validation (as
nanoGPT splits tiny-shakespeare). A tokenizer learns from the training part alone. Everything is streamed: memory
does not grow with the text.

The folder is there whole or not at all (:mod:`prepared_folders <glassformer.data.prepared_folders>`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassformer.data.byte_pairs import (
    TRAINING_CHARACTERS,
    Gpt2Tokenizer,
    TrainedBytePairTokenizer,
    gpt2_file_paths,
    gpt2_fingerprint,
)
from glassformer.data.config import DataConfig
from glassformer.data.overlap import LONG_LINE, repeated_lines
from glassformer.data.prepared_folders import (
    check_unchanged,
    digest_of,
    disk_error,
    prepared_folder,
    prepared_name,
    versions_for,
    write_manifest,
)
from glassformer.data.sources import BUILT_IN, Source, open_source
from glassformer.data.spool import Progress, Spool, no_progress
from glassformer.data.token_files import TokenFile, TokenWriter, temporary_token_file, token_dtype
from glassformer.data.tokenizers import ByteTokenizer, CharacterTokenizer, Ids, Tokenizer, utf8
from glassformer.errors import DataError

IDENTITY = 1
"""Counts up when the same text and settings make other tokens or another split than before."""

SPLITS = ("train", "validation")
SKIPPED_SHOWN = 10
REPEATED_SHARE = 0.01
"""From this share of the long validation lines on, it is noted of a text of one's own that they stand in training."""


def prepare_folder(
    config: DataConfig,
    cache: Path,
    progress: Progress | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    notes: list[str] | None = None,
) -> Path:
    """The folder with the tokens of this configuration below ``cache``; made now unless it is there and whole.

    Args:
        tokenizer: the one to use instead of what the configuration would make.
        notes: gets a note when the folder was damaged and is made again.

    Raises :class:`DataError` for whatever is wrong with the text, the tokenizer's files or the disk.
    """
    source = open_source(config.source, text_column=config.text_column)
    state = source.fingerprint()
    return prepared_folder(
        cache / prepared_name(fingerprint(config, state), tokenizer),
        fill=lambda folder: _fill(folder, config, source, state, progress or no_progress, tokenizer),
        notes=notes,
    )


@dataclass(frozen=True)
class EncodedText:
    """A text as tokens of a given tokenizer, to evaluate on."""

    tokens: TokenFile
    characters: int
    bytes: int
    unknown: int
    """How many tokens are <unk>."""

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text per token, for bits per byte."""
        return self.bytes / len(self.tokens)


def encode_source(name: str, tokenizer: Tokenizer, *, text_column: str | None = None) -> EncodedText:
    """A source's whole text (see ``DataConfig.source``) with an existing tokenizer, streamed into a temporary file."""
    characters = count = unknown = 0

    def counted(texts: Iterable[str]) -> Iterator[str]:
        nonlocal characters, count
        for text in texts:
            characters += len(text)
            count += len(utf8(text))
            yield text

    def ids() -> Iterator[Ids]:
        nonlocal unknown
        for piece in tokenizer.encode_stream(counted(open_source(name, text_column=text_column).texts())):
            unknown += _count_unknown(tokenizer, piece)
            yield piece

    try:
        tokens = temporary_token_file(ids(), tokenizer.vocab_size)
    except OSError as error:
        raise disk_error(error, Path(tempfile.gettempdir()), "TMPDIR") from error
    return EncodedText(tokens, characters, count, unknown)


def fingerprint(config: DataConfig, content: str) -> str:
    """The identity of the data: 32 hexadecimal digits of the settings and of the text's content, not of its path."""
    settings = config.to_dict() | {"source": content, "format": IDENTITY}
    settings["gpt2_files"] = gpt2_fingerprint(config.gpt2_files) if config.tokenizer == "gpt2" else None
    return digest_of(settings)[:32]


def _fill(
    folder: Path, config: DataConfig, source: Source, state: str, progress: Progress, tokenizer: Tokenizer | None
) -> None:
    """Write everything into an empty folder, the manifest last."""
    spool = Spool(folder / "text", source.texts(), progress)
    check_unchanged(source, state)
    cut = int(spool.characters * (1 - config.validation_fraction))
    if min(cut, spool.characters - cut) < 2:
        raise DataError(
            f"The source '{config.source}' has {spool.characters} characters, of which {spool.characters - cut} would "
            "be validation; both splits need at least 2. Use more text, or another data.validation_fraction."
        )
    cut_byte = spool.byte_of(cut)
    progress("tokenizer", 0, None)
    tokenizer = tokenizer or _make_tokenizer(config, spool, cut, cut_byte)
    tokenizer.save(folder)
    parts = {"train": (0, cut_byte, cut), "validation": (cut_byte, spool.bytes, spool.characters - cut)}
    splits = {}
    for split, (start, end, characters) in parts.items():
        encoded = _write_tokens(folder / f"{split}.bin", tokenizer, spool, start, end, progress)
        splits[split] = {"file": f"{split}.bin", "characters": characters, "bytes": end - start, **encoded}
    repeated, long_lines = repeated_lines(spool.pieces(0, cut_byte), spool.pieces(cut_byte, spool.bytes))
    spool.path.unlink()
    write_manifest(
        folder,
        {
            "task": config.task,
            "fingerprint": fingerprint(config, state),
            "config": config.to_dict(),
            "source_fingerprint": state,
            "tokenizer": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "splits": splits,
            "repeated_lines": {"looked_for": long_lines, "found_in_training": repeated},
            "made_with": versions_for(config.source),
            "notes": _notes(config, tokenizer, splits, source.skipped, repeated / max(long_lines, 1)),
        },
        hashes={split["file"]: split["sha256"] for split in splits.values()},
    )


def _make_tokenizer(config: DataConfig, spool: Spool, characters: int, end: int) -> Tokenizer:
    """The tokenizer, trained on the text before byte ``end`` if it is one that learns."""
    if config.tokenizer == "characters":
        known = CharacterTokenizer.train(spool.pieces(0, end))
        if config.unknown == "auto":
            validation = CharacterTokenizer.train(spool.pieces(end, spool.bytes))
            replaces = not set(validation.characters) <= set(known.characters)
        else:
            replaces = config.unknown == "replace"
        return CharacterTokenizer(known.characters, replaces_unknown=replaces)
    if config.tokenizer == "bytes":
        return ByteTokenizer()
    if config.tokenizer == "gpt2":
        return Gpt2Tokenizer.from_files(*gpt2_file_paths(config.gpt2_files))
    fraction = min(1.0, TRAINING_CHARACTERS / characters)
    sample = (text[: round(len(text) * fraction)] for text in spool.pieces(0, end))
    return TrainedBytePairTokenizer.train(sample, config.bpe_vocab_size)


def _write_tokens(
    path: Path, tokenizer: Tokenizer, spool: Spool, start: int, end: int, progress: Progress
) -> dict[str, Any]:
    done = start

    def watched() -> Iterator[str]:
        nonlocal done
        for text in spool.pieces(start, end):
            yield text
            done += len(text.encode())
            progress("encoding", done, spool.bytes)

    unknown = 0
    with path.open("wb") as file:
        writer = TokenWriter(file, token_dtype(tokenizer.vocab_size))
        for ids in tokenizer.encode_stream(watched()):
            writer.write(ids)
            unknown += _count_unknown(tokenizer, ids)
        file.flush()
        os.fsync(file.fileno())
    return {"tokens": writer.tokens, "unknown": unknown, "sha256": writer.sha256}


def _count_unknown(tokenizer: Tokenizer, ids: Ids) -> int:
    return 0 if tokenizer.unknown_id is None else int((ids == tokenizer.unknown_id).sum())


def _notes(
    config: DataConfig, tokenizer: Tokenizer, splits: dict[str, Any], skipped: list[str], repeated: float
) -> list[str]:
    """What the user did not ask for and should know."""
    notes = [f"skipped: {entry}" for entry in skipped[:SKIPPED_SHOWN]]
    if more := len(skipped) - SKIPPED_SHOWN:
        notes += [f"skipped: {more:,} more, {len(skipped):,} entries altogether"] if more > 0 else []
    if config.tokenizer == "bpe" and tokenizer.vocab_size < config.bpe_vocab_size:
        notes.append(
            f"the training text supports only {tokenizer.vocab_size:,} byte-pair tokens, "
            f"not bpe_vocab_size={config.bpe_vocab_size:,}"
        )
    validation = splits["validation"]
    if unknown := validation["unknown"]:
        share = unknown / validation["characters"]
        notes.append(
            f"{unknown:,} characters of the validation text ({share:.2%}) do not occur in the training text and are "
            "read as <unk>"
        )
    if repeated >= REPEATED_SHARE and config.source not in BUILT_IN:
        notes.append(
            f"{repeated:.1%} of the validation lines of at least {LONG_LINE} characters stand in the training text too"
        )
    return notes
