"""Translations by beam search (or by sampling): the likeliest hypotheses of each sentence, in the batch.

At every step each of a sentence's K hypotheses is continued by every token; the 2 K likeliest continuations are its
*candidates*, best first. A candidate that ends, and is among the first K, is a result; the best K that do not end go
on. Results are ranked by log P(Y | X) / penalty(|Y|), where |Y| counts the end token:

=======  ====================  =================================================================
gnmt     ((5 + |Y|) / 6)^α     Wu et al. 2016 (arXiv 1609.08144), eq. 14; the Transformer's paper has α = 0.6
power    |Y|^α                 transformers and CTranslate2; α = 1 is the mean log-probability
=======  ====================  =================================================================

Everything is bookkept in tensors; Python learns once a step which sentences are done, and these leave the batch. A
sentence's result does not depend on the sentences beside it. Shapes: N sentences, K hypotheses, W ≤ K of them before
the first step's end (W = 1 there), C candidates, V tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from glassformer.config import Config
from glassformer.errors import GlassformerError
from glassformer.generation.hypothesis_tree import HypothesisTree
from glassformer.generation.sampling import SamplingConfig, draw, filtered
from glassformer.models.encoder_decoder import EncoderDecoder

NEVER = float("-inf")
CHUNK = 64  # tokens of the vocabulary whose largest logit stands for them in the first round of a top-k
SHARE_THAT_LEAVES = 0.25  # when this share of the batch is done, moving the others together is cheaper than dragging it


class BeamSearchConfig(Config):
    """How a translation is searched for."""

    beam_size: Annotated[int, Field(ge=1)] = 5
    """Hypotheses kept at every step; 1 is greedy: always the likeliest token. When sampling, how many are drawn."""
    n_best: Annotated[int, Field(ge=1)] = 1
    """How many results to return for each sentence, best first."""
    length_penalty: float = 0.6
    """The exponent α; 0 is off, and larger favours longer translations."""
    length_penalty_form: Literal["gnmt", "power"] = "gnmt"
    """Divide log-probabilities by ((5 + length) / 6)^α (gnmt) or by length^α (power)."""
    stopping: Literal["exact", "heuristic"] = "exact"
    """exact: until no hypothesis can reach the n_best any more, however long it grows; heuristic: until none would if
    it ended here and beam_size results are found, which is transformers' early_stopping=False."""
    min_length: Annotated[int, Field(ge=0)] = 0
    """Fewest tokens of a translation, the end not counted."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Most tokens of a translation, the end counted; none means by the length of the source, as follows."""
    max_length_factor: Annotated[float, Field(ge=0)] = 1.0
    """Without max_length: this times the source's tokens (end counted) ..."""
    max_length_offset: Annotated[int, Field(ge=1)] = 50
    """... plus this many (Vaswani et al. 2017, §6.1: input length + 50)."""
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 0
    """No translation has the same run of this many tokens twice; 0 is off."""
    sample: bool = False
    """Draw beam_size translations at random instead of searching."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """When sampling: divides the logits."""
    top_k: Annotated[int, Field(ge=1)] | None = None
    """When sampling: among the k likeliest tokens only."""
    top_p: Annotated[float, Field(gt=0, lt=1)] | None = None
    """When sampling: among the fewest likeliest tokens that together hold this probability."""
    seed: Annotated[int, Field(ge=0)] = 0
    """When sampling: of the draws; a sentence's draws depend on this and on its number."""

    @classmethod
    def subject(cls) -> str:
        return "beam search"

    def complaints(self) -> Iterator[str]:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}

        def changed(*names: str) -> list[str]:
            return [name for name in names if getattr(self, name) != defaults[name]]

        if self.n_best > self.beam_size:
            yield f"n_best is {self.n_best}, and only {self.beam_size} hypotheses are kept; set beam_size to n_best or more."
        if self.max_length is not None and self.min_length >= self.max_length:
            yield (
                f"min_length {self.min_length} and the end token are more than max_length {self.max_length} tokens; "
                "lower one or raise the other."
            )
        if self.max_length is not None:
            for name in changed("max_length_factor", "max_length_offset"):
                yield f"{name} has no effect beside max_length={self.max_length}; set one of the two."
        if not self.sample:
            for name in changed("temperature", "top_k", "top_p", "seed"):
                yield f"{name} is of sampling, and sample is off: it would have no effect; set sample=true."
        elif self.stopping != defaults["stopping"]:
            yield f"stopping={self.stopping} has no effect with sample=true: every translation is drawn to its end."

    def penalty(self, length: Tensor) -> Tensor:
        """What the log-probability of a translation of so many tokens is divided by."""
        base = (5.0 + length) / 6.0 if self.length_penalty_form == "gnmt" else length.float()
        return base**self.length_penalty

    def limits(self, lengths: Tensor, max_seq_len: int) -> Tensor:
        """The most tokens of each translation [N], from the tokens of each source [N]."""
        if self.max_length is not None:
            return torch.full_like(lengths, self.max_length).clamp_max(max_seq_len)
        return ((lengths * self.max_length_factor).long() + self.max_length_offset).clamp_max(max_seq_len)


