"""What a line of ``metrics.jsonl`` may hold: the types of the fields that are computed with, checked when it is read.

A file from elsewhere, or an edited one, may hold anything. What passes here can be computed with: a known field
is of its type wherever it stands, and the fields that a kind of record is never without are there. Fields that are not
named here are kept as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from glassformer.errors import shown

LARGEST = 2**63
"""Integers are below this in size, so that each is an int64 and a float."""

Check = tuple[Callable[[Any], bool], str]


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and -LARGEST < value < LARGEST)


def _is_duration(value: Any) -> bool:
    return _is_number(value) and 0 <= value < math.inf


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST


def _is_resumed_step(value: Any) -> bool:
    return type(value) is int and -1 <= value < LARGEST


def _is_parameters(value: Any) -> bool:
    """A quantity's name -> a number, for each parameter's name."""
    return isinstance(value, dict) and all(
        isinstance(each, dict) and all(map(_is_number, each.values())) for each in value.values()
    )


def _is_layers(value: Any) -> bool:
    """What each layer of experts did, by its name: the shares of the load of its experts, and other numbers."""
    return isinstance(value, dict) and all(
        isinstance(each, dict)
        and isinstance(each.get("load"), list)
        and all(map(_is_number, each["load"]))
        and all(_is_number(number) for name, number in each.items() if name != "load")
        for each in value.values()
    )


def _is_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


NUMBER: Check = (_is_number, "a number")
SECONDS: Check = (_is_duration, "a number of seconds")
STEP: Check = (_is_step, "a number of steps")
TEXT: Check = (lambda value: isinstance(value, str), "a text")
OPTIONAL_STEP: Check = (lambda value: value is None or _is_step(value), "a number of steps or null")
OBJECT: Check = (lambda value: isinstance(value, dict), "an object")

RECORD: dict[str, Check] = {
    "step": STEP,
    "kind": TEXT,
    "seconds": SECONDS,
    "parameters": (_is_parameters, "numbers by parameter and quantity"),
    "auxiliary": (_is_numbers, "numbers by name"),
    "layers": (_is_layers, "numbers by layer and quantity"),
    **dict.fromkeys(
        (
            *("loss", "objective", "perplexity", "bits_per_byte", "accuracy", "exact", "n_tokens", "tokens", "epoch"),
            *("learning_rate", "gradient_norm", "tokens_per_second", "flops_per_second", "peak_fraction"),
            *("sequences", "squared_norm", "trace"),
            *("final_step", "low", "high", "checked", "widened"),
        ),
        NUMBER,
    ),
}
"""Fields of a record: what was measured after a step."""

EVENT: dict[str, Check] = {
    "event": TEXT,
    "step": (_is_resumed_step, "a number of steps"),
    "total_steps": OPTIONAL_STEP,
    "acceleration": OBJECT,
    "fingerprint": TEXT,
    "reason": TEXT,
    "message": TEXT,
    "seconds": SECONDS,
    **dict.fromkeys(("unigram", "bigram", "bytes_per_token"), NUMBER),
}
"""Fields of an event: what happened to the run."""

NEEDED_BY_KIND: dict[str, tuple[str, ...]] = {
    "train": ("loss",),
    "validation": ("loss",),
    "gradients": ("parameters",),
    "experts": ("layers",),
    "noise_scale": ("squared_norm", "trace", "tokens", "sequences"),
    "extrapolation": ("loss", "low", "high"),
}
NEEDED_BY_EVENT: dict[str, tuple[str, ...]] = {
    "resumed": ("step",),
    "end": ("step", "reason"),
    "not finite": ("step", "message"),
}


def complaints(item: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a record or an event, each as half a sentence."""
    if "event" in item:
        fields, needed = EVENT, NEEDED_BY_EVENT.get(item["event"]) if isinstance(item["event"], str) else None
    else:
        kind = item.get("kind")
        fields, needed = RECORD, NEEDED_BY_KIND.get(kind) if isinstance(kind, str) else None
        if "step" not in item:
            yield "it has neither a step nor an event"
    for name, value in item.items():
        check = fields.get(name)
        if check is not None and not check[0](value) and not (value is None and name in OPTIONAL):
            yield f"{name} is {shown(value)}; expected {check[1]}"
    for name in needed or ():
        if name not in item:
            yield f"{name} is missing"


OPTIONAL = ("accuracy", "exact", "unigram", "bigram")
"""May be null, where there is nothing to measure."""
