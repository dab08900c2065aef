"""What a run is: a model, data of any registered kind, and a training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, model_validator

from glassformer.config import KIND, Config
from glassformer.data.config import DataConfig
from glassformer.data.kind import DataKind, kinds_for, read_kind
from glassformer.models.config import ModelConfig
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
        kinds = kinds_for(family_of(tree.get("model")))
        return tree | {"data": {KIND: kinds[0].model_fields[KIND].default, **data}} if kinds else tree

    def complaints(self) -> Iterator[str]:
        family = family_of(self.model)
        if family in self.data.families:
            yield from self.data.complaints_in(self)
        else:
            fitting = " or ".join(str(kind.model_fields[KIND].default) for kind in kinds_for(family))
            yield (
                f"data.task={self.data.task} trains a model of the family {' or '.join(self.data.families)}, and this "
                f"model is of the family {family}, which learns from {fitting}: set data.task, or choose another "
                "preset (glassformer presets)."
            )
        if self.training.telemetry.noise_scale_every is not None and self.model.norm.kind == "batchnorm":
            yield (
                "training.telemetry.noise_scale_every compares the gradients of a batch and of its parts, and with "
                "model.norm.kind=batchnorm a part's gradient is not that of its samples in the batch: leave it out."
            )

    @property
    def seq_len(self) -> int:
        """Tokens per training sequence (of a pair's sides: at most)."""
        return self.data.seq_len(self)


def family_of(model: Any) -> str:
    """The family of a model's configuration, read or not yet."""
    layers = model.get("n_encoder_layers") if isinstance(model, dict) else getattr(model, "n_encoder_layers", None)
    return "decoder" if layers is None else "encoder-decoder"
