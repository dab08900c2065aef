"""What the configuration of every kind of data says of the runs that it can be in, and which kinds there are.

A kind is registered with its task (:mod:`glassformer.tasks.registry`); a run's ``data`` then holds any of them,
and its field ``task`` says which.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, Union

from pydantic import Discriminator, Tag, TypeAdapter

from glassformer.config import KIND, Config, kind_tag

if TYPE_CHECKING:  # it imports torch, which a configuration of data does not need
    from glassformer.models.config import ModelConfig


class RunSettings(Protocol):
    """What a kind of data may ask of the run that it is in: a :class:`~glassformer.tasks.run_config.RunConfig`."""

    @property
    def model(self) -> ModelConfig:
        """The model."""

    @property
    def training(self) -> Any:
        """The training: a :class:`~glassformer.tasks.training_config.TrainingConfig`."""


class DataKind(Config):
    """The configuration of one kind of data. Each declares ``task: Literal[...]`` with its own name as the default."""

    families: ClassVar[tuple[str, ...]]
    """The model families that can be trained on it, by name."""
    learned: ClassVar[str]
    """What a trained model has learned from, as a message says it: "a text"."""
    ragged: ClassVar[bool] = False
    """Whether sequences have lengths of their own, so that batches differ in shape."""
    smaller: ClassVar[str] = "training.batch_size, training.micro_batch_size or training.seq_len"
    """The settings that make a batch need less memory, as a message lists them."""

    paths: ClassVar[tuple[str, ...]] = ()
    """The settings that may name files: a run remembers where their relative paths led, and finds the files again."""

    task: str
    """The kind of the data, which distinguishes these settings from those of other kinds."""

    @classmethod
    def subject(cls) -> str:
        """What messages call this configuration."""
        return "data configuration"

    @property
    @abstractmethod
    def name(self) -> str:
        """What the data are called in a line: the source, or the problem."""

    @property
    def title(self) -> str:
        """The same for a page: without the folders of a file."""
        if self.name.startswith("hf:"):
            return self.name
        return ",".join(Path(part).name for part in self.name.split(","))

    @abstractmethod
    def seq_len(self, run: RunSettings) -> int:
        """Tokens per training sequence; at most, where sequences have their own lengths."""

    def complaints_in(self, run: RunSettings) -> Iterator[str]:
        """Every reason why the model or the training of a run does not work with these data."""
        yield from ()

    @classmethod
    def kinds(cls) -> tuple[type[Config], ...]:
        """The registered kinds, in the order of their registration; of a kind, itself."""
        return tuple(_kinds.values()) if cls is DataKind else (cls,)


_kinds: dict[str, type[DataKind]] = {}


def register_kind(kind: type[DataKind]) -> str:
    """Let a run's ``data`` hold this kind; gives its name."""
    name = str(kind.model_fields[KIND].default)
    _kinds[name] = kind
    return name


def kinds_for(family: str) -> list[type[DataKind]]:
    """The kinds that a family of models can be trained on; the first is the default."""
    return [kind for kind in _kinds.values() if family in kind.families]


def read_kind(value: Any) -> Any:
    """A value as the configuration of the kind that it names, of the first kind if it names none.

    Raises:
        ValidationError: pydantic's, with each place in the value.
    """
    return value if isinstance(value, DataKind) else _reader(tuple(_kinds.values())).validate_python(value)


@functools.lru_cache(maxsize=8)
def _reader(kinds: tuple[type[DataKind], ...]) -> TypeAdapter[Any]:
    tags = [f"{KIND}={kind.model_fields[KIND].default}" for kind in kinds]
    members = tuple(Annotated[kind, Tag(tag)] for kind, tag in zip(kinds, tags, strict=True))

    def tag_of(value: object) -> str:
        tag = kind_tag(value)
        return tag if tag in tags else tags[0]

    union: Any = Annotated[Union[members], Discriminator(tag_of)]  # noqa: UP007
    return TypeAdapter(union)
