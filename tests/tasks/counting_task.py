"""A kind of data in one file: a model learns to count on, modulo a number. Nothing else in the house knows of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from glassformer.data.kind import DataKind, RunSettings
from glassformer.scoring.likelihood import evaluate
from glassformer.tasks.language_models import BATCH_SIZE, CHECKPOINT, LanguageModelTask, heading
from glassformer.tasks.registry import register
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.task import EvaluationReport, EvaluationRequest
from glassformer.tasks.training_data import TrainingData


class CountingConfig(DataKind):
    """Numbers that follow one another."""

    families: ClassVar[tuple[str, ...]] = ("decoder",)
    learned: ClassVar[str] = "counting"

    task: Literal["counting"] = "counting"
    modulus: int = 7
    """The number after ``modulus`` − 1 is 0."""

    @property
    def name(self) -> str:
        return f"counting modulo {self.modulus}"

    def seq_len(self, run: RunSettings) -> int:
        return int(run.model.max_seq_len)

    def complaints_in(self, run: RunSettings) -> Iterator[str]:
        if run.training.max_epochs is not None:
            yield "training.max_epochs has no effect: counting has no end."


@dataclass(frozen=True)
class Numbers:
    """A batch of rows that count."""

    inputs: Tensor
    targets: Tensor

    @property
    def arguments(self) -> tuple[Tensor]:
        return (self.inputs,)

    @property
    def n_tokens(self) -> int:
        return self.targets.numel()

    def rows(self, start: int, stop: int) -> Numbers:
        return Numbers(self.inputs[start:stop], self.targets[start:stop])

    def describe(self) -> str:
        return f"The rows begin at {self.inputs[:, 0].tolist()}."


class Digits:
    """Ids as text, a number a token."""

    unknown_id = None

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def token_text(self, token: int) -> str:
        return str(token)

    def decode(self, ids: Any) -> str:
        return " ".join(map(str, ids))

    def stream_decoder(self) -> Digits:
        return self

    def feed(self, token: int) -> str:
        return f" {token}"

    def finish(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "digits"}

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "digits.txt").write_text("a number a token")


class CountingData(TrainingData):
    """Rows that begin anywhere."""

    has_exact_answers = True

    def __init__(self, run: RunConfig) -> None:
        assert isinstance(run.data, CountingConfig)
        self.modulus, self.seed = run.data.modulus, run.training.seed
        self.batch_size, self.seq_len = run.training.batch_size, run.seq_len
        self.most_tokens = self.batch_size * self.seq_len
        self.tokens_per_step = float(self.most_tokens)
        self.steps_per_epoch = math.inf

    def batch(self, step: int) -> Numbers:
        draw = torch.Generator().manual_seed(hash((self.seed, step)) % 2**63)
        return self._from(torch.randint(self.modulus, (self.batch_size, 1), generator=draw))

    def validation(self, micro_batch_tokens: int) -> Iterator[Numbers]:
        yield self._from(torch.arange(self.modulus)[:, None])

    def _from(self, starts: Tensor) -> Numbers:
        numbers = (starts + torch.arange(self.seq_len + 1)) % self.modulus
        return Numbers(numbers[:, :-1], numbers[:, 1:])

    def bytes_per_token(self, split: str) -> float:
        return 1.0

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"counting {self.modulus}".encode()).hexdigest()[:16]

    def with_vocabulary(self, config: RunConfig) -> RunConfig:
        return config.override({"model.vocab_size": self.modulus})

    def save_tokenizer(self, folder: Path) -> None:
        Digits().save(folder)

    def describe(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "modulus": self.modulus}

    @property
    def summary(self) -> str:
        return f"modulo {self.modulus}"

    @property
    def notes(self) -> list[str]:
        return []

    def example(self, longest: int) -> tuple[str, str | None]:
        return Digits().decode(range(min(longest, self.modulus))), None


@register
class Counting(LanguageModelTask):
    """Counting on."""

    config = CountingConfig
    evaluation_options = (CHECKPOINT, BATCH_SIZE)

    def samples(self, run: RunConfig, progress: Any = None, *, tokenizer: Any = None) -> CountingData:
        return CountingData(run)

    def load_tokenizer(self, folder: Path) -> Digits:
        assert (folder / "digits.txt").is_file()
        return Digits()

    def evaluate(self, asked: EvaluationRequest) -> EvaluationReport:
        opened = self.open_for(asked)
        result = evaluate(opened.model, CountingData(opened.config).validation(0), accuracy=True)
        payload = {"accuracy": result.accuracy, "n_tokens": result.n_tokens, "step": opened.step}
        return EvaluationReport(
            payload, [heading(opened, opened.config.data.name), f"  accuracy {result.accuracy:.1%}"]
        )
