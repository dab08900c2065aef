"""Text from a model: prompts in, sequences out, token by token or all at once.

Rows of a batch never influence one another: shorter prompts are padded on the left, every row draws by its own random
numbers, and a row whose text has ended leaves the batch.

Beyond the context a row's window slides. Let a row have n tokens and its window begin at w. When n − w would exceed
``max_seq_len``, the window moves to hold the last ``max_seq_len − stride`` tokens, and positions count from its
beginning. What remains is encoded afresh, since its keys and values were computed from tokens now forgotten
(:func:`window_start` is the rule; generation without a cache that follows it gives the same logits).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from glassformer.errors import DataError
from glassformer.generation.decoding import DecodingConfig, DecodingEngine
from glassformer.generation.sampling import Sampler, SamplingConfig
from glassformer.generation.text import DecodesStreams, TextStream, check_stop_strings
from glassformer.models.decoder import Decoder

Finish = Literal["length", "stop", "end"]


@dataclass(frozen=True)
class GeneratedToken:
    """One token of one row, as it is generated.

    Attributes:
        row: index of the prompt.
        token: its id.
        text: what became certain with it; empty without a tokenizer.
        finish: why the row ends with it ("length", "stop" string, "end" token), or None.
    """

    row: int
    token: int
    text: str
    finish: Finish | None = None


@dataclass
class GeneratedSequence:
    """What was generated for one prompt.

    Attributes:
        tokens: the new ids, those of a stop string or the end token among them.
        text: their text up to a stop string, without it and without an end token; empty without a tokenizer.
    """

    prompt: list[int]
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish: Finish = "length"


def generate(
    model: Decoder | DecodingEngine,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig | None = None,
    *,
    decoding: DecodingConfig | None = None,
    tokenizer: DecodesStreams | None = None,
    stop: Sequence[str] = (),
    end_token: int | None = None,
    rows: Sequence[int] | None = None,
    on_token: Callable[[GeneratedToken], None] | None = None,
) -> list[GeneratedSequence]:
    """All sequences, in the order of the prompts. Arguments and errors are those of :func:`stream`.

    ``on_token`` is called with every token as it is generated.
    """
    sequences = [GeneratedSequence(list(prompt)) for prompt in prompts]
    for event in stream(
        model,
        prompts,
        sampling,
        decoding=decoding,
        tokenizer=tokenizer,
        stop=stop,
        end_token=end_token,
        rows=rows,
    ):
        sequence = sequences[event.row]
        sequence.tokens.append(event.token)
        sequence.text += event.text
        sequence.finish = event.finish or sequence.finish
        if on_token is not None:
            on_token(event)
    return sequences


def stream(
    model: Decoder | DecodingEngine,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig | None = None,
    *,
    decoding: DecodingConfig | None = None,
    tokenizer: DecodesStreams | None = None,
    stop: Sequence[str] = (),
    end_token: int | None = None,
    rows: Sequence[int] | None = None,
) -> Iterator[GeneratedToken]:
    """Every row's tokens as they are generated, the rows in turn.

    Args:
        model: a model, or an engine made from one, which keeps what it compiled from call to call.
        prompts: ids, at least one each. Of a prompt longer than the context only the last ``max_seq_len`` are seen.
        decoding: how logits are computed; with an engine it is the engine's.
        tokenizer: makes text of the new tokens.
        stop: a row ends where one of these appears in its new text, also across tokens.
        end_token: a row ends with this token.
        rows: the numbers by which the rows' draws differ, 0, 1, 2, … unless given: a prompt generated alone under the
            number that it had in a batch gives what it gave there.

    Raises:
        DataError: no prompt, an empty one, or an id outside the vocabulary; every bad prompt is named.
        ConfigError: settings that cannot work.
    """
    sampling = sampling or SamplingConfig()
    contexts = [[int(token) for token in prompt] for prompt in prompts]
    check_stop_strings(stop, tokenizer)
    vocab_size = model.vocab_size if isinstance(model, DecodingEngine) else model.config.vocab_size
    _check_prompts(contexts, vocab_size)
    if isinstance(model, DecodingEngine):
        assert decoding is None, "an engine has its own decoding settings"
        engine = model
    else:
        engine = DecodingEngine(model, decoding, expected_steps=sampling.max_new_tokens)
    numbers = list(range(len(prompts))) if rows is None else list(rows)
    assert len(numbers) == len(prompts), "one number a row"
    return _stream(engine, contexts, sampling, tokenizer, stop, end_token, numbers)


def _stream(
    engine: DecodingEngine,
    prompts: list[list[int]],
    sampling: SamplingConfig,
    tokenizer: DecodesStreams | None,
    stop: Sequence[str],
    end_token: int | None,
    numbers: list[int],
) -> Iterator[GeneratedToken]:
    sampler = Sampler(sampling, prompts, engine.vocab_size, numbers, engine.model.device)
    texts = [None if tokenizer is None else TextStream(tokenizer.stream_decoder(), stop) for _ in prompts]
    alive = list(range(len(prompts)))  # the batch's rows, as indices of prompts
    going = set(alive)  # those that are not finished
    batch = _Batch(engine, prompts, sampling.max_new_tokens)
    logits = batch.first_logits()
    for n_new in range(1, sampling.max_new_tokens + 1):
        tokens = sampler(logits)
        for row, token in zip(alive, tokens, strict=True):
            if row in going:
                event = _event(row, token, texts[row], end_token, last=n_new == sampling.max_new_tokens)
                if event.finish is not None:
                    going.remove(row)
                yield event
        if not going:
            return
        staying = [index for index, row in enumerate(alive) if row in going]
        if (
            len(staying) < len(alive) and not engine.compiled
        ):  # a program is for one batch size: there they stay, unread
            alive = [alive[index] for index in staying]
            tokens = [tokens[index] for index in staying]
            sampler.keep(staying)
            batch.keep(staying)
        logits = batch.next_logits(tokens)


def _event(row: int, token: int, text: TextStream | None, end_token: int | None, *, last: bool) -> GeneratedToken:
    """A token with the text that it makes certain, and whether its row ends."""
    ended = token == end_token
    new = "" if text is None or ended else text.feed(token)
    stopped = text is not None and text.stopped
    finish: Finish | None = "end" if ended else "stop" if stopped else "length" if last else None
    if finish is not None and text is not None:
        new += text.finish()
    return GeneratedToken(row, token, new, finish)


def window_start(start: int, n_tokens: int, max_seq_len: int, kept: int) -> int:
    """Where a row's window begins once it has ``n_tokens``, given where it began: the rule of the sliding window."""
    return start if n_tokens - start <= max_seq_len else n_tokens - kept