@dataclass
class Hypothesis:
    """A translation.

    Attributes:
        tokens: without start and end.
        score: the log-probability divided by the length penalty; hypotheses are ranked by it.
        log_probability: of the tokens, and of the end if it was reached; in nats.
        token_log_probabilities: of each token, and of the end if it was reached: they add up to ``log_probability``.
        finished: whether the end was reached before the limit.
        alignment: [len(tokens), source tokens], once computed: see :func:`glassformer.generation.alignment.align`.
    """

    tokens: list[int]
    score: float
    log_probability: float
    token_log_probabilities: list[float]
    finished: bool
    alignment: Tensor | None = None


@torch.inference_mode()
def beam_search(
    models: EncoderDecoder | Sequence[EncoderDecoder],
    source: Tensor,
    source_padding: Tensor | None,
    config: BeamSearchConfig,
    *,
    start_id: int,
    end_id: int,
    forbidden: Sequence[int] = (),
    rows: Sequence[int] | None = None,
) -> list[list[Hypothesis]]:
    """The ``n_best`` translations of each sentence, best first (fewer where fewer exist).

    Args:
        models: in evaluation mode; of several with one vocabulary, the mean of their probabilities is taken.
        source: ids [N, L]; source_padding: bool [N, L], True at pads.
        forbidden: ids that no translation holds, the pad's for one.
        rows: the sentences' numbers, by which their draws differ when sampling; 0, 1, 2, … unless given.

    Raises:
        DataError: a source longer than a model's ``max_seq_len``.
        GlassformerError: the logits are not finite numbers.
    """
    models = [models] if isinstance(models, EncoderDecoder) else list(models)
    assert len({model.config.vocab_size for model in models}) == 1, "an ensemble has one vocabulary"
    numbers = list(range(len(source))) if rows is None else list(rows)
    search = _Search(models, source, source_padding, config, start_id, end_id, forbidden, numbers)
    while search.step():
        pass
    return search.found


class _Level(NamedTuple):
    """One step of the search: continuations of each sentence's hypotheses, best first, and which of them went on."""

    totals: Tensor  # [N, C] log-probability of all tokens
    tokens: Tensor  # [N, C]
    gains: Tensor  # [N, C] log-probability of the token alone
    parents: Tensor  # [N, C] which hypothesis (of those that went on before) it continues
    chosen: Tensor  # [N, W] which candidates are the hypotheses that go on


class _Results(NamedTuple):
    """The best translations so far, best first, [N, K] each: where there are fewer, the score is −∞."""

    scores: Tensor
    lengths: Tensor  # the level of its last token
    candidates: Tensor  # and which candidate of that level


