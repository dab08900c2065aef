"""How another library lays out a model: one table for each, read by the importer, the exporter and the tests.

    settings   their setting ↔ ours, with their default and, where names differ, what each value is called here
    implied    ours that every model of theirs has ("norm.placement" is "post" in a BERT)
    required   theirs that must be so, because our parts compute nothing else
    weights    our name ↔ theirs, "{layer}" standing for the number of a block

Queries, keys and values are three matrices in a table, whichever way a model of ours holds them (:func:`separated`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from glassformer.config import flat, value_at
from glassformer.errors import ConfigError, nearest
from glassformer.models.config import ModelConfig
from glassformer.models.transformer import Transformer

UNSEEN = ("initialisation", "part_files", "pad_vocab_to")
"""Settings that change no output of a trained model, or only how its weights are held."""


@dataclass(frozen=True)
class Setting:
    """A setting that both have.

    Attributes:
        theirs, ours: its names; ours with dots.
        default: of theirs, where a file leaves it out; ``...`` if it may not.
        values: what their values are called here; empty where they are called the same.
    """

    theirs: str
    ours: str
    default: Any = ...
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A family of models as another library lays it out.

    Attributes:
        name: for messages: "BERT".
        model_type, architecture: as ``config.json`` names them.
        settings, implied, required, weights: see the module.
        prefix: of their names, which a file of the bare model leaves out.
        ignored: beginnings of the names of tensors that take no part in this model's output (without the prefix).
        untied: names that are others where the head is not tied to the embedding.
    """

    name: str
    model_type: str
    architecture: str
    settings: tuple[Setting, ...]
    implied: Mapping[str, Any]
    required: Mapping[str, Any]
    weights: Mapping[str, str]
    prefix: str = ""
    ignored: tuple[str, ...] = ()
    untied: Mapping[str, str] = field(default_factory=dict)

    # --- settings ---------------------------------------------------------------------------------------------------

    def read_settings(self, settings: Mapping[str, Any]) -> ModelConfig:
        """Our configuration of what their ``config.json`` says.

        Raises:
            ConfigError: what our parts do not compute, every reason at once.
        """
        complaints = [
            f"{name} is {json.dumps(settings[name])}; only {json.dumps(value)} can be read."
            for name, value in self.required.items()
            if name in settings and settings[name] != value
        ]
        tree = dict(self.implied)
        for each in self.settings:
            value = settings.get(each.theirs, each.default)
            if value is ...:
                complaints.append(f"{each.theirs} is missing.")
            elif each.values and value not in each.values:
                complaints.append(f"{each.theirs} is {json.dumps(value)}. {nearest(str(value), each.values)}")
            else:
                tree[each.ours] = each.values.get(value, value)
        if complaints:
            raise ConfigError(complaints, subject=f"{self.name} in Hugging Face's format")
        return ModelConfig.build(_nested(tree), subject=f"{self.name} in Hugging Face's format")

    def write_settings(self, config: ModelConfig) -> dict[str, Any]:
        """Their ``config.json`` of our configuration.

        Raises:
            ConfigError: what their format cannot hold, every setting at once.
        """
        tree = config.to_dict()
        written: dict[str, Any] = {"architectures": [self.architecture], "model_type": self.model_type, **self.required}
        complaints = []
        for each in self.settings:
            value = _resolved(config, each.ours, value_at(tree, each.ours))
            names = {ours: theirs for theirs, ours in reversed(list(each.values.items()))}
            if names and value not in names:
                complaints.append(f"{each.ours} is {value}, and {self.name} has {' or '.join(names)}.")
            written[each.theirs] = names.get(value, value)
        if not complaints:
            complaints = list(self._differences(config, self.read_settings(written)))
        if complaints:
            raise ConfigError(complaints, subject=f"export to {self.name}'s format")
        return written

    def _differences(self, config: ModelConfig, again: ModelConfig) -> Iterator[str]:
        """Settings that are lost on the way there and back."""
        found, kept = flat(config.to_dict()), flat(again.to_dict())
        for name in sorted({*found, *kept}):
            if name.startswith(UNSEEN):
                continue
            value, other = (_resolved(each, name, tree.get(name)) for each, tree in ((config, found), (again, kept)))
            if value != other:
                yield f"{name} is {json.dumps(value)}, and {self.name} has {json.dumps(other)}."

    # --- weights ----------------------------------------------------------------------------------------------------

    def names(self, model: Transformer) -> dict[str, str]:
        """Our name of every weight, queries, keys and values apart -> theirs."""
        return {name: self._their_name(name, model.config) for name in separated(model.config, model.named_weights())}

    def read_weights(self, tensors: Mapping[str, Tensor], model: Transformer) -> tuple[dict[str, Tensor], list[str]]:
        """The model's weights of their tensors, and what does not fit: missing, left over, of another shape."""
        left = {self._without_prefix(name): tensor for name, tensor in tensors.items()}
        shapes = {name: weight.shape for name, weight in separated(model.config, model.named_weights()).items()}
        found: dict[str, Tensor] = {}
        complaints = []
        for ours, theirs in self.names(model).items():
            tensor = left.pop(self._without_prefix(theirs), None)
            if tensor is None:
                complaints.append(f"{theirs} is missing")
            elif tensor.shape != shapes[ours]:
                complaints.append(f"{theirs} has shape {list(tensor.shape)}; config.json says {list(shapes[ours])}")
            else:
                found[ours] = tensor
        complaints += [
            f"{name} has no place in the model" for name in sorted(left) if not name.startswith(self.ignored)
        ]
        return ({} if complaints else joined(found, model.named_weights())), complaints

    def write_weights(self, model: Transformer) -> dict[str, Tensor]:
        """Their tensors of a model, on the CPU; the rows that round a vocabulary up are left out."""
        config, written = model.config, {}
        for ours, tensor in separated(config, model.named_weights()).items():
            rows = (
                tensor[: config.vocab_size]
                if ours in ("embedding.tokens.weight", "head.weight", "head.bias")
                else tensor
            )
            written[self._their_name(ours, config)] = rows.detach().cpu().contiguous().clone()
        return written

    def _their_name(self, ours: str, config: ModelConfig) -> str:
        if ours in self.untied and not config.head.tied:
            return self.untied[ours]
        if not ours.startswith("blocks."):
            return self.weights[ours]
        _, layer, name = ours.split(".", 2)
        return self.weights["blocks.{layer}." + name].replace("{layer}", layer)

    def _without_prefix(self, name: str) -> str:
        return name.removeprefix(self.prefix)


