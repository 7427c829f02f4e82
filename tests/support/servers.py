"""Real servers for the tests, on loopback, each in a folder of its own that goes with the session.

A test module that wants them says: pytest_plugins = ["support.servers"]
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest

from support.processes import DEADLINE

USER, PASSWORD = "alpha", "open-sesame"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server that this session started; its user may do anything, by password.

    Every other user needs a password (SCRAM) as well. Durability is off: the data is thrown away.
    """
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (initdb not found); install postgresql to run this test")
    for _ in range(3):
        # Short, for the path of a Unix socket is at most 107 bytes, and where the server's user can enter.
        folder = Path(tempfile.mkdtemp(prefix="alpha-pg-", dir="/tmp"))
        with tempfile.TemporaryFile() as log:
            try:
                server, url = _started(binaries, folder, log)
                try:
                    if _answers(server, url):
                        yield url
                        return
                finally:
                    _stop(server)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            log.seek(0)
            said = log.read().decode(errors="replace")
        if "could not bind" not in said:  # another program took the port first
            break
    pytest.fail(f"PostgreSQL did not start: {said[-2000:]}")


@pytest.fixture
def postgresql_url(postgresql: str) -> str:
    """The URL of that server's database, empty: its schemas are dropped, which is quicker than another database."""
    import psycopg

    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(_EMPTY)
    return postgresql


# Whoever a test before has left connected goes first, and with it what it has locked.
_EMPTY = r"""
DO $$ DECLARE name text; BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
END $$
"""


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'strategies.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a new, empty database: of each kind in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def closed_port() -> int:
    """A port of loopback that nobody listens on."""
    return _free_port()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _binaries() -> Path | None:
    """The folder of initdb and postgres: on the PATH, where pg_config says, or where Debian keeps them."""
    candidates = []
    if found := shutil.which("initdb"):
        candidates.append(Path(found).resolve().parent)
    if config := shutil.which("pg_config"):
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        candidates.append(Path(said))
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(installed, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)])[::-1]
    return next((path for path in candidates if (path / "initdb").exists() and (path / "postgres").exists()), None)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as, if this is root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")


# The server ends with its input, and takes its folder along: it outlives no session, however that ends.
_UNTIL_INPUT_ENDS = """
exec 3<&0
"$@" </dev/null 3<&- & server=$!
(read -r _; kill -QUIT $server) <&3 &
wait $server
cd /; rm -rf "$0"
"""


def _started(binaries: Path, folder: Path, log: IO[bytes]) -> tuple[subprocess.Popen[bytes], str]:
    """A server whose data is in `folder`, and its URL; it may not answer yet."""
    owner = _unprivileged()
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    whom: dict[str, Any] = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
    whom |= {"cwd": folder, "env": {"PATH": os.environ["PATH"], "HOME": str(folder)}, "stdout": log, "stderr": log}
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    initdb: list[str | Path] = [
        binaries / "initdb", "--pgdata", folder / "data", "--no-sync", "--username", USER, "--pwfile", password,
        "--auth-local", "trust", "--auth-host", "scram-sha-256", "--encoding", "UTF8", "--no-locale",
    ]  # fmt: skip
    done = subprocess.run(initdb, stdin=subprocess.DEVNULL, timeout=DEADLINE, check=False, **whom)
    assert done.returncode == 0, os.pread(log.fileno(), 4000, 0).decode()
    port = _free_port()
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off",
        "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB", "max_connections": 40,
        "autovacuum": "off", "timezone": "Asia/Kolkata",  # not UTC: what is stored must not depend on it
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    server = subprocess.Popen(
        ["sh", "-c", _UNTIL_INPUT_ENDS, folder, binaries / "postgres", "-D", folder / "data", *options],
        stdin=subprocess.PIPE, start_new_session=True, **whom,
    )  # fmt: skip
    return server, f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"


def _answers(server: subprocess.Popen[bytes], url: str) -> bool:
    import psycopg

    give_up = time.monotonic() + DEADLINE
    while server.poll() is None and time.monotonic() < give_up:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return True
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End its input, and wait until it has left."""
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, 9)
        server.wait()
