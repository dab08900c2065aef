"""What every preset costs, kept in ``golden_costs.json``: a change of any number shows in a diff of that file.

``python tests/models/golden_costs.py`` writes it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glassformer.models.costs import costs
from glassformer.models.presets import preset, preset_names

FILE = Path(__file__).with_suffix(".json")
BATCH = 2
SHORT = 16
OPTIMIZERS = {"adamw": False, "muon": False, "sgd": True}
"""By kind, with momentum or without."""


def costs_of(name: str) -> dict[str, Any]:
    """The costs of a preset for two sequences of 16 tokens and of its whole context, a source half as long."""
    config = preset(name).model
    tree: dict[str, Any] = {}
    for length in sorted({SHORT, config.max_seq_len}):
        source = length // 2 if config.has_encoder else None
        found = {
            path: costs(config, batch_size=BATCH, seq_len=length, source_len=source, path=path).to_dict()
            for path in ("fused", "explicit")
        }
        fused = found["fused"]
        tree |= {"parameters": fused["parameters"], "weight_bytes": fused["weight_bytes"]}
        tree[str(length)] = {
            "flops": fused["flops"],
            "activation_bytes": {path: tree["activation_bytes"] for path, tree in found.items()},
            "training_bytes": {path: tree["training_bytes"] for path, tree in found.items()},
            "cache": [fused[f"{kind}_bytes{unit}"] for kind, unit in CACHES],
        }
    tree["optimizer_bytes"] = {
        kind: costs(config, optimizer=kind, momentum=momentum, seq_len=SHORT).optimizer_bytes
        for kind, momentum in OPTIMIZERS.items()
    }
    return tree


CACHES = (("kv_cache", "_per_token"), ("cross_cache", "_per_token"), ("kv_cache", ""))


def golden() -> dict[str, dict[str, Any]]:
    """What is kept, by preset."""
    return json.loads(FILE.read_text())


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(costs_of(name))}" for name in preset_names()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
