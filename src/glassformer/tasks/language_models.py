"""What every task of a language model shares: opening one to evaluate it, and generating text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.text import Text as RichText

from glassformer.data.task_tokenizer import TextTokenizer
from glassformer.errors import DataError
from glassformer.generation.decoding import DecodingConfig
from glassformer.generation.generate import GeneratedToken, stream
from glassformer.generation.sampling import SamplingConfig
from glassformer.tasks.opening import Opened
from glassformer.tasks.options import Option
from glassformer.tasks.task import Task

SEQUENCES = 16
"""At once, unless the request says otherwise."""

DATA = Option(
    "data",
    str,
    "A text, or a translator's pairs, to evaluate on. The run's own validation split, all of it, unless given; of a "
    "translator, its own test splits.",
)
CHECKPOINT = Option(
    "checkpoint",
    str,
    "best (unless given), latest, a step, or average-N: the mean of the newest N. Repeated: an ensemble.",
    repeatable=True,
)
BATCH_SIZE = Option(
    "batch_size", int, f"Language model: sequences at once; {SEQUENCES} unless given.", least=1, most=10**6
)


class LanguageModelTask(Task):
    """A task whose models continue a text."""

    def generate(
        self,
        opened: Opened[Any, Any],
        prompts: Sequence[str],
        sampling: SamplingConfig,
        *,
        decoding: DecodingConfig | None = None,
        stop: Sequence[str] = (),
        warn: Callable[[str], None] = print,
    ) -> Iterator[GeneratedToken]:
        """The tokens that continue the prompts, as they come (:func:`glassformer.generation.stream`).

        Raises:
            DataError: a prompt is empty.
        """
        encoded = [encode_prompt(opened.tokenizer, prompt, warn) for prompt in prompts]
        return stream(opened.model, encoded, sampling, decoding=decoding, tokenizer=opened.tokenizer, stop=stop)


def encode_prompt(tokenizer: TextTokenizer, prompt: str, warn: Callable[[str], None]) -> list[int]:
    """A prompt's tokens; ``warn`` gets the number of characters that the vocabulary does not have."""
    if not prompt:
        raise DataError("The prompt is empty, and at least one token is needed; give it some text.")
    ids = [int(token) for token in tokenizer.encode(prompt)]
    if unknown := ids.count(-1 if tokenizer.unknown_id is None else tokenizer.unknown_id):
        warn(f"{unknown} of the prompt's {len(ids)} characters are not in the vocabulary, and are read as <unk>.")
    return ids


def heading(opened: Opened[Any, Any], data: str) -> RichText:
    """The first line of an evaluation."""
    return RichText.assemble((opened.run.name, "bold"), f" at step {opened.step:,} on {data}")
