"""Byte-pair encoding of sentences (Sennrich et al. 2016), with bytes for characters that the vocabulary lacks.

A sentence is cut before every space, which becomes the mark ``▁`` at the head of the word that follows it (Kudo and
Richardson 2018), and between words and symbols; merges happen within these pieces alone, so "man", "man," and "man."
share the token of the word. The first word bears the mark too.

After the four special tokens come the 256 bytes, ``<0x00>`` … ``<0xFF>``. A character that training does not hold, or
too seldom, is spelled in the bytes of its UTF-8: nothing is unknown, and the bytes are trained by the rare characters.
Training and merging are Hugging Face ``tokenizers``'.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from glassformer.data.sentence_tokenizer import SPACE, SPECIAL_TOKENS, SentenceTokenizer
from glassformer.errors import DataError

if TYPE_CHECKING:
    import tokenizers

BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + len(BYTE_TOKENS) + 1
"""The special tokens, the bytes, and the mark of a space."""

_WORD = r"\p{L}\p{M}\p{N}\p{Cf}"  # letters, marks, digits, and format characters, which are invisible
_PIECE = rf"{SPACE}?[{_WORD}]+|{SPACE}?[^{_WORD}{SPACE}]+|{SPACE}"
_BYTE_OF = {token: bytes([byte]) for byte, token in enumerate(BYTE_TOKENS)}


class SentenceBytePairTokenizer(SentenceTokenizer):
    """A byte-pair encoding from its vocabulary and its merges in order."""

    kind = "bpe"
    stand_in = (SPACE, " ")

    def __init__(
        self, vocabulary: Sequence[str], merges: Sequence[tuple[str, str]], *, lowercase: bool = False
    ) -> None:
        import tokenizers

        super().__init__(vocabulary, lowercase=lowercase)
        self.merges = list(merges)
        try:
            model = tokenizers.models.BPE(vocab=self.id_of, merges=self.merges, byte_fallback=True)
        except Exception as error:  # the engine's own: a merge of tokens that the vocabulary does not hold
            raise DataError(f"The byte-pair merges do not fit the vocabulary: {error}") from error
        # An engine of its own, without special tokens, so that "</s>" in a text is text like any other.
        self._engine = tokenizers.Tokenizer(model)
        self._engine.pre_tokenizer = pre_tokenizer()

    @classmethod
    def train(
        cls, texts: Sequence[str], vocab_size: int, *, min_count: int = 1, lowercase: bool = False
    ) -> SentenceBytePairTokenizer:
        """Learn merges until there are ``vocab_size`` tokens, or no pair is left that occurs twice.

        Characters seen at least ``min_count`` times are tokens from the beginning, the most frequent ones if there
        is no room for all.
        """
        import tokenizers

        assert vocab_size >= SMALLEST_VOCABULARY, f"the smallest vocabulary has {SMALLEST_VOCABULARY} tokens"
        blank = cls.blank(lowercase=lowercase)
        sentences = [blank.normalise(text) for text in texts]
        counts: Counter[str] = Counter()
        for sentence in sentences:
            counts.update(sentence)
        del counts[" "]
        kept = sorted((c for c in counts if counts[c] >= min_count), key=lambda c: (-counts[c], c))
        kept = kept[: vocab_size - SMALLEST_VOCABULARY]
        left_out = str.maketrans(dict.fromkeys(counts.keys() - set(kept), " "))
        engine = tokenizers.Tokenizer(tokenizers.models.BPE())
        engine.pre_tokenizer = pre_tokenizer()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=[*SPECIAL_TOKENS, *BYTE_TOKENS],
            initial_alphabet=[SPACE, *kept],
            show_progress=False,
        )
        engine.train_from_iterator((sentence.translate(left_out) for sentence in sentences), trainer)
        return cls(*_vocabulary_and_merges(engine), lowercase=lowercase)

    @classmethod
    def blank(cls, *, lowercase: bool = False) -> Self:
        """One that has learned nothing: it spells every text in bytes."""
        return cls([*SPECIAL_TOKENS, *BYTE_TOKENS, SPACE], [], lowercase=lowercase)

    def encode(self, text: str) -> list[int]:
        """The merged tokens."""
        return self._engine.encode(self.normalise(text), add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each sentence; many at once are encoded in parallel."""
        normal = [self.normalise(text) for text in texts]
        return [encoding.ids for encoding in self._engine.encode_batch_fast(normal, add_special_tokens=False)]

    def join(self, tokens: Sequence[str]) -> str:
        """The pieces one after another, bytes read as UTF-8 (U+FFFD where they are none), marks as spaces."""
        content = b"".join([_BYTE_OF[token] if token in _BYTE_OF else token.encode() for token in tokens])
        return content.decode("utf-8", errors="replace").replace(SPACE, " ").strip(" ")

    def to_dict(self) -> dict[str, Any]:
        """Vocabulary and merges, in order."""
        return super().to_dict() | {"merges": [list(pair) for pair in self.merges]}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`."""
        merges = [(first, second) for first, second in tree["merges"]]
        return cls(tree["vocabulary"], merges, lowercase=tree["lowercase"])


def pre_tokenizer() -> tokenizers.pre_tokenizers.PreTokenizer:
    """Cuts a sentence into the pieces within which merges happen."""
    from tokenizers import Regex, pre_tokenizers

    spaces = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=True)
    return pre_tokenizers.Sequence([spaces, pre_tokenizers.Split(Regex(_PIECE), "isolated")])


def _vocabulary_and_merges(engine: tokenizers.Tokenizer) -> tuple[list[str], list[tuple[str, str]]]:
    model = json.loads(engine.to_str())["model"]
    vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return vocabulary, [(first, second) for first, second in model["merges"]]
