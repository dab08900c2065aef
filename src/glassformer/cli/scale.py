"""``glassformer scale``: the table of its commands; each is imported when it is called."""

from __future__ import annotations

from glassformer.cli.lazy import Command, group

# To add a command: write cli/scale_NAME.py with one function, and its row here, in the order of the help page.
# The summary is the first line of the function's docstring.
COMMANDS = {
    "plan": Command(
        "glassformer.cli.scale_plan:scale_plan",
        "Plan a training from a budget: shape, tokens, batch, steps, loss, and the estimates of other laws.",
        opens=True,
    ),
    "fit": Command(
        "glassformer.cli.scale_fit:scale_fit",
        "Fit a scaling law to training runs: parameters with intervals, a target, and a report page.",
        opens=True,
    ),
    "ladder": Command(
        "glassformer.cli.scale_ladder:scale_ladder",
        "Choose the small runs that predict a large one best for a budget, train them, and fit a scaling law.",
        opens=True,
    ),
    "laws": Command(
        "glassformer.cli.scale_laws:scale_laws", "List the published scaling laws, or explain one, or ask one."
    ),
    "noise": Command(
        "glassformer.cli.scale_noise:scale_noise",
        "Read the gradient noise scale of a run: its critical batch, beside Kaplan's formula.",
    ),
}


def _scale() -> None:
    """Scaling laws: plan a training, fit runs, climb a ladder, look up a law."""


scale = group("scale", _scale, COMMANDS)
