"""The digest of the source: another for other arithmetic, the same for other words about it."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import glassformer
from glassformer.runs.environment import describe_environment, other_source, read_environment
from glassformer.runs.source import ROOMS, source_digest

PACKAGE = Path(glassformer.__file__).parent


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the package's source, but for some rooms that compute no run."""
    left_out = shutil.ignore_patterns("__pycache__", "claims", "inspection", "scaling", "web")
    return shutil.copytree(PACKAGE, tmp_path / "glassformer", ignore=left_out)


def digest(package: Path) -> str:
    """As another process finds it."""
    return source_digest.__wrapped__(package)


def edit(package: Path, file: str, before: str, after: str) -> str:
    """The digest once a file has been edited."""
    source = (package / file).read_text(encoding="utf-8")
    assert source.count(before) >= 1, (file, before)
    (package / file).write_text(source.replace(before, after, 1), encoding="utf-8")
    return digest(package)


def test_it_is_a_sha_256_that_the_place_does_not_change(copy):
    assert len(bytes.fromhex(source_digest())) == 32
    assert digest(copy) == source_digest()


ARITHMETIC = {
    "a sign": ("training/schedules.py", " - ", " + "),
    "an import": ("config.py", "import", "import math\nimport"),
    "a number": ("models/initialisation.py", "[:8]", "[:7]"),
    "a path that is chosen by speed": ("speed.py", "EXACT_WITHIN = 16", "EXACT_WITHIN = 17"),
    "data of generated tasks": ("data/cldr_dates.json", ",", ", "),
}


@pytest.mark.parametrize("case", ARITHMETIC)
def test_one_line_of_the_arithmetic_changes_it(copy, case):
    assert edit(copy, *ARITHMETIC[case]) != source_digest()


def test_a_file_more_or_less_changes_it(copy):
    (copy / "parts" / "more.py").write_text("more = 1\n")
    more = digest(copy)
    (copy / "parts" / "more.py").unlink()
    (copy / "training" / "schedules.py").unlink()
    assert len({source_digest(), more, digest(copy)}) == 3


def test_words_about_the_code_and_its_layout_do_not_change_it(copy):
    for file in copy.rglob("*.py"):  # every docstring, comment and line break
        tree = _Reworded().visit(ast.parse(file.read_text(encoding="utf-8")))
        file.write_text(f"# reworded\n{ast.unparse(tree)}\n", encoding="utf-8")
    assert (copy / "config.py").read_text() != (PACKAGE / "config.py").read_text()
    assert digest(copy) == source_digest()


class _Reworded(ast.NodeTransformer):
    """Every string that is a statement says something else."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Expr(ast.Constant("other words")) if text else node


def test_a_text_in_an_expression_is_code(copy):
    assert edit(copy, "parts/norms.py", '"layernorm"', '"layer-norm"') != source_digest()


@pytest.mark.parametrize("room", ["cli/study.py", "studies/design.py", "charts/page.py", "statistics/power.py"])
def test_rooms_that_compute_no_run_do_not_change_it(copy, room):
    assert not any(room.startswith(each) for each in ROOMS)
    assert edit(copy, room, "import annotations", "import annotations\nANOTHER = 1") == source_digest()


def test_every_room_is_there():
    assert [room for room in ROOMS if not (PACKAGE / room).exists()] == []


def test_a_file_that_is_not_python_is_taken_as_it_stands(copy):
    broken = edit(copy, "parts/norms.py", "import", "import import")
    assert broken != source_digest()
    assert edit(copy, "parts/norms.py", "import import", "import  import") != broken


def test_without_source_files_it_says_so_and_the_version(copy):
    for file in copy.rglob("*.py"):
        file.rename(file.with_suffix(".pyc"))
    assert digest(copy) == f"no source, {glassformer.__version__}"
    assert digest(copy / "nowhere") == f"no source, {glassformer.__version__}"


def test_another_process_and_another_hash_seed_give_the_same():
    program = "from glassformer.runs.source import source_digest; print(source_digest())"
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PYTHONHASHSEED": "7", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == source_digest()


def test_the_circumstances_hold_it_and_older_ones_are_read_without(tmp_path):
    path = tmp_path / "environment.json"
    tree = describe_environment([])
    assert tree["source"] == source_digest()
    path.write_text(json.dumps({name: value for name, value in tree.items() if name != "source"}))
    assert "source" not in read_environment(path)
    path.write_text(json.dumps(tree | {"source": 3}))
    with pytest.raises(glassformer.RunError, match=r"source"):
        read_environment(path)


def test_what_began_with_other_code_is_noted(tmp_path):
    path = tmp_path / "environment.json"
    tree = describe_environment([])
    path.write_text(json.dumps(tree))
    assert other_source(path, "study") is None
    path.write_text(json.dumps(tree | {"source": "0123456789abcdef"}))
    assert other_source(path, "study").startswith(
        f"this study began with other code of glassformer (source 0123456789ab, now {source_digest()[:12]}): "
    )
    path.write_text(json.dumps({name: value for name, value in tree.items() if name != "source"}))
    assert "(source not recorded, now" in other_source(path, "run")
    path.unlink()
    assert "(source not recorded, now" in other_source(path, "run")
