"""Masked text: an encoder learns to fill in the tokens that are masked (Devlin et al. 2019, BERT)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glassformer.data import preparation
from glassformer.data.batches import Batch
from glassformer.data.entropy import unigram_entropy
from glassformer.data.language_modeling import fixed_batches, prepare
from glassformer.data.masked_batches import MaskedData, masked
from glassformer.data.masked_config import MaskedConfig
from glassformer.data.masked_tokenizer import MaskedTokenizer, masked_tokenizer_from_dict
from glassformer.data.masking import Masking
from glassformer.data.sources import BUILT_IN
from glassformer.data.tokenizer import read_tokenizer
from glassformer.errors import DataError
from glassformer.scoring.finite_checks import check_finite_loss
from glassformer.scoring.likelihood import evaluate
from glassformer.scoring.pseudo_likelihood import pseudo_perplexity
from glassformer.tasks.language_models import BATCH_SIZE, CHECKPOINT, DATA, SEQUENCES, heading
from glassformer.tasks.options import Option
from glassformer.tasks.registry import register
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.run_data import open_samples
from glassformer.tasks.task import EvaluationReport, EvaluationRequest, Task
from glassformer.tasks.text import text_content, text_made_from
from glassformer.tasks.training_data import PrepareProgress, TrainingData, recorded_identity
from glassformer.wording import counted

PSEUDO = Option(
    "pseudo_perplexity",
    int,
    "Masked language model: also the pseudo-perplexity of so many windows, each token predicted from all others.",
    least=1,
    most=100_000,
)


class MaskedSamples(TrainingData):
    """Windows of a text with tokens to fill in."""

    data: MaskedData
    measures_accuracy = True

    def __init__(self, config: RunConfig, data: MaskedData) -> None:
        self.data, self.training = data, config.training
        self.batch_size, self.seq_len = config.training.batch_size, config.seq_len
        self.most_tokens = self.batch_size * self.seq_len
        self.tokens_per_step = self.most_tokens * data.config.share
        self.positions_per_token = 1 / data.config.share
        self.steps_per_epoch = (len(data.text.train) - 1) / self.most_tokens
        data.text.check_long_enough(config.seq_len)
        if not any(batch.n_tokens for batch in self.validation(self.most_tokens)):
            raise DataError(
                f"None of the validation tokens is chosen to be filled in (data.masking.share={data.config.share:g}); "
                "set a larger share, or a larger data.validation_fraction."
            )

    def batch(self, step: int) -> Batch:
        return self.data.batch(step, seed=self.training.seed, batch_size=self.batch_size, seq_len=self.seq_len)

    def validation(self, micro_batch_tokens: int) -> Iterator[Batch]:
        return self.data.validation_batches(
            batch_size=max(1, micro_batch_tokens // self.seq_len),
            seq_len=self.seq_len,
            max_tokens=self.training.telemetry.validation_tokens,
        )

    def bytes_per_token(self, split: str) -> None:
        """The loss is that of the chosen tokens, seen from both sides: it compresses no text."""

    def describe(self) -> dict[str, Any]:
        """Also the unigram entropy: the plateau on which a model stands that has not learned to use the context."""
        text = self.data.text
        return {
            "fingerprint": self.fingerprint,
            "tokens": {"train": len(text.train), "validation": len(text.validation)},
            **recorded_identity(text),
            "unigram": unigram_entropy(text.train, text.vocab_size),
            "masking": self.data.config.describe(),
        }

    @property
    def summary(self) -> str:
        text = self.data.text
        return (
            f"{len(text.train):,} training tokens, {len(text.validation):,} validation tokens, vocabulary "
            f"{self.data.vocab_size:,} with [MASK]; {self.data.config.describe()}"
        )

    @property
    def preparation_warnings(self) -> list[str]:
        return self.data.text.warnings

    def batch_warnings(self, config: RunConfig) -> Iterator[str]:
        expected = self.tokens_per_step
        if expected < 1:
            yield (
                f"a batch has {expected:.2g} tokens to fill in, in the mean: set a larger training.batch_size, "
                "training.seq_len or data.masking.share."
            )

    def example(self, longest: int) -> tuple[str, str | None]:
        text = self.data.text
        return text.tokenizer.decode(text.validation[:longest]).rstrip("\ufffd"), None


@register
class MaskedText(Task):
    """Filling in masked tokens of a text."""

    config = MaskedConfig
    built_in = BUILT_IN
    data_help = f"Text for a masked language model: {', '.join(BUILT_IN)}, a file or folder, hf:owner/name."
    evaluation_options = (DATA, CHECKPOINT, BATCH_SIZE, PSEUDO)

    def samples(
        self, run: RunConfig, progress: PrepareProgress | None = None, *, tokenizer: Any = None
    ) -> MaskedSamples:
        assert isinstance(run.data, MaskedConfig)
        own = tokenizer.text if isinstance(tokenizer, MaskedTokenizer) else tokenizer
        text = prepare(run.data.text, progress=progress, tokenizer=own)
        return MaskedSamples(run, MaskedData(text, run.data.masking))

    def next_steps(self, run: str) -> list[tuple[str, str]]:
        return [
            ("fill in text", f'glassformer fill {run} --text "the [MASK] ..."'),
            ("evaluate", f"glassformer evaluate {run} --pseudo-perplexity 8"),
        ]

    def content(self, data: MaskedConfig) -> str:
        return text_content(data)

    def fingerprint(self, data: MaskedConfig, content: str) -> str:
        return preparation.fingerprint(data.text, content)

    def made_from(self, data: MaskedConfig, recorded: Mapping[str, Any]) -> str:
        """Of ``python-stdlib``, whose source it is."""
        return text_made_from(data, recorded)

    def load_tokenizer(self, folder: Path) -> MaskedTokenizer:
        return read_tokenizer(folder, masked_tokenizer_from_dict)

    def evaluate(self, asked: EvaluationRequest) -> EvaluationReport:
        """Loss and accuracy of the masked tokens, with the run's masking and fixed masks; and the pseudo-perplexity."""
        opened = self.open_for(asked)
        config = opened.config.data
        assert isinstance(config, MaskedConfig)
        seq_len, batch_size = opened.config.seq_len, asked["batch_size"] or SEQUENCES
        if (source := asked["data"]) is None:
            samples = open_samples(asked.run, opened.config)
            assert isinstance(samples, MaskedSamples)
            for warning in samples.warnings:
                asked.warn(warning)
            tokens, shown = samples.data.text.validation, f"{config.name} (validation)"
        else:
            text = preparation.encode_source(source, opened.tokenizer.text)
            if len(text.tokens) < 2:
                raise DataError(f"{source!r} has {counted(len(text.tokens), 'token')}; at least 2 are needed.")
            if text.unknown:
                share = text.unknown / text.characters
                asked.warn(f"{text.unknown:,} characters of {source} ({share:.2%}) are unknown, and are read as <unk>.")
            tokens, shown = text.tokens, source
            seq_len = min(seq_len, len(tokens) - 1)
        windows = fixed_batches(tokens, batch_size=batch_size, seq_len=seq_len)
        result = evaluate(opened.model, masked(windows, Masking(config.masking, opened.tokenizer)), accuracy=True)
        if not result.n_tokens:
            raise DataError(
                f"{shown} has {counted(len(tokens), 'token')}, and none of them is chosen to be filled in "
                f"({config.masking.describe()}): there is no loss. Give a longer text."
            )
        check_finite_loss(result, opened.run.name, opened.step)
        assert result.accuracy is not None
        payload: dict[str, Any] = {
            "loss": result.loss,
            "perplexity": result.perplexity,
            "accuracy": result.accuracy,
            "n_tokens": result.n_tokens,
            "masking": config.masking.describe(),
            "step": opened.step,
            "data": shown,
        }
        lines: list[Any] = [
            heading(opened, shown),
            f"  loss          {result.loss:.4f} nats/masked token",
            f"  perplexity    {result.perplexity:.3f}",
            f"  accuracy      {result.accuracy:.1%}",
            f"  over {result.n_tokens:,} masked tokens, windows of {seq_len} ({config.masking.describe()})",
        ]
        if count := asked["pseudo_perplexity"]:
            alone = fixed_batches(tokens, batch_size=1, seq_len=seq_len, max_tokens=count * seq_len)
            rows = (batch.inputs[0] for batch in alone)
            pseudo = pseudo_perplexity(opened.model, rows, opened.tokenizer.mask_id, batch_size=batch_size)
            payload |= {"pseudo_perplexity": pseudo.perplexity, "pseudo_n_tokens": pseudo.n_tokens}
            lines.append(
                f"  pseudo-perplexity {pseudo.perplexity:.3f} over {pseudo.n_tokens:,} tokens, each predicted from all "
                "others of its window"
            )
        return EvaluationReport(payload, lines)
