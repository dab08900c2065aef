"""Models to inspect: a model with its tokenizer, at one or several checkpoints; and a text as it reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from glassformer.charts.heat_map import visible
from glassformer.data.sentence_tokenizers import PairTokenizer
from glassformer.data.task_tokenizer import TextTokenizer
from glassformer.errors import CheckpointError, DataError
from glassformer.generation import BeamSearchConfig, translate
from glassformer.models.build import Model
from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.models.size import check_held
from glassformer.models.trace import Objective, Trace
from glassformer.parts.interventions import Intervention
from glassformer.runs.checkpoints import list_checkpoints, load_checkpoint
from glassformer.runs.folder import Run
from glassformer.runs.manifest import step_of
from glassformer.runs.seal import CONFIG
from glassformer.tasks.opening import build_model, find_device, read_weights, run_config
from glassformer.tasks.registry import task_of
from glassformer.training.importing import open_folder

ALL = "all"
"""For a checkpoint: each of them, and the start of the training."""

MOST_SNAPSHOTS = 12  # of one page: more are too close together on its slider


@dataclass(frozen=True)
class Snapshot:
    """A point of a training at which there are weights; ``path`` is their checkpoint, None where there is none."""

    step: int
    label: str
    path: Path | None = None


@dataclass(frozen=True)
class EncodedInput:
    """A text as a model reads it, a batch of one.

    Attributes:
        arguments: token ids, [1, T]; for a translator the source's [1, S] and the target's [1, T].
        targets: the right next tokens, int64 [1, T], −1 where none is known.
        tokens: the T tokens that are read, as labels.
        source: a translator's S source tokens, as labels.
        ids: the T tokens' ids; ``source_ids`` the source's.
    """

    arguments: tuple[Tensor, ...]
    targets: Tensor
    tokens: list[str]
    source: list[str] | None = None

    @property
    def ids(self) -> list[int]:
        """Of the tokens."""
        return self.arguments[-1][0].tolist()

    @property
    def source_ids(self) -> list[int]:
        """Of a translator's source tokens."""
        return self.arguments[0][0].tolist()

    @property
    def next_tokens(self) -> list[int]:
        """The ids of the right next tokens, −1 where none is known."""
        return self.targets[0].tolist()


@dataclass
class InspectedModel:
    """A model that is opened for inspection.

    Attributes:
        name: the run's, or the folder's.
        model: in evaluation mode; its weights are those of the snapshot that :meth:`snapshots` gave last.
        run: None for a model that was not trained here.
        chosen: the snapshots asked for, earliest first.
        warnings: damaged checkpoints that were skipped.
    """

    name: str
    model: Model
    tokenizer: TextTokenizer | PairTokenizer
    run: Run | None = None
    chosen: list[Snapshot] = field(default_factory=lambda: [Snapshot(0, "as imported")])
    warnings: list[str] = field(default_factory=list)

    def snapshots(self) -> Iterator[Snapshot]:
        """Each snapshot in turn, the model's weights set to those it had then. A damaged checkpoint is skipped.

        Raises:
            CheckpointError: every one of them is damaged.
        """
        usable = 0
        for snapshot in self.chosen:
            try:
                self.take_weights_of(snapshot)
            except CheckpointError as error:
                self.warnings.append(str(error))
                continue
            usable += 1
            yield snapshot
        if not usable:
            raise CheckpointError("\n".join([f"No checkpoint of {self.name} can be used:", *self.warnings]))

    def trace(
        self,
        encoded: EncodedInput,
        *,
        only: Sequence[str] = ("*",),
        gradients: Objective | None = None,
        interventions: Sequence[Intervention] = (),
    ) -> Trace:
        """One pass over the text with the weights as they are now."""
        arguments = [ids.to(self.model.device) for ids in encoded.arguments]
        return self.model.trace(*arguments, only=only, gradients=gradients, interventions=interventions)

    def read(self, text: str, target: str | None = None) -> EncodedInput:
        """A text as the model reads it; a translator also reads its translation, its own (greedy) unless given.

        Raises:
            DataError: the text is empty, longer than the model's context, or holds what is not in its vocabulary; or a
                target is given to a language model.
        """
        if isinstance(self.tokenizer, PairTokenizer):
            return self._read_pair(self.tokenizer, text, target)
        if target is not None:
            raise DataError(f"{self.name} is a language model: it reads one text, without a target.")
        ids = self.tokenizer.encode(text)
        self._check_length(len(ids), "text")
        tokens = [readable(self.tokenizer.token_text(int(token))) for token in ids]
        predicted = [*ids[1:], -1] if self.model.family.generates else [-1] * len(ids)
        return EncodedInput((_row(ids),), _row(predicted), tokens)

    def token_label(self, token: int) -> str:
        """A token that the model may predict, for display."""
        if isinstance(self.tokenizer, PairTokenizer):
            return self.tokenizer.target.pieces([token])[0]
        return readable(self.tokenizer.token_text(token))

    def _read_pair(self, tokenizer: PairTokenizer, text: str, target: str | None) -> EncodedInput:
        model = cast("EncoderDecoder", self.model)  # no other reads pairs
        source = tokenizer.source.encode(text)
        self._check_length(len(source) and len(source) + 1, "source")  # with its end
        if target is None:
            config = BeamSearchConfig.build({"beam_size": 1})
            target_ids = translate(model, tokenizer, [text], config)[0].hypotheses[0].tokens
            target_ids = target_ids[: model.config.max_seq_len - 1]
        else:
            target_ids = tokenizer.target.encode(target)
        start, end = tokenizer.target.start_id, tokenizer.target.end_id
        self._check_length(len(target_ids) + 1, "target")
        source, inputs = [*source, tokenizer.source.end_id], [start, *target_ids]
        return EncodedInput(
            (_row(source), _row(inputs)),
            _row([*target_ids, end]),
            tokenizer.target.pieces(inputs),
            tokenizer.source.pieces(source),
        )

    def _check_length(self, length: int, what: str) -> None:
        longest = self.model.config.max_seq_len
        if length == 0:
            raise DataError(f"The {what} is empty; give {self.name} at least one token to read.")
        if length > longest:
            raise DataError(
                f"The {what} has {length:,} tokens, and the context length of {self.name} is {longest:,} "
                "(max_seq_len); give a shorter one."
            )

    def take_weights_of(self, snapshot: Snapshot) -> None:
        """Set the model's weights to those it had then.

        Raises:
            CheckpointError: its checkpoint is damaged.
        """
        if snapshot.path is not None:
            self.model.load_weights(load_checkpoint(snapshot.path).tensors["model"])
        elif len(self.chosen) > 1:  # the start: a pure function of configuration and seed
            assert self.run is not None
            self.model.load_weights(build_model(run_config(self.run)).named_weights())