class _Search:
    """The state of a search; :meth:`step` makes every hypothesis one token longer."""

    def __init__(
        self,
        models: Sequence[EncoderDecoder],
        source: Tensor,
        source_padding: Tensor | None,
        config: BeamSearchConfig,
        start_id: int,
        end_id: int,
        forbidden: Sequence[int],
        numbers: Sequence[int],
    ) -> None:
        device, n_sentences, width = source.device, len(source), config.beam_size
        self.config, self.end_id = config, end_id
        self.forbidden = torch.tensor(list(forbidden), dtype=torch.long, device=device)
        self.tree = HypothesisTree(models, source, source_padding, start_id, width)
        lengths = torch.full_like(source[:, 0], source.shape[1]) if source_padding is None else (~source_padding).sum(1)
        self.limits = config.limits(lengths, min(model.config.max_seq_len for model in models))  # [N]
        self.totals = torch.zeros(n_sentences, 1, device=device)  # [N, W], of the hypotheses that go on
        self.levels: list[_Level] = []
        nothing = source.new_zeros(n_sentences, width)
        self.results = _Results(torch.full((n_sentences, width), NEVER, device=device), nothing, nothing)
        self.going = torch.ones(n_sentences, dtype=torch.bool, device=device)
        self.sentences = torch.arange(n_sentences, device=device)  # which of ``found`` each row of the batch is
        self.found: list[list[Hypothesis]] = [[] for _ in range(n_sentences)]
        self.numbers = self._random_numbers(numbers) if config.sample else None

    def step(self) -> bool:
        """One token more. Returns whether any sentence goes on."""
        level = self._choose(self._drawn() if self.config.sample else self._likeliest())
        self.levels.append(level)
        self.going &= ~self._done()
        n_going = int(self.going.sum())  # the one place where Python waits for the tensors
        if n_going <= (1 - SHARE_THAT_LEAVES) * len(self.going):
            self._leave()
        if n_going:
            level = self.levels[-1]
            self.tree.grow(level.parents.gather(1, level.chosen), level.tokens.gather(1, level.chosen))
        return n_going > 0

    def _likeliest(self) -> _Level:
        """The candidates: of all tokens after all hypotheses, those with the highest log-probability."""
        logits, normaliser = self._logits()
        width = self.config.beam_size
        offsets = self.totals - normaliser
        totals, parents, tokens = top_continuations(logits, offsets, 1 if width == 1 else 2 * width)
        gains = totals - self.totals.gather(1, parents)
        return _Level(totals, tokens, gains, parents, parents)

    def _drawn(self) -> _Level:
        """One continuation of each hypothesis at random; at first, of the one that there is, as many as are wanted."""
        assert self.numbers is not None
        logits, normaliser = self._logits()
        n_sentences, width = len(logits), self.config.beam_size
        config = self.config
        sampling = SamplingConfig(temperature=config.temperature, top_k=config.top_k, top_p=config.top_p)
        weights = filtered(logits.flatten(0, 1), sampling).view_as(logits).expand(-1, width, -1)
        uniform = self.numbers[:, len(self.levels)]  # [N, K]
        tokens = draw(weights.flatten(0, 1), uniform.flatten()).view(n_sentences, width)
        parents = torch.arange(width, device=tokens.device).clamp_max(logits.shape[1] - 1).expand(n_sentences, -1)
        gains = logits.expand(-1, width, -1).gather(-1, tokens[..., None])[..., 0] - normaliser
        return _Level(self.totals + gains, tokens, gains, parents, parents)

    def _logits(self) -> tuple[Tensor, Tensor]:
        """After every hypothesis: logits [N, W, V], −∞ for what must not follow, and log Σ exp of all of them [N, W].

        Raises:
            GlassformerError: they are not finite numbers.
        """
        logits = self.tree.logits()
        normaliser = logits.logsumexp(-1)
        if not bool(normaliser.isfinite().all()):
            raise GlassformerError(
                "The model's logits are not finite numbers, so no token can be chosen; its weights have diverged or "
                "are damaged. Use an earlier checkpoint."
            )
        logits.index_fill_(-1, self.forbidden, NEVER)
        if len(self.levels) < self.config.min_length:
            logits[..., self.end_id] = NEVER
        if self.config.no_repeat_ngram:
            self._forbid_repeated_ngrams(logits, self.config.no_repeat_ngram)
        return logits, normaliser

    def _forbid_repeated_ngrams(self, logits: Tensor, n: int) -> None:
        """Set to −∞ what would make the last n tokens the same as some n tokens before."""
        paths = self.tree.paths()  # [N, W, T]
        if paths.shape[-1] < n:
            return
        ngrams = paths.unfold(-1, n, 1)  # [N, W, T − n + 1, n]
        beginning = paths[..., paths.shape[-1] - n + 1 :]  # [N, W, n − 1]
        repeats = (ngrams[..., :-1] == beginning[:, :, None]).all(-1)  # [N, W, T − n + 1]
        sentence, hypothesis, place = repeats.nonzero(as_tuple=True)
        logits[sentence, hypothesis, ngrams[sentence, hypothesis, place, -1]] = NEVER

    def _choose(self, level: _Level) -> _Level:
        """Take the results from the candidates, and the hypotheses that go on."""
        length, width = len(self.levels) + 1, self.config.beam_size
        stops = (level.tokens == self.end_id) | (self.limits <= length)[:, None]
        running = level.totals.masked_fill(stops, NEVER)
        if self.config.sample:
            self.totals, chosen = running, torch.arange(width, device=stops.device).expand_as(stops)
        else:
            self.totals, chosen = running.topk(min(width, running.shape[1]))
        stops[:, width:] = False  # behind the first K, a continuation that ends is no result
        stops &= self.going[:, None]
        if bool(stops.any()):
            scores = level.totals.masked_fill(~stops, NEVER) / self.config.penalty(self._length(length))
            candidates = torch.arange(stops.shape[1], device=stops.device).expand_as(stops)
            lengths = torch.full_like(candidates, length)
            scores, order = torch.cat((self.results.scores, scores), 1).topk(width)
            self.results = _Results(
                scores,
                torch.cat((self.results.lengths, lengths), 1).gather(1, order),
                torch.cat((self.results.candidates, candidates), 1).gather(1, order),
            )
        return level._replace(chosen=chosen)

    def _done(self) -> Tensor:
        """Which sentences have their results: bool [N]."""
        best = self.totals.amax(1)  # −∞ where nothing goes on
        if self.config.sample:
            return best == NEVER
        length = len(self.levels)
        if self.config.stopping == "heuristic":
            return best / self.config.penalty(self._length(length)) <= self.results.scores[:, -1]
        # A log-probability only falls, so its score is highest where what it is divided by is largest.
        furthest = self.limits if self.config.length_penalty > 0 else self._length(length + 1)
        return best / self.config.penalty(furthest) <= self.results.scores[:, self.config.n_best - 1]

    def _leave(self) -> None:
        """Write down the results of the sentences that are done, and go on with the others."""
        done, staying = (~self.going).nonzero()[:, 0], self.going.nonzero()[:, 0]
        for sentence, results in zip(self.sentences[done].tolist(), self._read(done), strict=True):
            self.found[sentence] = results
        self.sentences, self.limits = self.sentences[staying], self.limits[staying]
        self.totals, self.going = self.totals[staying], self.going[staying]
        self.levels = [_Level(*(tensor[staying] for tensor in level)) for level in self.levels]
        self.results = _Results(*(tensor[staying] for tensor in self.results))
        if self.numbers is not None:
            self.numbers = self.numbers[staying]
        if len(staying):
            self.tree.keep(staying)

    def _read(self, rows: Tensor) -> list[list[Hypothesis]]:
        """The results of some of the batch's rows, each read from its last token back to its first."""
        levels = [_Level(*(tensor[rows].tolist() for tensor in level)) for level in self.levels]
        scores, lengths, candidates = (tensor[rows, : self.config.n_best].tolist() for tensor in self.results)
        return [
            [
                self._hypothesis(levels[:length], row, candidate, score)
                for score, length, candidate in zip(scores[row], lengths[row], candidates[row], strict=True)
                if score != NEVER
            ]
            for row in range(len(rows))
        ]

    def _hypothesis(self, levels: list[_Level], row: int, candidate: int, score: float) -> Hypothesis:
        tokens, gains = [], []
        for level, before in zip(levels[::-1], [*levels[-2::-1], None], strict=True):
            tokens.append(int(level.tokens[row][candidate]))
            gains.append(float(level.gains[row][candidate]))
            if before is not None:
                candidate = int(before.chosen[row][level.parents[row][candidate]])
        finished = tokens[0] == self.end_id
        return Hypothesis(tokens[: 0 if finished else None : -1], score, math.fsum(gains), gains[::-1], finished)

    def _random_numbers(self, numbers: Sequence[int]) -> Tensor:
        """Each sentence's own, in [0, 1): [N, longest limit, K]."""
        shape = (int(self.limits.max()), self.config.beam_size)
        each = [np.random.default_rng((self.config.seed, number)).random(shape) for number in numbers]
        return torch.from_numpy(np.stack(each)).to(self.limits.device)

    def _length(self, length: int) -> Tensor:
        return torch.tensor(length, device=self.limits.device)


