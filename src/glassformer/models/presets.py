"""Models of the literature by name. Each is a function that returns its configuration and cites its source.

A preset may carry the recipe it was trained with, as dotted settings; a vocabulary size is the published one, and
training on another text replaces it with that text's.
"""

from glassformer.models import presets_experts, presets_gpt, presets_masked, presets_translation
from glassformer.models.preset import Preset, preset, preset_names
from glassformer.models.presets_gpt import GPT2_VOCABULARY

__all__ = [
    "GPT2_VOCABULARY",
    "Preset",
    "preset",
    "preset_names",
    "presets_experts",
    "presets_gpt",
    "presets_masked",
    "presets_translation",
]
