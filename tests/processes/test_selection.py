"""Which strategies run: names, files, all of them, rows of a database; and what happens when that is down."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.events import stream, ticks
from support.processes import run_alpha

pytest_plugins = ["support.servers"]


DAY = stream(ticks(600, (256265, 260105)))


def speakers(output: bytes) -> set[str]:
    """The ids of the strategies that signals in `output` are from."""
    return {
        line.split(b'"strategy_id":"')[1].split(b'"')[0].decode()
        for line in output.splitlines()
        if line.startswith(b'{"type":"signal"')
    }


def written(folder: Path, name: str, more: str = "") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(
        f"id: {name}\nstrategy_type: momentum\ninstruments: [256265]\nparameters: {{threshold: 0.0001}}\n{more}"
    )
    return path


def filled(url: str, folder: Path, *names: str) -> None:
    """A table with strategies of these names."""
    env = {"ALPHA_CONFIG_DB": url}
    assert run_alpha(["strategies", "db", "init"], env=env).returncode == 0
    files = [str(written(folder, name)) for name in names]
    done = run_alpha(["strategies", "db", "import", *files], env=env)
    assert done.returncode == 0, done.stderr.decode()


def test_without_names_all_active_rows_run(database_url: str, tmp_path: Path) -> None:
    """A row that is disabled is left alone; the URL may come from the environment."""
    filled(database_url, tmp_path, "one", "two", "three")
    env = {"ALPHA_CONFIG_DB": database_url}
    assert run_alpha(["strategies", "db", "disable", "two"], env=env).returncode == 0
    done = run_alpha(["run-strategy"], DAY, env=env)
    assert done.returncode == 0, done.stderr.decode()
    assert speakers(done.stdout) == {"one", "three"}
    assert b"two is not active" in done.stderr


def test_a_name_is_a_row_before_it_is_a_file(database_url: str, tmp_path: Path) -> None:
    """The table has its own `momentum`; what it has not comes from the YAML files."""
    filled(database_url, tmp_path, "momentum")
    done = run_alpha(["run-strategy", "momentum", "mean_reversion"], DAY, env={"ALPHA_CONFIG_DB": database_url})
    assert done.returncode == 0, done.stderr.decode()
    own = [line for line in done.stdout.splitlines() if b'"strategy_id":"momentum"' in line]
    assert own
    assert all(b'"instrument_token":256265' in line for line in own)  # the packaged one follows two
    assert " mean_reversion.ticks=" in done.stderr.decode()


def test_an_empty_table_is_78_and_says_how_to_fill_it(database_url: str) -> None:
    """Nothing to run is a mistake, not a pipeline that trades nothing."""
    assert run_alpha(["strategies", "db", "init"], env={"ALPHA_CONFIG_DB": database_url}).returncode == 0
    done = run_alpha(["run-strategy"], DAY, env={"ALPHA_CONFIG_DB": database_url})
    assert done.returncode == 78
    assert b"alpha strategies db import" in done.stderr


@pytest.fixture
def nobody() -> str:
    """The URL of a server that is not there."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    return f"postgresql://trader:hunter2@127.0.0.1:{port}/alpha"


def test_a_database_that_is_down_is_69_and_one_line(nobody: str) -> None:
    """At the start, before a line is read; the password is not shown."""
    done = run_alpha(["run-strategy", "momentum"], DAY, env={"ALPHA_CONFIG_DB": nobody})
    assert done.returncode == 69
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("alpha run-strategy: ")
    assert "--fallback-yaml" in line
    assert "hunter2" not in line


def test_the_yaml_files_stand_in_when_that_is_asked_for(nobody: str) -> None:
    """The same bytes as without a database, and a line that says so."""
    done = run_alpha(["run-strategy", "momentum", "--fallback-yaml"], DAY, env={"ALPHA_CONFIG_DB": nobody})
    assert done.returncode == 0
    assert b"using the YAML files" in done.stderr
    assert b"hunter2" not in done.stderr
    assert done.stdout == run_alpha(["run-strategy", "momentum"], DAY).stdout


def test_a_fallback_needs_names(nobody: str) -> None:
    """Which files would it be?"""
    done = run_alpha(["run-strategy", "--fallback-yaml"], DAY, env={"ALPHA_CONFIG_DB": nobody})
    assert done.returncode == 2
    assert b"no strategy is named" in done.stderr


def test_all_runs_every_file_that_is_found(tmp_path: Path) -> None:
    """Those of the nearest folder and the packaged ones, in the order of their names."""
    (tmp_path / "strategies").mkdir()
    written(tmp_path / "strategies", "aaa")
    done = run_alpha(["run-strategy", "--all"], DAY, env={"ALPHA_CONFIG_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr.decode()
    assert {"aaa", "momentum"} <= speakers(done.stdout)
    shown = [word.partition(".")[0] for word in done.stderr.decode().split() if ".ticks=" in word]
    assert shown == sorted(shown)
    assert {"aaa", "hybrid_ml_rsi", "mean_reversion", "ml_momentum", "momentum", "rules_rsi"} <= set(shown)
