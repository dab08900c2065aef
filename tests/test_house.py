"""The order of the house: imports run down the floors of docs/architecture.md, in no circle; files stay short."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "glassformer"
LONGEST = 400
"""Lines of a file; one idea seldom needs 300."""

PRIVATE = re.compile(r"\b_?(refuse\w*|told|foretold|mend\w*|stillborn|farewell|thrift)\b")
"""Names that the field has other words for: check, reported, predicted, fix …"""

MODULES = {
    ".".join(path.with_suffix("").relative_to(PACKAGE.parent).parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def test_imports_run_down_the_floors():
    floors = dict(floors_of_the_page())
    unknown = sorted({room(name) for name in MODULES} - floors.keys() - {"__init__.py", "__main__.py"})
    assert not unknown, f"rooms without a floor in docs/architecture.md: {unknown}"
    gone = sorted(floors.keys() - {room(name) for name in MODULES})
    assert not gone, f"rooms of docs/architecture.md that do not exist: {gone}"
    wrong = [
        f"{name} (floor {floors[here]}) imports {other} (floor {floors[there]})"
        for name in MODULES
        for other in imports(name)
        if (here := room(name)) != (there := room(other))
        and here in floors
        and there in floors
        and floors[here] <= floors[there]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_imports_itself_by_a_detour():
    assert not list(circles()), "\n".join(" -> ".join(circle) for circle in circles())


def test_files_stay_short():
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in MODULES.items()}
    long = {name: count for name, count in lines.items() if count > LONGEST}
    assert not long, f"more than {LONGEST} lines; split them where a second idea begins: {long}"


def test_names_are_the_fields():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {text}"
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for text in identifiers(node)
        if PRIVATE.fullmatch(text)
    ]
    assert not found, "\n".join(found)


def test_every_folder_of_tests_is_a_room():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} | {"docs"}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders <= rooms, f"tests of no room: {sorted(folders - rooms)}"


# --------------------------------------------------------------------------------------------------------- the page


def floors_of_the_page() -> Iterator[tuple[str, int]]:
    """(room, floor) of every row of the table in docs/architecture.md: `| 3 | `parts/`, `data/` … |`."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| +(\d+) \|(.+)\|$", page, re.MULTILINE):
        for name in re.findall(r"`([\w/]+(?:/|\.py))`", row[1]):
            yield name, int(row[0])


def room(name: str) -> str:
    """The room of a module: its folder in the package (below ``scaling/``, the folder there), or its file."""
    path = MODULES[name].relative_to(PACKAGE)
    if len(path.parts) == 1:
        return path.name
    if path.parts[0] == "scaling" and path.name != "__init__.py":
        return f"scaling/{path.parts[1]}" + ("/" if len(path.parts) > 2 else "")
    return f"{path.parts[0]}/" if path.parts[0] != "scaling" else "__init__.py"


# ---------------------------------------------------------------------------------------------------------- imports


@cache
def imports(name: str) -> frozenset[str]:
    """The modules of the package that a module imports when it runs, in functions too (not those for types alone)."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("glassformer"):
                each = {f"{child.module}.{alias.name}" for alias in child.names}
                found.update(one if one in MODULES else str(child.module) for one in each)
            elif isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names if alias.name in MODULES)
            visit(child)

    visit(ast.parse(MODULES[name].read_text(encoding="utf-8")))
    return frozenset(found - {name})


def circles() -> Iterator[list[str]]:
    """Every import that closes a circle, with the way back."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> Iterator[list[str]]:
        if name in way:
            yield [*way[way.index(name) :], name]
        elif name not in done:
            for other in sorted(imports(name)):
                yield from walk(other, [*way, name])
            done.add(name)

    for name in MODULES:
        yield from walk(name, [])


def identifiers(node: ast.AST) -> Iterator[str]:
    """The names that a node defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
