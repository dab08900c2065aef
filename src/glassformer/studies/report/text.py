"""The text of a study's report: its question, its results, and its environment."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import glassformer
from glassformer.config import Config, flat, value_at
from glassformer.models.config import ModelConfig
from glassformer.models.family import family_of
from glassformer.runs.environment import machine, read_environment, versions
from glassformer.runs.folder import ENVIRONMENT
from glassformer.statistics.comparison import Difference
from glassformer.statistics.power import PowerLine, power_line
from glassformer.studies.adding_seeds import SequentialResult
from glassformer.studies.design import StudyConfig, arm_label
from glassformer.studies.folder import Study
from glassformer.studies.report.numbers import Numbers, opened
from glassformer.studies.tuned_wording import finding, words
from glassformer.studies.variation import shown
from glassformer.tasks.run_config import RunConfig
from glassformer.wording import counted, duration, listed

NAMED, VALUES = 4, 10
"""As many variants are named in the question, or values of one setting; more are counted."""

ABSENT = ("none", "false")
"""Values, as text, that remove a part."""

INCONCLUSIVE = "inconclusive"

VERBS = {
    INCONCLUSIVE: ("is inconclusive", "are inconclusive"),
    "equivalent": ("is equivalent to the baseline", "are equivalent to the baseline"),
    "identical to the baseline": ("is identical to the baseline", "are identical to the baseline"),
    "no interval": ("has too few pairs for an interval", "have too few pairs for an interval"),
    "no pair": ("has no pair", "have no pair"),
    "baseline diverges": ("has no pair, since the baseline diverges", "have no pair, since the baseline diverges"),
}
"""A verdict as a verb phrase, of one variant and of several; the others are verb phrases already."""


@dataclass(frozen=True)
class Answer:
    """The result of one variant.

    Attributes:
        verdict: in a word or two.
        sentence: with its circumstances.
        power: None where there is no interval, or where seeds were added until a decision.
        control: of a tuned study, what the variant does at the baseline's best values; may be empty.
    """

    variant: str
    verdict: str
    sentence: str
    power: PowerLine | None
    control: str = ""

    @property
    def detail(self) -> str:
        """What follows the sentence: the control, and what an inconclusive result would take; may be empty."""
        needed = self.power.sentence() if self.verdict == INCONCLUSIVE and self.power is not None else ""
        return " ".join(filter(None, (self.control, needed)))

    @property
    def text(self) -> str:
        """The sentence and its detail."""
        return " ".join(filter(None, (self.sentence, self.detail)))


def question(config: StudyConfig) -> str:
    """What was asked, from the design: ``What is the effect of removing model.residual?``."""
    changes = [{path: shown(value) for path, value in variant.items()} for variant in _as_designed(config).values()]
    paths = list(dict.fromkeys(path for change in changes for path in change))
    if all(value in ABSENT for change in changes for value in change.values()) and len(paths) <= NAMED:
        return f"What is the effect of removing {listed(paths)}?"
    if len(paths) == 1:
        values = [value for change in changes for value in change.values()]
        instead = shown(value_at(config.base.to_dict(), paths[0]))
        if len(values) == 1:
            return f"What is the effect of {paths[0]}={values[0]} instead of {instead}?"
        if len(values) <= VALUES:
            return f"What is the effect of {paths[0]}: {listed(values)} instead of {instead}?"
    if len(config.variants) <= NAMED:
        return f"What is the effect of {listed(list(config.variants))}?"
    return f"What is the effect of {len(config.variants)} changes to the baseline?"


def subtitle(config: StudyConfig) -> str:
    """The base's size, its data, its length and the seeds in a line."""
    seeds = counted(len(config.seeds), "seed")
    tuned = "" if config.tuning is None else f", tuned over {listed([words(path) for path in config.tuning.grid])}"
    return f"{size(config.base.model)}, on {data_name(config.base)}, {length(config.base)}, {seeds}{tuned}"


def size(model: ModelConfig) -> str:
    """A model in a few words: ``a decoder of 4 layers, width 128``."""
    stacks = [(stack.side, counted(stack.n_layers(model), "layer")) for stack in family_of(model).stacks]
    parts = [f"{'an' if side == 'encoder' else 'a'} {side} of {layers}" for side, layers in stacks]
    return f"{' and '.join(parts)}, width {model.d_model}"


def answers(numbers: Numbers) -> list[Answer]:
    """One for each variant, the strongest first."""
    return [_answer(row, numbers) for row in numbers.strongest_first]


def headline(found: Sequence[Answer]) -> str:
    """The verdicts of many variants in a sentence, those of one verdict together.

    ``residual=none and n_layers=1 raise the loss; norm.kind=none is inconclusive.``
    """
    together: dict[str, list[str]] = {}
    for each in found:
        together.setdefault(each.verdict, []).append(each.variant)
    clauses = []
    for verdict, variants in together.items():
        one = len(variants) == 1
        who = listed(variants) if len(variants) <= NAMED else f"{len(variants)} variants"
        singular, plural = VERBS.get(verdict, (verdict, _plural(verdict)))
        clauses.append(f"{who} {singular if one else plural}")
    return f"{'; '.join(clauses)}."


def _plural(verdict: str) -> str:
    """``raises the loss`` -> ``raise the loss``."""
    verb, _, rest = verdict.partition(" ")
    return f"{verb.removesuffix('s')} {rest}".strip()


