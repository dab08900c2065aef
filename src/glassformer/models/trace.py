"""One forward pass with everything in it, by name.

trace = model.trace(tokens)
trace["blocks.3.attention.weights"]  # [batch, head, query, key]
print(trace)                         # the tree of all there is, with shapes
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.errors import DataError
from glassformer.parts.interventions import Intervention, intervene
from glassformer.parts.probes import matching_probes, watch

if TYPE_CHECKING:
    from glassformer.models.family import StackSpec
    from glassformer.models.transformer import Transformer

Objective = Tensor | Callable[[Tensor], Tensor]
"""What gradients are of: the targets of a mean negative log-likelihood, or a function of the logits."""


class Trace(Mapping[str, Tensor]):
    """The activations of one forward pass by their names, in the order in which they were computed.

    Attributes:
        model: which computed them. Its weights are those of the pass only as long as nobody changes them.
        arguments, options: what it was given, by place and by name.
        logits: its output, [B, T, vocab_size], kept in any case.
        gradients: of the objective with respect to each activation, by the same names; empty if none was given.
        objective: its value; None if none was given.
    """

    def __init__(
        self,
        model: Transformer,
        arguments: tuple[Tensor | None, ...],
        options: Mapping[str, Any],
        logits: Tensor,
        activations: Mapping[str, Tensor],
        gradients: Mapping[str, Tensor],
        objective: float | None,
    ) -> None:
        self.model, self.arguments, self.options, self.logits = model, arguments, options, logits
        self.gradients, self.objective = gradients, objective
        self._activations = activations

    def __getitem__(self, name: str) -> Tensor:
        return self._activations[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)

    @property
    def padding(self) -> Tensor | None:
        """Where the tokens, or an encoder-decoder's source tokens, are pads: bool [B, T]; None if not given."""
        inputs = self.model.family.inputs(self.model.config)
        if len(self.arguments) > len(inputs):
            return self.arguments[len(inputs)]
        return next(self.options.get(each.padding) for each in inputs if each.padding)

    def padding_of(self, stack: StackSpec) -> Tensor | None:
        """The same for what one of the model's stacks reads; None where it reads nothing that may be padded."""
        read = self.model.family.inputs(self.model.config)[stack.reads]
        return self.padding if read.padding else None

    def first_not_finite(self) -> str | None:
        """The first activation with a NaN or an infinity in it, by name: where a diverged model breaks. None of them
        is one of those if all is well; the −∞ of hidden keys in ``masked_scores`` is.
        """
        for name, activation in (*self.items(), ("logits", self.logits)):
            fine = torch.isfinite(activation)
            if name.endswith(".masked_scores"):
                fine |= activation == -torch.inf
            if not bool(fine.all()):
                return name
        return None

    def matching(self, pattern: str) -> dict[str, Tensor]:
        """The activations whose names match a shell-style pattern, in order."""
        return {name: self[name] for name in self if fnmatch.fnmatchcase(name, pattern)}

    def __str__(self) -> str:
        given = " and ".join(str(list(argument.shape)) for argument in self.arguments if argument is not None)
        title = f"{type(self.model).__name__} given {given}: {len(self)} activations"
        return "\n".join([title, *_branches(_tree(self._activations))])

    __repr__ = __str__


def trace(
    model: Transformer,
    *arguments: Tensor | None,
    only: Sequence[str] = ("*",),
    gradients: Objective | None = None,
    interventions: Sequence[Intervention] = (),
    **options: Any,
) -> Trace:
    """Run the model once and keep its activations.

    The pass is one of evaluation (no dropout, running statistics) and takes the explicit path of attention and of
    experts in every layer, whatever is kept, so that the same names always have the same values. The model is not
    changed.

    Args:
        arguments, options: as of the model's ``forward``.
        only: shell-style patterns of the names to keep.
        gradients: int64 [B, T], the right tokens: gradients are then of their mean negative log-likelihood in nats,
            negative ones left out; or a function of the logits [B, T, vocab_size] that returns a scalar.
        interventions: changes to activations; what is kept is their result.

    Raises:
        ConfigError: a pattern or an intervention that matches nothing, with the nearest name.
        DataError: token ids that are not integers [B, T] of the vocabulary, or too many of them.
    """
    _check_ids(model, arguments)
    matching_probes(model, *only)  # a misspelt name is reported before anything runs
    kept: dict[str, Tensor] = {}

    def keep(name: str, activation: Tensor) -> Tensor | None:
        if gradients is None:
            kept[name] = activation
            return None
        # an alias of its own: one tensor may have several names, and a buffer has no history to begin with
        alias = activation.view_as(activation) if activation.requires_grad else activation.clone().requires_grad_()
        kept[name] = alias
        return alias

    with (
        torch.set_grad_enabled(gradients is not None),
        _observed(model),
        intervene(model, *interventions),
        watch(model, keep, *only),
    ):
        logits: Tensor = model(*arguments, **options)
        objective = None if gradients is None else _objective(logits, gradients)
        found: dict[str, Tensor] = {}
        if objective is not None:
            values = torch.autograd.grad(objective, list(kept.values()), allow_unused=True, materialize_grads=True)
            found = dict(zip(kept, values, strict=True))
    return Trace(
        model,
        arguments,
        options,
        logits.detach(),
        {name: activation.detach() for name, activation in kept.items()},
        found,
        None if objective is None else float(objective.detach()),
    )


