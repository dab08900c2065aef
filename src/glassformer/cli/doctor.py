"""``glassformer doctor``: what this machine is, and what is slow or missing because of it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from glassformer.cli.terminal import emit_json
from glassformer.cli.units import readable_bytes

OPTIONAL = {  # package -> (the extra that brings it, what it is for)
    "transformers": ("hf", "reading and writing Hugging Face models by hub name"),
    "datasets": ("hf", "--data hf:owner/name"),
    "tensorboard": ("tensorboard", "writing metrics for TensorBoard"),
}


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is slow or missing (or worth knowing), and what to do about it."""

    kind: str  # "slow", "missing" or "note"
    what: str
    do: str


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
    measure: Annotated[
        bool, typer.Option(help="Measure speeds now (about two seconds); otherwise what was measured before is shown.")
    ] = True,
) -> None:
    """Say what this machine is, and what is slow or missing on it."""
    report = examine(fresh=measure)
    findings = list(advise(report))
    if as_json:
        emit_json({**report, "findings": [asdict(finding) for finding in findings]}, indent=2)
    else:
        _show(report, findings)


def examine(*, fresh: bool) -> dict[str, Any]:
    """Everything the doctor looks at, as plain values: the machine, its measured speeds, folders, packages."""
    import torch

    from glassformer import machine, places, speed

    here = machine.describe()
    device = ("mps" if here.torch_build == "cpu" else "cuda") if here.gpus else "cpu"
    fast = speed.fast_matmul_is_exact(fresh=fresh)
    runs, cache, provided = places.runs_folder(), places.cache_folder(), places.provided_data_folder()
    devices = dict.fromkeys(("cpu", device))
    return {
        "machine": here.to_dict(),
        "device": device,
        "fast_matmul": asdict(fast) | {"reason": fast.reason},
        "measured": {
            each: {
                "fp32_flops": speed.matmul_peak(torch.float32, each, fresh=fresh),
                "bf16_flops": speed.matmul_peak(torch.bfloat16, each, fresh=fresh),
                "memory_bytes_per_second": speed.memory_bandwidth(each, fresh=fresh),
            }
            for each in devices
        },
        "places": {
            "runs": str(runs.absolute()),
            "runs_free_bytes": machine.free_disk(runs),
            "cache": str(cache.absolute()),
            "cache_free_bytes": machine.free_disk(cache),
            "provided_data": str(provided) if provided else None,
            "provided_data_exists": bool(provided and provided.is_dir()),
        },
        "packages": {name: importlib.util.find_spec(name) is not None for name in OPTIONAL},
        "nvidia_driver": Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia/version").exists(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def advise(report: dict[str, Any]) -> Iterator[Diagnosis]:
    """What follows from what was found, the weightiest first."""
    yield from _about_the_device(report)
    yield from _about_the_cpu(report)
    yield from _about_the_places(report)
    for name, there in report["packages"].items():
        if not there:
            extra, purpose = OPTIONAL[name]
            yield Diagnosis("missing", f"{name} is not installed: {purpose}.", f"pip install 'glassformer[{extra}]'")


def _about_the_device(report: dict[str, Any]) -> Iterator[Diagnosis]:
    from glassformer.models.presets import preset

    here, speed = report["machine"], report["measured"][report["device"]]
    fp32, bf16 = speed["fp32_flops"], speed["bf16_flops"]
    if not here["gpus"]:
        if report["nvidia_driver"]:
            yield Diagnosis(
                "missing",
                f"There is an NVIDIA driver, but torch {here['torch']} ({here['torch_build']} build) sees no GPU.",
                "Install a CUDA build of torch: https://pytorch.org/get-started/locally/",
            )
        nanogpt = preset("nanogpt-shakespeare")
        size, recipe = nanogpt.n_parameters, nanogpt.recipe
        tokens = recipe["training.max_steps"] * recipe["training.batch_size"] * nanogpt.model.max_seq_len
        hours = 6 * size * tokens / (0.5 * max(fp32, bf16)) / 3600
        yield Diagnosis(
            "slow",
            f"No GPU. At half of the matmul peak measured here, `nanogpt-shakespeare` ({size / 1e6:.1f} M parameters, "
            f"{tokens / 1e6:.0f} M tokens) takes {hours:.1f} hours.",
            "Start with `glassformer demo` and `nanogpt-shakespeare-cpu`: minutes.",
        )
    if bf16 > 1.3 * fp32:
        yield Diagnosis(
            "note",
            f"bf16 matrix products are {bf16 / fp32:.1f} times as fast as fp32 here.",
            "Train with --set training.precision=bf16 where its rounding is acceptable.",
        )
    elif bf16 < fp32:
        yield Diagnosis(
            "slow",
            f"bf16 is slower than fp32 here ({bf16 / fp32:.2f} times its speed): no matrix instructions for it.",
            "Stay with fp32, the default.",
        )


def _about_the_cpu(report: dict[str, Any]) -> Iterator[Diagnosis]:
    here, fast = report["machine"], report["fast_matmul"]
    if here["compiler"] is None:
        yield Diagnosis(
            "missing",
            "No C++ compiler, so torch.compile cannot work on this CPU; training and decoding take the eager path.",
            "apt-get install g++ (Linux), xcode-select --install (macOS), Visual Studio Build Tools (Windows)",
        )
    if here["threads"] < here["cores"]:
        because = f"OMP_NUM_THREADS={report['omp_num_threads']}" if report["omp_num_threads"] else "torch's own choice"
        yield Diagnosis(
            "slow",
            f"torch uses {here['threads']} of {here['cores']} cores ({because}).",
            f"export OMP_NUM_THREADS={here['cores']}, unless other processes need the rest.",
        )
    if here["threads"] > here["cores"]:
        yield Diagnosis(
            "slow",
            f"torch uses {here['threads']} threads on {here['cores']} cores: they wait for each other.",
            f"export OMP_NUM_THREADS={here['cores']}",
        )
    if not fast["use"] and not here["gpus"]:
        yield Diagnosis("note", f"fp32 products take torch's default path: {fast['reason']}.", "Nothing to do.")
    if here["memory"] is not None and here["memory"] < 4e9:
        yield Diagnosis(
            "slow",
            f"{readable_bytes(here['memory'])} of memory: training a model of the size of GPT-2 will not fit "
            "(16 bytes a parameter, and activations).",
            "Take the small presets; `glassformer info PRESET` says what each needs.",
        )


def _about_the_places(report: dict[str, Any]) -> Iterator[Diagnosis]:
    places = report["places"]
    for what, variable in (("runs", "GLASSFORMER_RUNS"), ("cache", "GLASSFORMER_CACHE")):
        if places[f"{what}_free_bytes"] < 2e9:
            yield Diagnosis(
                "missing",
                f"Only {readable_bytes(places[f'{what}_free_bytes'])} free for {what}, in {places[what]}.",
                f"Free some, or point {variable} to another disk.",
            )
    if places["provided_data"] is None:
        yield Diagnosis(
            "note",
            "GLASSFORMER_DATA is not set: `python-stdlib` needs no download, other named data is fetched once.",
            "Without a network, put the files in a folder and let GLASSFORMER_DATA name it.",
        )
    elif not places["provided_data_exists"]:
        yield Diagnosis(
            "missing",
            f"GLASSFORMER_DATA names {places['provided_data']}, and there is no such folder.",
            "Correct the variable or unset it.",
        )


def _show(report: dict[str, Any], findings: list[Diagnosis]) -> None:
    from rich.table import Table
    from rich.text import Text

    from glassformer.cli.terminal import Terminal

    console = Terminal(soft_wrap=False)
    table = Table(title="This machine", title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(report):
        table.add_row(name, Text(value))
    console.print(table)
    console.print()
    colours = {"slow": "yellow", "missing": "red", "note": "cyan"}
    console.print("What follows from it", style="italic")
    advice = Table(show_header=False, box=None, padding=(0, 2, 1, 0))
    advice.add_column(no_wrap=True)
    advice.add_column(overflow="fold")
    for finding in findings:
        advice.add_row(
            Text(finding.kind, style=colours[finding.kind]), Text.assemble(finding.what, "\n", (finding.do, "dim"))
        )
    console.print(advice if findings else "Nothing is slow or missing.")


def _rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    here, fast, places = report["machine"], report["fast_matmul"], report["places"]
    yield "system", f"{here['system']}, Python {here['python']}"
    yield "CPU", here["cpu"]
    yield "cores, threads", f"{here['cores']} usable, torch uses {here['threads']}"
    yield "instruction sets", ", ".join(here["instructions"]) or "none of those that matter for matrix products"
    yield "memory", readable_bytes(here["memory"]) if here["memory"] else "unknown"
    yield "GPU", ", ".join(f"{gpu['name']} ({readable_bytes(gpu['memory'])})" for gpu in here["gpus"]) or "none"
    yield "torch", f"{here['torch']} ({here['torch_build']})"
    yield "compiler", here["compiler"] or "none"
    yield "fast fp32 matmul", f"{'on' if fast['use'] else 'off'}: {fast['reason']}"
    for device, speed in report["measured"].items():
        peak = f"{speed['fp32_flops'] / 1e9:,.0f} GFLOP/s fp32, {speed['bf16_flops'] / 1e9:,.0f} GFLOP/s bf16"
        yield f"matmul peak, {device}", peak
        yield f"memory read, {device}", f"{speed['memory_bytes_per_second'] / 1e9:,.1f} GB/s"
    yield "runs", f"{places['runs']} ({readable_bytes(places['runs_free_bytes'])} free)"
    yield "cache", f"{places['cache']} ({readable_bytes(places['cache_free_bytes'])} free)"
    yield "provided data", places["provided_data"] or "none (GLASSFORMER_DATA is not set)"
