"""The shape of the code: layers that only look down, no import circles, files and functions of a size to read at once.

Every import counts, also one inside a function or under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Low to high; a module may import from its own layer and from those before it.
LAYERS = ("core", "storage", "config", "market", "stream", "kit", "cli", "stages", "tools")
#: What a layer may not use though it stands lower: strategy authors import the kit, and have no stream.
NOT_FOR = {("kit", "stream")}
#: The public face. A door may import anything; only `__main__` comes in through one.
DOORS = {"alpha_cli", *(f"alpha_cli.{name}" for name in ("__main__", "indicators", "features", "models", "testing"))}
#: What does input or output, or reads a command line: not for core.
OUTSIDE_CORE = {
    "asyncio", "click", "fcntl", "http", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "resource",
    "select", "selectors", "shutil", "signal", "socket", "sqlite3", "sqlite_utils", "ssl", "subprocess", "sys",
    "tempfile", "threading", "urllib", "yaml",
}  # fmt: skip

LONGEST_FILE = 450
USUAL_FUNCTION, LONGEST_FUNCTION, USUAL_SHARE = 24, 60, 0.95


def sources(*folders: str) -> dict[str, str]:
    """Return the text of every module below `folders`, by its dotted name."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text("utf-8")
        for path in paths
    }


def imports(text: str, modules: Mapping[str, str]) -> Iterator[str]:
    """Yield the modules that `text` imports: a name of a package is the submodule it names, if there is one."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            whole = str(node.module)
            yield from (full if (full := f"{whole}.{alias.name}") in modules else whole for alias in node.names)


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def layer_faults(modules: Mapping[str, str]) -> Iterator[str]:
    """Yield each import that the layers forbid."""
    for module, text in modules.items():
        for target in dict.fromkeys(imports(text, modules)):
            fault = f"{module} imports {target}"
            if layer(module) == "core" and target.partition(".")[0] in OUTSIDE_CORE:
                yield f"{fault}: core does no input or output"
            if target.partition(".")[0] != "alpha_cli" or module in DOORS:
                continue
            low, high = layer(target), layer(module)
            if target in DOORS:
                yield f"{fault}: a public door"
            elif high not in LAYERS or low not in LAYERS:
                yield f"{fault}: not in a layer"
            elif LAYERS.index(low) > LAYERS.index(high) or (high, low) in NOT_FOR:
                yield f"{fault}: upwards"
            elif low == high == "stages" and module.split(".")[2:3] != target.split(".")[2:3]:
                yield f"{fault}: another stage"


def circles(modules: Mapping[str, str]) -> Iterator[str]:
    """Yield one circle of each knot of modules that import one another.

    Modules that import nothing more are taken away until only the knots are left.
    """
    left = {module: {target for target in imports(text, modules) if target in modules} - {module}
            for module, text in modules.items()}  # fmt: skip
    while done := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in done:
            del left[module]
    while left:
        path = [next(iter(left))]
        while path[-1] not in path[:-1]:
            path.append(min(left[path[-1]] & left.keys()))
        circle = path[path.index(path[-1]) :]
        yield " -> ".join(circle)
        for module in circle[1:]:
            left.pop(module, None)
        while done := [module for module, targets in left.items() if not targets & left.keys()]:
            for module in done:
                del left[module]


def function_lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield the name of every function and its lines without the docstring."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = int(node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= int(node.body[0].end_lineno or 0) - node.body[0].lineno + 1
            yield node.name, lines


def size_faults(modules: Mapping[str, str]) -> Iterator[str]:
    """Yield the files and functions that are too long; all the long functions, if too many are."""
    functions = [(module, name, lines) for module, text in modules.items() for name, lines in function_lines(text)]
    long = sorted((entry for entry in functions if entry[2] > USUAL_FUNCTION), key=lambda entry: -entry[2])
    too_many = len(long) > (1 - USUAL_SHARE) * len(functions)
    for module, text in modules.items():
        if text.count("\n") > LONGEST_FILE:
            yield f"{module} has {text.count(chr(10))} lines, more than {LONGEST_FILE}"
    for module, name, lines in long:
        if lines > LONGEST_FUNCTION or too_many:
            yield f"{module}.{name} has {lines} lines"


def test_no_module_imports_upwards() -> None:
    """Layers only look down; nobody comes in through a public door; no stage knows another."""
    faults = list(layer_faults(sources("alpha_cli")))
    assert not faults, "\n".join(faults)


def test_no_modules_import_one_another() -> None:
    """No circle, lazy and type-only imports included."""
    faults = list(circles(sources("alpha_cli", "strategies")))
    assert not faults, "\n".join(faults)


def test_files_and_functions_can_be_read_at_once() -> None:
    """No file over 450 lines, 95 % of functions at most 24 lines, none over 60."""
    faults = list(size_faults(sources("alpha_cli", "strategies")))
    assert not faults, "\n".join(faults)


def test_a_house_that_breaks_the_rules_is_found_out() -> None:
    """Each rule finds its fault in made-up sources, wherever the import hides."""
    made_up = {
        "alpha_cli": "",
        "alpha_cli.models": "from alpha_cli.kit.models import Model",
        "alpha_cli.core.events": "def read():\n    from alpha_cli.market import calendar\n    import os.path\n",
        "alpha_cli.market.calendar": "if TYPE_CHECKING:\n    from alpha_cli.core.events import Tick\n",
        "alpha_cli.kit.models": "from alpha_cli.stream.loop import run\nfrom alpha_cli import models",
        "alpha_cli.stages.bars.engine": "from alpha_cli.stages.feed.engine import x\nfrom alpha_cli.utils import y",
    }
    assert list(layer_faults(made_up)) == [
        "alpha_cli.core.events imports alpha_cli.market.calendar: upwards",
        "alpha_cli.core.events imports os.path: core does no input or output",
        "alpha_cli.kit.models imports alpha_cli.stream.loop: upwards",
        "alpha_cli.kit.models imports alpha_cli.models: a public door",
        "alpha_cli.stages.bars.engine imports alpha_cli.stages.feed.engine: another stage",
        "alpha_cli.stages.bars.engine imports alpha_cli.utils: not in a layer",
    ]
    assert sorted(circles(made_up)) == [
        "alpha_cli.core.events -> alpha_cli.market.calendar -> alpha_cli.core.events",
        "alpha_cli.models -> alpha_cli.kit.models -> alpha_cli.models",
    ]
    body = "    pass\n" * 60
    assert list(size_faults({"m": f"def short():\n    '''One.\n\n    Two.\n    '''\n{body}"})) == [
        "m.short has 61 lines"
    ]
    assert list(size_faults({"m": "\n" * 451})) == ["m has 451 lines, more than 450"]
    assert not list(size_faults({"m": "def f():\n    pass\n" * 19 + "def g():\n" + "    pass\n" * 30}))
