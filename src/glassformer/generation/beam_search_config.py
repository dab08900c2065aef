"""How a translation is searched for, and what a hypothesis's log-probability is divided by before it is ranked.

=======  ====================  =================================================================
gnmt     ((5 + |Y|) / 6)^α     Wu et al. 2016 (arXiv 1609.08144), eq. 14; the Transformer's paper has α = 0.6
power    |Y|^α                 transformers and CTranslate2; α = 1 is the mean log-probability
=======  ====================  =================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from glassformer.config import Config, Count, Natural, Seed


class BeamSearchConfig(Config):
    """How a translation is searched for."""

    beam_size: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Hypotheses kept at every step; 1 is greedy: always the most probable token. When sampling, how many are drawn."""
    n_best: Count = 1
    """How many results to return for each sentence, best first."""
    length_penalty: Annotated[float, Field(ge=-5, le=5)] = 0.6
    """The exponent α; 0 is off, and larger favours longer translations."""
    length_penalty_form: Literal["gnmt", "power"] = "gnmt"
    """Divide log-probabilities by ((5 + length) / 6)^α (gnmt) or by length^α (power)."""
    stopping: Literal["exact", "heuristic"] = "exact"
    """exact: until no hypothesis can reach the n_best any more, however long it grows; heuristic: until none would if
    it ended here and beam_size results are found, which is transformers' early_stopping=False."""
    min_length: Natural = 0
    """Fewest tokens of a translation, the end not counted; the model's own limit still ends it."""
    max_length: Count | None = None
    """Most tokens of a translation, the end counted; none means by the length of the source, as follows."""
    max_length_factor: Annotated[float, Field(ge=0)] = 1.0
    """Without max_length: this times the source's tokens (end counted) ..."""
    max_length_offset: Count = 50
    """... plus this many (Vaswani et al. 2017, §6.1: input length + 50)."""
    no_repeat_ngram: Natural = 0
    """No translation has the same run of this many tokens twice; 0 is off."""
    sample: bool = False
    """Draw beam_size translations at random instead of searching."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """When sampling: divides the logits."""
    top_k: Count | None = None
    """When sampling: among the k most probable tokens only."""
    top_p: Annotated[float, Field(gt=0, lt=1)] | None = None
    """When sampling: nucleus sampling, among the fewest tokens whose probabilities sum to at least this."""
    seed: Seed = 0
    """When sampling: of the draws; a sentence's draws depend on this and on its number."""

    @classmethod
    def subject(cls) -> str:
        return "beam search"

    def complaints(self) -> Iterator[str]:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}

        def changed(*names: str) -> list[str]:
            return [name for name in names if getattr(self, name) != defaults[name]]

        if self.n_best > self.beam_size:
            yield (
                f"n_best is {self.n_best}, and only beam_size = {self.beam_size} hypotheses are kept; "
                "lower the one or raise the other."
            )
        if self.max_length is not None and self.min_length >= self.max_length:
            yield (
                f"min_length {self.min_length} and the end token are more than max_length {self.max_length} tokens; "
                "lower one or raise the other."
            )
        if self.max_length is not None:
            for name in changed("max_length_factor", "max_length_offset"):
                yield f"{name} has no effect with max_length={self.max_length}; set one of the two."
        if not self.sample:
            for name in changed("temperature", "top_k", "top_p", "seed"):
                yield f"{name} has no effect: it is for sampling, which is off; set sample=true, or leave {name} out."
        elif self.stopping != defaults["stopping"]:
            yield f"stopping={self.stopping} has no effect with sample=true: every translation is drawn to its end."

    def penalty(self, length: Tensor) -> Tensor:
        """What the log-probability of a translation of so many tokens is divided by."""
        base = (5.0 + length) / 6.0 if self.length_penalty_form == "gnmt" else length.float()
        return base**self.length_penalty

    def limits(self, lengths: Tensor, max_seq_len: int) -> Tensor:
        """The most tokens of each translation [N], from the tokens of each source [N]."""
        if self.max_length is not None:
            return torch.full_like(lengths, min(self.max_length, max_seq_len))
        by_factor = (lengths * self.max_length_factor).clamp_max(max_seq_len).long()
        most = by_factor + min(self.max_length_offset, max_seq_len)
        return most.clamp(min(self.min_length + 1, max_seq_len), max_seq_len)
