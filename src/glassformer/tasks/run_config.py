"""What a run is: a model, data of any registered kind, and a training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, model_validator

from glassformer.config import KIND, Config
from glassformer.data.config import DataConfig
from glassformer.data.kind import DataKind, kinds_for, read_kind
from glassformer.models.config import ModelConfig
from glassformer.models.family import FAMILIES, family_name, family_of
from glassformer.tasks.training_config import TrainingConfig


class RunConfig(Config):
    """Everything that makes a run what it is; a run's ``config.json`` holds it."""

    model: ModelConfig
    data: Annotated[SerializeAsAny[DataKind], BeforeValidator(read_kind)] = DataConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="before")
    @classmethod
    def _data_of_the_models_kind(cls, tree: Any) -> Any:
        """Data that do not name their kind are of the first kind that the model's family can be trained on."""
        if not isinstance(tree, dict) or not isinstance(data := tree.get("data", {}), dict) or KIND in data:
            return tree
        model = tree.get("model")
        kinds = kinds_for(family_name(model.to_dict() if isinstance(model, ModelConfig) else model or {}))
        return tree | {"data": {KIND: kinds[0].model_fields[KIND].default, **data}} if kinds else tree

    def complaints(self) -> Iterator[str]:
        if self.model.family in self.data.families:
            yield from self.data.complaints_in(self)
        else:
            yield self._wrong_family()
        if self.training.telemetry.noise_scale_every is not None and self.model.norm.kind == "batchnorm":
            yield (
                "training.telemetry.noise_scale_every compares the gradients of a batch and of its parts, and with "
                "model.norm.kind=batchnorm a part's gradient is not that of its samples in the batch: leave it out."
            )

    def _wrong_family(self) -> str:
        """That these data train models of another family, and what trains this one."""
        model = family_of(self.model).words
        fitting = kinds_for(self.model.family)
        if not fitting:
            return f"no data.task trains {model} yet; choose another preset (glassformer presets)."
        names = " or ".join(str(kind.model_fields[KIND].default) for kind in fitting)
        trained = " or ".join(FAMILIES[family].words for family in self.data.families)
        return (
            f"data.task={self.data.task} trains {trained}, and this is {model}, which learns from "
            f"{' or '.join(kind.learned for kind in fitting)}: data.task must be {names}, or choose another preset "
            "(glassformer presets)."
        )

    @property
    def seq_len(self) -> int:
        """Tokens per training sequence (of a pair's sides: at most)."""
        return self.data.seq_len(self)
