"""What a run is trained and validated on, whatever it is: the trainer's one view of text, of pairs and of tasks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from glassformer.data.batches import Batch
from glassformer.data.config import DataConfig
from glassformer.data.entropy import bigram_entropy, unigram_entropy
from glassformer.data.language_modeling import LanguageModelingData, prepare
from glassformer.data.sentence_tokenizers import PairTokenizer
from glassformer.data.synthetic import SyntheticData
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.tokenizers import Tokenizer
from glassformer.data.translation import TranslationData, prepare_translation
from glassformer.errors import CheckpointError
from glassformer.training.config import RunConfig

PrepareProgress = Callable[[str, int, int | None], None]

VALIDATION_TOKENS = 4_096
"""Positions of one forward pass when pairs are validated."""


class BatchShape(Protocol):
    """How large a run's batches are: all that choosing a path through them needs to know.

    Attributes:
        rows, positions: of a usual batch: samples, and tokens to predict in each.
        most_tokens: input tokens of the largest batch, pads included.
        tokens_per_step: tokens to predict in a batch, in the mean.
        steps_per_epoch: batches until all of the training data are seen once.
    """

    rows: int
    positions: int
    most_tokens: int
    tokens_per_step: float
    steps_per_epoch: float


class TrainingData(BatchShape, ABC):
    """The batches of a run. A training batch is a pure function of the run's configuration and the step.

    Attributes:
        have_right_answers: whether each sample has one right answer, so that a share of right ones says something.
        positions_per_token: positions that a model computes for each token to predict.
    """

    has_exact_answers = False
    positions_per_token = 1.0
    recorded_fingerprint: str | None = None
    """What the run that they were opened again for calls its data, where that is another name than today's."""

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The training batch of a step."""

    def epochs_before(self, step: int) -> float:
        """How many times the training data were seen before a step."""
        return step / self.steps_per_epoch

    @abstractmethod
    def validation(self, micro_batch_tokens: int) -> Iterator[Batch]:
        """The validation batches, always the same."""

    @abstractmethod
    def with_vocabulary(self, config: RunConfig) -> RunConfig:
        """The configuration with the model's vocabulary set to the data's."""

    @abstractmethod
    def bytes_per_token(self, split: str) -> float:
        """UTF-8 bytes of text per token to predict."""

    @abstractmethod
    def save_tokenizer(self, folder: Path) -> None:
        """Write what turns text into tokens into a folder."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the data are, for the run's record."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """What the data are, in a line."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The data's name: the same text, tokenizer and split give the same."""

    @property
    @abstractmethod
    def notes(self) -> list[str]:
        """What the user should know about them."""

    @property
    def warnings(self) -> list[str]:
        """Of the notes, what happened just now: that what had been prepared was damaged, and was prepared again."""
        return []

    def check_vocabulary(self, config: RunConfig, name: str) -> None:
        """Raise :class:`CheckpointError` if the run's model was made for another vocabulary than the data now have."""
        now = self.with_vocabulary(config).model
        for before, after in (
            (config.model.vocab_size, now.vocab_size),
            (config.model.encoder_vocab_size, now.encoder_vocab_size),
        ):
            if before != after:
                raise CheckpointError(
                    f"The run {name} has a vocabulary of {before} tokens, and its text now has {after}: the text has "
                    "changed since."
                )


