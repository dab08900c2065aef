"""The batches a language model is trained and validated on.

Shapes: B samples (windows of consecutive tokens), T = ``seq_len`` tokens each; a sample's target is its input moved
on by one token.

Training windows begin at uniformly random places. They are drawn anew for each step by a counter-based generator
(Philox 4x64-10, Salmon et al. 2011) whose key is the seed and whose counter is the step: no state to save, so a
resumed run continues exactly, and the machines of a distributed run agree without communication.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from glassformer.data.batches import IGNORE
from glassformer.data.config import DataConfig
from glassformer.data.downloads import sha256_of
from glassformer.data.preparation import SPLITS, prepare_folder
from glassformer.data.prepared_folders import DamagedError, check_files, open_manifest
from glassformer.data.spool import Progress
from glassformer.data.token_files import TokenFile, token_dtype
from glassformer.data.tokenizers import Tokenizer, load_tokenizer
from glassformer.errors import DataError
from glassformer.places import cache_folder

Split = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Some windows of a text."""

    inputs: torch.Tensor
    """int64 [B, T]"""

    targets: torch.Tensor
    """int64 [B, T]: the token after each of ``inputs``; of masked text, the tokens to fill in, IGNORE elsewhere."""

    offsets: npt.NDArray[np.int64]
    """int64 [B]: where in the split each sample begins, for messages."""

    @property
    def arguments(self) -> tuple[torch.Tensor]:
        """What the model is called with."""
        return (self.inputs,)

    @property
    def n_tokens(self) -> int:
        """Number of predicted tokens: B · T, less what is ignored."""
        return int((self.targets != IGNORE).sum())

    def rows(self, start: int, stop: int) -> Self:
        """The windows from ``start`` up to ``stop``."""
        return type(self)(self.inputs[start:stop], self.targets[start:stop], self.offsets[start:stop])

    def describe(self) -> str:
        """Where the windows are from."""
        shown = ", ".join(str(offset) for offset in self.offsets[:8]) + (", …" if len(self.offsets) > 8 else "")
        return f"The samples begin at tokens {shown} of the training text."


class LanguageModelingData:
    """A prepared text: tokenizer, training and validation tokens, and batches of them."""

    def __init__(self, folder: Path, *, warnings: Sequence[str] = ()) -> None:
        """Open a prepared folder (see :mod:`glassformer.data.preparation`); :class:`DataError` if it is damaged.

        ``warnings``: what happened when it was prepared now, for :attr:`notes`.
        """
        self.folder = folder
        self.warnings = list(warnings)
        """What happened now: that the folder was damaged and made again."""
        self.manifest: dict[str, Any] = open_manifest(folder, "language-modeling")
        """Exact counts of characters, bytes and tokens of each split, and the SHA-256 of each file."""
        self.tokenizer: Tokenizer = load_tokenizer(folder)
        dtype = token_dtype(self.tokenizer.vocab_size)
        try:
            splits = {name: self.manifest["splits"][name] for name in SPLITS}
            self._splits = {name: TokenFile.open(folder / split["file"], dtype) for name, split in splits.items()}
            for name, tokens in self._splits.items():
                if len(tokens) != splits[name]["tokens"] or self.tokenizer.vocab_size != self.manifest["vocab_size"]:
                    raise DamagedError(folder, f"the {name} tokens are not as many as the manifest says")
            self.config = DataConfig.build(self.manifest["config"])
            """The configuration with which the data were prepared."""
            self._fingerprint = str(self.manifest["fingerprint"])
        except (KeyError, TypeError, AttributeError) as error:
            raise DamagedError(folder, f"the manifest lacks what it should say ({error!r})") from error

    @property
    def train(self) -> TokenFile:
        """The training tokens."""
        return self._splits["train"]

    @property
    def validation(self) -> TokenFile:
        """The validation tokens."""
        return self._splits["validation"]

    @property
    def vocab_size(self) -> int:
        """Number of tokens the tokenizer has."""
        return self.tokenizer.vocab_size

    @property
    def notes(self) -> list[str]:
        """What the user should know: files that were skipped, characters read as <unk>."""
        return [*self.warnings, *self.manifest["notes"]]

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each split's tokens."""
        return {name: str(self.manifest["splits"][name]["sha256"]) for name in SPLITS}

    @property
    def fingerprint(self) -> str:
        """The identity of these data: the same text, settings and split give the same, wherever the text lies."""
        return self._fingerprint

    def bytes_per_token(self, split: Split) -> float:
        """UTF-8 bytes of text per token: bits per byte = nats per token / (ln 2 · bytes per token)."""
        counts = self.manifest["splits"][split]
        return float(counts["bytes"] / counts["tokens"])

    def batch(
        self, step: int, *, seed: int, batch_size: int, seq_len: int, rank: int = 0, world_size: int = 1
    ) -> TokenBatch:
        """The training batch of a step: a pure function of its arguments.

        ``batch_size`` windows are drawn for all ranks together; a rank gets its share, consecutive rows of them
        (B = batch_size / world_size). Raises :class:`DataError` if the text is shorter than a window.
        """
        assert step >= 0, "steps count from 0"
        assert 0 <= rank < world_size, "ranks are 0 … world_size - 1"
        assert batch_size % world_size == 0, "every rank gets the same number of samples"
        places = len(self.train) - seq_len
        if places < 1:
            raise _too_short("training", len(self.train), seq_len)
        starts = random_starts(step, seed=seed, count=batch_size, places=places)
        share = batch_size // world_size
        return _windows(self.train, starts[rank * share : (rank + 1) * share], seq_len)

    def validation_batches(
        self, *, batch_size: int, seq_len: int, max_tokens: int | None = None
    ) -> Iterator[TokenBatch]:
        """The validation split as :func:`fixed_batches` gives it; the same at every call."""
        return fixed_batches(
            self.validation, batch_size=batch_size, seq_len=seq_len, max_tokens=max_tokens, name="validation"
        )

    def check_long_enough(self, seq_len: int) -> None:
        """Raise :class:`DataError` unless both splits hold a window of ``seq_len`` tokens and the one after them."""
        for name, tokens in (("training", self.train), ("validation", self.validation)):
            if len(tokens) <= seq_len:
                raise _too_short(name, len(tokens), seq_len)

    def verify(self) -> None:
        """Read every byte and compare with the manifest's SHA-256. Raises :class:`DataError` if they differ.

        Opening the folder has done so already, but for large files that had not changed since they were read last.
        """
        check_files(self.folder, self.manifest, sha256_of=sha256_of)


