"""What a study is: a base run, variants of it, and seeds; and the list of runs that follows from them.

    design = study("tiny-transformer", data="tinyshakespeare", vary=["model.residual=none"], seeds=8, steps=2000)
    plan(design)  # base and residual=none, 8 seeds each: 16 runs

Runs of one seed share the order of their data, and the initial weights wherever shapes agree: both are drawn by the
seed (and the weights by their names), so that a variant's run and the base's differ in the variant alone. One thing
besides may differ: the gpt2 scheme scales what feeds a skip connection by the number of skips (checking says where).

A tuned study (``studies/tuning.py``) begins with another one, its selection, and is planned once that has ended.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from glassformer.config import Config, Natural, Seed
from glassformer.errors import ConfigError
from glassformer.studies.tuning import Tuning, Values, steps_in_selection
from glassformer.studies.tuning_options import Tune, read_tuning
from glassformer.studies.variation import OWNED, Changes, Vary, name_of, shown, variants_of
from glassformer.tasks.run_config import RunConfig
from glassformer.training.effects import without_effect
from glassformer.training.recipes import configuration, data_setting

BASE = "base"
"""The baseline's id, in files and as ``variant`` of its runs; :func:`arm_label` is what people read."""

MOST_RUNS = 10_000
LONGEST_NAME = 60  # bytes of a variant's name in a folder's; the seed and the moment come behind it

Matched = Literal["none", "parameters", "flops", "seconds"]

_UNFIT = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\s]+')


