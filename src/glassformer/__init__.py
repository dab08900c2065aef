"""glassformer: a glass-box Transformer workbench.

    import glassformer as gf

    model = gf.Decoder(gf.preset("nanogpt-shakespeare-cpu").model)
    trace = model.trace(tokens)
    trace["blocks.3.attention.weights"]  # [batch, head, query, key]

The public names live in the rooms below and are imported when they are first asked for, so that ``import glassformer``
costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# The public surface: name -> the module it lives in.
_EXPORTS = {
    "BeamSearchConfig": "glassformer.generation",
    "CheckpointError": "glassformer.errors",
    "ConfigError": "glassformer.errors",
    "DataConfig": "glassformer.data.config",
    "DataError": "glassformer.errors",
    "Decoder": "glassformer.models.decoder",
    "DecodingConfig": "glassformer.generation",
    "DependencyError": "glassformer.errors",
    "Encoder": "glassformer.models.encoder",
    "EncoderDecoder": "glassformer.models.encoder_decoder",
    "GlassformerError": "glassformer.errors",
    "Intervention": "glassformer.parts.interventions",
    "MaskedConfig": "glassformer.data.masked_config",
    "ModelConfig": "glassformer.models.config",
    "PlanRequest": "glassformer.scaling.plans.request",
    "Points": "glassformer.scaling.fits.points",
    "Run": "glassformer.runs.folder",
    "RunConfig": "glassformer.tasks.run_config",
    "RunError": "glassformer.errors",
    "SamplingConfig": "glassformer.generation",
    "Trace": "glassformer.models.trace",
    "TrainingConfig": "glassformer.tasks.training_config",
    "TrainingError": "glassformer.errors",
    "TranslationConfig": "glassformer.data.translation_config",
    "Translator": "glassformer.generation",
    "attention_page": "glassformer.inspection.attention_page",
    "beam_search": "glassformer.generation",
    "build": "glassformer.models.build",
    "costs": "glassformer.models.costs",
    "describe": "glassformer.machine",
    "evaluate": "glassformer.scoring.likelihood",
    "fill": "glassformer.generation.filling",
    "fit": "glassformer.scaling.fits.fitting",
    "from_pretrained": "glassformer.models.pretrained",
    "generate": "glassformer.generation",
    "inspect": "glassformer.inspection.page",
    "intervene": "glassformer.parts.interventions",
    "law": "glassformer.scaling.laws.known",
    "load_gpt2": "glassformer.models.interop",
    "load_marian": "glassformer.models.marian",
    "load_part_file": "glassformer.registry",
    "loss_chart": "glassformer.charts",
    "open_masked": "glassformer.tasks.open_run",
    "open_model": "glassformer.tasks.open_run",
    "open_subject": "glassformer.inspection.subjects",
    "open_translator": "glassformer.tasks.open_run",
    "paired_difference": "glassformer.scoring.translations",
    "plan": "glassformer.scaling.plans.planning",
    "prepare": "glassformer.data.language_modeling",
    "prepare_translation": "glassformer.data.translation",
    "preset": "glassformer.models.presets",
    "preset_names": "glassformer.models.presets",
    "probe_points": "glassformer.parts.probes",
    "read_points": "glassformer.scaling.fits.reading",
    "record": "glassformer.parts.probes",
    "register": "glassformer.registry",
    "registered": "glassformer.registry",
    "resume": "glassformer.training.session",
    "save_chart": "glassformer.charts",
    "save_gpt2": "glassformer.models.interop",
    "save_marian": "glassformer.models.marian_export",
    "save_pretrained": "glassformer.models.pretrained",
    "score_translations": "glassformer.scoring.translations",
    "start": "glassformer.training.session",
    "stream": "glassformer.generation",
    "study": "glassformer.studies.design",
    "translate": "glassformer.generation",
    "watch": "glassformer.parts.probes",
}

__all__ = ["__version__", *_EXPORTS]  # noqa: PLE0604 - every key is a str


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'glassformer' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value  # asked for once, found at once from then on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
