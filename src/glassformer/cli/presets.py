"""``glassformer presets``: the models of the literature that are here by name."""

from __future__ import annotations

from typing import Annotated

import typer

from glassformer.cli.terminal import emit_json
from glassformer.wording import counted, in_all_and_active


def presets(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON array.")] = False,
) -> None:
    """List the models that can be named."""
    from glassformer.models.counting import active_parameters
    from glassformer.models.family import family_of
    from glassformer.models.presets import preset, preset_names

    found = [preset(name) for name in preset_names()]
    if as_json:
        rows = [
            {
                "name": each.name,
                "n_parameters": each.n_parameters,
                "n_active_parameters": active_parameters(each.model),
                "source": each.source,
                "model": each.model.to_dict(),
                "recipe": dict(each.recipe),
            }
            for each in found
        ]
        emit_json(rows, indent=2)
        return

    from rich.padding import Padding
    from rich.text import Text

    from glassformer.cli.terminal import Terminal

    console = Terminal(soft_wrap=False)
    for each in found:
        model = each.model
        family = family_of(model)
        layers = family.describe_layers(model)
        if len(family.sides) > 1:
            layers += f" ({' + '.join(family.sides)})"
        parameters = in_all_and_active(each.n_parameters, active_parameters(model))
        sizes = (
            f"{parameters}: {layers}, {counted(model.attention.n_heads, 'head')}, "
            f"width {model.d_model}, context {model.max_seq_len}"
        )
        console.print(Text.assemble((f"{each.name:<26}", "bold"), sizes))
        console.print(Padding(Text(each.source, style="dim"), (0, 0, 0, 2)))
    console.print("\nglassformer info PRESET says what one costs; glassformer train PRESET trains it.", style="italic")
