"""What is shipped: the wheel, and the scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from support.processes import ROOT, environment

README = (ROOT / "README.md").read_text()


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
    page = subprocess.run(
        [home / "bin" / "alpha", "help", "risk"], cwd=tmp_path, env=env, capture_output=True, check=True
    )
    assert page.stdout == (ROOT / "docs" / "risk.md").read_bytes()


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
    assert "scripts/test" in README
    assert "scripts/test" in (ROOT / ".ci" / "run").read_text()
