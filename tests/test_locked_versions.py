"""requirements/locked.txt is what pyproject.toml asks for, for every machine and not for one."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCKED = ROOT / "requirements" / "locked.txt"


@pytest.fixture(scope="module")
def locked() -> dict[str, str]:
    lines = [line for line in LOCKED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_every_dependency_is_locked_in_its_range(locked):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        Requirement(each) for each in (*project["dependencies"], *(one for all_ in extras.values() for one in all_))
    ]
    for each in wanted:
        if each.name != project["name"]:
            assert each.specifier.contains(locked[canonicalize_name(each.name)]), each


def test_the_file_has_nothing_that_only_one_machine_has(locked):
    for name, version in locked.items():
        assert name == canonicalize_name(name)
        assert Version(version).local is None, f"{name}=={version}"
        assert not name.startswith(("nvidia-", "triton")), f"{name}: torch itself pins the parts of CUDA"
    assert not re.search(r"--hash|--index-url|--find-links|://", LOCKED.read_text(encoding="utf-8"))


def test_the_makefile_installs_them_unless_the_newest_are_asked_for():
    def commands(*words: str) -> str:
        done = subprocess.run(
            ["make", "--dry-run", "setup", "VENV=/nowhere", *words],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},  # none of the variables of the make that runs the tests
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    assert commands().count("PIP_CONSTRAINT=requirements/locked.txt") == 2
    newest = commands("VERSIONS=newest")
    assert "PIP_CONSTRAINT" not in newest
    assert "--upgrade-strategy eager" in newest
    assert "VERSIONS is 'newer'; expected is locked or newest" in commands("VERSIONS=newer")
