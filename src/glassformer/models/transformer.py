"""What every model of ours has, whatever its family: a head, weights with names, and two ways to attend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from glassformer.errors import CheckpointError
from glassformer.models.assemble import make_head_transform
from glassformer.models.config import ModelConfig
from glassformer.models.family import Family, family_of
from glassformer.models.initialisation import initialise
from glassformer.models.trace import Objective, Trace, trace
from glassformer.parts.blocks import Block
from glassformer.parts.experts import layers_of_experts
from glassformer.parts.interventions import Intervention
from glassformer.parts.losses import Losses
from glassformer.parts.probes import Probe


class Transformer(nn.Module):
    """The base of :class:`~glassformer.models.decoder.Decoder`, :class:`~glassformer.models.encoder.Encoder` and
    :class:`~glassformer.models.encoder_decoder.EncoderDecoder`.
    """

    config: ModelConfig
    head_transform: nn.Module
    """What is done to the hidden vectors before the head; nothing in most models."""
    head: nn.Linear
    logits: Probe

    def add_head(self, seed: int) -> None:
        """Finish a model whose stacks are made: its head, its starting weights, and the matrices that are one."""
        config = self.config
        self.head_transform = make_head_transform(config) if config.head.transform else nn.Identity()
        self.head = nn.Linear(config.d_model, config.padded_vocab_size, bias=config.head.bias)
        self.logits = Probe()
        initialise(self, config, seed)
        self.tie()

    def tie(self) -> None:
        """Make one matrix of those that the configuration says are one."""
        for replaced, kept in self.family.ties(self.config).items():
            module, _, name = replaced.rpartition(".")
            setattr(self.get_submodule(module), name, self.get_parameter(kept))

    @property
    def family(self) -> Family:
        """Which stacks it has, what they read, and how they are wired."""
        return family_of(self.config)

    def hidden(self, *arguments: Any, **options: Any) -> Tensor:
        """The model's arguments → the vectors [B, T, d_model] that the head reads."""
        return self.hidden_with_losses(*arguments, **options)[0]

    def hidden_with_losses(self, *arguments: Any, **options: Any) -> tuple[Tensor, Losses]:
        """The same, and the auxiliary losses of the parts (:mod:`glassformer.parts.losses`); most have none."""
        raise NotImplementedError

    def unembed(self, hidden: Tensor) -> Tensor:
        """[…, d_model] → logits […, vocab_size]; a padded vocabulary's extra columns are cut off."""
        logits = self.head(self.head_transform(hidden))
        if self.config.padded_vocab_size != self.config.vocab_size:
            logits = logits[..., : self.config.vocab_size]
        probed: Tensor = self.logits(logits)
        return probed

    def trace(
        self,
        *arguments: Tensor | None,
        only: Sequence[str] = ("*",),
        gradients: Objective | None = None,
        interventions: Sequence[Intervention] = (),
        **options: Any,
    ) -> Trace:
        """One forward pass with every activation by its name; see :func:`glassformer.models.trace.trace`."""
        return trace(self, *arguments, only=only, gradients=gradients, interventions=interventions, **options)

    def set_attention_path(self, path: str) -> None:
        """Take the "fused" or the "explicit" path in every attention; they compute the same function."""
        for block in self.modules():
            if isinstance(block, Block):
                if block.has_attention:
                    block.attention.path = path  # type: ignore[assignment] # a plain attribute of the module
                if block.has_cross_attention:
                    block.cross_attention.path = path  # type: ignore[assignment]

    def set_paths(self, path: str) -> None:
        """The same for every part that has two paths: attention and layers of experts."""
        self.set_attention_path(path)
        for layer in layers_of_experts(self).values():
            layer.path = path

    def named_weights(self) -> dict[str, Tensor]:
        """Every parameter and saved buffer once (a tied matrix has one name), as checkpoints hold them."""
        weights: dict[str, Tensor] = dict(self.named_parameters())
        persistent = self.state_dict(keep_vars=True)
        weights |= {name: buffer for name, buffer in self.named_buffers() if name in persistent}
        return weights

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy in what :meth:`named_weights` gave. Raises :class:`CheckpointError` with all that does not fit."""
        own = self.named_weights()
        complaints = [f"{name} is missing" for name in own if name not in weights]
        complaints += [f"{name} is not of this model" for name in weights if name not in own]
        complaints += [
            f"{name} is {list(weights[name].shape)}, the model's is {list(weight.shape)}"
            for name, weight in own.items()
            if name in weights and weights[name].shape != weight.shape
        ]
        complaints += [
            f"{name} is of {weights[name].dtype}, the model's is of {weight.dtype}"
            for name, weight in own.items()
            if name in weights and weights[name].is_floating_point() != weight.is_floating_point()
        ]
        if complaints:
            shown = "; ".join(complaints[:8]) + (f"; and {len(complaints) - 8} more" if len(complaints) > 8 else "")
            raise CheckpointError(f"The weights do not fit the model: {shown}.")
        for name, weight in own.items():
            weight.copy_(weights[name])

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.parameters()).device