class UntilDecided(Config):
    """Seeds are added one at a time until every variant is decided: ``statistics/sequential.py`` has the rule."""

    budget_seeds: Natural = 20
    """Maximum number of seeds."""
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Equivalence margin, nats per token; none: only a difference is ever decided."""

    @classmethod
    def subject(cls) -> str:
        return "study"

    def complaints(self) -> Iterator[str]:
        from glassformer.statistics.boundaries import FIRST_LOOK, MOST_LOOKS

        if not FIRST_LOOK <= self.budget_seeds <= MOST_LOOKS:
            yield (
                f"budget_seeds is {self.budget_seeds}; expected {FIRST_LOOK} to {MOST_LOOKS}: fewer cannot "
                "decide, and the boundaries are not computed for more."
            )


class StudyConfig(Config):
    """A study: base × variants × seeds, paired by seed."""

    name: str
    """What the study's folder is called; a moment in time is added."""
    base: RunConfig
    """The run that every variant is compared with."""
    variants: dict[str, dict[str, Any]]
    """A variant's name and its dotted changes of the base: {"residual=none": {"model.residual": "none"}}."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=MOST_RUNS)]
    """Each variant, and the base, is trained once with every seed."""
    matched: Matched = "none"
    """What every variant is made equal in: parameters (by its width), flops or seconds (by its steps), or none."""
    adjusted: dict[str, str] = {}
    """What matching changed, a sentence for each variant that it changed."""
    until_decided: UntilDecided | None = None
    """Whether seeds are added to ``seeds``, and how long."""
    tuning: Tuning | None = None
    """What every arm is tuned over, before the comparison."""
    chosen: dict[str, dict[str, Any]] = {}
    """The best values of each arm of a tuned study, by setting; empty until its selection has ended."""
    settled: dict[str, Natural] = {}
    """Variants that diverged at every seed: they, and their controls, are trained with so many of ``seeds``."""

    @classmethod
    def subject(cls) -> str:
        return "study"

    def complaints(self) -> Iterator[str]:
        """Every reason of every variant, at once."""
        if not self.variants:
            yield "nothing to compare the baseline with: give a variant, as in --vary model.residual=none."
        if len(set(self.seeds)) < len(self.seeds):
            yield f"seeds has {_twice(self.seeds)} twice."
        if self.n_runs > MOST_RUNS:
            yield f"{self.n_runs:,} runs are planned; at most {MOST_RUNS:,} make one study."
            return  # to build them all would take minutes
        yield from self._complaints_about_the_budget()
        yield from self._complaints_about_tuning()
        built = {self.base.to_json(): BASE}
        run_keys = {safe_name(BASE): BASE}
        of_controls = {safe_name(name): name for name in self._possible_controls()}
        for name, changes in self.variants.items():
            yield from self._complaints_about(name, changes, built)
            if (run_key := safe_name(name)) in of_controls:
                yield f"the variant {name!r} would share its name with a control; rename it."
            if (run_key := safe_name(name)) in run_keys:
                yield f"the variants {run_keys[run_key]!r} and {name!r} would share the name {run_key!r}; rename one."
            run_keys.setdefault(run_key, name)

    def _complaints_about_the_budget(self) -> Iterator[str]:
        if self.until_decided is None:
            return
        budget = self.until_decided.budget_seeds
        if len(self.seeds) > budget:
            yield f"{len(self.seeds)} seeds are planned, and the maximum is {budget} (budget_seeds)."
        elif (most := budget * self.n_runs // len(self.seeds)) > MOST_RUNS:
            yield f"{most:,} runs may be needed; at most {MOST_RUNS:,} make one study."

    def _complaints_about_tuning(self) -> Iterator[str]:
        tuned = {} if self.tuning is None else self.tuning.grid
        if self.chosen and (
            set(self.chosen) != {BASE, *self.variants} or any(set(each) != set(tuned) for each in self.chosen.values())
        ):
            yield "chosen has not one value of each tuned setting for each arm."
        if self.tuning is None:
            return
        most = (1 + len(self.variants)) * self.tuning.most_combinations * len(self.tuning.seeds)
        if most > MOST_RUNS:
            yield f"{most:,} selection runs may be needed; at most {MOST_RUNS:,} make one study."
        yield from self.tuning.complaints_within(self.base, self.variants, self.seeds, self.matched)

    def _complaints_about(self, name: str, changes: Changes, built: dict[str, str]) -> Iterator[str]:
        """What is wrong with one variant; ``built`` holds those before it by what they are, and gets this one."""
        owned = [path for path in changes if path in OWNED]
        yield from (f"variant {name!r}: {path} cannot be varied: {OWNED[path]}." for path in owned)
        if owned:
            return
        try:
            config = self.base.override(changes)
        except ConfigError as error:
            yield from (f"variant {name!r}: {complaint}" for complaint in error.complaints)
            return
        same = built.setdefault(config.to_json(), name)
        if same != name:
            yield f"variant {name!r} is the same run as {arm_label(same)!r}: it changes nothing that differs from it."

    @property
    def n_runs(self) -> int:
        """Runs of the comparison: every arm with every seed; until a selection has ended, at most so many."""
        controls = self._possible_controls() if self.tuning is not None and not self.chosen else self.controls
        dropped = [
            max(0, len(self.seeds) - most)
            for name, most in self.settled.items()
            for _ in (name, *(control for control, variant in controls.items() if variant == name))
        ]
        return (1 + len(self.variants) + len(controls)) * len(self.seeds) - sum(dropped)

    @property
    def n_selection_runs(self) -> int:
        """Runs of the selection of a tuned study, before any grid is extended."""
        if self.tuning is None:
            return 0
        return (1 + len(self.variants)) * self.tuning.n_combinations * len(self.tuning.seeds)

    @property
    def arms(self) -> tuple[str, ...]:
        """The base, the variants and the controls, by name, in their order."""
        return (BASE, *self.variants, *self.controls)

    @property
    def controls(self) -> dict[str, str]:
        """The variant of each control: those at the baseline's best values whose own best are others."""
        chosen = self.chosen
        return {
            name: variant
            for name, variant in self._possible_controls().items()
            if chosen and chosen.get(variant) != chosen.get(BASE)
        }

    def _possible_controls(self) -> dict[str, str]:
        """A control of every variant, by its name."""
        if self.tuning is None or not self.tuning.controls:
            return {}
        settings = [setting.rpartition(".")[2] for setting in self.tuning.grid]
        of = settings[0] if len(settings) == 1 else "settings"
        return {f"{variant} at the baseline's {of}": variant for variant in self.variants}

    def arm(self, name: str) -> RunConfig:
        """The configuration of the base, a variant or a control at its chosen values, with the base's own seed."""
        if name in (controls := self.controls):
            return self.at_the_baselines(controls[name])
        changes = {**({} if name == BASE else self.variants[name]), **self.chosen.get(name, {})}
        return self.base.override(changes) if changes else self.base

    def at_the_baselines(self, variant: str) -> RunConfig:
        """A variant's configuration at the values that are chosen for the base; nothing chosen: its own."""
        return self.base.override({**self.variants[variant], **self.chosen.get(BASE, {})})

    @property
    def unchosen(self) -> StudyConfig:
        """As it was designed: before its selection ended."""
        return self.model_copy(update={"chosen": {}})

    def at(self, arm: str, values: Values) -> dict[str, Any]:
        """The changes of the base that make a selection run of an arm at some values."""
        assert self.tuning is not None, "nothing is tuned"
        changes = self.variants.get(arm, {})
        return {**changes, **values, **steps_in_selection(self.tuning, self.base, self.base.override(changes))}

    def selection_study(self) -> StudyConfig:
        """The selection of a tuned study: every arm at every combination of values, an ordinary study.

        Its base is the baseline at the smallest values.
        """
        assert self.tuning is not None, "nothing is tuned"
        smallest, *_ = values = self.tuning.combinations()
        points = [(arm, each) for arm in (BASE, *self.variants) for each in values][1:]
        return StudyConfig.build(
            {
                "name": "selection",
                "base": self.base.override(self.at(BASE, smallest)).to_dict(),
                "variants": {point_name(arm, each): self.at(arm, each) for arm, each in points},
                "seeds": self.tuning.seeds,
            }
        )


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    variant: str
    seed: int
    config: RunConfig

    @property
    def run_key(self) -> str:
        """Its name in the study's folder: one run, ever, has it."""
        return run_key_of(self.variant, self.seed)


