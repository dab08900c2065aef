"""What the data of a task are: its kind, how long and of how many symbols its problems are, and its seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from glassformer.config import Seed
from glassformer.data.kind import DataKind, RunSettings
from glassformer.data.synthetic_tasks import TASKS, Task

Length = Annotated[int, Field(ge=1, le=100_000)]


class SyntheticConfig(DataKind):
    """Problems whose right answers are known, made here, as many as are asked for."""

    families: ClassVar[tuple[str, ...]] = ("decoder",)
    learned: ClassVar[str] = "the problems of a task"

    task: Literal["synthetic"] = "synthetic"
    """What the data are for: to learn a task. It distinguishes these settings from those of other kinds."""

    kind: Literal["copy", "reverse", "sort", "addition", "selective-copy", "associative-recall", "induction"] = "copy"
    """The task: give symbols back as they are, reversed or sorted; add two numbers; copy what stands between blanks;
    recall the values of keys; go on as it went on before."""

    length: Length | None = None
    """How long a problem is: symbols to copy, reverse, sort or look through; digits of each number; pairs of a key and
    a value. Without it, 12 for copy, reverse, sort and induction, 2 for addition, else 8."""

    min_length: Length | None = None
    """The shortest problem: every length from it up to ``length`` comes equally often. Without it, all have the same
    length."""

    vocab_size: Annotated[int, Field(ge=2, le=100_000)] = 16
    """Symbols that problems are made of (of associative-recall: half are keys, half values). The model's vocabulary
    also has the separator and, where there are any, the blank."""

    blanks: Annotated[int, Field(ge=1, le=10_000)] = 2
    """For selective-copy: blanks for each symbol that is to be copied."""

    n_validation: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Problems to validate on, all different; fewer, where a task so small does not have as many."""

    seed: Seed = 0
    """What decides which problems are kept from training, and which of them are validated on. The order of training
    follows from training.seed besides."""

    @property
    def name(self) -> str:
        return self.kind

    @property
    def title(self) -> str:
        return f"{self.kind} of length {self.longest}"

    def seq_len(self, run: RunSettings) -> int:
        return self.n_positions

    def complaints_in(self, run: RunSettings) -> Iterator[str]:
        training, most = run.training, run.model.max_seq_len
        if self.n_positions > most:
            yield (
                f"{self.kind} of length {self.longest} takes {self.n_positions} positions, more than the context "
                f"length {most}: set model.max_seq_len={self.n_positions}, or a smaller data.length."
            )
        if training.seq_len is not None:
            yield "training.seq_len has no effect: problems have their own lengths (data.length)."
        if training.batch_tokens is not None:
            yield "training.batch_tokens is for sentence pairs of many lengths: set training.batch_size."
        if training.max_epochs is not None:
            yield "training.max_epochs has no effect: a task's problems have no end; set training.max_steps."

    @property
    def rules(self) -> Task:
        """How problems are drawn and answered."""
        return TASKS[self.kind](self.vocab_size, self.blanks)

    @property
    def longest(self) -> int:
        """The length, the usual one where none was given."""
        return self.rules.usual_length if self.length is None else self.length

    @property
    def shortest(self) -> int:
        """The length of the shortest problems."""
        return self.longest if self.min_length is None else self.min_length

    @property
    def n_positions(self) -> int:
        """Tokens that a model reads of the longest problem: all but the last."""
        return self.rules.width(self.longest) - 1

    def complaints(self) -> Iterator[str]:
        """Problems that there are none of, and options that would have no effect."""
        fields = type(self).model_fields
        if self.kind == "addition" and self.vocab_size != fields["vocab_size"].default:
            yield f"vocab_size={self.vocab_size} has no effect: the symbols of addition are the ten digits."
        if self.kind != "selective-copy" and self.blanks != fields["blanks"].default:
            yield f"blanks={self.blanks} has no effect: it needs kind=selective-copy, not {self.kind}."
        if self.shortest > self.longest:
            yield f"min_length is {self.min_length}, more than the length of {self.longest}."
        if self.vocab_size < self.rules.least_symbols:
            yield f"vocab_size is {self.vocab_size}, and {self.kind} takes at least {self.rules.least_symbols} symbols."
        yield from dict.fromkeys(
            [*self.rules.complaints(self.longest), *self.rules.complaints(min(self.shortest, self.longest))]
        )
