"""What is shipped: the wheel, the scripts and what the README says of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from support.processes import ROOT, environment

README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def test_the_built_wheel_runs_the_pipeline_in_an_empty_environment(tmp_path: Path) -> None:
    """Strategies and configs are inside the wheel: nothing of the checkout is needed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("alpha_cli-*.whl")
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    here = Path(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "-q", "--no-deps"]
    subprocess.run([*install, "--no-index", str(wheel)], check=True, capture_output=True)
    # The dependencies come from where the tests have them; alpha itself must not.
    for path in here.iterdir():
        if not (path.name.startswith(("alpha_cli", "_alpha_cli", "__editable__")) or path.suffix == ".pth"):
            target = site / path.name
            if not target.exists():
                target.symlink_to(path)
    line = "alpha feed | alpha run-strategy momentum mean_reversion | alpha risk | alpha paper"
    env = environment({"PATH": f"{home / 'bin'}:/usr/bin:/bin"})
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert b'"type":"portfolio"' in done.stdout
    assert not list(site.glob("strategies"))  # the common name is not claimed


def test_the_demo_prints_fills_and_the_final_portfolio() -> None:
    """README's first command, in an environment that is already set up."""
    if not (ROOT / ".venv" / "bin" / "alpha").exists():
        pytest.skip("the project's own environment is not set up; scripts/test does that")
    done = subprocess.run(["scripts/demo"], cwd=ROOT, env=environment(), capture_output=True, check=True)
    lines = done.stdout.decode().splitlines()
    assert sum(line.startswith("fill ") for line in lines) > 10
    assert any(line.startswith("portfolio ") for line in lines)


@pytest.mark.parametrize(
    ("marks", "extra", "code"),
    [
        ([".alpha-dev"], [], 0),  # alpha is in there too: installing it again would take it away for a moment
        ([".alpha-dev"], ["dev"], 0),
        ([".alpha"], [], 0),
        ([".alpha"], ["dev"], 69),
        ([], [], 69),
        ([".alpha-dev", "older"], [], 69),
    ],
)
def test_setup_installs_only_what_is_not_there(marks: list[str], extra: list[str], code: int, tmp_path: Path) -> None:
    """With no Python to be found, 69 says that it wanted to install; 0, without a word, that it had nothing to do."""
    bare = tmp_path / "bin"
    bare.mkdir()
    for program in ("bash", "dirname"):
        (bare / program).symlink_to(shutil.which(program) or program)
    for name in ("scripts/setup", "scripts/constraints.txt", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    for mark in marks:
        if mark == "older":
            os.utime(tmp_path / ".venv" / marks[0], (0, 0))
        else:
            (tmp_path / ".venv" / mark).touch()
    done = subprocess.run(
        [str(bare / "bash"), "scripts/setup", *extra], cwd=tmp_path, env={"PATH": str(bare)}, capture_output=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, b"")
    assert (done.stderr == b"") == (code == 0)


def _consoles() -> list[tuple[str, str]]:
    """(command, expected output) of each `$ ` line in the README's console blocks."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            while command.endswith("\\"):
                more, _, output = output.partition("\n")
                command = command[:-1] + more.removeprefix("> ")
            found.append((command, output))
    return found


def _pattern(expected: str) -> re.Pattern[str]:
    """The expected output, where a line `...` stands for any lines and `…` for the rest of a line."""
    lines = [re.escape(line).replace("…", ".*") for line in expected.rstrip("\n").split("\n")]
    text = "\n".join(lines).replace("\\.\\.\\.\n", "(?:.*\n)*?").replace("\n\\.\\.\\.", "(?:\n.*)*")
    return re.compile(text + "\n?")


def test_the_readme_shows_what_happens(tmp_path: Path) -> None:
    """The console examples, run one after another in one folder, print what the README says."""
    env = environment({"PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "100"})
    examples = _consoles()
    assert len(examples) > 8
    for command, expected in examples:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        printed = done.stdout.decode()
        assert _pattern(expected).fullmatch(printed), f"{command}\n{printed[:3000]}"


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_readmes_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library example and the example strategy do what the README says."""
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_every_line_of_the_stage_contract_names_its_tests() -> None:
    """The contract's page is a table; each row names tests, and each of them exists."""
    section = README.split("## The stage contract", 1)[1].split("\n## ", 1)[0]
    rows = [
        row for row in section.splitlines() if row.startswith("| ") and not row.startswith(("| situation", "| ---"))
    ]
    assert len(rows) >= 10
    for row in rows:
        names = re.findall(r"`(test_\w+)::(test_\w+)`", row)
        assert names, f"no test is named in: {row}"
        for file, name in names:
            assert f"def {name}(" in (ROOT / "tests" / f"{file}.py").read_text(), f"{file}::{name} does not exist"


def test_the_readme_lists_every_command_event_code_and_denial() -> None:
    """What a user may meet is in the README."""
    from alpha_cli.cli.registry import COMMANDS
    from alpha_cli.core.errors import EXIT_CODES
    from alpha_cli.core.events import TYPES
    from alpha_cli.stages.risk.codes import Code

    for name in COMMANDS:
        assert f"alpha {name}" in README
    for name in TYPES:
        assert f"`{name}`" in README
    for code, (name, _) in EXIT_CODES.items():
        assert f"{code} {name}" in README
    for code in Code:
        assert code in README


def test_the_bench_runs_and_fused_equals_shell() -> None:
    """A small run: the figures mean little, but both pipelines gave the same bytes, or it would have stopped."""
    words = [sys.executable, "scripts/bench.py", "--ticks", "20000", "--rounds", "1", "--only", "speed", "imports"]
    done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr.decode()  # 1: a bound was missed, on so few ticks
    assert b"output of both" in done.stdout
    assert b"alpha --help: click;" in done.stdout


def test_the_two_commands_of_the_readme_are_the_scripts_that_ci_runs() -> None:
    """README, scripts and CI tell the same story."""
    assert "scripts/demo" in README
    assert not re.search(r"^[A-Z]+_TABLE$", README, re.MULTILINE)
    assert "scripts/test" in README
    assert "scripts/test" in (ROOT / ".ci" / "run").read_text()