QKV = ("w_q", "w_k", "w_v")


def separated(config: ModelConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by our names with queries, keys and values apart, whichever way the model holds them."""
    sizes = [heads * config.d_head for heads in (config.attention.n_heads, config.n_kv_heads, config.n_kv_heads)]
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if ".w_qkv." in name:
            parts = torch.split(tensor, sizes)
            found |= {name.replace("w_qkv", piece): part for piece, part in zip(QKV, parts, strict=True)}
        else:
            found[name] = tensor
    return found


def joined(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of :func:`separated`, for a model whose own weights are ``like``."""
    return {
        name: torch.cat([weights[name.replace("w_qkv", piece)] for piece in QKV])
        if ".w_qkv." in name
        else weights[name]
        for name in like
    }


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *rooms, last = name.split(".")
        place = tree
        for room in rooms:
            place = place.setdefault(room, {})
        place[last] = value
    return tree


def _resolved(config: ModelConfig, name: str, value: Any) -> Any:
    """A value that is left to another setting, as it comes out; fused or apart, projections are three."""
    if name == "attention.projection" and value == "fused":
        return "separate"
    if value is not None:
        return value
    derived = {
        "feedforward.d_ff": config.d_ff,
        "attention.n_kv_heads": config.n_kv_heads,
        "attention.d_head": config.d_head,
        "attention.output_bias": config.attention.bias,
    }
    return derived.get(name)