def plan(config: StudyConfig) -> list[PlannedRun]:
    """Every run of a study, all variants of the first seed first, so that whole pairs come early.

    None of a tuned study whose values are not chosen yet.
    """
    if config.tuning is not None and not config.chosen:
        return []
    arms = {name: config.arm(name) for name in config.arms}
    return [
        PlannedRun(name, seed, arm.override({"training.seed": seed}))
        for index, seed in enumerate(config.seeds)
        for name, arm in arms.items()
        if index < config.settled.get(config.controls.get(name, name), MOST_RUNS)
    ]


def study(
    base: str | RunConfig,
    *,
    vary: Vary,
    data: str | None = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - as on the command line
    seeds: int | Sequence[int] = 3,
    steps: int | None = None,
    matched: Matched = "none",
    grid: bool = False,
    until_decided: bool = False,
    budget_seeds: int | None = None,
    margin: float | None = None,
    learning_rates: str | Sequence[float | str] | None = None,
    tune: Tune | None = None,
    selection_seeds: str | int | Sequence[int] | None = None,
    selection_steps: int | None = None,
    controls: bool = True,
    name: str | None = None,
) -> StudyConfig:
    """A study from a preset's name (or a whole run) and what to vary about it.

    Args:
        vary: variants by name, ``{"no skip": {"model.residual": "none"}}``; or a list of changes, each text as on the
            command line (``"model.residual=none"``, ``"model.n_layers=1|2|4"``, ``"a=1,b=2"``) or a mapping.
        data, set, steps: change the base: its text, any setting, its number of updates.
        seeds: how many (0, 1, …), or which.
        grid: every combination of the listed values, instead of one change at a time.
        until_decided: add seeds one at a time until every variant is decided, at most ``budget_seeds`` (20);
            ``margin`` is the equivalence margin, nats per token.
        learning_rates: train every arm at each of these first, and compare the arms each at its own best.
        tune: other settings to tune so, with their values: ``{"training.optimizer.weight_decay": [0.0, 0.1]}`` or
            ``"training.optimizer.weight_decay=0|0.1"``; without values, or True for the learning rate, a grid around
            the baseline's value.
        selection_seeds: seeds of these runs, none of which is in the comparison: how many (1000, 1001, …), or which.
        selection_steps: updates of these runs of the baseline; as many as in the comparison unless given.
        controls: train each variant at the baseline's best values too.
        name: of the study's folder; the base's unless given.

    Raises:
        ConfigError: with every complaint about every variant.
    """
    changes = {path: shown(value) for path, value in (set or {}).items()}
    if isinstance(base, str):
        assignments = [f"{path}={value}" for path, value in changes.items()]
        run = configuration(base, data=data, steps=steps, seed=None, assignments=assignments)
    else:
        options = {data_setting(data, base.data): data, "training.max_steps": steps}
        run = base.override({path: value for path, value in options.items() if value is not None} | changes)
    named = base if isinstance(base, str) else "study"
    rule = {key: value for key, value in (("budget_seeds", budget_seeds), ("margin", margin)) if value is not None}
    if rule and not until_decided:
        raise ConfigError(
            f"{' and '.join(rule)} only matter{'s' * (len(rule) == 1)} where seeds are added: give until_decided "
            "(--until-decided) too.",
            subject="study",
        )
    listed_seeds = seeds_of(seeds)
    tuning, complaints = read_tuning(
        run,
        tune=tune,
        learning_rates=learning_rates,
        selection_seeds=selection_seeds,
        selection_steps=selection_steps,
        controls=controls,
        seeds=listed_seeds,
    )
    try:
        config = StudyConfig.build(
            {
                "name": named if name is None else name,
                "base": run.to_dict(),
                "variants": variants_of(vary, run, grid=grid),
                "seeds": listed_seeds,
                "matched": matched,
                "until_decided": rule if until_decided else None,
                "tuning": None if tuning is None else tuning.to_dict(),
            }
        )
    except ConfigError as error:
        raise ConfigError([*complaints, *error.complaints], subject=error.subject) from None
    if arm_label(BASE) in config.variants:
        complaints.append(f"no variant can be called {arm_label(BASE)!r}, as tables call what it is compared with.")
    for variant, changed in config.variants.items():
        idle = list(without_effect(config.arm(variant), changed))
        if len(idle) == len(changed):
            complaints += [f"variant {variant!r} trains exactly as the baseline: {reason}" for reason in idle]
    if complaints:
        raise ConfigError(complaints, subject="study")
    return config


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """So many seeds from 0 on, or the ones given. Raises :class:`ConfigError` for a number that no study can have."""
    if not isinstance(seeds, int):
        return list(seeds)
    if not 1 <= seeds <= MOST_RUNS:
        raise ConfigError(f"seeds is {seeds}; expected a number from 1 to {MOST_RUNS:,}.", subject="study")
    return list(range(seeds))


def run_key_of(variant: str, seed: int) -> str:
    """The name of a variant's run with a seed in the study's folder."""
    return f"{safe_name(variant)}.seed-{seed}"


def point_name(arm: str, values: Values) -> str:
    """What an arm at some values is called in the selection study.

    >>> point_name("residual=none", {"training.optimizer.learning_rate": 0.003})
    'residual=none, optimizer.learning_rate=0.003'
    """
    return f"{arm_label(arm)}, {name_of(values)}"


def arm_label(arm: str) -> str:
    """What tables and charts call an arm: "baseline", or the variant's name.

    >>> arm_label(BASE), arm_label("residual=none")
    ('baseline', 'residual=none')
    """
    return "baseline" if arm == BASE else arm


def safe_name(variant: str) -> str:
    """A variant's name as a folder's can hold it, equal only where the names are equal but for such characters."""
    name = _UNFIT.sub("-", variant).strip("-. ") or "variant"
    if len(name.encode()) > LONGEST_NAME:
        name = (
            f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}~{hashlib.sha256(variant.encode()).hexdigest()[:8]}"
        )
    return name.casefold()


def _twice(seeds: Sequence[int]) -> int:
    return next(seed for index, seed in enumerate(seeds) if seed in seeds[:index])