class TextSamples(TrainingData):
    """Windows of a text, for a language model."""

    def __init__(self, config: RunConfig, data: LanguageModelingData) -> None:
        self.data, self.training = data, config.training
        self.seq_len = config.seq_len
        self.rows, self.positions = config.training.batch_size, config.seq_len
        self.tokens_per_step = self.most_tokens = self.rows * self.positions
        self.steps_per_epoch = (len(data.train) - 1) / self.tokens_per_step
        data.check_long_enough(config.seq_len)

    def batch(self, step: int) -> Batch:
        return self.data.batch(step, seed=self.training.seed, batch_size=self.rows, seq_len=self.seq_len)

    def validation(self, micro_batch_tokens: int) -> Iterator[Batch]:
        return self.data.validation_batches(
            batch_size=max(1, micro_batch_tokens // self.seq_len),
            seq_len=self.seq_len,
            max_tokens=self.training.telemetry.validation_tokens,
        )

    def with_vocabulary(self, config: RunConfig) -> RunConfig:
        return config.override({"model.vocab_size": self.data.vocab_size})

    def bytes_per_token(self, split: str) -> float:
        return self.data.bytes_per_token("train" if split == "train" else "validation")

    def save_tokenizer(self, folder: Path) -> None:
        self.data.tokenizer.save(folder)

    @property
    def reads_unknown(self) -> bool:
        """Whether the validation text holds characters that training does not, which are read as <unk>."""
        return bool(self.data.manifest["splits"]["validation"]["unknown"])

    def describe(self) -> dict[str, Any]:
        """Also how predictable the text is from letter counts and letter pairs alone."""
        return {
            "fingerprint": self.fingerprint,
            "tokens": {"train": len(self.data.train), "validation": len(self.data.validation)},
            **_identity(self.data),
            "bytes_per_token": self.data.bytes_per_token("validation"),
            "unigram": unigram_entropy(self.data.train, self.data.vocab_size),
            "bigram": bigram_entropy(self.data.train, self.data.vocab_size),
        }

    @property
    def summary(self) -> str:
        return (
            f"{len(self.data.train):,} training tokens, {len(self.data.validation):,} validation tokens, "
            f"vocabulary {self.data.vocab_size:,}"
        )

    @property
    def fingerprint(self) -> str:
        return self.recorded_fingerprint or self.data.fingerprint

    @property
    def notes(self) -> list[str]:
        return self.data.notes

    @property
    def warnings(self) -> list[str]:
        return self.data.warnings


class PairSamples(TrainingData):
    """Sentences and their translations."""

    def __init__(self, config: RunConfig, data: TranslationData) -> None:
        self.data, self.training = data, config.training
        tokens = config.training.batch_tokens
        self.limit = {"batch_size": config.training.batch_size} if tokens is None else {"batch_tokens": tokens}
        self.tokens_per_step = data.tokens_per_step(seed=self.training.seed, **self.limit)
        self.steps_per_epoch = data.steps_per_epoch(seed=self.training.seed, **self.limit)
        self.padding_share = data.padding_share(seed=self.training.seed, **self.limit)
        self.rows = max(1, round(data.n_pairs("train") / self.steps_per_epoch))
        self.positions = max(1, round(self.tokens_per_step / self.rows))
        self.most_tokens = max(tokens or config.training.batch_size * config.seq_len, config.seq_len)

    def batch(self, step: int) -> Batch:
        return self.data.batch(step, seed=self.training.seed, **self.limit)

    def epochs_before(self, step: int) -> float:
        return self.data.epoch_of(step, seed=self.training.seed, **self.limit)

    def validation(self, micro_batch_tokens: int) -> Iterator[Batch]:
        tokens = min(micro_batch_tokens, VALIDATION_TOKENS)
        return self.data.validation_batches(batch_tokens=tokens, max_tokens=self.training.telemetry.validation_tokens)

    def with_vocabulary(self, config: RunConfig) -> RunConfig:
        """One size for both sides where they share a vocabulary.

        Raises:
            ConfigError: they do not, and the model would share a matrix.
        """
        tokenizer = self.data.tokenizer
        return config.override(
            {
                "model.vocab_size": tokenizer.target.vocab_size,
                "model.source_vocab_size": None if tokenizer.joint else tokenizer.source.vocab_size,
            }
        )

    def bytes_per_token(self, split: str) -> float:
        return self.data.bytes_per_token(split)

    def save_tokenizer(self, folder: Path) -> None:
        self.data.tokenizer.save(folder)

    def describe(self) -> dict[str, Any]:
        """Also how much of a batch is padding."""
        return {
            "fingerprint": self.fingerprint,
            "pairs": {split: self.data.n_pairs(split) for split in self.data.splits},
            **_identity(self.data),
            "bytes_per_token": self.data.bytes_per_token("validation"),
            "padding_share": self.padding_share,
            "steps_per_epoch": self.steps_per_epoch,
        }

    @property
    def summary(self) -> str:
        tokenizer = self.data.tokenizer
        sizes = f"{tokenizer.target.vocab_size:,}"
        if not tokenizer.joint:
            sizes = f"{tokenizer.source.vocab_size:,} → {sizes}"
        splits = ", ".join(f"{self.data.n_pairs(split):,} {split}" for split in self.data.splits)
        steps = f"{self.steps_per_epoch:,} step{'s' * (self.steps_per_epoch > 1)} an epoch"
        return (
            f"pairs: {splits}; vocabulary {sizes}; {self.tokens_per_step:,.0f} target tokens a step, "
            f"{100 * self.padding_share:.1f} % padding, {steps}"
        )

    @property
    def fingerprint(self) -> str:
        return self.recorded_fingerprint or self.data.fingerprint

    @property
    def notes(self) -> list[str]:
        return self.data.notes

    @property
    def warnings(self) -> list[str]:
        return self.data.warnings


class TaskSamples(TrainingData):
    """Problems whose right answers are known."""

    has_exact_answers = True

    def __init__(self, config: RunConfig, data: SyntheticData) -> None:
        self.data, self.training = data, config.training
        self.rows, self.positions = config.training.batch_size, data.config.n_positions
        self.most_tokens = self.rows * self.positions
        self.tokens_per_step = self.rows * data.answer_tokens
        self.positions_per_token = self.positions / data.answer_tokens
        self.steps_per_epoch = math.inf

    def batch(self, step: int) -> Batch:
        return self.data.batch(step, seed=self.training.seed, batch_size=self.rows)

    def validation(self, micro_batch_tokens: int) -> Iterator[Batch]:
        return self.data.batches(
            self.data.validation,
            batch_size=max(1, micro_batch_tokens // self.positions),
            max_tokens=self.training.telemetry.validation_tokens,
        )

    def with_vocabulary(self, config: RunConfig) -> RunConfig:
        return config.override({"model.vocab_size": self.data.vocab_size})

    def bytes_per_token(self, split: str) -> float:
        return self.data.bytes_per_token

    def save_tokenizer(self, folder: Path) -> None:
        self.data.tokenizer.save(folder)

    def describe(self) -> dict[str, Any]:
        """There is no entropy to compare with: who knows the task is never wrong."""
        return {
            "fingerprint": self.fingerprint,
            "problems": {"validation": len(self.data.validation)},
            "answer_tokens": self.data.answer_tokens,
            "bytes_per_token": self.data.bytes_per_token,
        }

    @property
    def summary(self) -> str:
        config = self.data.config
        lengths = f"{config.longest}" if config.shortest == config.longest else f"{config.shortest} to {config.longest}"
        return (
            f"length {lengths}, {self.positions} positions, vocabulary {self.data.vocab_size:,}, "
            f"{len(self.data.validation):,} validation problems"
        )

    @property
    def fingerprint(self) -> str:
        return self.data.fingerprint

    @property
    def notes(self) -> list[str]:
        found, wanted = len(self.data.validation), self.data.config.n_validation
        if found == wanted:
            return []
        return [f"The task is small: {found:,} different problems to validate on, not {wanted:,}."]


def _identity(data: LanguageModelingData | TranslationData) -> dict[str, Any]:
    """What must be the same when the data are opened again, and what else they may depend on."""
    return {
        "content": data.manifest["source_fingerprint"],
        "sha256": data.digests,
        "made_with": data.manifest["made_with"],
    }


def prepare_samples(
    config: RunConfig, progress: PrepareProgress | None = None, *, tokenizer: Tokenizer | PairTokenizer | None = None
) -> TrainingData:
    """The samples of a new run, prepared now or found prepared; those of a run that has begun are opened by
    :func:`glassformer.training.run_data.open_samples`.

    Args:
        tokenizer: the one to use instead of what the configuration would make.

    Raises:
        DataError: with what to do.
    """
    if isinstance(config.data, DataConfig):
        assert not isinstance(tokenizer, PairTokenizer), "a text has one tokenizer"
        return TextSamples(config, prepare(config.data, progress=progress, tokenizer=tokenizer))
    if isinstance(config.data, SyntheticConfig):
        return TaskSamples(config, SyntheticData(config.data))
    assert not isinstance(tokenizer, Tokenizer), "pairs have two tokenizers"
    return PairSamples(config, prepare_translation(config.data, progress=progress, tokenizer=tokenizer))
