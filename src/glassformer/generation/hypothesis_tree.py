"""All hypotheses of a sentence as one tree, in one cache.

A beam search forgets and copies hypotheses at every step. Here nothing of the size of a key or a value ever moves. The
W hypotheses of a sentence are W query tokens of *one* sequence; each new token becomes a node with a slot of its own in
the sentence's cache, and a table says which nodes lie on a hypothesis's path. When hypotheses are reordered, it is rows
of that table that are:

    <s> ─┬─ the ─┬─ cat            slot   0    1    2    3    4
         │       └─ dog                  <s>  the   a   cat  dog
         └─ a                      cat    ■    ■    ·    ■    ·
                                   dog    ■    ■    ·    ·    ■

Nodes of one level share a position, their depth. The encoder's output exists once a sentence, and all its hypotheses
attend to the same keys and values. Shapes: N sentences, W nodes on the newest level, S nodes so far, V tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer.models.encoder_decoder import EncoderDecoder
from glassformer.parts.cache import KVCache, LayerCache
from glassformer.parts.cross_attention import Memory

FIRST_LEVELS = 16  # the cache begins with room for these, and doubles when it is full


@dataclass
class _NodeCache(LayerCache):
    """One layer's keys and values of the nodes. A level's slots are neighbours, so it is written in one piece."""

    def write(self, key: Tensor, value: Tensor, slots: Tensor, visible: int) -> tuple[Tensor, Tensor]:
        first = visible - len(slots)  # the newest level is the end of what is visible
        self.keys[:, :, first:visible] = key
        self.values[:, :, first:visible] = value
        return self.keys[:, :, :visible], self.values[:, :, :visible]

    def moved(self, rows: Tensor | None, n_nodes: int, capacity: int) -> _NodeCache:
        """The first nodes of some sentences (None: of all) in a cache of another size."""
        return _NodeCache(*(_moved(tensor, rows, n_nodes, capacity) for tensor in (self.keys, self.values)))


@dataclass
class _Reader:
    """One model, the encoder's output, and the keys and values of the nodes."""

    model: EncoderDecoder
    memory: Memory
    cache: KVCache


class HypothesisTree:
    """The trees of N sentences, which grow level by level.

    Args:
        models: one, or several of one vocabulary, whose probabilities are averaged.
        source: ids [N, L]; source_padding: bool [N, L], True at pads.
        start_id: the token at every root.
        width: the most nodes a level will have.

    Raises:
        DataError: more source tokens than a model's ``max_seq_len``.
    """

    def __init__(
        self, models: Sequence[EncoderDecoder], source: Tensor, source_padding: Tensor | None, start_id: int, width: int
    ) -> None:
        self.width = width
        self._readers = []
        for model in models:
            cache = model.decoder.make_cache(len(source), 1)
            cache.layers = [_NodeCache(layer.keys, layer.values) for layer in cache.layers]
            self._readers.append(_Reader(model, model.project_memory(model.encode(source, source_padding)), cache))
        self._newest = source.new_full((len(source), 1), start_id)  # [N, W]
        self._on_path = torch.ones(len(source), 1, 1, dtype=torch.bool, device=source.device)  # [N, W, S]
        self._positions = source.new_zeros(1)  # [S], of every node
        self._tokens = self._newest  # [N, S], of every node

    def read(self) -> list[Tensor]:
        """What each model makes of the newest nodes, [N, W, d_model] before the head; :meth:`logits` goes on."""
        n_nodes = len(self._positions)
        slots = torch.arange(n_nodes - self._newest.shape[1], n_nodes, device=self._newest.device)
        hidden = []
        for reader in self._readers:
            if n_nodes > reader.cache.capacity:
                self._move(reader, None, max(1 + FIRST_LEVELS * self.width, 2 * reader.cache.capacity))
            stack = reader.model.decoder
            context = stack.masked_context(self._positions[slots], self._positions, self._on_path, slots)
            hidden.append(stack.run_blocks(self._newest, context, reader.cache, reader.memory))
            reader.cache.length = n_nodes
        return hidden

    def logits(self, hidden: Sequence[Tensor]) -> Tensor:
        """What :meth:`read` gave, of all sentences or some → logits [n, W, V] of what may follow each node."""
        each = [reader.model.unembed(x).float() for reader, x in zip(self._readers, hidden, strict=True)]
        if len(each) == 1:
            return each[0]
        return torch.stack([torch.log_softmax(logits, -1) for logits in each]).logsumexp(0)  # of the sum, not the mean

    def grow(self, parents: Tensor, tokens: Tensor) -> None:
        """A new level: ``tokens`` [N, W'] under the newest nodes ``parents`` [N, W'] (indices below W)."""
        n_sentences, width = tokens.shape
        inherited = self._on_path.gather(1, parents[..., None].expand(-1, -1, len(self._positions)))
        own = torch.eye(width, dtype=torch.bool, device=tokens.device).expand(n_sentences, -1, -1)
        self._on_path = torch.cat((inherited, own), dim=-1)
        depth = self._positions[-1:] + 1
        self._positions = torch.cat((self._positions, depth.expand(width)))
        self._tokens = torch.cat((self._tokens, tokens), dim=1)
        self._newest = tokens

    def paths(self) -> Tensor:
        """The tokens of each hypothesis after the start, [N, W, depth]."""
        n_sentences, width, n_nodes = self._on_path.shape
        tokens = self._tokens[:, None].expand(-1, width, n_nodes)[self._on_path]  # one node a level, in order
        return tokens.view(n_sentences, width, -1)[..., 1:]

    def keep(self, rows: Tensor) -> None:
        """Continue with these sentences only, [n] indices among the present ones."""
        for reader in self._readers:
            reader.memory = reader.memory.select(rows)
            self._move(reader, rows, reader.cache.capacity)
        self._newest, self._on_path, self._tokens = self._newest[rows], self._on_path[rows], self._tokens[rows]

    def _move(self, reader: _Reader, rows: Tensor | None, capacity: int) -> None:
        """Into a cache of another size, for all sentences or some."""
        cache = reader.cache
        for index, layer in enumerate(cache.layers):
            assert isinstance(layer, _NodeCache)
            cache.layers[index] = layer.moved(rows, cache.length, capacity)
        cache.capacity = capacity


def _moved(old: Tensor, rows: Tensor | None, n_nodes: int, capacity: int) -> Tensor:
    kept = old[:, :, :n_nodes] if rows is None else old[rows, :, :n_nodes]
    new = kept.new_empty(*kept.shape[:2], capacity, kept.shape[-1])
    new[:, :, :n_nodes] = kept
    return new