@contextmanager
def _observed(model: Transformer) -> Iterator[None]:
    """Evaluation mode and the explicit path, until the block ends."""
    modes = {module: module.training for module in model.modules()}
    paths = {module: module.path for module in model.modules() if isinstance(getattr(module, "path", None), str)}
    model.eval()
    model.set_paths("explicit")
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for module, path in paths.items():
            module.path = path


def _objective(logits: Tensor, wanted: Objective) -> Tensor:
    if isinstance(wanted, Tensor):
        fits = wanted.shape == logits.shape[:2] and not wanted.is_floating_point()
        if not fits or not bool((wanted >= 0).any()) or int(wanted.max()) >= logits.shape[-1]:
            raise DataError(
                f"Gradients need the right tokens, {list(logits.shape[:2])} ids of the {logits.shape[-1]:,} in the "
                f"vocabulary with at least one that is not negative; got {wanted.dtype} {list(wanted.shape)}"
                + (f" up to {int(wanted.max())}." if fits else ".")
            )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten().clamp_min(-1), ignore_index=-1)
    value = wanted(logits)
    if value.numel() != 1:
        raise DataError(
            f"Gradients are of one number: the function of the logits returned {list(value.shape)} instead of a scalar."
        )
    return value.squeeze()


def _check_ids(model: Transformer, arguments: Sequence[Tensor | None]) -> None:
    """Token ids come first, one tensor for each input of the model's family."""
    inputs = model.family.inputs(model.config)
    if len(arguments) < len(inputs):
        names = " and ".join(each.name for each in inputs)
        raise DataError(f"The model takes {names}, int64 [B, T] each; got {len(arguments)} of {len(inputs)}.")
    for each, ids in zip(inputs, arguments, strict=False):
        if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point() or ids.numel() == 0:
            got = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
            raise DataError(f"The {each.name} ids must be integers [batch, tokens], a row for each text; got {got}.")
        if int(ids.min()) < 0 or int(ids.max()) >= each.vocab_size:
            strange = int(ids.min()) if int(ids.min()) < 0 else int(ids.max())
            raise DataError(
                f"The {each.name} id {strange} is not in the vocabulary: its {each.vocab_size:,} tokens are 0 to "
                f"{each.vocab_size - 1}."
            )


# --- the printed tree -----------------------------------------------------------------------------------------------


def _tree(activations: Mapping[str, Tensor]) -> dict[str, Any]:
    """Names cut at their dots: a dictionary of dictionaries, its leaves shapes."""
    tree: dict[str, Any] = {}
    for name, activation in activations.items():
        *path, last = name.split(".")
        node = tree
        for word in path:
            node = node.setdefault(word, {})
        node[last] = str(list(activation.shape))
    return tree


def _branches(tree: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """A line for each branch and leaf; layers that look the same are drawn once."""
    entries = list(_folded(tree))
    width = max((len(name) for name, below in entries if isinstance(below, str)), default=0)
    for index, (name, below) in enumerate(entries):
        last = index == len(entries) - 1
        if isinstance(below, str):
            yield f"{indent}{'└' if last else '├'}─ {name:<{width}}  {below}"
        else:
            yield f"{indent}{'└' if last else '├'}─ {name}"
            yield from _branches(below, indent + ("   " if last else "│  "))


def _folded(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The entries, with runs of numbered ones that hold the same become one: ``0 … 5``."""
    entries = list(tree.items())
    start = 0
    while start < len(entries):
        end = start + 1
        name, below = entries[start]
        while name.isdigit() and end < len(entries) and entries[end][1] == below:
            end += 1
        yield (name if end == start + 1 else f"{name} … {entries[end - 1][0]}"), below
        start = end
