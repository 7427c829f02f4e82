"""The folder of `--state`: private, locked, and clear about what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from alpha_cli.core.errors import ConfigurationError, InputOutputError, InvariantBroken, TryAgain, UsageError
from alpha_cli.market.instruments.store import REMEDIES as of_instruments  # noqa: N811
from alpha_cli.stages.run_strategy.config_sqlite import _REMEDIES as of_strategies  # noqa: N811
from alpha_cli.storage.folder import State
from alpha_cli.storage.halts import halt_reason
from alpha_cli.storage.sqlite import (
    OF_STATE,
    Fault,
    connect,
    describe,
    insert,
    select,
    sqlite_errors,
    transaction,
    upsert,
)

ID, VERSION = 0x74657374, 3


def make(db):
    db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT) STRICT")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def opened(folder):
    state = State(folder, "paper")
    yield state
    state.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_private_whatever_the_umask(folder):
    """Folder 0700, database, its log and the lock 0600, also where a file was there with a wider mode."""
    before = os.umask(0)
    try:
        folder.mkdir(mode=0o700)
        state = State(folder, "paper")
        state.database(ID, VERSION, make)
        state.close()
        (folder / "paper.db").chmod(0o666)
        state = State(folder, "paper")
        state.database(ID, VERSION, make)
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    assert {path.name: mode(path) for path in folder.iterdir()} == dict.fromkeys(
        ["paper.db", "paper.db-shm", "paper.db-wal", "paper.lock"], 0o600
    )
    state.close()


def test_an_empty_database_is_damaged_and_a_new_one_appears_whole(folder):
    """It is made under another name, so no kill leaves an empty one: one that is there was cut off."""
    folder.mkdir(mode=0o700)
    (folder / "paper.db").touch()
    state = State(folder, "paper")
    with pytest.raises(InvariantBroken, match=r"paper\.db: is empty"):
        state.database(ID, VERSION, make)
    (folder / "paper.db").unlink()

    def fails(*_):
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        state.database(ID, VERSION, fails)
    assert not (folder / "paper.db").exists()
    (folder / "paper.db-wal").write_bytes(b"of a database that is gone")
    with pytest.raises(InvariantBroken, match=r"paper\.db-wal: is there without paper\.db"):
        state.database(ID, VERSION, make)
    (folder / "paper.db-wal").unlink()
    state.database(ID, VERSION, make)
    assert sorted(path.name for path in folder.glob(".*")) == []
    state.close()


@pytest.mark.parametrize("wide", [0o777, 0o1777, 0o770, 0o702])
def test_a_folder_that_others_can_write_to_is_refused(folder, wide):
    """It is the user's folder: we say what to change and change nothing ourselves."""
    folder.mkdir()
    folder.chmod(wide)
    with pytest.raises(ConfigurationError, match="others can write to it"):
        State(folder, "paper")
    assert mode(folder) == wide
    folder.chmod(0o755)
    State(folder, "paper").close()
    assert mode(folder) == 0o755


def test_the_pragmas(opened):
    """What was committed survives a power cut, and foreign keys hold."""
    db = opened.database(ID, VERSION, make)
    wanted = ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "user_version", "application_id")
    found = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}
    assert found == {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0, "user_version": VERSION,
        "application_id": ID,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["", "Paper", "a/b", "../x", "a.b", "-a", "x" * 65, "a\n"])
def test_names_that_could_leave_the_folder_are_refused(folder, name):
    """Only plain lower-case names, and nothing is made before the name is known to be good."""
    with pytest.raises(UsageError, match="--as"):
        State(folder, name)
    assert not folder.exists()


def test_a_symbolic_link_is_refused(tmp_path, folder):
    """Someone else may have put it there."""
    (tmp_path / "real").mkdir()
    folder.symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="symbolic link"):
        State(folder, "paper")


def test_a_database_that_is_a_symbolic_link_is_refused(folder):
    """The folder's files are its own."""
    folder.mkdir()
    (folder / "paper.db").symlink_to("/etc/hostname")
    state = State(folder, "paper")
    with pytest.raises(InputOutputError, match=r"paper\.db"):
        state.database(ID, VERSION, make)
    state.close()


def test_a_file_is_not_a_folder(folder):
    """The error names the option."""
    folder.write_text("")
    with pytest.raises(ConfigurationError, match=r"--state .* is not a folder"):
        State(folder, "paper")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_refused(folder):
    """They could change the books."""
    folder.mkdir()
    os.chown(folder, 12345, -1)
    with pytest.raises(ConfigurationError, match="belongs to user 12345"):
        State(folder, "paper")


def test_a_second_instance_is_told_who_holds_the_lock(folder, opened):
    """And how to run beside it; another name is another lock, and a closed state is free again."""
    with pytest.raises(TryAgain, match=rf"held by process {os.getpid()}; .*--as NAME") as caught:
        State(folder, "paper")
    assert caught.value.exit_code == 75
    State(folder, "paper-2").close()
    opened.close()
    State(folder, "paper").close()


def test_a_newer_schema_is_refused(folder):
    """An older alpha does not write into what it does not know."""
    first = State(folder, "paper")
    first.database(ID, VERSION + 1, make)
    first.close()
    state = State(folder, "paper")
    with pytest.raises(ConfigurationError, match="schema version 4 is newer than this alpha's 3"):
        state.database(ID, VERSION, make)
    state.close()


