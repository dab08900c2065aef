"""The sentences of tuned studies, and the one that says of an untuned study that it is not.

A difference between arms that were trained at one learning rate is the part's and the rate's together. Every study says
first which it is, and a tuned one says of each variant whether it changes what can be reached, or only gains from
values of its own. That its best values are others than the baseline's is not said: the baseline was not trained at the
variant's on the fresh seeds, and the two choices differ by chance too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from glassformer.statistics.sensitivity import Sensitivity
from glassformer.statistics.wording import difference_clause, percent, plain, seeds_listed, signed
from glassformer.studies.design import BASE, StudyConfig, arm_label
from glassformer.studies.tuned_results import Changes, Cost, TunedResults, TunedRow
from glassformer.studies.tuning import LEARNING_RATE
from glassformer.wording import counted, listed

NAMED = 4
"""As many arms or values are listed in a sentence; of more, the lowest and the highest."""

VERDICTS: Mapping[Changes, str] = {
    "reach": "changes what can be reached",
    "reach and values": "changes what can be reached, gaining from its own {name}",
    "values": "gains from its own {name}",
    "equivalent": "equivalent",
    "inconclusive": "inconclusive",
    "no interval": "no interval",
    "no pair": "no pair",
    "diverges": "diverges",
}


@dataclass(frozen=True)
class Finding:
    """What a tuned study found of one variant.

    Attributes:
        verdict: in a few words.
        sentence: whether it changes what can be reached, or only at which values, with the intervals that say so.
        detail: the control, what it cannot show, and what selection had to do; may be empty.
    """

    verdict: str
    sentence: str
    detail: str

    @property
    def text(self) -> str:
        """The sentence and its detail."""
        return " ".join(filter(None, (self.sentence, self.detail)))


# --------------------------------------------------------------------------------------------- the first sentence


def basis(config: StudyConfig, results: TunedResults | None) -> str:
    """What the arms were trained at, and whether that was tuned: the first sentence of every result."""
    if results is None:
        return untuned(config)
    name, grid = setting_name(results.grid), results.grid
    each = (
        f"{listed([number(value) for value in next(iter(grid.values()))])}"
        if len(grid) == 1
        else f"{counted(math.prod(map(len, grid.values())), 'combination')} of "
        + listed([f"{words(path)} ({', '.join(map(number, values))})" for path, values in grid.items()])
    )
    steps = "" if config.tuning is None or config.tuning.steps is None else f" of {config.tuning.steps:,} steps"
    selected = f"by the mean final loss of selection runs{steps} with {seeds_listed(results.seeds)}"
    fresh = f"The comparison uses fresh seeds ({', '.join(map(str, config.seeds))})."
    notes = [
        f"{arm_label(BASE).capitalize()}: {row.note}."
        for row in results.rows
        if row.arm == BASE and row.on_edge and row.note
    ]
    rate = "" if LEARNING_RATE in grid else f"{untuned(config)} "
    return " ".join(
        [
            f"{rate}Every arm was trained at its own best {name}, chosen from {each} {selected};",
            "values between them were not tried.",
            fresh,
            *notes,
        ]
    )


def untuned(config: StudyConfig) -> str:
    """The learning rate of all arms, and that it was tuned for none of them."""
    arms = (BASE, *config.variants)
    rates = {arm: config.arm(arm).training.optimizer.learning_rate for arm in arms}
    if len(set(rates.values())) == 1:
        return (
            f"All arms were trained at a learning rate of {number(rates[BASE])}, which was not tuned for any of them: "
            "a difference may be due to the variant or to how well that rate suits it."
        )
    varied = [variant for variant, changes in config.variants.items() if LEARNING_RATE in changes]
    alone = all(set(config.variants[variant]) == {LEARNING_RATE} for variant in varied)
    if len(arms) <= NAMED:
        at = listed([f"{number(rate)} ({arm_label(arm)})" for arm, rate in rates.items()])
    else:
        at = f"from {number(min(rates.values()))} to {number(max(rates.values()))} (baseline: {number(rates[BASE])})"
    if alone and len(varied) == len(config.variants):
        return f"The learning rate is what this study varies: {at}."
    if alone:
        return (
            f"The learning rate is among what this study varies: {at}. It was not tuned: any other difference may be "
            "due to the variant or to how well its rate suits it."
        )
    return (
        f"The arms were trained at different learning rates, none of them tuned: {at}. A difference may be due to the "
        "variant or to its rate."
    )


# ------------------------------------------------------------------------------------------------- one variant


def finding(results: TunedResults, variant: str) -> Finding:
    """Whether a variant changes what can be reached, or only at which values."""
    row, base = results.row(variant), results.row(BASE)
    assert row.own is not None
    assert row.changes is not None
    name = setting_name(results.grid)
    verdict = VERDICTS[row.changes].format(name=name)
    both = f"at {each_value(base.best.values)}, the best for both"
    apart = f"at its own best {name} ({values(row.best.values)}; baseline: {values(base.best.values)})"
    at_own = both if row.same_values else apart
    found = clause(row.own, "it", "the difference is")
    if row.own.equivalent and row.own.significant:
        found = f"{found}, within the equivalence margin"
    if row.changes in ("reach", "reach and values"):
        even = "even " if row.changes == "reach and values" and _is_worse(row) else ""
        sentence = f"{variant} changes what can be reached: {even}{at_own}, {found}."
    elif row.changes == "values":
        sentence = (
            f"{variant} gains from its own {name}; a change in what can be reached is not shown: at the baseline's "
            f"{name} ({values(base.best.values)}) {_at_the_baselines(row)}; at its own ({values(row.best.values)}) "
            f"{found}."
        )
    elif row.changes == "equivalent":
        sentence = f"{variant} does not change what can be reached beyond the equivalence margin: {at_own}, {found}."
    elif row.changes == "diverges":
        sentence = f"{variant} diverges: {at_own}, {_share(row.own)} diverged."
    elif row.changes == "no pair":
        sentence = f"{variant} cannot be compared with the baseline {at_own}: {row.own.note}."
    else:
        sentence = f"Whether {variant} changes what can be reached is inconclusive: {at_own}, {found}."
    return Finding(verdict, sentence, " ".join(_details(row, name)))


def _details(row: TunedRow, name: str) -> list[str]:
    """What stands below the sentence: the control, the runs that are in no pair, the edge of the grid."""
    details: list[str] = []
    if row.own is not None and row.changes == "diverges" and row.own.note and not row.own.exclusions:
        details.append(f"{row.own.note}.")  # of a sequential study: with the divergence rate
    elif row.own is not None and row.changes != "diverges":
        details += row.own.exclusions
    if row.control is not None and not row.same_values and row.changes != "values":
        details.append(f"At the baseline's {name} {_at_the_baselines(row)}.")
    if row.moved is not None and row.moved.interval is not None and row.moved.mean is not None:
        if row.moved.mean < 0 and row.moved.significant:
            by = _size(row.moved, -1)
            give = "give" if name == "settings" else "gives"
            details.append(f"On these seeds, the baseline's {name} {give} {row.arm} a loss lower by {by} than its own.")
        elif row.moved.significant:
            by = _size(row.moved, 1)
            lowers = "lower" if name == "settings" else "lowers"
            details.append(f"Its own {name} instead of the baseline's {lowers} the loss of {row.arm} by {by}.")
    elif row.control is None:
        details.append(f"It was not trained at the baseline's {name}.")
    if row.on_edge and row.note:
        details.append(f"{row.note[0].upper()}{row.note[1:]}.")
    return details


def _at_the_baselines(row: TunedRow) -> str:
    """The control as a clause: "it raises the loss by 0.30 nats (…)", or that it diverged."""
    assert row.control is not None
    if row.control.n == 0:
        return f"it diverged in {_share(row.control)}"
    diverged = f", and it diverged in {_share(row.control)}" if row.control.diverged else ""
    return f"{clause(row.control, 'it', 'the difference is')}{diverged}"


def clause(cost: Cost, subject: str, otherwise: str) -> str:
    """A cost as a clause: with its direction in the verb if it is significant, after ``otherwise`` if it is not."""
    if cost.mean is None:
        return f"{otherwise} unknown ({cost.note})"
    if cost.interval is None:
        return f"{otherwise} {signed(cost.mean, cost.mean)} nats (n = {counted(cost.n, 'pair')}; {cost.note})"
    if cost.significant:
        return difference_clause(
            subject, cost.mean, cost.interval, True, cost.confidence, "the loss", "nats", cost.support
        )
    low, high = cost.interval
    scale = (high - low) / 2
    return (
        f"{otherwise} {signed(cost.mean, scale)} nats ({percent(cost.confidence)} interval {signed(low, scale)} to "
        f"{signed(high, scale)}, {cost.support})"
    )


def _size(cost: Cost, sign: int) -> str:
    """A significant difference without its sign: ``0.29 nats (95 % interval 0.21 to 0.37)``."""
    assert cost.interval is not None
    assert cost.mean is not None
    low, high = sorted(sign * end for end in cost.interval)
    scale = (high - low) / 2
    ends = f"{plain(low, scale)} to {plain(high, scale)}"
    return f"{plain(sign * cost.mean, scale)} nats ({percent(cost.confidence)} interval {ends})"


def _is_worse(row: TunedRow) -> bool:
    """Whether the variant ends above the baseline, each at its own best values."""
    return row.own is not None and row.own.mean is not None and row.own.mean > 0


def _share(cost: Cost) -> str:
    return f"{cost.diverged} of {counted(cost.seeds, 'run')}"


# ------------------------------------------------------------------------------------------------ settings, values


def setting_name(settings: Mapping[str, object]) -> str:
    """What is tuned, in words: ``learning rate``; several are ``settings``.

    >>> setting_name({"training.optimizer.learning_rate": ()}), setting_name({"a.b": (), "a.c": ()})
    ('learning rate', 'settings')
    """
    return words(next(iter(settings))) if len(settings) == 1 else "settings"


def words(setting: str) -> str:
    """A dotted setting's last word, as a sentence has it.

    >>> words("training.optimizer.weight_decay")
    'weight decay'
    """
    return setting.rpartition(".")[2].replace("_", " ")


def number(value: float) -> str:
    """A value of a grid.

    >>> number(0.0003), number(1e-05), number(200)
    ('0.0003', '1e-05', '200')
    """
    return f"{value:.6g}"


def values(chosen: Mapping[str, float | int]) -> str:
    """The chosen values: ``0.001``; of several settings with their names.

    >>> values({"a.learning_rate": 0.001}), values({"a.learning_rate": 0.001, "a.weight_decay": 0.1})
    ('0.001', 'learning rate 0.001, weight decay 0.1')
    """
    if len(chosen) == 1:
        return number(next(iter(chosen.values())))
    return ", ".join(f"{words(name)} {number(value)}" for name, value in chosen.items())


def each_value(chosen: Mapping[str, float | int]) -> str:
    """The chosen values, each with its name and an article.

    >>> each_value({"a.learning_rate": 0.001, "a.eps": 1e-08})
    'a learning rate of 0.001 and an eps of 1e-08'
    >>> each_value({"a.warmup_steps": 100})
    '100 warmup steps'
    """
    return listed([_with_article(words(name), number(value)) for name, value in chosen.items()])


def _with_article(name: str, value: str) -> str:
    if name.endswith("s") and name != "eps":  # a number of something
        return f"{value} {name}"
    return f"a{'n' if name[0] in 'aeiou' else ''} {name} of {value}"


def sensitivity_text(found: Sensitivity) -> str:
    """A sensitivity with its interval, without a unit; "–" where there is none."""
    if found.mean is None:
        return "–"
    if found.interval is None:
        return plain(found.mean, found.mean)
    scale = (found.interval[1] - found.interval[0]) / 2
    low, high = (plain(end, scale) for end in found.interval)
    return f"{plain(found.mean, scale)} ({low} to {high})"
