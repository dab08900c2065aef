"""What a run is trained and validated on, whatever it is: the trainer's one view of every kind of data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from glassformer.data.batches import Batch
from glassformer.data.task_tokenizer import TaskTokenizer
from glassformer.errors import CheckpointError
from glassformer.tasks.run_config import RunConfig

PrepareProgress = Callable[[str, int, int | None], None]
"""Called with the stage, the bytes done, and all bytes (None where that is not known)."""


class BatchShape(Protocol):
    """How large a run's batches are: all that choosing a path through them needs to know.

    Attributes:
        batch_size, seq_len: of a usual batch: samples, and positions in each (of pairs: of the target).
        most_tokens: input tokens of the largest batch, pads included.
        tokens_per_step: tokens to predict in a batch, in the mean.
        steps_per_epoch: batches until all of the training data are seen once.
    """

    batch_size: int
    seq_len: int
    most_tokens: int
    tokens_per_step: float
    steps_per_epoch: float


class TrainingData(BatchShape, ABC):
    """The batches of a run. A training batch is a pure function of the run's configuration and the step.

    Attributes:
        data: what the batches are made from. Its ``tokenizer``, ``vocab_size``, ``fingerprint``, ``notes`` and, of data
            that lie in files, ``digests`` are what the members here of these names answer with. A class that overrides
            those members (:meth:`with_vocabulary` for ``vocab_size``) needs no ``data``.
        measures_accuracy: whether the share of right tokens is measured at each validation, as it is of exact answers.
        has_exact_answers: whether each sample has one right answer, so that the share of exact ones is measured.
        positions_per_token: positions that a model computes for each token to predict.
    """

    data: Any
    measures_accuracy = False
    has_exact_answers = False
    positions_per_token = 1.0
    recorded_fingerprint: str | None = None
    """What the run that they were opened again for calls its data, where that is another name than today's."""
    moved: str | None = None
    """That a run's data were read from another place than its configuration leads to from here, and from which."""

    # ------------------------------------------------------------------------------------------ batches

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The training batch of a step."""

    @abstractmethod
    def validation(self, micro_batch_tokens: int) -> Iterator[Batch]:
        """The validation batches, always the same."""

    def epochs_before(self, step: int) -> float:
        """How many times the training data were seen before a step."""
        return step / self.steps_per_epoch

    @abstractmethod
    def bytes_per_token(self, split: str) -> float | None:
        """UTF-8 bytes of text per token to predict, for bits per byte; None where the loss is not that of a text."""

    # ------------------------------------------------------------------------------------------ identity

    @property
    def fingerprint(self) -> str:
        """The data's name: the same content, tokenizer and split give the same."""
        return self.recorded_fingerprint or str(self.data.fingerprint)

    @property
    def tokenizer(self) -> TaskTokenizer:
        """What turns text into tokens, and these data were."""
        tokenizer: TaskTokenizer = self.data.tokenizer
        return tokenizer

    @property
    def digests(self) -> dict[str, str]:
        """Of data that lie in files: a hash of the tokens of each split, ``sha256`` in the run's record."""
        return dict(self.data.digests)

    def with_vocabulary(self, config: RunConfig) -> RunConfig:
        """The configuration with the model's vocabulary set to the data's."""
        return config.override({"model.vocab_size": self.data.vocab_size})

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

    def save_tokenizer(self, folder: Path) -> None:
        """Write what turns text into tokens into a folder."""
        self.tokenizer.save(folder)

    # ------------------------------------------------------------------------------------------ description

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the data are, for the run's record: at least their ``fingerprint``.

        Of data that lie in files also ``content``, which :attr:`Task.content <glassformer.tasks.task.Task.content>`
        gave, and ``sha256``, the :attr:`digests`: what a run's data must have when they are opened again.
        """

    @property
    @abstractmethod
    def summary(self) -> str:
        """What the data are, in a line."""

    @property
    def notes(self) -> list[str]:
        """What the user should know about them."""
        return list(self.data.notes)

    @property
    def preparation_warnings(self) -> list[str]:
        """Of the notes, what happened just now: that what had been prepared was damaged, and was prepared again."""
        return []

    @property
    def warnings(self) -> list[str]:
        """What the user should know before the data are used again: of their preparation, and where they were read."""
        return [*self.preparation_warnings, *([] if self.moved is None else [self.moved])]

    @property
    def advice(self) -> dict[str, str]:
        """Other settings that the data suggest: a sentence for a setting, ``NAME=VALUE``."""
        return {}

    def batch_warnings(self, config: RunConfig) -> Iterator[str]:
        """What to warn of when a run starts: batches that are larger than the data."""
        yield from ()

    @abstractmethod
    def example(self, longest: int) -> tuple[str, str | None]:
        """A validation sample to read: its text, of at most ``longest`` tokens where it has no end of its own, and the
        target that is given with it (None for most kinds).
        """


def recorded_identity(data: Any) -> dict[str, Any]:
    """What must be the same when prepared data are opened again, and what else they may depend on."""
    return {
        "content": data.manifest["source_fingerprint"],
        "sha256": data.digests,
        "made_with": data.manifest["made_with"],
    }