def prepare(
    config: DataConfig,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    tokenizer: Tokenizer | None = None,
) -> LanguageModelingData:
    """The data of a configuration, prepared now or found prepared.

    ``cache``: the folder that holds a folder for each prepared data set (default: ``prepared`` in
    :func:`glassformer.places.cache_folder`). ``progress(stage, bytes done, bytes in all or None)`` is called now and
    then. ``tokenizer``: one to use instead of what the configuration would make. Raises :class:`DataError` or
    :class:`DependencyError` with what to do.
    """
    notes: list[str] = []
    cache = cache or cache_folder() / "prepared"
    data = LanguageModelingData(
        prepare_folder(config, cache, progress, tokenizer=tokenizer, notes=notes), warnings=notes
    )
    data.config = config  # the same but for the path, where the same text lies elsewhere too
    return data


def fixed_batches(
    tokens: TokenFile, *, batch_size: int, seq_len: int, max_tokens: int | None = None, name: str = "given"
) -> Iterator[TokenBatch]:
    """Windows that stand side by side, in order, never from a random generator.

    Without ``max_tokens`` every token but the first is predicted exactly once; the rest that fills no window comes
    last, as a batch [1, fewer than T]. With it, ``max_tokens // T`` windows (at least one), evenly spaced over the
    text. The last batch may have fewer rows. Raises :class:`DataError` if the text is shorter than a window.
    """
    predicted = len(tokens) - 1
    whole, rest = divmod(predicted, seq_len)
    if whole < 1:
        raise _too_short(name, len(tokens), seq_len)
    if max_tokens is None or max_tokens >= predicted:
        starts = np.arange(whole) * seq_len
    else:
        wanted = min(whole, max(1, max_tokens // seq_len))
        starts = np.arange(wanted) * whole // wanted * seq_len
        rest = 0

    def batches() -> Iterator[TokenBatch]:
        for first in range(0, len(starts), batch_size):
            yield _windows(tokens, starts[first : first + batch_size], seq_len)
        if rest:
            yield _windows(tokens, np.array([whole * seq_len]), rest)

    return batches()


def random_starts(step: int, *, seed: int, count: int, places: int) -> npt.NDArray[np.int64]:
    """``count`` uniform draws from ``range(places)``, int64 [count]: a pure function of seed and step.

    Only the generator's raw 64-bit output is used, which NumPy promises never to change; its upper 53 bits are
    scaled to the range. (The bias is below places / 2⁵³.)
    """
    assert 0 <= seed < 1 << 128, "a seed is a number of at most 128 bits, not negative"
    key = np.array([seed & 0xFFFF_FFFF_FFFF_FFFF, seed >> 64], dtype=np.uint64)  # a list may be read as floats
    raw = np.random.Philox(key=key, counter=[0, step, 0, 0]).random_raw(count)
    return ((raw >> np.uint64(11)) * 2.0**-53 * places).astype(np.int64)


def _windows(tokens: TokenFile, starts: npt.NDArray[np.int64], seq_len: int) -> TokenBatch:
    rows = torch.from_numpy(tokens.windows(starts, seq_len + 1))
    return TokenBatch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), starts)


def _too_short(name: str, tokens: int, seq_len: int) -> DataError:
    advice = "Use more text, a shorter seq_len"
    if name == "validation":
        advice += ", or a larger data.validation_fraction"
    if name == "training":
        advice += ", or a smaller data.validation_fraction"
    return DataError(
        f"The {name} text has {tokens:,} tokens, and one window of seq_len {seq_len:,} needs {seq_len + 1:,}. {advice}."
    )
