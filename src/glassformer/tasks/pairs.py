"""Sentence pairs: a translator learns to write the target of a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glassformer.data import pair_preparation
from glassformer.data.batches import Batch
from glassformer.data.pairs import BUILT_IN, DATES
from glassformer.data.sentence_tokenizers import PairTokenizer, load_pair_tokenizer
from glassformer.data.sets_to_score import prepared_sets
from glassformer.data.translation import TranslationData, prepare_translation
from glassformer.data.translation_config import TranslationConfig
from glassformer.errors import ConfigError
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.generation.translation import Translation, Translator
from glassformer.runs.folder import Run
from glassformer.tasks.ensembles import open_ensemble
from glassformer.tasks.language_models import CHECKPOINT, DATA
from glassformer.tasks.opening import Opened
from glassformer.tasks.options import Option
from glassformer.tasks.registry import register
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.run_data import open_samples
from glassformer.tasks.search_options import BATCH_TOKENS, SEARCH, STORAGE, decoding_config, search_config
from glassformer.tasks.task import EvaluationReport, EvaluationRequest, Task
from glassformer.tasks.training_data import PrepareProgress, TrainingData, recorded_identity
from glassformer.tasks.translation_scores import check_options, pairs_of, score_translators

VALIDATION_TOKENS = 4_096
"""Positions of one forward pass when pairs are validated."""

ENSEMBLE = Option(
    "ensemble", str, "Average its probabilities with those of RUN. Repeatable.", repeatable=True, metavar="RUN"
)
OF_SETS = (
    Option(
        "split",
        str,
        "Translator: the split to evaluate on. Repeatable; all tests unless given.",
        repeatable=True,
    ),
    Option(
        "metric",
        str,
        "Translator: bleu, tokenised-bleu, chrf, exact-match. Repeatable; what fits the data unless given.",
        repeatable=True,
    ),
)
OF_COMPARISON = (
    Option(
        "compare",
        str,
        "Translator: also the difference from RUN, with a paired bootstrap's interval.",
        metavar="RUN",
    ),
    Option("compare_checkpoint", str, "Of the run to compare with: best (unless given), latest, a step, average-N."),
)
OUTPUT = Option(
    "output",
    Path,
    "Translator: write sources, references and translations here.",
    short="-o",
    metavar="FOLDER",
)


class PairSamples(TrainingData):
    """Sentences and their translations."""

    data: TranslationData

    def __init__(self, config: RunConfig, data: TranslationData) -> None:
        self.data, self.training = data, config.training
        tokens = config.training.batch_tokens
        self.limit = {"batch_size": config.training.batch_size} if tokens is None else {"batch_tokens": tokens}
        self.tokens_per_step = data.tokens_per_step(seed=self.training.seed, **self.limit)
        self.steps_per_epoch = data.steps_per_epoch(seed=self.training.seed, **self.limit)
        self.padding_share = data.padding_share(seed=self.training.seed, **self.limit)
        self.batch_size = max(1, round(data.n_pairs("train") / self.steps_per_epoch))
        self.seq_len = max(1, round(self.tokens_per_step / self.batch_size))
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

    def describe(self) -> dict[str, Any]:
        """Also how much of a batch is padding."""
        return {
            "fingerprint": self.fingerprint,
            "pairs": {split: self.data.n_pairs(split) for split in self.data.splits},
            **recorded_identity(self.data),
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
    def preparation_warnings(self) -> list[str]:
        return self.data.warnings

    def batch_warnings(self, config: RunConfig) -> Iterator[str]:
        training = config.training
        if self.steps_per_epoch == 1 and (training.batch_tokens is not None or self.batch_size < training.batch_size):
            limit = "batch_size" if training.batch_tokens is None else "batch_tokens"
            yield (
                f"training.{limit}={getattr(training, limit):,} is more than the data have: every step takes all "
                f"{self.batch_size:,} training pairs."
            )

    def example(self, longest: int) -> tuple[str, str | None]:
        pair = self.data.pairs("validation")[0]
        return pair.source, pair.target


@register
class Pairs(Task):
    """Translating sentences."""

    config = TranslationConfig
    built_in = BUILT_IN
    data_help = f"Pairs, for a translator: {', '.join(BUILT_IN)}, pairs.tsv, pairs.jsonl, or two files 'a.de,a.en'."
    evaluation_options = (
        DATA,
        *OF_SETS,
        CHECKPOINT,
        ENSEMBLE,
        *OF_COMPARISON,
        OUTPUT,
        *(option for option in SEARCH if option.name != "n_best"),
        BATCH_TOKENS,
        *STORAGE,
    )

    def samples(self, run: RunConfig, progress: PrepareProgress | None = None, *, tokenizer: Any = None) -> PairSamples:
        assert isinstance(run.data, TranslationConfig)
        return PairSamples(run, prepare_translation(run.data, progress=progress, tokenizer=tokenizer))

    def recipe(self, recipe: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Without the size of a vocabulary where it is not free: only byte pairs are so many as one wants."""
        kind = changes.get("data.tokenizer", "auto")
        by_characters = kind == "auto" and changes.get("data.source", DATES) == DATES
        if by_characters or kind in ("words", "characters"):
            recipe.pop("data.vocab_size", None)
        return recipe

    def next_steps(self, run: str) -> list[tuple[str, str]]:
        return [("translate", f"glassformer translate {run}"), ("evaluate", f"glassformer evaluate {run}")]

    def content(self, data: TranslationConfig) -> str:
        return pair_preparation.open_source(data).fingerprint()

    def fingerprint(self, data: TranslationConfig, content: str) -> str:
        return pair_preparation.fingerprint(data, content)

    def load_tokenizer(self, folder: Path) -> PairTokenizer:
        return load_pair_tokenizer(folder)

    def generate(
        self,
        opened: Opened[Any, Any],
        prompts: Sequence[str],
        search: BeamSearchConfig | None = None,
        **settings: Any,
    ) -> list[Translation]:
        """The translations of sentences; other settings are those of a :class:`Translator`."""
        return Translator(opened.model, opened.tokenizer, search, **settings)(prompts)

    def evaluate(self, asked: EvaluationRequest) -> EvaluationReport:
        """Loss and scores on the test splits, or on other pairs; against another translator, if one is named."""
        if asked["compare"] is None and asked["compare_checkpoint"] is not None:
            raise ConfigError("--compare-checkpoint has no effect: there is no --compare.", subject="command")
        search = search_config(asked.options)
        decoding = decoding_config(asked["precision"], asked["quantize"])
        opened = self._open(asked, str(asked.run.path), asked["ensemble"], asked["checkpoint"])
        compared = [] if asked["compare"] is None else self._compared(asked)
        check_options(asked)
        config = opened[0].config.data
        assert isinstance(config, TranslationConfig)
        if (data := asked["data"]) is None:
            samples = open_samples(asked.run, opened[0].config)
            assert isinstance(samples, PairSamples)
            for warning in samples.warnings:
                asked.warn(warning)
            sets: Mapping[str, Any] = prepared_sets(samples.data, asked["split"] or ())
        else:
            sets = pairs_of(config, data, asked["split"] or (), asked.warn)
        return score_translators(asked, opened, compared, sets, search, decoding)

    def _open(
        self, asked: EvaluationRequest, run: str, ensemble: Sequence[str] | None, checkpoints: Sequence[str] | None
    ) -> list[Opened[Any, Any]]:
        return open_ensemble(
            self.open, run, ensemble, checkpoints, runs=asked.root, device=asked.device, warn=asked.warn
        )

    def _compared(self, asked: EvaluationRequest) -> list[Opened[Any, Any]]:
        """The translator to compare with, which is not the one that is scored."""
        checkpoint = None if asked["compare_checkpoint"] is None else [asked["compare_checkpoint"]]
        same_run = Run.open(asked["compare"], root=asked.root).path.resolve() == asked.run.path.resolve()
        if same_run and not asked["ensemble"] and (asked["checkpoint"] or ["best"]) == (checkpoint or ["best"]):
            raise ConfigError(
                f"--compare names {asked.run.name} at the checkpoint that is scored, which differs from itself in "
                "nothing; name another run, or another checkpoint with --compare-checkpoint.",
                subject="command",
            )
        return self._open(asked, asked["compare"], None, checkpoint)
