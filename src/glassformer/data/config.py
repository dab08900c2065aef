"""What a language model's data are: the text, how it becomes tokens, how it is split, and what is learned from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from glassformer.data.kind import DataKind, RunSettings


class TextConfig(DataKind):
    """Text, tokenizer and split."""

    paths: ClassVar[tuple[str, ...]] = ("source", "gpt2_files")

    source: Annotated[str, Field(min_length=1)] = "python-stdlib"
    """The text: 'python-stdlib' (the source of this Python's standard library), 'tinyshakespeare', a file, a folder
    of text files, or 'hf:owner/name' for a data set of the Hugging Face hub ('hf:owner/name:configuration', or
    'hf:' and a local folder)."""

    tokenizer: Literal["characters", "bytes", "bpe", "gpt2"] = "characters"
    """How text becomes tokens: one per character of the training text, one per UTF-8 byte, a byte-level byte-pair
    encoding trained on the training text, or GPT-2's own byte-pair encoding."""

    bpe_vocab_size: Annotated[int, Field(ge=257, le=1_000_000)] = 4096
    """Tokens of a 'bpe' tokenizer, the 256 bytes included."""

    unknown: Literal["auto", "error", "replace"] = "auto"
    """What a 'characters' tokenizer does with a character that the training text does not hold: refuse it ('error'), or
    read it as <unk>, for which one more token is then reserved ('replace'). 'auto' reserves it only where the
    validation text holds such a character."""

    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The part of the text, counted in characters from its end, that is kept for validation."""

    gpt2_files: str | None = None
    """For 'gpt2': a folder with encoder.json and vocab.bpe. Without it, gpt2-bpe in $GLASSFORMER_DATA, or the cache,
    into which the two files are downloaded once and checked."""

    text_column: str | None = None
    """For 'hf:' sources: the column that holds the text. Without it, 'text', or the only column of text."""

    @property
    def name(self) -> str:
        return self.source

    def seq_len(self, run: RunSettings) -> int:
        return int(run.training.seq_len or run.model.max_seq_len)

    def complaints_in(self, run: RunSettings) -> Iterator[str]:
        asked = run.training.seq_len
        if asked is not None and asked > run.model.max_seq_len:
            yield f"training.seq_len is {asked}, more than the context length {run.model.max_seq_len} (max_seq_len)."
        if run.training.batch_tokens is not None:
            yield (
                "training.batch_tokens is for sentence pairs of many lengths; a text's sequences all have "
                "training.seq_len tokens: set training.batch_size."
            )

    def complaints(self) -> Iterator[str]:
        """Options that would have no effect."""
        default = type(self).model_fields["bpe_vocab_size"].default
        if self.bpe_vocab_size != default and self.tokenizer != "bpe":
            yield f"bpe_vocab_size={self.bpe_vocab_size} has no effect: it needs tokenizer=bpe, not {self.tokenizer}."
        if self.unknown == "replace" and self.tokenizer != "characters":
            yield (
                f"unknown=replace has no effect: a {self.tokenizer} tokenizer knows every text; "
                "only tokenizer=characters can meet an unknown character."
            )
        if self.gpt2_files is not None and self.tokenizer != "gpt2":
            yield f"gpt2_files has no effect: it needs tokenizer=gpt2, not {self.tokenizer}."
        if self.text_column is not None and not self.source.startswith("hf:"):
            yield f"text_column has no effect: only 'hf:' sources have columns, and the source is '{self.source}'."
        if self.source == "hf:":
            yield "source=hf: names no data set; write hf:owner/name."


class DataConfig(TextConfig):
    """Text, tokenizer and split of a language-modelling data set."""

    families: ClassVar[tuple[str, ...]] = ("decoder",)
    learned: ClassVar[str] = "a text"

    task: Literal["language-modeling"] = "language-modeling"
    """What is learned from the text: to continue it."""
