"""What is left of the books when `alpha paper --state` dies at the worst moment, and which databases are refused."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from support.events import stream
from support.paper_crash import a_day_without_books, books, trade
from support.processes import ROOT, Pipeline, alpha, run_alpha

from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.schema import VERSION
from alpha_cli.stages.paper.store import Store

# --- between two statements ------------------------------------------------------------------


def test_killed_between_any_two_statements_the_books_are_whole(tmp_path):
    """kill -9 within a commit: all of the batch or nothing, and the same input again ends in the same books."""
    done = subprocess.run(
        [sys.executable, "-m", "support.paper_crash", str(tmp_path)],
        cwd=ROOT / "tests", capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    tried, statements = map(int, done.stdout.split())
    assert tried >= 18
    assert statements > 100


def test_an_error_within_a_commit_keeps_nothing_of_it(tmp_path, monkeypatch):
    """A disk that is full between two tables leaves neither; the next run does it all."""
    events = a_day_without_books(5, 60)
    trade(tmp_path / "whole", events)
    real = Store._write

    def failing(self, db):
        real(self, db)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Store, "_write", failing)
    with pytest.raises(Exception, match="disk I/O error"):
        trade(tmp_path / "cut", events)
    monkeypatch.undo()
    connection = sqlite3.connect(tmp_path / "cut" / "paper.db")
    assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    connection.close()


# --- real processes --------------------------------------------------------------------------


def test_killed_at_random_moments_again_and_again(tmp_path):
    """kill -9 of the process while it reads: the account opens and balances each time, and takes the input again."""
    lines = stream(a_day_without_books(9, 500), hello=False, eof=None)
    options = ("--charges", "contract-note", "-q", "--state")
    whole = run_alpha(["paper", *options, str(tmp_path / "whole")], lines)
    assert whole.returncode == 0, whole.stderr
    chance = random.Random(4)
    cut = tmp_path / "cut"
    for _ in range(4):
        with Pipeline(alpha("paper", *options, str(cut))) as process:
            place = chance.randrange(len(lines))
            for at in range(0, place, 20_000):
                process.write(lines[at : min(place, at + 20_000)])
            time.sleep(chance.random() * 0.4)
            process.signal(signal.SIGKILL)
        if (cut / "paper.db").exists() and (cut / "paper.db").stat().st_size:  # killed before its tables: no account
            opened = run_alpha(["paper", "--state", str(cut), "export"])
            assert opened.returncode == 0, opened.stderr
    again = run_alpha(["paper", *options, str(cut)], lines)
    assert again.returncode == 0, again.stderr


@pytest.mark.xfail(
    strict=True, raises=AssertionError,
    reason="orders that rested at the kill are matched otherwise when the whole input is given again",
)  # fmt: skip
def test_killed_in_the_middle_the_same_input_again_gives_the_books_of_an_unbroken_run(tmp_path):
    """kill -9 once the first 20,000 bytes were handled, then all of the stream: a known defect of durability."""
    lines = stream(a_day_without_books(9, 500), hello=False, eof=None)
    options = ("--charges", "contract-note", "-q", "--state")
    whole = run_alpha(["paper", *options, str(tmp_path / "whole")], lines)
    assert whole.returncode == 0, whole.stderr
    cut = tmp_path / "cut"
    head = lines[: lines.rindex(b"\n", 0, 20_000) + 1]
    last = [json.loads(line)["order_id"] for line in head.splitlines() if b'"type":"order"' in line[:20]][-1]
    with Pipeline(alpha("paper", *options, str(cut))) as process:
        process.write(head)
        process.wait_for(lambda _: last in orders_in(cut))
        process.signal(signal.SIGKILL)
    again = run_alpha(["paper", *options, str(cut)], lines)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]
    assert portfolio_free(books(cut)) == portfolio_free(books(tmp_path / "whole"))


def orders_in(folder):
    """The ids of the orders in the account's database; none while it is being made."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/paper.db?mode=ro", uri=True)) as connection, connection:
            return {order_id for (order_id,) in connection.execute("SELECT order_id FROM orders")}
    except sqlite3.OperationalError:
        return set()


def portfolio_free(text):
    """Books without notes and last days: a note may have come in two parts."""
    account, positions, fills, orders, entries, _notes, *checks = json.loads(text)
    return account, positions, fills, orders, entries, checks


# --- other versions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (0, "another program"),
        *((version, f"is older than this alpha's {VERSION}") for version in range(1, VERSION)),
        (VERSION + 1, "is newer"),
        (99, "is newer"),
    ],
)
def test_a_database_of_another_version_is_left_alone(tmp_path, version, words):
    """One line that says so; the file is not changed."""
    store = Store(tmp_path, "paper", PaperConfig())
    store.commit()
    store.release()
    database = tmp_path / "paper.db"
    connection = sqlite3.connect(database)
    if not version:
        connection.execute("PRAGMA application_id = 0")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.commit()
    connection.close()
    before = database.read_bytes()
    done = run_alpha(["paper", "--state", str(tmp_path)])
    assert done.returncode == 78
    assert done.stderr.count(b"\n") == 1
    assert words in done.stderr.decode()
    assert database.read_bytes() == before