class _Batch:
    """The rows being generated: their tokens, their windows, and the cache that holds these.

    All rows end at the same slot of the cache. A row's window there is [starts[row], length).
    """

    def __init__(self, engine: DecodingEngine, prompts: list[list[int]], max_new_tokens: int) -> None:
        self.engine = engine
        self.context = engine.max_seq_len
        self.tokens = [list(prompt) for prompt in prompts]
        self.windows = [max(0, len(prompt) - self.context) for prompt in prompts]  # where each begins
        longest = max(self._lengths())
        self.cache = engine.make_cache(len(prompts), longest + max_new_tokens - 1, self._starts())

    def first_logits(self) -> Tensor:
        """After the prompts, [B, V]."""
        longest = max(self._lengths())
        rows = [tokens[start:] for tokens, start in zip(self.tokens, self.windows, strict=True)]
        return self.engine.prefill(self._tensor([[0] * (longest - len(row)) + row for row in rows]), self.cache)

    def next_logits(self, tokens: list[int]) -> Tensor:
        """After one more token each, [B, V]."""
        for row, token in zip(self.tokens, tokens, strict=True):
            row.append(token)
        windows = [
            window_start(start, len(row), self.context, self.engine.kept)
            for row, start in zip(self.tokens, self.windows, strict=True)
        ]
        sliding = [row for row, start in enumerate(windows) if start != self.windows[row]]
        self.windows = windows
        if sliding:
            self._slide(sliding)
        return self.engine.step(self._tensor(tokens), self.cache)

    def keep(self, rows: list[int]) -> None:
        """Keep these rows only (indices among the present ones)."""
        self.tokens = [self.tokens[row] for row in rows]
        self.windows = [self.windows[row] for row in rows]
        chosen, cache = self._tensor(rows), self.cache
        for layer in cache.layers:
            layer.keep_rows(chosen)
        self._align(max(self._lengths()))

    def _slide(self, sliding: list[int]) -> None:
        """Encode the windows of these rows afresh, but for their newest token; move the other rows beside them."""
        cache, refilled = self.cache, self.engine.kept - 1  # the newest is the next step's
        fresh = self.engine.make_cache(len(sliding), max(1, refilled))
        if refilled:
            windows = [self.tokens[row][self.windows[row] : -1] for row in sliding]
            self.engine.prefill(self._tensor(windows), fresh)
        self._align(max(self._lengths()) - 1)
        rows, length = self._tensor(sliding), cache.length
        for layer, new in zip(cache.layers, fresh.layers, strict=True):
            layer.put(rows, new, length - refilled, refilled)

    def _align(self, length: int) -> None:
        """Move all rows to the left until the longest, of ``length`` tokens in the cache, begins at the first slot."""
        cache, moved = self.cache, self.cache.length - length
        if moved:
            for layer in cache.layers:
                layer.shift(moved, length)
            cache.length = length
        if cache.starts is not None:
            cache.starts = self._starts(always=True)

    def _starts(self, *, always: bool = False) -> Tensor | None:
        """The first slot of each row; unless ``always``, None where all begin with the first."""
        lengths = self._lengths()
        starts = [max(lengths) - length for length in lengths]
        return self._tensor(starts) if always or any(starts) else None

    def _lengths(self) -> list[int]:
        return [len(tokens) - start for tokens, start in zip(self.tokens, self.windows, strict=True)]

    def _tensor(self, values: list[int] | list[list[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.engine.model.device)


def _check_prompts(prompts: list[list[int]], vocab_size: int) -> None:
    complaints = []
    if not prompts:
        complaints.append("There is no prompt; give at least one.")
    for row, prompt in enumerate(prompts):
        unknown = sorted({token for token in prompt if not 0 <= token < vocab_size})
        if not prompt:
            complaints.append(
                f"Prompt {row} is empty, and a model continues from at least one token; begin with a newline or the "
                "tokenizer's own start token."
            )
        if unknown:
            named = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
            complaints.append(
                f"Prompt {row} holds ids outside the vocabulary of {vocab_size} tokens (0 to {vocab_size - 1}): "
                f"{named}. Encode it with the tokenizer of the model's own run."
            )
    if complaints:
        raise DataError("\n".join(complaints))
