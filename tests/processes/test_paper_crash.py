"""What is left of the books when `alpha paper --state` dies at the worst moment, and which databases are refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.events import stream
from support.paper_days import Broker, a_day
from support.processes import Pipeline, alpha, run_alpha

from alpha_cli.core.codec import decode
from alpha_cli.core.events import Cancel, Modify, Order, Tick
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.schema import VERSION
from alpha_cli.stages.paper.store import Store

CONFIG = PaperConfig(charges="contract-note")


def a_day_without_books(seed, count):
    """As `a_day`, without depth: how much was taken of a tick's book is not kept."""
    events = [decode(line) for line in a_day(seed, count).splitlines()]
    return [replace(one, depth=None, last_traded_quantity=None) if type(one) is Tick else one for one in events]


def books(folder):
    """All that a final book is, as text; an account that does not balance does not open."""
    store = Store(Path(folder), "paper", CONFIG)
    store.release()
    connection = sqlite3.connect(f"file:{folder}/paper.db?mode=ro", uri=True)
    try:
        return json.dumps(
            [
                connection.execute(query).fetchall()
                for query in (
                    "SELECT broker, capital, cash, realised_pnl, charges, charges_by_name FROM accounts",
                    "SELECT * FROM positions ORDER BY instrument_token, product",
                    "SELECT * FROM fills ORDER BY fill_id",
                    "SELECT order_id, status, filled_quantity, average_price, code FROM orders ORDER BY 1",
                    "SELECT account, SUM(amount) FROM entries GROUP BY 1 ORDER BY 1",
                    "SELECT date, charges, adjustment, fills FROM notes ORDER BY id",
                    "PRAGMA integrity_check",
                    "PRAGMA foreign_key_check",
                )
            ]
        )
    finally:
        connection.close()


# --- between two statements ------------------------------------------------------------------


def trade(folder, events, die_at=None):
    """Trade `events`, keep them five at a time, and die by SIGKILL before SQL statement `die_at` of those that write.

    Returns how many statements there were.
    """
    seen = 0

    def traced(statement):
        nonlocal seen
        seen += not statement.startswith(("SELECT", "select", "PRAGMA"))
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    store = Store(Path(folder), "paper", CONFIG)
    store._db.set_trace_callback(traced)
    broker = Broker(CONFIG, store, store.account, store.resting())
    for number, event in enumerate(events):
        if type(event) in (Tick, Order, Cancel, Modify):
            broker.put(event)
        if number % 5 == 4:
            store.commit()
    broker.engine.close()
    store.commit()
    store.release()
    return seen


def die_everywhere(folder):
    """At one statement after another: die there in a child, look at what is left, go on. Says what went wrong.

    Runs in a process of its own without threads, so that it may fork.
    """
    events = a_day_without_books(5, 60)
    whole = f"{folder}/whole"
    statements = trade(whole, events)
    expected = books(whole)
    assert len(json.loads(expected)[2]) >= 5, "too few fills to be a trial"
    tried = 0
    middle = statements // 2  # as many in a row as a commit has, and some here and there
    for die_at in sorted({*range(middle, middle + 14), *range(1, statements, statements // 6)}):
        at = f"{folder}/{die_at}"
        child = os.fork()
        if not child:
            trade(at, events, die_at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"statement {die_at}: the child lived"
        books(at)
        trade(at, events)
        assert books(at) == expected, f"statement {die_at}: other books"
        tried += 1
        shutil.rmtree(at)
    sys.stdout.write(f"{tried} {statements}\n")


def test_killed_between_any_two_statements_the_books_are_whole(tmp_path):
    """kill -9 within a commit: all of the batch or nothing, and the same input again ends in the same books."""
    done = subprocess.run(
        [sys.executable, "-c", f"from processes import test_paper_crash as t; t.die_everywhere({str(tmp_path)!r})"],
        cwd=Path(__file__).parent.parent, capture_output=True, check=False, timeout=60,
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
    """kill -9 of the process while it reads: it opens each time, and the end is that of an unbroken run."""
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
    assert again.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]
    assert portfolio_free(books(cut)) == portfolio_free(books(tmp_path / "whole"))


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
