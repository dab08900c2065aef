"""Translations by beam search (or by sampling): the most probable hypotheses of each sentence, in the batch.

At every step each of a sentence's K hypotheses is continued by every token; the 2 K most probable continuations are its
*candidates*, best first. A candidate that ends, and is among the first K, is a result; the best K that do not end are
kept. Results are ranked by log P(Y | X) / penalty(|Y|), where |Y| counts the end token (:mod:`beam_search_config
<glassformer.generation.beam_search_config>` has the penalties).

All state is in tensors; Python learns once a step which sentences are done, and these leave the batch. A
sentence's result does not depend on the other sentences. Shapes: N sentences, K hypotheses, W ≤ K of them before
the first step's end (W = 1 there), C candidates, V tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.generation.continuations import NEVER, Continuations
from glassformer.generation.hypothesis_tree import HypothesisTree
from glassformer.generation.sampling import SamplingConfig, draw, filtered
from glassformer.models.encoder_decoder import EncoderDecoder

ROWS_AT_ONCE = 64  # hypotheses whose logits are read together: few enough to stay in the processor's cache
SHARE_THAT_LEAVES = 0.25  # when this share of the batch is done, compacting is cheaper than carrying it along


@dataclass
class Hypothesis:
    """A translation.

    Attributes:
        tokens: without start and end.
        score: the log-probability divided by the length penalty; hypotheses are ranked by it.
        log_probability: of the tokens, and of the end if it was reached; in nats.
        token_log_probabilities: of each token, and of the end if it was reached: they sum to ``log_probability``.
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
        GlassformerError: the logits are not finite.
    """
    models = [models] if isinstance(models, nn.Module) else list(models)
    if not len(source):
        return []
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
    chosen: Tensor  # [N, W] which candidates are kept as hypotheses


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
        self.forbidden = torch.tensor(sorted({*forbidden} - {end_id}), dtype=torch.long, device=device)
        self.tree = HypothesisTree(models, source, source_padding, start_id, width)
        lengths = torch.full_like(source[:, 0], source.shape[1]) if source_padding is None else (~source_padding).sum(1)
        self.limits = config.limits(lengths, min(model.config.max_seq_len for model in models))  # [N]
        self.totals = torch.zeros(n_sentences, 1, device=device)  # [N, W], of the hypotheses kept
        self.levels: list[_Level] = []
        nothing = source.new_zeros(n_sentences, width)
        self.results = _Results(torch.full((n_sentences, width), NEVER, device=device), nothing, nothing)
        self.going = torch.ones(n_sentences, dtype=torch.bool, device=device)
        self.sentences = torch.arange(n_sentences, device=device)  # which of ``found`` each row of the batch is
        self.found: list[list[Hypothesis]] = [[] for _ in range(n_sentences)]
        self.numbers = self._random_numbers(numbers) if config.sample else None

    def step(self) -> bool:
        """One token more. Returns whether any sentence goes on."""
        level = self._choose(self._candidates())
        self.levels.append(level)
        self.going &= ~self._done()
        n_going = int(self.going.sum())  # the one place where Python waits for the tensors
        if n_going <= (1 - SHARE_THAT_LEAVES) * len(self.going):
            self._leave()
        if n_going:
            level = self.levels[-1]
            self.tree.grow(level.parents.gather(1, level.chosen), level.tokens.gather(1, level.chosen))
        return n_going > 0

    def _candidates(self) -> _Level:
        """Continuations of every hypothesis, from some sentences' logits at a time: few enough to stay in the cache."""
        hidden = self.tree.read()
        paths = self.tree.paths() if self.config.no_repeat_ngram else None
        n_sentences, width = self.totals.shape
        at_once = max(1, ROWS_AT_ONCE // width)
        parts = []
        for first in range(0, n_sentences, at_once):
            some = slice(first, first + at_once)
            following = Continuations(self.tree.logits([x[some] for x in hidden]), self._forbidden())
            if paths is not None:
                following.forbid_repeats(paths[some], self.config.no_repeat_ngram)
            parts.append(self._drawn(following, some) if self.config.sample else self._best(following, some))
        return _Level(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _forbidden(self) -> Tensor:
        """The ids that may not continue any hypothesis now."""
        if len(self.levels) >= self.config.min_length:
            return self.forbidden
        return torch.cat((self.forbidden, self.forbidden.new_tensor([self.end_id])))

    def _best(self, following: Continuations, some: slice) -> _Level:
        """The candidates of some sentences: twice as many as can end, since each hypothesis can end in one way."""
        width, before = self.config.beam_size, self.totals[some]
        totals, parents, tokens = following.best(before, 1 if width == 1 else 2 * width)
        return _Level(totals, tokens, totals - before.gather(1, parents), parents, parents)

    def _drawn(self, following: Continuations, some: slice) -> _Level:
        """One continuation of each hypothesis at random; at first, of the one that there is, as many as are wanted."""
        assert self.numbers is not None
        config, logits = self.config, following.logits
        sampling = SamplingConfig(temperature=config.temperature, top_k=config.top_k, top_p=config.top_p)
        n_sentences, n_before, _ = logits.shape
        weights = filtered(logits.flatten(0, 1), sampling).view_as(logits).expand(-1, config.beam_size, -1)
        numbers = self.numbers[some, len(self.levels)]  # [n, K]
        tokens = draw(weights.flatten(0, 1), numbers.flatten()).view(n_sentences, -1)
        parents = torch.arange(config.beam_size, device=tokens.device).clamp_max(n_before - 1).expand(n_sentences, -1)
        gains = logits.expand(-1, config.beam_size, -1).gather(-1, tokens[..., None])[..., 0] - following.normaliser
        return _Level(self.totals[some] + gains, tokens, gains, parents, parents)

    def _choose(self, level: _Level) -> _Level:
        """Take from the candidates the results and the hypotheses to keep."""
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
        """Record the results of the sentences that are done, and drop these from the batch."""
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
        levels = [
            [each[rows].tolist() for each in (level.tokens, level.gains, level.parents, level.chosen)]
            for level in self.levels
        ]
        scores, lengths, candidates = (tensor[rows, : self.config.n_best].tolist() for tensor in self.results)
        return [
            [
                self._hypothesis(levels[:length], row, candidate, score)
                for score, length, candidate in zip(scores[row], lengths[row], candidates[row], strict=True)
                if score != NEVER
            ]
            for row in range(len(rows))
        ]

    def _hypothesis(self, levels: list[list[Any]], row: int, candidate: int, score: float) -> Hypothesis:
        reversed_tokens, gains = [], []
        for depth in reversed(range(len(levels))):
            level_tokens, level_gains, parents, _ = levels[depth]
            reversed_tokens.append(level_tokens[row][candidate])
            gains.append(level_gains[row][candidate])
            if depth:
                chosen = levels[depth - 1][-1]
                candidate = chosen[row][parents[row][candidate]]
        tokens, finished = reversed_tokens[::-1], reversed_tokens[0] == self.end_id
        return Hypothesis(tokens[:-1] if finished else tokens, score, math.fsum(gains), gains[::-1], finished)

    def _random_numbers(self, numbers: Sequence[int]) -> Tensor:
        """Each sentence's own, in [0, 1): [N, longest limit, K]."""
        shape = (int(self.limits.max()), self.config.beam_size)
        each = [np.random.default_rng((self.config.seed, number)).random(shape) for number in numbers]
        return torch.from_numpy(np.stack(each)).to(self.limits.device)

    def _length(self, length: int) -> Tensor:
        return torch.tensor(length, device=self.limits.device)
