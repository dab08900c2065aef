"""Problems whose right answers are known: a language model learns to answer them, and its answers are counted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from glassformer.data.batches import Batch
from glassformer.data.synthetic import SyntheticData
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.synthetic_tasks import TASKS, Problems
from glassformer.data.tokenizers import Tokenizer, load_tokenizer
from glassformer.errors import ConfigError
from glassformer.scoring.finite_checks import check_finite_loss
from glassformer.scoring.likelihood import Evaluation, evaluate
from glassformer.tasks.language_models import BATCH_SIZE, CHECKPOINT, SEQUENCES, LanguageModelTask, heading
from glassformer.tasks.options import Option
from glassformer.tasks.registry import register
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.task import EvaluationReport, EvaluationRequest
from glassformer.tasks.training_data import PrepareProgress, TrainingData

PROBLEMS = 1_000
"""Of each length, unless the request says otherwise."""

LENGTH = Option(
    "length",
    int,
    "Task: problems of this length, fresh ones. Repeatable; the validation problems unless given.",
    repeatable=True,
    least=1,
    most=100_000,
)
COUNT = Option("problems", int, f"Task: how many of each --length; {PROBLEMS:,} unless given.", least=1, most=1_000_000)


class ProblemSamples(TrainingData):
    """Problems whose right answers are known."""

    data: SyntheticData
    has_exact_answers = True

    def __init__(self, config: RunConfig, data: SyntheticData) -> None:
        self.data, self.training = data, config.training
        self.batch_size, self.seq_len = config.training.batch_size, data.config.n_positions
        self.most_tokens = self.batch_size * self.seq_len
        self.tokens_per_step = self.batch_size * data.answer_tokens
        self.positions_per_token = self.seq_len / data.answer_tokens
        self.steps_per_epoch = math.inf

    def batch(self, step: int) -> Batch:
        return self.data.batch(step, seed=self.training.seed, batch_size=self.batch_size)

    def validation(self, micro_batch_tokens: int) -> Iterator[Batch]:
        return self.data.batches(
            self.data.validation,
            batch_size=max(1, micro_batch_tokens // self.seq_len),
            max_tokens=self.training.telemetry.validation_tokens,
        )

    def bytes_per_token(self, split: str) -> float:
        return self.data.bytes_per_token

    def describe(self) -> dict[str, Any]:
        """There is no entropy to compare with: the right answer is never uncertain."""
        return {
            "fingerprint": self.fingerprint,
            "problems": {"validation": len(self.data.validation)},
            "answer_tokens": self.data.answer_tokens,
            "bytes_per_token": self.data.bytes_per_token,
        }

    @property
    def summary(self) -> str:
        return (
            f"length {trained_lengths(self.data.config, ' to ')}, {self.seq_len} positions, vocabulary "
            f"{self.data.vocab_size:,}, {len(self.data.validation):,} validation problems"
        )

    @property
    def notes(self) -> list[str]:
        found, wanted = len(self.data.validation), self.data.config.n_validation
        if found == wanted:
            return []
        return [f"The task is small: {found:,} different problems to validate on, not {wanted:,}."]

    def example(self, longest: int) -> tuple[str, str | None]:
        problem = next(self.data.batches(self.data.validation, batch_size=1))
        return self.data.tokenizer.decode(problem.inputs[0].tolist()), None


@register
class AnsweringProblems(LanguageModelTask):
    """Answering problems."""

    config = SyntheticConfig
    data_setting = "kind"
    built_in = tuple(TASKS)
    data_help = f"A task: {', '.join(TASKS)}."
    evaluation_options = (CHECKPOINT, BATCH_SIZE, LENGTH, COUNT)

    def samples(
        self, run: RunConfig, progress: PrepareProgress | None = None, *, tokenizer: Any = None
    ) -> ProblemSamples:
        assert isinstance(run.data, SyntheticConfig)
        return ProblemSamples(run, SyntheticData(run.data))

    def recipe(self, recipe: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """A preset's recipe but for its data, which are another kind's."""
        return {name: value for name, value in recipe.items() if not name.startswith("data.")}

    def next_steps(self, run: str) -> list[tuple[str, str]]:
        return [("evaluate", f"glassformer evaluate {run}")]

    def load_tokenizer(self, folder: Path) -> Tokenizer:
        return load_tokenizer(folder)

    def evaluate(self, asked: EvaluationRequest) -> EvaluationReport:
        """The share of right tokens and of exact answers, on problems that were never trained on."""
        if not asked["length"] and asked["problems"]:
            raise ConfigError("--problems has no effect: there is no --length.", subject="command")
        opened = self.open_for(asked)
        config = opened.config.data
        assert isinstance(config, SyntheticConfig)
        data = SyntheticData(config)
        lengths = list(dict.fromkeys(asked["length"] or ()))
        sets = _sets(data, lengths, asked["problems"] or PROBLEMS, opened.model.config.max_seq_len)
        results = {}
        for name, chosen in sets.items():
            batches = data.batches(chosen, batch_size=asked["batch_size"] or SEQUENCES)
            results[name] = (len(chosen), evaluate(opened.model, batches, accuracy=True))
        for _, result in results.values():
            check_finite_loss(result, opened.run.name, opened.step)
        return EvaluationReport(
            {"task": config.kind, "step": opened.step, "problems": [*_rows(results)]},
            [heading(opened, config.kind), _table(results)],
        )


def trained_lengths(config: SyntheticConfig, to: str) -> str:
    """The lengths of the problems that are trained on: "5", or "3 to 5"."""
    return f"{config.longest}" if config.shortest == config.longest else f"{config.shortest}{to}{config.longest}"


def _sets(data: SyntheticData, lengths: list[int], count: int, max_seq_len: int) -> Mapping[str, Problems]:
    """The validation problems, or fresh ones of each length. Raises :class:`ConfigError` for all that do not fit."""
    if not lengths:
        return {trained_lengths(data.config, "–"): data.validation}
    complaints: list[str] = []
    for length in lengths:
        positions = data.task.width(length) - 1
        complaints += data.task.complaints(length)
        if positions > max_seq_len:
            complaints.append(
                f"length {length} takes {positions} positions, more than the context length {max_seq_len}."
            )
    if complaints:
        raise ConfigError(complaints, subject="command")
    return {str(length): data.fresh(count, length=length) for length in lengths}


def _rows(results: Mapping[str, tuple[int, Evaluation]]) -> list[dict[str, str | int | float | None]]:
    return [
        {
            "length": name,
            "problems": count,
            "tokens": result.n_tokens,
            "loss": result.loss,
            "accuracy": result.accuracy,
            "exact": result.exact,
        }
        for name, (count, result) in results.items()
    ]


def _table(results: Mapping[str, tuple[int, Evaluation]]) -> Table:
    table = Table(box=None, padding=(0, 2))
    for name in ("length", "problems", "nats/token", "tokens right", "exact match"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, (count, result) in results.items():
        shares = (f"{result.accuracy:.1%}", f"{result.exact:.1%}")
        table.add_row(name, f"{count:,}", f"{result.loss:.4f}", *shares)
    return table
