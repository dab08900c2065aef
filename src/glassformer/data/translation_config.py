"""What a translator's data are: sentence pairs, how they become tokens, and which of them are kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from glassformer.config import LARGEST, Count, Seed
from glassformer.data.dates import N_PAIRS
from glassformer.data.kind import DataKind, RunSettings
from glassformer.data.pairs import BUILT_IN, DATES, VALIDATION_FRACTION


class TranslationConfig(DataKind):
    """Sentence pairs, tokenizers and splits of a translation data set."""

    families: ClassVar[tuple[str, ...]] = ("encoder-decoder",)
    learned: ClassVar[str] = "sentence pairs"
    ragged: ClassVar[bool] = True
    smaller: ClassVar[str] = "training.batch_tokens or training.batch_size, or shorter sentences (data.max_length)"
    paths: ClassVar[tuple[str, ...]] = ("source", "validation", "test")

    task: Literal["translation"] = "translation"
    """What the data are for. It distinguishes these settings from those of other kinds."""

    source: Annotated[str, Field(min_length=1)] = DATES
    """The training pairs: 'dates' (written dates of many languages and their ISO 8601 form, made here),
    'multi30k-en-de', 'multi30k-de-en', a file of your own, 'pairs.tsv' (a pair a line, TAB between) or 'pairs.jsonl'
    (a JSON object a line), two of them, 'a.en,a.de' (a sentence a line), or 'hf:owner/name' for a data set of the
    Hugging Face hub."""

    validation: str | None = None
    """The validation pairs, written as the source is. Without it, a part of the training pairs."""

    test: str | None = None
    """The test pairs, written as the source is. Without it, there are none but those that the source brings."""

    source_column: str | None = None
    """For JSON lines and the hub: the key of the text to translate. Without it, 'source', or the first of
    'translation'."""

    target_column: str | None = None
    """For JSON lines and the hub: the key of the translation. Without it, 'target', or the second of
    'translation'."""

    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = VALIDATION_FRACTION
    """The part of your own training pairs that is kept for validation if ``validation`` names no others."""

    reverse: bool = False
    """Translate from the second language to the first."""

    tokenizer: Literal["auto", "bpe", "words", "characters"] = "auto"
    """How a sentence becomes tokens: by byte-pair encoding (bytes for rare characters, so nothing is unknown), by
    words and symbols, or by characters. 'auto' is characters for 'dates' and bpe for everything else."""

    joint: bool = True
    """One vocabulary for both languages, learned from both; a model can then share its embeddings."""

    vocab_size: Annotated[int, Field(ge=300, le=1_000_000)] = 8000
    """Tokens of a 'bpe' vocabulary, the special tokens and the 256 bytes included."""

    min_count: Count = 2
    """Words (or, of 'characters', characters) that are seen fewer times in training are read as <unk>; characters
    that a 'bpe' vocabulary has seen fewer times are spelled in bytes."""

    lowercase: bool = False
    """Read and write everything in lower case."""

    max_length: Annotated[int, Field(ge=2, le=LARGEST)] = 256
    """Tokens a sentence may have, its end token included. Pairs with a longer side are neither trained nor validated
    on; how many, the notes say."""

    locales: str = "default"
    """For 'dates': the locales to train on, as in 'de_DE,ko_KR'; 'default' is 40 of them, 'all' every one that is not
    held out."""

    n_pairs: Annotated[int, Field(ge=1, le=10_000_000)] = N_PAIRS
    """For 'dates': training pairs to make."""

    seed: Seed = 0
    """For 'dates': what decides which dates and writings they are."""

    @property
    def name(self) -> str:
        return self.source

    def seq_len(self, run: RunSettings) -> int:
        return self.max_length

    def complaints_in(self, run: RunSettings) -> Iterator[str]:
        if run.training.seq_len is not None:
            yield "training.seq_len has no effect: sentences have their own lengths (data.max_length is their limit)."
        if run.training.micro_batch_size is not None:
            yield "training.micro_batch_size has no effect: batches of pairs are cut by their number of tokens."
        if not self.joint and run.model.embedding.source != "own":
            yield (
                f"data.joint=false makes two vocabularies, and model.embedding.source={run.model.embedding.source} "
                "shares one matrix between them; set model.embedding.source=own."
            )
        if self.max_length > run.model.max_seq_len:
            yield (
                f"data.max_length is {self.max_length}, more than the context length {run.model.max_seq_len} "
                "(model.max_seq_len)."
            )

    @property
    def tokenizer_kind(self) -> Literal["bpe", "words", "characters"]:
        """The tokenizer, 'auto' resolved."""
        if self.tokenizer == "auto":
            return "characters" if self.source == DATES else "bpe"
        return self.tokenizer

    def complaints(self) -> Iterator[str]:
        """Options that would have no effect."""
        if self._was_set("vocab_size") and self.tokenizer_kind != "bpe":
            chosen = self.tokenizer_kind if self.tokenizer != "auto" else "characters, which auto is for dates"
            yield f"vocab_size={self.vocab_size} has no effect: it needs tokenizer=bpe, not {chosen}."
        for name in ("locales", "n_pairs", "seed"):
            if self._was_set(name) and self.source != DATES:
                yield f"{name}={getattr(self, name)} has no effect: it needs source={DATES}, not '{self.source}'."
        for name in ("validation", "test", "source_column", "target_column", "validation_fraction"):
            if self._was_set(name) and self.source in BUILT_IN:
                yield f"{name} has no effect: the source '{self.source}' brings its own splits and sides."
        for name in ("validation", "test"):
            if self._was_set(name) and self.source.startswith("hf:"):
                yield f"{name} has no effect: a data set of the hub brings its own splits."
        if self.reverse and self.source == DATES:
            yield "reverse does not fit source=dates: an ISO date has many right writings, not one."
        if self._was_set("validation_fraction") and self.validation is not None:
            yield "validation_fraction has no effect: validation names the pairs to validate on."

    def _was_set(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)
