"""From a source to a folder of tokens, once: the spool, the split, the tokenizer, the token files, the manifest.

    <cache>/<fingerprint>/
        train.bin  validation.bin     ids (token_files)
        tokenizer.json                with which they were made
        manifest.json                 what they are: written last

The split is by characters: the first ``int(n · (1 - validation_fraction))`` are training, the rest validation (as
nanoGPT splits tiny-shakespeare). A tokenizer learns from the training part alone. Everything is streamed: memory
does not grow with the text.

The folder is there whole or not at all (:mod:`prepared_folders <glassformer.data.prepared_folders>`).
"""

from __future__ import annotations

import hashlib
import json
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
from glassformer.data.prepared_folders import disk_error, prepared_folder, write_durably
from glassformer.data.sources import Source, open_source
from glassformer.data.spool import Progress, Spool, tell_nobody
from glassformer.data.token_files import TokenFile, TokenWriter, temporary_token_file, token_dtype
from glassformer.data.tokenizers import ByteTokenizer, CharacterTokenizer, Ids, Tokenizer, utf8
from glassformer.errors import DataError

FORMAT = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "validation")


def prepare_folder(config: DataConfig, cache: Path, progress: Progress | None = None) -> Path:
    """The folder with the tokens of this configuration below ``cache``; made now unless it is there and whole.

    Raises :class:`DataError` for whatever is wrong with the text, the tokenizer's files or the disk.
    """
    source = open_source(config.source, text_column=config.text_column)
    state = source.fingerprint()
    return prepared_folder(
        cache / _fingerprint(config, state),
        is_whole=is_whole,
        fill=lambda folder: _fill(folder, config, source, state, progress or tell_nobody),
    )


def is_whole(folder: Path) -> bool:
    """Whether the folder has a manifest of this format and token files of the lengths that it says."""
    try:
        manifest = read_manifest(folder)
        return all(
            (folder / split["file"]).stat().st_size == split["tokens"] * token_dtype(manifest["vocab_size"]).itemsize
            for split in manifest["splits"].values()
        )
    except (DataError, OSError, KeyError, TypeError):
        return False


def read_manifest(folder: Path) -> dict[str, Any]:
    """The folder's manifest. Raises :class:`DataError` if it is missing, damaged or of another format."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise DataError(f"{str(path)!r} is of format {manifest['format']}; this version reads format {FORMAT}.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"There are no prepared data at {str(folder)!r}: {error}. Prepare them again.") from error
    return manifest


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


def _fingerprint(config: DataConfig, source_state: str) -> str:
    settings = config.to_dict() | {"source": source_state, "format": FORMAT}
    settings["gpt2_files"] = gpt2_fingerprint(config.gpt2_files) if config.tokenizer == "gpt2" else None
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]


def _fill(folder: Path, config: DataConfig, source: Source, state: str, progress: Progress) -> None:
    """Write everything into an empty folder, the manifest last."""
    spool = Spool(folder / "text", source.texts(), progress)
    if source.fingerprint() != state:
        raise DataError(f"The source '{config.source}' changed while it was read. Run again when it rests.")
    cut = int(spool.characters * (1 - config.validation_fraction))
    if min(cut, spool.characters - cut) < 2:
        raise DataError(
            f"The source '{config.source}' has {spool.characters} characters, of which {spool.characters - cut} would "
            "be validation; both splits need at least 2. Use more text, or another data.validation_fraction."
        )
    cut_byte = spool.byte_of(cut)
    progress("tokenizer", 0, None)
    tokenizer = _make_tokenizer(config, spool, cut, cut_byte)
    tokenizer.save(folder)
    parts = {"train": (0, cut_byte, cut), "validation": (cut_byte, spool.bytes, spool.characters - cut)}
    splits = {}
    for split, (start, end, characters) in parts.items():
        encoded = _write_tokens(folder / f"{split}.bin", tokenizer, spool, start, end, progress)
        splits[split] = {"file": f"{split}.bin", "characters": characters, "bytes": end - start, **encoded}
    spool.path.unlink()
    manifest = {
        "format": FORMAT,
        "config": config.to_dict(),
        "source_fingerprint": state,
        "tokenizer": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "splits": splits,
        "notes": _notes(config, tokenizer, splits, source.skipped),
    }
    write_durably(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def _make_tokenizer(config: DataConfig, spool: Spool, characters: int, end: int) -> Tokenizer:
    """The tokenizer, trained on the text before byte ``end`` if it is one that learns."""
    if config.tokenizer == "characters":
        return CharacterTokenizer.train(spool.pieces(0, end), replaces_unknown=config.unknown == "replace")
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


def _notes(config: DataConfig, tokenizer: Tokenizer, splits: dict[str, Any], skipped: list[str]) -> list[str]:
    """What the user did not ask for and should know."""
    notes = [f"skipped: {entry}" for entry in skipped]
    if config.tokenizer == "bpe" and tokenizer.vocab_size < config.bpe_vocab_size:
        notes.append(
            f"the training text supports only {tokenizer.vocab_size:,} byte-pair tokens, "
            f"not bpe_vocab_size={config.bpe_vocab_size:,}"
        )
    if unknown := splits["validation"]["unknown"]:
        notes.append(f"{unknown:,} characters of the validation text are read as <unk>")
    return notes
