"""``glassformer doctor``, and the manners of the command line around it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys

import pytest

from glassformer import errors
from glassformer.cli import doctor
from glassformer.cli.main import COMMANDS, load, main


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A real examination, its measurements kept short."""
    patch = pytest.MonkeyPatch()
    patch.setenv("GLASSFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr("glassformer.speed.SECONDS", 0.02)
    yield doctor.examine(fresh=False)
    patch.undo()


def glassformer(*args, **environment):
    command = [sys.executable, "-m", "glassformer", *args]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def found(report, **changes):
    """The findings for this machine with some of its facts changed."""
    changed = copy.deepcopy(report)
    for path, value in changes.items():
        *way, last = path.split("__")
        place = changed
        for name in way:
            place = place[name]
        place[last] = value
    return {f"{finding.kind}: {finding.what}": finding.do for finding in doctor.advise(changed)}


def test_json_holds_the_machine_its_speeds_and_the_findings(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path))
    monkeypatch.setenv("GLASSFORMER_DATA", str(tmp_path / "absent"))
    monkeypatch.setattr("glassformer.speed.SECONDS", 0.02)
    status = main(["doctor", "--json"])
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")
    said = json.loads(out)
    assert said["machine"]["cores"] >= 1
    assert said["measured"]["cpu"]["fp32_flops"] > 1e8
    assert any("absent" in finding["what"] and finding["kind"] == "missing" for finding in said["findings"])


def test_the_table_names_what_a_reader_looks_for(report, capsys):
    doctor._show(report, list(doctor.advise(report)))
    said = " ".join(capsys.readouterr().out.split())
    for name in ("CPU", "instruction sets", "GPU", "torch", "fast fp32 matmul", "GFLOP/s", "GB/s", "free", "runs"):
        assert name in said


def test_a_missing_compiler_is_missed_and_a_present_one_is_not(report):
    assert any("No C++ compiler" in what for what in found(report, machine__compiler=None))
    assert not any("No C++ compiler" in what for what in found(report, machine__compiler="/usr/bin/g++"))


def test_idle_and_crowded_cores_are_noticed(report):
    changes = {"machine__cores": 8, "omp_num_threads": "2"}
    idle = found(report, machine__threads=2, **changes)
    assert idle["slow: torch uses 2 of 8 cores (OMP_NUM_THREADS=2)."].startswith("export OMP_NUM_THREADS=8")
    assert any("wait for each other" in what for what in found(report, machine__threads=16, **changes))
    assert not any("cores" in what for what in found(report, machine__threads=8, **changes))


def test_bf16_is_recommended_only_where_it_is_faster(report):
    def said(fp32, bf16):
        return found(report, device="cpu", measured={"cpu": {"fp32_flops": fp32, "bf16_flops": bf16}})

    assert any("2.5 times as fast" in what for what in said(2e11, 5e11))
    assert any(what.startswith("slow: bf16 is slower") for what in said(2e11, 1e11))
    assert not any("bf16" in what for what in said(2e11, 2.1e11))


def test_hours_without_a_gpu_follow_from_the_measured_peak(report):
    """6 x 10,745,088 parameters x 81.92e6 tokens / (half of 400 GFLOP/s) = 7.3 hours."""
    speed = {"cpu": {"fp32_flops": 4e11, "bf16_flops": 4e11}}
    assert any("takes 7.3 hours" in what for what in found(report, device="cpu", machine__gpus=[], measured=speed))


def test_a_driver_without_a_cuda_build_of_torch_is_pointed_out(report):
    changes = {"device": "cpu", "machine__gpus": []}
    assert any("sees no GPU" in what for what in found(report, nvidia_driver=True, **changes))
    assert not any("sees no GPU" in what for what in found(report, nvidia_driver=False, **changes))


def test_a_full_disk_and_missing_packages_are_found(report):
    said = found(report, places__runs_free_bytes=5e8, packages__transformers=False)
    assert any(what.startswith("missing: Only 500 MB free for runs") for what in said)
    assert any(do == "pip install 'glassformer[hf]'" for do in said.values())


def test_help_answers_without_importing_torch():
    code = (
        "import sys; from glassformer.cli.main import main; status = main(['--help']);"
        "heavy = {'torch', 'altair', 'scipy', 'numpy', 'tokenizers'} & sys.modules.keys();"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_says_of_itself_what_the_table_says(name):
    assert load(name).help.splitlines()[0] == COMMANDS[name].summary


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["doctr"], "Did you mean 'doctor'"),
        (["--verson"], "--version"),
        (["doctor", "--jsn"], "--json"),
        (["doctor", "surplus"], "surplus"),
    ],
)
def test_a_mistyped_command_line_exits_2_and_suggests_the_nearest(args, says):
    done = glassformer(*args)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (
            errors.ConfigError("n_heads is [3], not a divisor."),
            2,
            "error: The configuration cannot work: n_heads is [3]",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_a_command_raises_becomes_an_exit_status_and_a_message(monkeypatch, capsys, raised, status, message):
    def broken(*, fresh):
        raise raised

    monkeypatch.setattr(doctor, "examine", broken)
    assert main(["doctor"]) == status
    said = capsys.readouterr()
    assert said.err.startswith(message)
    assert bool(said.err) == bool(message)


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["doctor"],
        pytest.param(["doctor", "--json"], marks=pytest.mark.slow(reason="a process that imports torch, as doctor's")),
    ],
)
def test_a_reader_who_left_gets_no_complaint(args, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "glassformer", *args]
    environment = os.environ | {"GLASSFORMER_CACHE": str(tmp_path)}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, env=environment, timeout=60)
    os.close(writing)
    assert done.stderr == b""


def test_no_arguments_show_the_help(capsys):
    assert main([]) == 0
    assert "Usage: glassformer" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys):
    import glassformer as package

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"glassformer {package.__version__}\n"


def test_every_public_name_can_be_had():
    import glassformer as package

    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense
