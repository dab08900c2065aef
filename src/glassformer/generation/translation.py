"""Lines of text to their translations: sorted by length, cut into batches, searched, and put back in order.

translator = Translator(model, tokenizer, BeamSearchConfig(beam_size=5), decoding=DecodingConfig(precision="bf16"))
[translation] = translator(["Ein Hund rennt."])
translation.text, translation.score
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glassformer.data.sentence_tokenizers import PairTokenizer, encode_sentences
from glassformer.errors import ConfigError
from glassformer.generation.alignment import align
from glassformer.generation.beam_search import Hypothesis, beam_search
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.generation.decoding import DecodingConfig
from glassformer.generation.quantization import decoding_copy
from glassformer.models.encoder_decoder import EncoderDecoder

BATCH_TOKENS = 1_024
"""Source tokens of a batch unless given, pads counted: enough for the processor, few enough for its cache."""

Progress = Callable[[int, int], None]


@dataclass
class TranslatedHypothesis(Hypothesis):
    """A hypothesis, and its text."""

    text: str = ""


@dataclass(frozen=True)
class Translation:
    """The translation of one line.

    Attributes:
        text: the best translation; empty for an empty line, which no model sees.
        score: its log-probability divided by the length penalty; 0 for an empty line.
        pieces: its tokens in readable form, the end left out.
        source_pieces: the source's tokens, as the encoder read them: the end is the last.
        alignment: [pieces, source_pieces], if asked for: rows sum to 1.
        hypotheses: the ``n_best``, best first.
        truncated: whether the line was too long for the model and was cut.
    """

    text: str
    score: float
    pieces: list[str]
    source_pieces: list[str]
    alignment: Tensor | None
    hypotheses: list[TranslatedHypothesis]
    truncated: bool = False


class Translator:
    """One or several models, made ready for decoding; they themselves are not changed.

    Args:
        models: several share a vocabulary, and the mean of their probabilities is taken.
        decoding: how matrices are stored.
        batch_tokens: source tokens of a batch, pads counted; a longer line is a batch of its own.

    Raises:
        ConfigError: the models and the tokenizer do not belong together, or a setting has no effect here.
    """

    def __init__(
        self,
        models: EncoderDecoder | Sequence[EncoderDecoder],
        tokenizer: PairTokenizer,
        config: BeamSearchConfig | None = None,
        *,
        decoding: DecodingConfig | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        models = [models] if isinstance(models, nn.Module) else list(models)
        decoding = decoding or DecodingConfig()
        _check_fit(models, tokenizer, decoding, batch_tokens)
        self.tokenizer = tokenizer
        self.config = config or BeamSearchConfig()
        self.batch_tokens = batch_tokens or BATCH_TOKENS
        self.models = [decoding_copy(model, decoding.store) for model in models]
        self.max_seq_len = min(model.config.max_seq_len for model in models)

    def __call__(
        self, lines: Sequence[str], *, alignment: bool = False, progress: Progress | None = None
    ) -> list[Translation]:
        """A translation for each line, in their order.

        Args:
            alignment: compute each best translation's too.
            progress: called with the number of lines done, and of all lines.

        Raises:
            DataError: a line is not valid Unicode.
            GlassformerError: the logits are not finite.
        """
        encoded = encode_sentences(self.tokenizer, lines, self.max_seq_len)
        truncated = set(encoded.shortened)
        found: dict[int, Translation] = {
            number: self._empty(ids, alignment=alignment) for number, ids in enumerate(encoded.ids) if len(ids) == 1
        }
        for numbers in self._batches(encoded.ids):
            if progress is not None:
                progress(len(found), len(lines))
            source, padding = self._padded([encoded.ids[number] for number in numbers])
            hypotheses = self._search(source, padding, numbers, alignment=alignment)
            for number, each in zip(numbers, hypotheses, strict=True):
                found[number] = self._translation(encoded.ids[number], each, truncated=number in truncated)
        if progress is not None:
            progress(len(found), len(lines))
        return [found[number] for number in range(len(lines))]

    def _batches(self, sentences: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Numbers of sentences that are not empty, the longest first, as many at a time as ``batch_tokens`` allow."""
        order = sorted((n for n, ids in enumerate(sentences) if len(ids) > 1), key=lambda n: (-len(sentences[n]), n))
        first = 0
        while first < len(order):
            count = max(1, self.batch_tokens // len(sentences[order[first]]))
            yield order[first : first + count]
            first += count

    def _padded(self, sentences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
        """Ids [N, S] and where they are pads, or None if nowhere."""
        longest = max(map(len, sentences))
        pad = self.tokenizer.source.pad_id
        device = self.models[0].device
        source = torch.tensor([[*ids, *[pad] * (longest - len(ids))] for ids in sentences], device=device)
        lengths = torch.tensor([len(ids) for ids in sentences], device=device)
        padding = torch.arange(longest, device=device) >= lengths[:, None]
        return source, padding if bool(padding.any()) else None

    def _search(
        self, source: Tensor, padding: Tensor | None, numbers: list[int], *, alignment: bool
    ) -> list[list[Hypothesis]]:
        target = self.tokenizer.target
        found = beam_search(
            self.models,
            source,
            padding,
            self.config,
            start_id=target.start_id,
            end_id=target.end_id,
            forbidden=sorted({target.pad_id, target.start_id} - {target.end_id}),
            rows=numbers,
        )
        found = [hypotheses or [_nothing()] for hypotheses in found]
        if alignment:
            best = [hypotheses[0].tokens for hypotheses in found]
            weights = align(self.models[0], source, padding, best, start_id=target.start_id)
            for hypotheses, each in zip(found, weights, strict=True):
                hypotheses[0].alignment = each
        return found

    def _translation(self, source: Sequence[int], found: list[Hypothesis], *, truncated: bool) -> Translation:
        target = self.tokenizer.target
        hypotheses = [TranslatedHypothesis(**vars(each), text=target.decode(each.tokens)) for each in found]
        best = hypotheses[0]
        return Translation(
            best.text,
            best.score,
            target.pieces(best.tokens),
            self.tokenizer.source.pieces(source),
            best.alignment,
            hypotheses,
            truncated,
        )

    def _empty(self, source: Sequence[int], *, alignment: bool) -> Translation:
        nothing = Hypothesis([], 0.0, 0.0, [], finished=True)
        nothing.alignment = torch.zeros(0, len(source)) if alignment else None
        return self._translation(source, [nothing], truncated=False)


def translate(
    models: EncoderDecoder | Sequence[EncoderDecoder],
    tokenizer: PairTokenizer,
    lines: Sequence[str],
    config: BeamSearchConfig | None = None,
    *,
    decoding: DecodingConfig | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
    alignment: bool = False,
) -> list[Translation]:
    """A translation for each line, in their order. Arguments and errors are :class:`Translator`'s."""
    translator = Translator(models, tokenizer, config, decoding=decoding, batch_tokens=batch_tokens)
    return translator(lines, alignment=alignment, progress=progress)


def _nothing() -> Hypothesis:
    """Where the settings leave no translation at all (every token forbidden before the least length is reached)."""
    return Hypothesis([], float("-inf"), float("-inf"), [], finished=False)


def _check_fit(
    models: Sequence[EncoderDecoder], tokenizer: PairTokenizer, decoding: DecodingConfig, batch_tokens: int | None
) -> None:
    complaints = []
    if not models:
        complaints.append("There is no model; give at least one.")
    for index, model in enumerate(models):
        if model.family.name != "encoder-decoder":
            complaints.append(f"Model {index} is {model.family.words}; translating takes an encoder-decoder model.")
            continue
        for each, side in zip(model.family.inputs(model.config), (tokenizer.source, tokenizer.target), strict=True):
            if each.vocab_size != side.vocab_size:
                complaints.append(
                    f"Model {index} has a {each.name} vocabulary of {each.vocab_size:,} tokens, and the tokenizer "
                    f"{side.vocab_size:,}; use the tokenizer of the model's own run (models of an ensemble share one)."
                )
    if decoding.compile == "on":
        complaints.append("compile=on has no effect on translating, which is not compiled; leave it at auto.")
    if decoding.stride is not None:
        complaints.append(f"stride={decoding.stride} has no effect on translating: there is no window that slides.")
    if batch_tokens is not None and batch_tokens < 1:
        complaints.append(f"batch_tokens is {batch_tokens}; a batch holds at least 1 token.")
    if complaints:
        raise ConfigError(complaints, subject="translation")
