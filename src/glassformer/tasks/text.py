"""Text: a language model learns to predict every next token of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glassformer.data import preparation
from glassformer.data.batches import Batch
from glassformer.data.config import DataConfig, TextConfig
from glassformer.data.entropy import bigram_entropy, unigram_entropy
from glassformer.data.language_modeling import LanguageModelingData, fixed_batches, prepare
from glassformer.data.prepared_folders import versions
from glassformer.data.sources import BUILT_IN, STANDARD_LIBRARY, open_source
from glassformer.data.tokenizers import Tokenizer, load_tokenizer
from glassformer.errors import DataError
from glassformer.scoring.finite_checks import check_finite_loss
from glassformer.scoring.likelihood import evaluate
from glassformer.tasks.language_models import BATCH_SIZE, CHECKPOINT, DATA, SEQUENCES, LanguageModelTask, heading
from glassformer.tasks.registry import register
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.run_data import open_samples
from glassformer.tasks.task import EvaluationReport, EvaluationRequest
from glassformer.tasks.training_data import PrepareProgress, TrainingData, recorded_identity


class TextSamples(TrainingData):
    """Windows of a text, for a language model."""

    data: LanguageModelingData

    def __init__(self, config: RunConfig, data: LanguageModelingData) -> None:
        self.data, self.training = data, config.training
        self.batch_size, self.seq_len = config.training.batch_size, config.seq_len
        self.tokens_per_step = self.most_tokens = self.batch_size * self.seq_len
        self.steps_per_epoch = (len(data.train) - 1) / self.tokens_per_step
        data.check_long_enough(config.seq_len)

    def batch(self, step: int) -> Batch:
        return self.data.batch(step, seed=self.training.seed, batch_size=self.batch_size, seq_len=self.seq_len)

    def validation(self, micro_batch_tokens: int) -> Iterator[Batch]:
        return self.data.validation_batches(
            batch_size=max(1, micro_batch_tokens // self.seq_len),
            seq_len=self.seq_len,
            max_tokens=self.training.telemetry.validation_tokens,
        )

    def bytes_per_token(self, split: str) -> float:
        return self.data.bytes_per_token("train" if split == "train" else "validation")

    def describe(self) -> dict[str, Any]:
        """Also how predictable the text is from letter counts and letter pairs alone."""
        return {
            "fingerprint": self.fingerprint,
            "tokens": {"train": len(self.data.train), "validation": len(self.data.validation)},
            **recorded_identity(self.data),
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
    def preparation_warnings(self) -> list[str]:
        return self.data.warnings

    @property
    def advice(self) -> dict[str, str]:
        """Another tokenizer, where validation has characters that are read as <unk>."""
        unknown = self.data.manifest["splits"]["validation"]["unknown"]
        return {"data.tokenizer=bpe": "a byte-pair tokenizer knows every text"} if unknown else {}

    def batch_warnings(self, config: RunConfig) -> Iterator[str]:
        epoch = self.steps_per_epoch
        if epoch < 1:
            yield (
                f"a batch of {config.training.batch_size:,} × {self.seq_len:,} tokens is more than the "
                f"{epoch * self.tokens_per_step:,.0f} of the training text: every step reads parts of it several "
                "times. Set a smaller training.batch_size or training.seq_len."
            )

    def example(self, longest: int) -> tuple[str, str | None]:
        text = self.data.tokenizer.decode(self.data.validation[:longest])
        return text.rstrip("\ufffd"), None  # a character that the cut went through


def text_content(data: TextConfig) -> str:
    """A hash of what a text holds now."""
    return open_source(data.source, text_column=data.text_column).fingerprint()


def text_made_from(data: TextConfig, recorded: Mapping[str, Any]) -> str:
    """Of ``python-stdlib``, whose source it is, then and now; nothing of any other text."""
    if data.source != STANDARD_LIBRARY:
        return ""
    made_with = recorded.get("made_with")
    then = made_with.get("python") if isinstance(made_with, dict) else None
    now = versions()["python"]
    return f"It is the source of Python {now}; the run was trained on that of Python {then or 'unknown'}"


@register
class Text(LanguageModelTask):
    """Continuing a text."""

    config = DataConfig
    built_in = BUILT_IN
    data_help = f"Text: {', '.join(BUILT_IN)}, a file or folder, hf:owner/name."
    evaluation_options = (DATA, CHECKPOINT, BATCH_SIZE)

    def samples(self, run: RunConfig, progress: PrepareProgress | None = None, *, tokenizer: Any = None) -> TextSamples:
        assert isinstance(run.data, DataConfig)
        return TextSamples(run, prepare(run.data, progress=progress, tokenizer=tokenizer))

    def next_steps(self, run: str) -> list[tuple[str, str]]:
        return [("generate text", f"glassformer sample {run} --prompt ...")]

    def content(self, data: DataConfig) -> str:
        return text_content(data)

    def fingerprint(self, data: DataConfig, content: str) -> str:
        return preparation.fingerprint(data, content)

    def made_from(self, data: DataConfig, recorded: Mapping[str, Any]) -> str:
        return text_made_from(data, recorded)

    def load_tokenizer(self, folder: Path) -> Tokenizer:
        return load_tokenizer(folder)

    def evaluate(self, asked: EvaluationRequest) -> EvaluationReport:
        """Loss, perplexity and bits per byte on the run's validation split, or on another text."""
        opened = self.open_for(asked)
        seq_len, batch_size = opened.config.seq_len, asked["batch_size"] or SEQUENCES
        if (data := asked["data"]) is None:
            samples = open_samples(asked.run, opened.config)
            assert isinstance(samples, TextSamples)
            for warning in samples.warnings:
                asked.warn(warning)
            batches = samples.data.validation_batches(batch_size=batch_size, seq_len=seq_len)
            bytes_per_token, source = samples.bytes_per_token("validation"), f"{opened.config.data.name} (validation)"
        else:
            text = preparation.encode_source(data, opened.tokenizer)
            if len(text.tokens) < 2:
                raise DataError(
                    f"{data!r} has {len(text.tokens)} tokens; at least 2 are needed to predict one from another."
                )
            if text.unknown:
                share = text.unknown / text.characters
                asked.warn(f"{text.unknown:,} characters of {data} ({share:.2%}) are unknown, and are read as <unk>.")
            batches = fixed_batches(text.tokens, batch_size=batch_size, seq_len=min(seq_len, len(text.tokens) - 1))
            bytes_per_token, source = text.bytes_per_token, data
        result = evaluate(opened.model, batches)
        check_finite_loss(result, opened.run.name, opened.step)
        bits = result.bits_per_byte(bytes_per_token)
        figures = {"loss": result.loss, "perplexity": result.perplexity, "bits_per_byte": bits}
        return EvaluationReport(
            {**figures, "n_tokens": result.n_tokens, "step": opened.step, "data": source},
            [
                heading(opened, source),
                f"  loss          {result.loss:.4f} nats/token",
                f"  perplexity    {result.perplexity:.3f}",
                f"  bits per byte {bits:.4f}",
                f"  over {result.n_tokens:,} tokens, windows of {seq_len}",
            ],
        )
