"""Checks before anything runs: that every variant can be built, on what data, and how many runs fit here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch

from glassformer import machine, speed
from glassformer.errors import ConfigError, GlassformerError
from glassformer.models.config import ModelConfig
from glassformer.models.costs import costs
from glassformer.models.counting import build_on_meta
from glassformer.studies.design import BASE, StudyConfig
from glassformer.studies.matching import match, needs_matching
from glassformer.tasks.opening import find_device
from glassformer.tasks.registry import prepare_samples
from glassformer.tasks.run_config import RunConfig
from glassformer.tasks.training_data import PrepareProgress, TrainingData
from glassformer.training.execution import ExecutionConfig, choose
from glassformer.training.memory import TOKEN_BYTES, check_training_memory
from glassformer.training.start_warnings import start_warnings
from glassformer.training.telemetry import summary_writer

WORKER_BYTES = 500 * 2**20
"""Memory of a worker process before its first run: Python, torch and their libraries."""


@dataclass(frozen=True)
class Checked:
    """A study that can run here.

    Attributes:
        config: with the data's vocabulary and its variants matched.
        data: the fingerprint of each arm's data.
        notes: what the user should know about the data, of settings that can hardly be meant, and about variants
            that start from other weights.
        device: where its runs will live.
        threads: of torch in each worker: one on a CPU, where as many processes as cores are fastest; else torch's own.
        run_bytes: memory that the largest of its runs needs.
        samples: the data of each arm.
    """

    config: StudyConfig
    data: dict[str, str]
    notes: list[str]
    device: str
    threads: int | None
    run_bytes: int
    samples: Mapping[str, TrainingData] = field(default_factory=dict, repr=False)


def check(config: StudyConfig, *, progress: PrepareProgress | None = None) -> Checked:
    """Prepare the data, match the variants and build every model without memory, before anything runs.

    What decides a run's path on this machine is measured here too, once, with the threads that the workers will have:
    so all of them decide alike.

    Raises:
        GlassformerError: the base cannot be trained.
        ConfigError: variants cannot, for every reason of every variant.
    """
    device = find_device(config.base.training.device)
    threads = 1 if device.startswith("cpu") else None
    samples = _samples(config, progress)
    base = samples[BASE].with_vocabulary(config.base)
    config = StudyConfig.build(config.to_dict() | {"base": base.to_dict()})
    unmatched = needs_matching(config)
    if unmatched and config.matched != "seconds":
        config = match(config, samples)
        samples = _samples(config, progress)
    needed = 0
    complaints: list[str] = []
    with torch_threads(threads):
        speed.matmul_peak(device=device)
        for name in config.arms:
            for arm in _trained(config, name):
                with _collecting(name, complaints):
                    execution, size = _check_run(arm, samples[name])
                    if execution.device != device:
                        raise ConfigError(f"training.device is {execution.device}, and the baseline's {device}.")
                    needed = max(needed, size)
        if complaints:
            raise ConfigError(dict.fromkeys(complaints), subject="study")
        if unmatched and config.matched == "seconds":  # last, as it takes training to know
            config = match(config, samples)
    _check_selection(config)
    return Checked(
        config,
        {name: each.fingerprint for name, each in samples.items()},
        [
            *dict.fromkeys(note for each in samples.values() for note in each.notes),
            *_warnings(config, samples),
            *_unequal_starts(config),
        ],
        device,
        threads,
        needed,
        samples,
    )


def _trained(config: StudyConfig, arm: str) -> Iterator[RunConfig]:
    """What is trained of an arm: itself, and at every value that it is tuned over."""
    yield config.arm(arm)
    if config.tuning is not None and not config.chosen:
        for values in config.tuning.combinations():
            yield config.base.override(config.at(arm, values))


def _check_selection(config: StudyConfig) -> None:
    """Raise :class:`ConfigError` for a selection that cannot be planned: two arms may be alike after few steps."""
    if config.tuning is None or config.chosen:
        return
    try:
        config.selection_study()
    except ConfigError as error:
        raise ConfigError([f"selection: {each}" for each in error.complaints], subject="study") from None


def _samples(config: StudyConfig, progress: PrepareProgress | None) -> dict[str, TrainingData]:
    """The data of every arm, prepared now or found prepared."""
    samples: dict[str, TrainingData] = {}
    complaints: list[str] = []
    for name in config.arms:
        with _collecting(name, complaints):
            samples[name] = prepare_samples(config.arm(name), progress)
            samples[name].with_vocabulary(config.arm(name))
    if complaints:
        raise ConfigError(dict.fromkeys(complaints), subject="study")
    return samples


def _warnings(config: StudyConfig, samples: Mapping[str, TrainingData]) -> list[str]:
    """What each run warns of at its start: the base's, and what only a variant's has."""
    known = start_warnings(config.base, samples[BASE])
    of_variants = {name: start_warnings(config.arm(name), samples[name]) for name in config.variants}
    return known + [
        f"{name}: {warning}" for name, found in of_variants.items() for warning in found if warning not in known
    ]


def _unequal_starts(config: StudyConfig) -> list[str]:
    """Variants that begin with other weights than the base, though with the same draws, and why."""
    base = config.base.model

    def scaled(model: ModelConfig) -> int | None:
        return model.n_skips if model.initialisation.scheme == "gpt2" and model.initialisation.scale_residual else None

    return [
        f"{name}: with {model.n_skips} skip connections, and {base.n_skips} in the baseline, the projections that "
        "feed them start at another scale; model.initialisation.scale_residual=no in the baseline starts both alike"
        for name, model in ((name, config.arm(name).model) for name in config.variants)
        if model.n_layers == base.n_layers
        and scaled(model) != scaled(base)
        and None not in (scaled(model), scaled(base))
    ]


def _check_run(config: RunConfig, samples: TrainingData) -> tuple[ExecutionConfig, int]:
    """All that starting a run would refuse, without a folder; the path it would take and the bytes it would need."""
    config = samples.with_vocabulary(config)
    execution = choose(config, samples)
    check_training_memory(config, samples, execution)
    if config.training.telemetry.tensorboard:
        summary_writer()
    build_on_meta(config.model)
    rows = max(1, execution.micro_batch_tokens // samples.seq_len)
    optimizer = config.training.optimizer.kind
    cost = costs(config.model, batch_size=rows, seq_len=samples.seq_len, optimizer=optimizer, momentum=True)
    return execution, cost.training_bytes + samples.most_tokens * TOKEN_BYTES


@contextlib.contextmanager
def _collecting(name: str, complaints: list[str]) -> Iterator[None]:
    """Collect what is wrong with a variant. The base's own error is raised as it is, for it is every variant's."""
    try:
        yield
    except GlassformerError as error:
        if name == BASE:
            raise
        reasons = error.complaints if isinstance(error, ConfigError) else [str(error)]
        complaints.extend(f"variant {name!r}: {reason}" for reason in reasons)


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Have torch use so many threads; None leaves it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def worker_count(asked: int | None, *, n_runs: int, device: str, run_bytes: int) -> int:
    """Runs at a time: one for each core (on a GPU, for each GPU), no more than there are runs or memory allows.

    Raises:
        ConfigError: more are asked for than memory allows.
    """
    if device.startswith("cuda"):
        places = torch.cuda.device_count() if device == "cuda" else 1
        return max(1, min(asked or places, n_runs))
    there = machine.describe().memory
    each = WORKER_BYTES + run_bytes
    fit = n_runs if there is None else max(1, (there - WORKER_BYTES) // each)
    if asked is not None and asked > fit:
        raise ConfigError(
            f"{asked} workers need about {asked * each / 1e9:,.1f} GB of memory ({each / 1e9:,.2f} GB each), and there "
            f"are {(there or 0) / 1e9:,.1f} GB; at most {fit} fit.",
            subject="study",
        )
    return max(1, min(asked or machine.usable_cores(), n_runs, fit))