def open_subject(
    source: str | Path,
    *,
    checkpoint: str | int = "latest",
    runs: Path | None = None,
    device: str = "auto",
    trust_parts: bool = False,
) -> InspectedModel:
    """A run of ours by its path or name, or a Hugging Face folder (or hub name) with a GPT-2 or Marian.

    Args:
        checkpoint: of a run: latest, best, a step, average-N, or "all": the start and every checkpoint that is kept,
            at most MOST_SNAPSHOTS of them, evenly spaced.
        trust_parts: execute the part files in a run's folder even if nothing of them is known here.

    Raises:
        RunError: it is neither; CheckpointError: the run has no such checkpoint.
        DataError, ConfigError: a folder whose files are missing, damaged, or of another kind of model.
    """
    model: Model
    folder = Path(source).expanduser()
    if folder.is_dir() and _is_hugging_face(folder):
        model, tokenizer = open_folder(folder)
        if checkpoint not in ("latest", "best", ALL):
            raise CheckpointError(
                f"{folder} is a Hugging Face folder: it has no checkpoint {checkpoint!r}, only one model."
            )
        return InspectedModel(folder.name, model.to(find_device(device)), tokenizer)
    run = Run.open(source, root=runs)
    config = run_config(run, trust_parts=trust_parts)
    loaded = task_of(config).load_tokenizer(run.tokenizer)
    if not isinstance(loaded, TextTokenizer | PairTokenizer):
        raise DataError(
            f"The tokenizer of {run.name}, a {type(loaded).__name__}, cannot show its tokens: a language model's "
            "has every method of glassformer.data.task_tokenizer.TextTokenizer."
        )
    weights, step, warnings = read_weights(run, "latest" if checkpoint == ALL else checkpoint)
    check_held(config.model, weights)
    model = build_model(config)
    model.load_weights(weights)
    subject = InspectedModel(run.name, model.to(find_device(device)).eval(), loaded, run)
    subject.warnings = warnings
    subject.chosen = _all_snapshots(run, subject.warnings) if checkpoint == ALL else [Snapshot(step, _label(step))]
    return subject


def readable(token: str) -> str:
    """A token with its white space shown, wherever it stands, and no character that acts on the text around it."""
    return visible(token).replace(" ", "␣")


def _all_snapshots(run: Run, warnings: list[str]) -> list[Snapshot]:
    """The start and every checkpoint; if some are left out, ``warnings`` gets a sentence."""
    paths = list_checkpoints(run.checkpoints)
    snapshots = [Snapshot(step_of(path), _label(step_of(path)), path) for path in paths]
    if snapshots[0].step > 0:  # an imported run begins with the weights that it was given
        snapshots.insert(0, Snapshot(0, "step 0, the start"))
    if len(snapshots) <= MOST_SNAPSHOTS:
        return snapshots
    kept = np.linspace(0, len(snapshots) - 1, MOST_SNAPSHOTS).round().astype(int)
    warnings.append(f"{run.name} has {len(snapshots)} snapshots; {len(kept)} of them are shown, evenly spaced.")
    return [snapshots[index] for index in kept]


def _label(step: int) -> str:
    return f"step {step:,}"


def _is_hugging_face(folder: Path) -> bool:
    """Both kinds of folder have a config.json; a run's has an environment.json beside it too."""
    return (folder / CONFIG).is_file() and not (folder / "metrics.jsonl").exists()


def _row(ids: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]) -> Tensor:
    return torch.as_tensor([int(token) for token in ids], dtype=torch.long)[None]