def test_the_database_of_another_program_is_not_touched(folder):
    """Same name, other contents: an error, and not a byte is changed."""
    folder.mkdir()
    path = folder / "paper.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    before = path.read_bytes()
    state = State(folder, "paper")
    with pytest.raises(ConfigurationError, match="another program"):
        state.database(ID, VERSION, make)
    state.close()
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(folder):
    """One line, code 78."""
    folder.mkdir()
    (folder / "paper.db").write_text("not a database, but long enough to look like one " * 100)
    state = State(folder, "paper")
    with pytest.raises(ConfigurationError, match="not a SQLite database"):
        state.database(ID, VERSION, make)
    state.close()


def test_a_full_disk_is_an_input_output_error(folder, opened):
    """Nothing of the transaction stays, and the code is 74."""
    db = opened.database(ID, VERSION, make)
    db.execute("PRAGMA max_page_count = 8")
    with pytest.raises(InputOutputError, match="disk is full"), sqlite_errors(folder / "paper.db"), transaction(db):
        insert(db, "notes", ({"text": "x" * 1000} for _ in range(1000)))
    assert select(db, "SELECT count(*) AS kept FROM notes") == [{"kept": 0}]
    assert not db.in_transaction


def test_a_broken_constraint_is_a_broken_invariant(folder, opened):
    """The books contradict themselves: 70."""
    db = opened.database(ID, VERSION, make)
    with pytest.raises(InvariantBroken, match=r"paper\.db"), sqlite_errors(folder / "paper.db"), transaction(db):
        insert(db, "notes", [{"id": 1, "text": "a"}, {"id": 1, "text": "b"}])


@pytest.mark.parametrize("name", ["plain", "a b", "100%", "what?", "no#1", "é", "%41"])
def test_any_name_of_a_file_can_be_opened(tmp_path, name):
    """The path becomes a part of a URI, and comes out of it as it was."""
    connect(tmp_path / name, "rwc").close()
    assert (tmp_path / name).is_file()
    connect(tmp_path / name, "ro").close()
    with pytest.raises(InputOutputError, match="unable to open"), sqlite_errors(tmp_path / "other"):
        connect(tmp_path / "other", "ro")


def test_rows_that_have_the_key_are_changed_and_others_added(opened):
    """In any order of columns; nothing at all is no error."""
    db = opened.database(ID, VERSION, make)
    insert(db, "notes", [])
    upsert(db, "notes", [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}], ["id"])
    upsert(db, "notes", iter([{"text": "c", "id": 2}, {"text": "d", "id": 3}]), ["id"])
    rows = [{"id": 1, "text": "a"}, {"id": 2, "text": "c"}, {"id": 3, "text": "d"}]
    assert select(db, "SELECT id, text FROM notes WHERE id > ?", [0]) == rows


@pytest.mark.parametrize("remedies", [OF_STATE, of_instruments, of_strategies], ids=["state", "master", "strategies"])
def test_every_fault_has_a_remedy(remedies):
    """One map of SQLite's errors for all databases; what to do depends on whose file it is."""
    assert remedies.keys() == set(Fault)
    for error in (sqlite3.OperationalError("odd {brace}"), sqlite3.IntegrityError("odd {brace}")):
        assert str(describe(error, "a.db", remedies)).startswith("a.db: ")
        assert "odd {brace}" in str(describe(error, "a.db", remedies))


def test_a_second_writer_is_told_to_try_again(folder, opened):
    """Another program holds the file: 75."""
    db = opened.database(ID, VERSION, make)
    db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(folder / "paper.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TryAgain, match="another program"), sqlite_errors(folder / "paper.db"), transaction(db):
        pass
    other.close()


def test_a_file_halt_halts(folder):
    """Nothing is made by looking, and taking the file away is enough to go on."""
    assert halt_reason(folder) is None
    assert not folder.exists()
    folder.mkdir()
    assert halt_reason(folder) is None
    (folder / "HALT").touch(mode=0)
    assert halt_reason(folder) == f"{folder}/HALT exists"
    (folder / "HALT").unlink()
    assert halt_reason(folder) is None


def test_anything_called_halt_halts(folder):
    """A folder, or a link to nowhere: a person meant something by it."""
    folder.mkdir()
    (folder / "HALT").symlink_to("nowhere")
    assert halt_reason(folder) == f"{folder}/HALT exists"
    (folder / "HALT").unlink()
    (folder / "HALT").mkdir()
    assert halt_reason(folder) == f"{folder}/HALT exists"


@pytest.mark.parametrize("where", ["file", "loop", "x" * 300])
def test_what_cannot_be_looked_at_counts_as_halted(tmp_path, where):
    """Better no trade than one that was forbidden."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    why = halt_reason(tmp_path / where)
    assert why is not None
    assert why.startswith(f"{tmp_path / where}/HALT cannot be looked at: ")


def test_sqlite_is_not_imported_until_a_database_is_opened():
    """Start-up is part of the price of a pipeline."""
    code = "import sys, alpha_cli.storage.folder; print({'sqlite3', 'sqlite_utils'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
