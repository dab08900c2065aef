"""All laws by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from glassformer.errors import ConfigError, nearest
from glassformer.scaling.laws.chinchilla import CHINCHILLA
from glassformer.scaling.laws.critical_batch import CRITICAL_BATCH
from glassformer.scaling.laws.hyperparameters import HYPERPARAMETERS
from glassformer.scaling.laws.kaplan import KAPLAN
from glassformer.scaling.laws.law import Law
from glassformer.scaling.laws.mixture_of_experts import MIXTURE_OF_EXPERTS
from glassformer.scaling.laws.notes import NOTES
from glassformer.scaling.laws.reconciling import RECONCILING
from glassformer.scaling.laws.repeated_data import REPEATED_DATA

GROUPS: Mapping[str, tuple[Law, ...]] = MappingProxyType(
    {
        "Kaplan et al. 2020": KAPLAN,
        "Chinchilla and its refits": CHINCHILLA,
        "Why Kaplan and Chinchilla differ": RECONCILING,
        "Repeated data": REPEATED_DATA,
        "Noise scale and critical batch": CRITICAL_BATCH,
        "Learning rate and batch": HYPERPARAMETERS,
        "Mixture of experts": MIXTURE_OF_EXPERTS,
        "The study notes' recipe and mixed constants, with their right forms": NOTES,
    }
)
"""In the order in which they are listed."""

LAWS: Mapping[str, Law] = MappingProxyType({law.name: law for laws in GROUPS.values() for law in laws})
"""By name."""

assert len(LAWS) == sum(map(len, GROUPS.values())), "two laws of one name"


def law(name: str) -> Law:
    """The law of this name.

    Raises:
        ConfigError: there is none; the nearest is suggested.
    """
    (found,) = laws([name])
    return found


def laws(names: list[str]) -> list[Law]:
    """The laws of these names, each once, in the order given.

    Raises:
        ConfigError: for every name that is none.
    """
    unknown = [f"There is no law '{name}'. {nearest(name, LAWS)}" for name in names if name not in LAWS]
    if unknown:
        raise ConfigError(unknown, subject="command")
    return [LAWS[name] for name in dict.fromkeys(names)]
