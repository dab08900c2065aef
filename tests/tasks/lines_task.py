"""A kind of data in one file that reads another: a text that no setting called ``source`` names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from glassformer.data.batches import Batch
from glassformer.data.kind import DataKind, RunSettings
from glassformer.data.language_modeling import fixed_batches
from glassformer.data.token_files import temporary_token_file
from glassformer.data.tokenizers import ByteTokenizer, load_tokenizer
from glassformer.errors import DataError
from glassformer.tasks.language_models import CHECKPOINT, LanguageModelTask, heading
from glassformer.tasks.registry import register
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.task import EvaluationReport, EvaluationRequest
from glassformer.tasks.training_data import TrainingData


class LinesConfig(DataKind):
    """The bytes of a file."""

    families: ClassVar[tuple[str, ...]] = ("decoder",)
    learned: ClassVar[str] = "lines"
    paths: ClassVar[tuple[str, ...]] = ("book",)

    task: Literal["lines"] = "lines"
    book: str = "book.txt"

    @property
    def name(self) -> str:
        return self.book

    def seq_len(self, run: RunSettings) -> int:
        return int(run.model.max_seq_len)


def read(data: LinesConfig) -> bytes:
    try:
        return Path(data.book).read_bytes()
    except OSError:
        raise DataError(f"There is no book {data.book!r}.") from None


@dataclass(frozen=True)
class Book:
    """What :class:`TrainingData` asks of data that lie in a file."""

    content: bytes
    tokenizer: ByteTokenizer = field(default_factory=ByteTokenizer)
    notes: tuple[str, ...] = ()

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def digests(self) -> dict[str, str]:
        return {"train": self.fingerprint}


class Lines(TrainingData):
    """Windows of the book, side by side."""

    def __init__(self, run: RunConfig) -> None:
        assert isinstance(run.data, LinesConfig)
        self.data = Book(read(run.data))
        ids = self.data.tokenizer.encode(self.data.content.decode())
        self.tokens = temporary_token_file([ids], self.data.vocab_size)
        self.batch_size, self.seq_len = run.training.batch_size, run.seq_len
        self.most_tokens = self.batch_size * self.seq_len
        self.tokens_per_step = float(self.most_tokens)
        self.steps_per_epoch = len(self.tokens) / self.tokens_per_step

    def batch(self, step: int) -> Batch:
        return next(fixed_batches(self.tokens, batch_size=self.batch_size, seq_len=self.seq_len))

    def validation(self, micro_batch_tokens: int) -> Iterator[Batch]:
        yield self.batch(0)

    def bytes_per_token(self, split: str) -> float:
        return 1.0

    def describe(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "content": self.data.fingerprint, "sha256": self.digests}

    @property
    def summary(self) -> str:
        return f"{len(self.tokens)} bytes"

    def example(self, longest: int) -> tuple[str, str | None]:
        return self.data.tokenizer.decode(self.tokens[:longest]), None


@register
class ReadingLines(LanguageModelTask):
    """Reading on."""

    config = LinesConfig
    data_setting = "book"
    evaluation_options = (CHECKPOINT,)

    def samples(self, run: RunConfig, progress: Any = None, *, tokenizer: Any = None) -> Lines:
        return Lines(run)

    def content(self, data: LinesConfig) -> str:
        return hashlib.sha256(read(data)).hexdigest()

    def fingerprint(self, data: LinesConfig, content: str) -> str:
        return content

    def load_tokenizer(self, folder: Path) -> Any:
        return load_tokenizer(folder)

    def evaluate(self, asked: EvaluationRequest) -> EvaluationReport:
        opened = self.open_for(asked)
        return EvaluationReport({"step": opened.step}, [heading(opened, opened.config.data.name)])