def top_continuations(logits: Tensor, offsets: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest of logits [N, W, V] + offsets [N, W, 1] for each sentence, largest first: values, rows, columns.

    In two rounds: each chunk of the vocabulary stands for its largest logit, and only the k best chunks are looked
    into. Fewer than k come back where W · V is less. [N, k] each.
    """
    n_sentences, width, vocab_size = logits.shape
    n_chunks = vocab_size // CHUNK
    if width * n_chunks < 4 * k:  # one round then
        values, index = (logits + offsets[..., None]).flatten(1).topk(min(k, width * vocab_size))
        return values, index // vocab_size, index % vocab_size
    whole = n_chunks * CHUNK
    chunks = logits[..., :whole].unflatten(-1, (n_chunks, CHUNK))  # [N, W, n_chunks, CHUNK]
    chunk = (chunks.amax(-1) + offsets[..., None]).flatten(1).topk(k).indices  # [N, k], of W · n_chunks
    sentence = torch.arange(n_sentences, device=logits.device)[:, None]
    row, first = chunk // n_chunks, chunk % n_chunks * CHUNK
    members = chunks[sentence, row, chunk % n_chunks] + offsets.gather(1, row)[..., None]  # [N, k, CHUNK]
    rest = logits[..., whole:] + offsets[..., None]  # [N, W, fewer than CHUNK], which are looked at in any case
    values, index = torch.cat((members.flatten(1), rest.flatten(1)), dim=1).topk(k)
    in_chunk = index < k * CHUNK
    which = (index // CHUNK).clamp_max(k - 1)
    beyond = index - k * CHUNK
    n_rest = max(1, vocab_size - whole)
    rows = torch.where(in_chunk, row.gather(1, which), beyond // n_rest)
    columns = torch.where(in_chunk, first.gather(1, which) + index % CHUNK, whole + beyond % n_rest)
    return values, rows, columns
