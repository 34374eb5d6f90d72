"""Modules small enough to be read, each with a test file of its own and every public name explained."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "bus", "agents", "connectors")
FUNCTION_LINES, FILE_LINES = 50, 350
LONGER_FILES = {  # file: (its own ceiling, why it is one file)
    "agents/evaluate.py": (460, "typing and evaluation of each operator stand side by side, or they would differ"),
    "agents/machine.py": (400, "one pure function over ten kinds of node, each an arm of one draft"),
    "agents/runner.py": (420, "the order decide, fence, send is the promise, and is read in one place"),
    "bus/cli/events.py": (385, "publish and consume share their notes, limits and JSON"),
    "bus/testing.py": (440, "the transport contract is one class that others subclass"),
}
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name != "__init__.py"
)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines without the docstring."""
    assert function.end_lineno is not None
    size = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        assert first.end_lineno is not None
        size -= first.end_lineno - first.lineno + 1
    return size


def public(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, Definition]]:
    """Public functions, classes and their public methods, wherever a reader may call them."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


def names_of_tests() -> dict[str, set[str]]:
    return {package: {p.stem for p in (ROOT / "tests" / package).rglob("test_*.py")} for package in PACKAGES}


@pytest.mark.parametrize("module", MODULES)
def test_no_function_is_too_long_to_be_seen_at_once(module: str) -> None:
    functions = [n for n in ast.walk(tree(module)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: lines_of(f) for f in functions if lines_of(f) >= FUNCTION_LINES} == {}


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_too_long_to_be_known_whole(module: str) -> None:
    ceiling, _ = LONGER_FILES.get(module, (FILE_LINES, ""))
    assert len((ROOT / module).read_text().splitlines()) <= ceiling


def test_a_file_that_has_become_short_has_no_exception_any_more() -> None:
    sizes = {module: len((ROOT / module).read_text().splitlines()) for module in LONGER_FILES}
    assert {module: size for module, size in sizes.items() if size <= FILE_LINES} == {}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_test_file_of_its_own(module: str) -> None:
    package, *folders, _ = module.split("/")
    stem = Path(module).stem
    mine = {f"test_{stem}", *(f"test_{folder}_{stem}" for folder in folders)}  # bus/cli/lag.py: test_cli_lag.py
    if package == "bus" and folders == ["cli"]:
        mine = {f"test_cli_{stem}"}
    assert mine & names_of_tests()[package]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for(module: str) -> None:
    said = ast.get_docstring(tree(module))
    assert said is not None
    assert len(said.splitlines()[0]) > 20


@pytest.mark.parametrize("module", [m for m in MODULES if m != "bus/testing.py"])
def test_each_public_name_is_explained(module: str) -> None:
    assert [name for name, node in public(tree(module)) if ast.get_docstring(node) is None] == []


def test_the_sizes_are_measured_without_docstrings() -> None:
    source = 'def f():\n    """One.\n\n    Two.\n    """\n    return 1\n'
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert lines_of(function) == 2
