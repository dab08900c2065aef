"""Where claims that need training are decided: studies are made here, or found where they have been made.

Every claim that asks for the same study gets the same folder, and every run that has been made before is reused.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import glassformer
from glassformer import machine, places
from glassformer.claims.budget import Budget
from glassformer.data.downloads import TINY_SHAKESPEARE
from glassformer.errors import GlassformerError
from glassformer.models.presets import preset
from glassformer.runs.folder import ENVIRONMENT, Run, read_object
from glassformer.runs.source import source_digest
from glassformer.studies.checking import Checked, check
from glassformer.studies.design import study
from glassformer.studies.folder import Study
from glassformer.studies.lookup import list_studies
from glassformer.studies.runner import StudyRunner
from glassformer.studies.summary import summarise
from glassformer.tasks.run_config import RunConfig
from glassformer.training.recipes import with_recipe
from glassformer.training.session import entropies
from glassformer.wording import counted

RECIPE = {
    "training.batch_size": 16,
    "training.optimizer.learning_rate": 5e-3,
    "training.schedule.kind": "cosine",
    "training.grad_clip": 1.0,
    "training.compile": "off",
    "training.telemetry.validation_tokens": 16_384,
    "training.checkpoints.every": None,
}
"""How every claim's models are trained: what a small model learns most by in some hundred steps. The learning rate is
five times the notes', which trained for 46,500 steps."""

MODEL = "tiny-transformer"
"""The notes' model: one post-norm layer of width 64."""

RECORDS = 20
"""Records of the gradients, and validations, of a run."""


def local_text() -> str:
    """``tinyshakespeare``, which the notes' numbers are of, where it is on this machine; else ``python-stdlib``."""
    provided = places.provided_data_folder()
    here = [places.cache_folder() / "downloads", *([] if provided is None else [provided])]
    there = any((folder / TINY_SHAKESPEARE.name).is_file() for folder in here)
    return "tinyshakespeare" if there else "python-stdlib"


@dataclass
class ClaimStudies:
    """Makes the studies of claims.

    Attributes:
        data: the text that language models are trained on.
        runner: runs the studies.
        settings: further changes of every base (a test's models are smaller).
        n_runs, n_reused: of all studies so far.
    """

    data: str = field(default_factory=local_text)
    runner: StudyRunner = field(default_factory=StudyRunner)
    settings: Mapping[str, Any] = field(default_factory=dict)
    n_runs: int = 0
    n_reused: int = 0

    def base(
        self, budget: Budget, changes: Mapping[str, Any] | None = None, *, model: str = MODEL, data: str | None = None
    ) -> RunConfig:
        """The run that variants are compared with: a preset on its text, or on other data."""
        own = {"data.source": data or self.data, "training.max_steps": budget.steps}
        return with_recipe(
            preset(model), RECIPE | records(budget.steps) | own | dict(changes or {}) | dict(self.settings)
        )

    def study(
        self,
        name: str,
        base: RunConfig,
        variants: Mapping[str, Mapping[str, Any]],
        budget: Budget,
        **options: Any,
    ) -> Study:
        """A study with all its runs made, now or before.

        Raises:
            GlassformerError: it cannot be made, or runs of it failed; what is done is kept.
            StoppedError: a signal stopped it, and it is saved.
        """
        checked = check(study(base, vary=variants, seeds=budget.seeds, name=name, **options))
        root = self.runner.studies or places.studies_folder()
        made = _found(checked, root) or Study.create(checked.config, data=checked.data, command=sys.argv, root=root)
        before = sum(outcome.status != "failed" for outcome in made.outcomes())
        result = self.runner.run(made, checked)
        self.n_runs, self.n_reused = self.n_runs + len(made.plan), self.n_reused + before + len(result.reused)
        made = result.check()
        made.write_results(summarise(made).to_dict())
        return made

    def over_depth(self, name: str, variants: Mapping[str, Mapping[str, Any]], budget: Budget) -> dict[int, Study]:
        """A study for each of the budget's ``levels``, which are depths; the base has its variants' depth."""
        return {
            depth: self.study(
                f"{name}-{counted(depth, 'layer').replace(' ', '-')}",
                self.base(budget, {"model.n_layers": depth}),
                variants,
                budget,
            )
            for depth in budget.levels
        }

    def entropies(self, made: Study) -> dict[str, float]:
        """Unigram and bigram entropy of a study's training text, nats per token; empty for data that have none."""
        for outcome in made.outcomes():
            if outcome.run is not None:
                return entropies(Run.open(outcome.run))
        return {}


def records(steps: int) -> dict[str, Any]:
    """How often a run of so many steps is validated and its gradients are recorded, and how long it warms up."""
    every = max(1, steps // RECORDS)
    return {
        "training.telemetry.validate_every": every,
        "training.telemetry.gradients_every": every,
        "training.telemetry.log_every": every,
        "training.schedule.warmup_steps": max(1, min(50, steps // 10)),
    }


def _found(checked: Checked, root: Path) -> Study | None:
    """The newest study of this very design, on these data, that this very code began under these circumstances."""
    here = machine.describe()
    for path in reversed(list_studies(root)):
        try:
            candidate = Study.open(path)
            about = read_object(path / ENVIRONMENT)
            same = (about["glassformer"], about["source"], about["machine"]["cpu"], about["machine"]["torch"])
            if (
                candidate.config.unchosen == checked.config
                and candidate.data() == checked.data
                and same == (glassformer.__version__, source_digest(), here.cpu, here.torch)
            ):
                return candidate
        except (GlassformerError, KeyError, TypeError):  # a damaged study is not this claim's business
            continue
    return None
