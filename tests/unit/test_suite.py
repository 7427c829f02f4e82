"""The tests as a program: what they share lies in `support`, and every test is found once."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_no_test_module_imports_another() -> None:
    """A test file can be moved, split and read on its own."""
    modules = {path.stem: path for path in TESTS.rglob("test_*.py")}
    wrong = [
        f"{path.name}:{node.lineno} imports {name}"
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
        if name and name.rpartition(".")[2] in modules
    ]
    assert wrong == []


def test_no_two_test_modules_have_the_same_name() -> None:
    """Without packages between them, pytest would import the first for both."""
    names = sorted(path.stem for path in TESTS.rglob("test_*.py"))
    assert names == sorted(set(names))