def unfinished(numbers: Numbers) -> str:
    """What the reader must know of a study whose runs have not all ended well; empty if they have."""
    pending = len(numbers.study.plan) - len(numbers.runs)
    failed = [run.outcome for run in numbers.runs if run.outcome.status == "failed"]
    notes = []
    if pending:
        are, have = ("is", "has") if pending == 1 else ("are", "have")
        notes.append(f"{pending} of {len(numbers.study.plan)} runs {have} not ended yet and {are} not included.")
    if failed:
        reasons = "; ".join(f"{arm_label(each.variant)}, seed {each.seed}: {each.reason}" for each in failed)
        notes.append(
            f"{counted(len(failed), 'run')} failed and {'is' if len(failed) == 1 else 'are'} excluded: {reasons}."
        )
    return " ".join(notes)


def data_name(base: RunConfig) -> str:
    """The data in a few words."""
    return base.data.title


def length(base: RunConfig) -> str:
    """How long a run is trained: the budgets that are set."""
    training = base.training
    budgets = [
        (training.max_steps, "steps"),
        (training.max_tokens, "tokens"),
        (training.max_epochs, "epochs"),
        (training.max_seconds, "seconds"),
    ]
    return " or ".join(f"{budget:,} {unit}" for budget, unit in budgets if budget is not None)


def circumstances(numbers: Numbers) -> dict[str, str]:
    """Where, when, with what and by which command: without these the numbers mean little."""
    study = numbers.study
    tuning = study.config.tuning
    environment = read_environment(study.path / ENVIRONMENT)
    runs = [run for each in numbers.runs if (run := opened(each.outcome)) is not None]
    machines = list(dict.fromkeys(machine(run.environment()) for run in runs)) or [machine(environment)]
    seconds = sum(run.outcome.seconds for run in numbers.runs)
    reused = sum(run.outcome.reused for run in numbers.runs)
    commit = environment.get("git") or {}
    facts = {
        "command": shlex.join(environment["command"]),
        "started": str(environment["started"]).replace("T", " ")[:19] + " UTC",
        "training time": f"{duration(seconds)}, {counted(len(numbers.runs), 'run')}"
        + (f", {reused} of them reused" if reused else ""),
        "machine": "; ".join(machines),
        "versions": versions(environment),
        "seeds": ", ".join(map(str, study.config.seeds)),
        "selection seeds": "" if tuning is None else ", ".join(map(str, tuning.seeds)),
        "selection runs": "" if study.selection is None else _selection_time(study.selection),
        "data": data_name(study.config.base),
        "fingerprint of the data": "; ".join(dict.fromkeys(map(str, study.data().values()))),
        "matched by": "nothing" if study.config.matched == "none" else study.config.matched,
        "code": f"commit {commit['commit'][:12]}{', changed' if commit.get('changed') else ''}" if commit else "",
        "variables": ", ".join(f"{name}={value}" for name, value in environment.get("variables", {}).items()),
        "study": study.name,
        "report": f"glassformer {glassformer.__version__}",
    }
    return {name: value for name, value in facts.items() if value}


def settings(config: Config) -> dict[str, str]:
    """Every setting by its dotted name, as the command line writes it."""
    return {path: shown(value) for path, value in flat(config.to_dict()).items()}


def _selection_time(selection: Study) -> str:
    """How many runs chose the values of each arm, and how long they took."""
    outcomes = selection.outcomes()
    return f"{counted(len(outcomes), 'run')}, {duration(sum(outcome.seconds for outcome in outcomes))}"


def _answer(row: Difference, numbers: Numbers) -> Answer:
    if numbers.tuned is not None and numbers.tuned.rows:
        found = finding(numbers.tuned, row.variant)
        power = None if numbers.decisions else power_line(row)
        return Answer(row.variant, found.verdict, found.sentence, power, found.detail)
    sequential_result = numbers.summary.sequential_result(row.variant)
    verdict = _verdict(row) if sequential_result is None or row.mean is None else _sequential_verdict(sequential_result)
    return Answer(row.variant, verdict, numbers.summary.sentence(row), None if sequential_result else power_line(row))


def _verdict(row: Difference) -> str:
    if row.mean is None:
        if row.pairs and len(row.variant_diverged) == len(row.pairs):
            return "diverges"
        return "baseline diverges" if row.pairs and len(row.base_diverged) == len(row.pairs) else "no pair"
    if row.interval is None:
        return "no interval"
    return _direction(row.mean) if row.significant else INCONCLUSIVE


def _sequential_verdict(sequential_result: SequentialResult) -> str:
    decision = sequential_result.decision
    if decision.verdict == "different" or (sequential_result.identical and decision.mean):
        assert decision.mean is not None
        return _direction(decision.mean)
    if sequential_result.identical:
        return "identical to the baseline"
    return "equivalent" if decision.verdict == "equivalent" else INCONCLUSIVE


def _direction(mean: float) -> str:
    return "raises the loss" if mean > 0 else "lowers the loss"


def _as_designed(config: StudyConfig) -> dict[str, dict[str, Any]]:
    """The variants without what matching added to them, where something is left."""
    steps = ("training.max_steps",)
    added = {"parameters": ("model.d_model", "model.feedforward.d_ff"), "flops": steps, "seconds": steps}
    designed = {}
    for name, changes in config.variants.items():
        paths = added.get(config.matched, ()) if name in config.adjusted else ()
        designed[name] = {path: value for path, value in changes.items() if path not in paths} or dict(changes)
    return designed
