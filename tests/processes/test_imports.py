"""What each command imports: start-up is part of the price of a pipeline, so it is pinned."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from support.processes import DEADLINE, ROOT, environment

from alpha_cli.cli.registry import COMMANDS

CLICK = {"click"}
WIRE = {"click", "msgspec", "typing_extensions"}  # msgspec takes typing_extensions if it is there
CONFIGURED = WIRE | {"annotated_types", "pydantic", "pydantic_core", "typing_inspection", "yaml", "_yaml"}
SQLITE = {"sqlite3", "_sqlite3"}

ALLOWED: dict[str, set[str]] = {
    "--help": CLICK,
    "--version": CLICK,
    "feed --ticks 3": WIRE,
    "bars": WIRE,
    "paper": WIRE,
    "paper --state {state}": WIRE | SQLITE,
    "show": WIRE,
    "show --color always": WIRE,
    "market next --at 2026-01-05": WIRE,
    "market sessions 2026-01-05 --json": WIRE,
    "market sessions 2026-01-05": WIRE,
    "charges BUY 1@1": WIRE,
    "schema": WIRE | {"orjson"},
    "schema tick": WIRE | {"orjson"},
    "completion zsh": WIRE,
    "config --help": WIRE,
    "config show": CONFIGURED,
    "help": CLICK,
    "help tour": CLICK,
    "run-strategy momentum": CONFIGURED,
    "run-strategy momentum --state {state}": CONFIGURED | SQLITE,
    "risk": CONFIGURED,
    "risk --state {state}": CONFIGURED | SQLITE,
    "strategies list": CONFIGURED,
    "strategies describe ml_momentum": CONFIGURED,
    "status --state configs": WIRE,
    "instruments --help": WIRE,
    "halt --help": WIRE,
    "resume --state configs --reason none": WIRE,
    "rearm momentum --state configs --reason none": WIRE,
    "pipe 'feed --ticks 3 | run-strategy momentum | risk | paper | show'": CONFIGURED,
}

PROGRAM = """
import shlex, sys
from alpha_cli.cli.app import execute
code = execute(shlex.split(sys.argv[1]))
print(code, *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


@pytest.mark.parametrize("command", list(ALLOWED))
def test_a_command_imports_only_the_third_party_packages_it_needs(command: str, tmp_path: Path) -> None:
    """An allow-list for each; SQLite, though standard, counts as one of them."""
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM, command.format(state=tmp_path / "state")],
        input=b"", capture_output=True, timeout=DEADLINE, cwd=ROOT, env=environment(), check=True,
    )  # fmt: skip
    code, *modules = made.stderr.decode().splitlines()[-1].split()
    assert code == ("3" if command.startswith("status") else "0"), made.stderr  # 3: nothing runs
    third_party = (set(packages_distributions()) | SQLITE) - {"alpha_cli", "conftest"}
    # What the interpreter itself takes in at its start, as an editable install does, is not ours.
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, timeout=DEADLINE, check=True
    )
    assert (set(modules) & third_party) - set(bare.stdout.decode().split()) <= ALLOWED[command]


def test_sqlite_utils_comes_without_pandas(tmp_path: Path) -> None:
    """Where pandas and NumPy are installed, too: they would take a second and 60 MiB, for a table of trades."""
    code = (
        "import sqlite3, sys\n"
        "from alpha_cli.storage.tables import tables_of\n"
        "db = tables_of(sqlite3.connect(':memory:'))\n"
        "print(list(db.query('select 1 as one')), sorted({'pandas', 'numpy'} & set(sys.modules)))\n"
        "import numpy; print(numpy.int64(1) + 1)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=DEADLINE, cwd=ROOT, check=True)
    assert made.stdout == b"[{'one': 1}] []\n2\n"


def test_every_command_is_pinned() -> None:
    """A new command comes with its allow-list."""
    assert set(COMMANDS) == {command.split()[0] for command in ALLOWED if not command.startswith("-")}


def test_importing_the_package_imports_nothing_else() -> None:
    """`import alpha_cli` alone loads no other module of its own, nor a third party's."""
    made = subprocess.run(
        [sys.executable, "-c", "import sys, alpha_cli; print(*(n for n in sys.modules if n.startswith('alpha_cli')))"],
        capture_output=True, timeout=DEADLINE, cwd=ROOT, check=True, env=environment(),
    )  # fmt: skip
    assert made.stdout.split() == [b"alpha_cli"]
