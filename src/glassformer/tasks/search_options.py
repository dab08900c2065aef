"""The options of a translation's search and of decoding, read from the fields of their configurations.

``translate`` and ``evaluate`` share them. One that is not given is left to the configuration, where the defaults are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassformer.errors import ConfigError
from glassformer.generation.beam_search_config import BeamSearchConfig
from glassformer.generation.decoding import DecodingConfig
from glassformer.tasks.options import Option, field_options

RENAMED = {"beam_size": "beam"}
"""Settings whose option has another name."""

SETTINGS = {RENAMED.get(name, name): name for name in BeamSearchConfig.model_fields}
"""The setting of BeamSearchConfig that each option changes."""

SEARCH = tuple(field_options(BeamSearchConfig, BeamSearchConfig.model_fields, renamed=RENAMED))
STORAGE = tuple(field_options(DecodingConfig, ("precision", "quantize")))
BATCH_TOKENS = Option("batch_tokens", int, "Source tokens, pads included, translated at once.", least=1, most=10**9)

OF_SEARCHING = {
    "beam": "--sample draws translations instead of searching for them (--n-best says how many)",
    "length_penalty": "--sample draws translations, and does not choose among hypotheses by their scores",
    "length_penalty_form": "--sample draws translations, and does not choose among hypotheses by their scores",
}
OF_SAMPLING = dict.fromkeys(("temperature", "top_k", "top_p", "seed"), "it is of sampling, and there is no --sample")
"""Options that have no effect with ``--sample``, and without; and why."""


def search_config(options: Mapping[str, Any]) -> BeamSearchConfig:
    """The search that the given options describe; None is one that was not given. Raises :class:`ConfigError`.

    Of sampling: as many are drawn as are to be returned.
    """
    given = {name: value for name, value in options.items() if name in SETTINGS and value is not None}
    idle = OF_SEARCHING if given.get("sample") else OF_SAMPLING
    complaints = [
        f"--{name.replace('_', '-')} has no effect: {reason}." for name, reason in idle.items() if name in given
    ]
    settings = {SETTINGS[name]: value for name, value in given.items() if name not in idle}
    if settings.get("sample"):
        settings["beam_size"] = settings.get("n_best", 1)
    try:
        config = BeamSearchConfig.build(settings)
    except ConfigError as error:
        raise ConfigError([*complaints, *error.complaints], subject=error.subject) from None
    if complaints:
        raise ConfigError(complaints, subject="command")
    return config


def decoding_config(precision: str | None, quantize: str | None) -> DecodingConfig:
    """How the weights are stored. Raises :class:`ConfigError`."""
    if precision is not None and quantize is not None:
        raise ConfigError(
            f"--precision has no effect: --quantize {quantize} says how weights are stored; set one of the two.",
            subject="command",
        )
    given = {"precision": precision, "quantize": quantize}
    return DecodingConfig.build({name: value for name, value in given.items() if value is not None})
