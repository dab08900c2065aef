"""Write requirements/locked.txt: the versions that ``make demo``, ``make test`` and CI install. Run as ``make lock``.

pip resolves the newest versions that pyproject.toml allows, without installing anything. The file constrains, it
requires nothing: what another platform does not need is not installed there. Without a version in it are the parts of
CUDA, which torch itself pins for each platform, and the local part of a version, such as ``+cpu``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pip._vendor.packaging.specifiers import SpecifierSet  # the one that is there before anything is installed
from pip._vendor.packaging.utils import canonicalize_name

FILE = Path("requirements/locked.txt")
PYTHONS = ("3.11", "3.12", "3.13")
LEFT_TO_TORCH = ("nvidia-", "cuda-", "triton")
HEADER = """\
# Versions for `make demo`, `make test` and CI: constraints, made by `make lock` with Python {python} and pip {pip}.
# Not edited by hand. `make test VERSIONS=newest` tests the newest versions that pyproject.toml allows instead.
"""


def resolved(requirements: list[str]) -> list[dict[str, Any]]:
    """The metadata of every distribution that pip would install into an empty environment."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--dry-run", "--ignore-installed", "--quiet", "--retries=10", f"--report={report}"]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *requirements], check=True)
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return [each["metadata"] for each in found["install"] if not each["is_direct"]]


def main() -> None:
    """Resolve, check and write."""
    versions = {}
    for metadata in resolved(sys.argv[1:]):
        name, version = canonicalize_name(metadata["name"]), metadata["version"].partition("+")[0]
        if name.startswith(LEFT_TO_TORCH):
            continue
        supported = SpecifierSet(metadata.get("requires_python") or "")
        if missing := [python for python in PYTHONS if not supported.contains(f"{python}.99")]:
            sys.exit(f"{name} {version} needs Python {supported}: it cannot be locked for {', '.join(missing)}.")
        versions[name] = version
    pip = subprocess.run([sys.executable, "-m", "pip", "--version"], check=True, capture_output=True, text=True)
    header = HEADER.format(python=".".join(map(str, sys.version_info[:2])), pip=pip.stdout.split()[1])
    FILE.parent.mkdir(exist_ok=True)
    lines = [f"{name}=={versions[name]}\n" for name in sorted(versions)]
    FILE.write_text(header + "".join(lines), encoding="utf-8", newline="\n")
    print(f"{FILE}: {len(versions)} versions")


if __name__ == "__main__":
    main()
