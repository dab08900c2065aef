"""Byte-level byte-pair encodings: GPT-2's own, and one trained on the training text.

Text is split into words by GPT-2's pattern, each word's UTF-8 bytes are written as 256 visible characters, and pairs
of them are merged in a learned order (Sennrich et al. 2016; byte level: Radford et al. 2019, §2.2). No text is
unknown, and every text round-trips. Splitting, merging and training are Hugging Face ``tokenizers``'.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from glassformer.data.tokenizer import Ids, Tokenizer, utf8
from glassformer.errors import DataError
from glassformer.untrusted import TOKENIZER_LIMIT, read_json, read_text

if TYPE_CHECKING:
    import tokenizers

TRAINING_CHARACTERS = 1 << 25
"""Of a longer training text, this many characters are used to learn merges, evenly spread over it: the learner keeps
every distinct word in memory."""

_PIECE_CHARACTERS = 1 << 14  # text encoded in one go; several of them in parallel
_LONGEST_UNCUT = 1 << 22  # a text without any space is cut here all the same, so that memory stays bounded


class BytePairTokenizer(Tokenizer):
    """A byte-level byte-pair encoding from its vocabulary (tokens by id) and its merges in order."""

    def __init__(self, vocabulary: list[str], merges: list[tuple[str, str]]) -> None:
        import tokenizers

        missing = _byte_symbols().keys() - set(vocabulary)
        if missing:
            raise DataError(
                f"The byte-pair vocabulary lacks {len(missing)} of the 256 bytes, so not every text could be encoded. "
                "Use the published encoder.json and vocab.bpe together."
            )
        self.vocabulary = vocabulary
        self.merges = merges
        ids = {token: index for index, token in enumerate(vocabulary)}
        try:
            self._engine = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=merges))
        except Exception as error:  # the engine's own: a merge of tokens that the vocabulary does not hold
            raise DataError(f"The byte-pair merges do not fit the vocabulary: {error}") from error
        self._engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes behind the visible characters of each token."""
        byte_of = _byte_symbols()
        return [
            bytes([byte_of[symbol] for symbol in token]) if all(symbol in byte_of for symbol in token) else utf8(token)
            for token in self.vocabulary
        ]

    def encode(self, text: str) -> Ids:
        """The merged tokens. ``<|endoftext|>`` in a text is text like any other."""
        pieces = list(self.encode_stream([text]))
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)

    def encode_stream(self, texts: Iterable[str]) -> Iterator[Ids]:
        """The ids piece by piece, cut only where a word begins, so that cutting changes nothing.

        (But a text that has no space for 4 million characters is cut there.)
        """
        rest = ""
        for text in texts:
            utf8(text)  # refuse half surrogate pairs with a message of our own
            rest += text
            end = _last_word_start(rest)
            if end == 0 and len(rest) > _LONGEST_UNCUT:
                end = len(rest)
            if end:
                yield from self._encode_parallel(rest[:end])
                rest = rest[end:]
        if rest:
            yield from self._encode_parallel(rest)

    def to_dict(self) -> dict[str, Any]:
        """Vocabulary and merges, in order."""
        return {"kind": self.kind, "vocabulary": self.vocabulary, "merges": [list(pair) for pair in self.merges]}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`."""
        return cls(list(tree["vocabulary"]), [(first, second) for first, second in tree["merges"]])

    def _encode_parallel(self, text: str) -> Iterator[Ids]:
        pieces, start = [], 0
        while start < len(text):
            end = start + _PIECE_CHARACTERS
            if end < len(text):
                end = start + _last_word_start(text[start:end])
                if end == start:  # one word longer than a piece: take it whole
                    end = _next_word_start(text, start + _PIECE_CHARACTERS)
            pieces.append(text[start:end])
            start = end
        for encoding in self._engine.encode_batch_fast(pieces, add_special_tokens=False):
            yield np.array(encoding.ids, dtype=np.int64)


class TrainedBytePairTokenizer(BytePairTokenizer):
    """A byte-pair encoding trained here."""

    kind = "bpe"

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> TrainedBytePairTokenizer:
        """Learn merges until there are ``vocab_size`` tokens, or no pair is left that occurs twice."""
        import tokenizers

        engine = tokenizers.Tokenizer(tokenizers.models.BPE())
        engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            initial_alphabet=list(_byte_symbols()),
            show_progress=False,
        )
        engine.train_from_iterator(texts, trainer)
        return cls(*_vocabulary_and_merges(engine))


class Gpt2Tokenizer(BytePairTokenizer):
    """GPT-2's encoding: 50,257 tokens, the last of them ``<|endoftext|>``."""

    kind = "gpt2"

    @classmethod
    def from_files(cls, encoder: Path, merges: Path) -> Gpt2Tokenizer:
        """Read ``encoder.json`` (token to id) and ``vocab.bpe`` (a merge a line, after a line with the version)."""
        try:
            ids: dict[str, int] = read_json(encoder, limit=TOKENIZER_LIMIT)
            lines = read_text(merges, limit=TOKENIZER_LIMIT).replace("\r\n", "\n").split("\n")
            pairs = [(first, second) for first, second in (line.split(" ") for line in lines[1:] if line)]
            vocabulary = sorted(ids, key=ids.__getitem__)
            in_order = [ids[token] for token in vocabulary] == list(range(len(ids)))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"GPT-2's encoding cannot be read from {str(encoder)!r} and {str(merges)!r}: {error}. "
                "Expected are the published encoder.json and vocab.bpe."
            ) from error
        if not in_order:
            raise DataError(f"{str(encoder)!r} does not number its tokens 0, 1, 2, … without gaps.")
        return cls(vocabulary, pairs)


def gpt2_file_paths(folder: str | None) -> tuple[Path, Path]:
    """``encoder.json`` and ``vocab.bpe`` in the folder, or (None) where :mod:`downloads` finds the published ones."""
    from glassformer.data.downloads import GPT2_ENCODER, GPT2_MERGES, obtain

    if folder is None:
        return obtain(GPT2_ENCODER), obtain(GPT2_MERGES)
    paths = Path(folder).expanduser() / "encoder.json", Path(folder).expanduser() / "vocab.bpe"
    if missing := [path.name for path in paths if not path.is_file()]:
        raise DataError(
            f"data.gpt2_files is {folder!r}, which lacks {' and '.join(missing)}. "
            "Give the folder that holds both, or leave it out to have them downloaded."
        )
    return paths


def gpt2_fingerprint(folder: str | None) -> str:
    """A hash of the two files' content; the published ones need not be there to be known."""
    from glassformer.data.downloads import GPT2_ENCODER, GPT2_MERGES

    if folder is None:
        return GPT2_ENCODER.sha256 + GPT2_MERGES.sha256
    return hashlib.sha256(b"".join(path.read_bytes() for path in gpt2_file_paths(folder))).hexdigest()


@lru_cache(maxsize=1)
def _byte_symbols() -> dict[str, int]:
    """The visible character of each byte: itself where it is visible in Latin-1, else from U+0100 upwards."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + rank): byte for rank, byte in enumerate(hidden)}


def _vocabulary_and_merges(engine: tokenizers.Tokenizer) -> tuple[list[str], list[tuple[str, str]]]:
    model = json.loads(engine.to_str())["model"]
    vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return vocabulary, [(first, second) for first, second in model["merges"]]


def _last_word_start(text: str) -> int:
    """The last position where a space or newline follows something visible: no word of the pattern spans it."""
    for end in range(len(text) - 1, 0, -1):
        if text[end] in " \n" and not text[end - 1].isspace():
            return end
    return 0


def _next_word_start(text: str, start: int) -> int:
    for position in range(start, len(text)):
        if text[position] in " \n" and not text[position - 1].isspace():
            return position
    return len(text)
