"""What is left of the books when `alpha paper --state` dies at the worst moment, and of books from an older version."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal

import pytest
from support.events import stream
from support.paper_crash import a_day_without_books, books, trade
from support.processes import ROOT, Pipeline, alpha, counters, run_alpha

from alpha_cli.core.codec import decode
from alpha_cli.stages.paper.schema import APPLICATION_ID, VERSION
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


# --- version 1 -------------------------------------------------------------------------------

#: The tables as the first version made them.
VERSION_1 = """
CREATE TABLE accounts (broker TEXT PRIMARY KEY NOT NULL, starting_cash TEXT NOT NULL, cash TEXT NOT NULL,
    realised_pnl TEXT NOT NULL, charges TEXT NOT NULL) STRICT;
CREATE TABLE orders (order_id TEXT PRIMARY KEY NOT NULL, number INTEGER NOT NULL,
    broker TEXT NOT NULL REFERENCES accounts(broker), signal_id TEXT NOT NULL, strategy_id TEXT NOT NULL,
    instrument_token INTEGER NOT NULL, side TEXT NOT NULL, quantity INTEGER NOT NULL, order_type TEXT NOT NULL,
    price TEXT, trigger_price TEXT, product TEXT NOT NULL, validity TEXT NOT NULL, status TEXT NOT NULL,
    filled_quantity INTEGER NOT NULL, average_price TEXT, message TEXT, timestamp TEXT NOT NULL,
    arrived TEXT NOT NULL, changed TEXT NOT NULL, modifications INTEGER NOT NULL, reference_price TEXT,
    parent_order_id TEXT, limits_hash TEXT, confidence REAL, metadata TEXT NOT NULL) STRICT;
CREATE TABLE fills (fill_id TEXT PRIMARY KEY NOT NULL, order_id TEXT NOT NULL REFERENCES orders(order_id),
    broker TEXT NOT NULL REFERENCES accounts(broker), strategy_id TEXT NOT NULL, instrument_token INTEGER NOT NULL,
    product TEXT NOT NULL, side TEXT NOT NULL, quantity INTEGER NOT NULL, price TEXT NOT NULL, charges TEXT NOT NULL,
    timestamp TEXT NOT NULL) STRICT;
CREATE TABLE positions (broker TEXT NOT NULL REFERENCES accounts(broker), instrument_token INTEGER NOT NULL,
    product TEXT NOT NULL, quantity INTEGER NOT NULL, average_price TEXT NOT NULL, cost TEXT NOT NULL,
    realised_pnl TEXT NOT NULL, last_price TEXT NOT NULL, PRIMARY KEY (broker, instrument_token, product)) STRICT;
CREATE TABLE portfolios (id INTEGER PRIMARY KEY NOT NULL, broker TEXT NOT NULL REFERENCES accounts(broker),
    timestamp TEXT, cash TEXT NOT NULL, equity TEXT NOT NULL, realised_pnl TEXT NOT NULL, unrealised_pnl TEXT NOT NULL,
    charges TEXT NOT NULL, positions TEXT NOT NULL) STRICT;
CREATE INDEX idx_orders_number ON orders (number);
CREATE INDEX idx_orders_signal_id ON orders (signal_id);
CREATE INDEX idx_orders_status ON orders (status);
CREATE INDEX idx_fills_order_id ON fills (order_id);
CREATE INDEX idx_fills_instrument_token_timestamp ON fills (instrument_token, timestamp);
CREATE INDEX idx_fills_timestamp ON fills (timestamp);
CREATE INDEX idx_portfolios_timestamp ON portfolios (timestamp);
CREATE VIEW trades AS SELECT f.timestamp, f.quantity, o.order_type FROM fills AS f JOIN orders AS o USING (order_id);
CREATE VIEW open_orders AS SELECT number, order_id FROM orders WHERE status = 'OPEN' ORDER BY number;
CREATE VIEW open_positions AS SELECT instrument_token, product, quantity FROM positions WHERE quantity <> 0;
"""
#: Bought 30 at 100.05 and 100.10, sold 10 at 101.3: what is left costs 2,001.6667 rupees, as rounded then.
AT = "2026-01-05T09:15:0%d+05:30"
ROWS_1 = f"""
INSERT INTO accounts VALUES ('paper', '500000', '498010.5', '12.1667', '0');
INSERT INTO orders VALUES
    ('a', 1, 'paper', 's-a', 'm', 7, 'BUY', 10, 'MARKET', NULL, NULL, 'MIS', 'DAY', 'COMPLETE', 10, '100.05', NULL,
     '{AT % 1}', '{AT % 1}', '{AT % 1}', 0, NULL, NULL, NULL, NULL, '{{}}'),
    ('b', 2, 'paper', 's-b', 'm', 7, 'BUY', 20, 'LIMIT', '100.1', NULL, 'MIS', 'DAY', 'COMPLETE', 20, '100.1', NULL,
     '{AT % 2}', '{AT % 2}', '{AT % 2}', 0, NULL, NULL, NULL, 0.5, '{{"why":"x"}}'),
    ('c', 3, 'paper', 's-c', 'm', 7, 'SELL', 10, 'MARKET', NULL, NULL, 'MIS', 'DAY', 'COMPLETE', 10, '101.3', NULL,
     '{AT % 3}', '{AT % 3}', '{AT % 3}', 0, NULL, NULL, NULL, NULL, '{{}}'),
    ('d', 4, 'paper', 's-d', 'm', 7, 'BUY', 5, 'LIMIT', '90', NULL, 'MIS', 'DAY', 'OPEN', 0, NULL, 'modified',
     '{AT % 4}', '{AT % 4}', '{AT % 5}', 1, NULL, NULL, NULL, NULL, '{{}}'),
    ('e', 5, 'paper', 's-e', 'm', 7, 'SELL', 1, 'SL', '98', '99', 'MIS', 'DAY', 'REJECTED', 0, NULL, 'no stops',
     '{AT % 5}', '{AT % 5}', '{AT % 5}', 0, NULL, NULL, NULL, NULL, '{{}}');
INSERT INTO fills VALUES
    ('f1', 'a', 'paper', 'm', 7, 'MIS', 'BUY', 10, '100.05', '0', '{AT % 1}'),
    ('f2', 'b', 'paper', 'm', 7, 'MIS', 'BUY', 20, '100.1', '0', '{AT % 2}'),
    ('f3', 'c', 'paper', 'm', 7, 'MIS', 'SELL', 10, '101.3', '0', '{AT % 3}');
INSERT INTO positions VALUES ('paper', 7, 'MIS', 20, '100.0833', '2001.6667', '12.1667', '101.3');
"""


@pytest.fixture
def old(tmp_path):
    """A state folder that the first version left, with a position and an open LIMIT order."""
    folder = tmp_path / "old"
    folder.mkdir(mode=0o700)
    connection = sqlite3.connect(folder / "paper.db")
    connection.executescript(VERSION_1 + ROWS_1)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    (folder / "paper.db").chmod(0o600)
    return folder


def ask(folder, query):
    connection = sqlite3.connect(f"file:{folder}/paper.db?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def a_tick(at, price):
    return b'{"type":"tick","instrument_token":7,"timestamp":"%s","last_price":%s}\n' % (at.encode(), price)


def test_books_of_version_1_open_and_balance(old):
    """The figures are those that were; there are entries for them, and the database is of today's version."""
    done = run_alpha(["paper", "--state", str(old)])
    assert done.returncode == 0, done.stderr
    (portfolio,) = map(decode, done.stdout.splitlines())
    assert (portfolio.cash, portfolio.charges, portfolio.realised_pnl) == (Decimal("498010.5"), 0, Decimal("12.1667"))
    (position,) = portfolio.positions
    assert (position.quantity, position.average_price, position.last_price) == (
        20, Decimal("100.0833"), Decimal("101.3"),
    )  # fmt: skip
    assert ask(old, "PRAGMA user_version") == [(VERSION,)]
    assert dict(ask(old, "SELECT account, SUM(amount) FROM entries GROUP BY 1")) == {
        "capital": -5_000_000_000, "cash": 4_980_105_000, "positions": 20_016_667, "realised": -121_667,
    }  # fmt: skip
    assert counters(done.stderr.decode())["open"] == 1
    assert ask(old, "SELECT name FROM pragma_table_info('open_orders') WHERE name = 'instrument'")


def test_books_of_version_1_trade_on(old):
    """Its LIMIT order rests at its price, its position is squared off, and is charged as of now."""
    closing = [a_tick(f"2026-01-05T15:20:0{second}+05:30", b"9%d" % (5 - second)) for second in (0, 1)]
    lines = [a_tick(AT % 8, b"89.5"), *closing]
    done = run_alpha(["paper", "--state", str(old)], b"".join(lines))
    assert done.returncode == 0, done.stderr
    said = [decode(line) for line in done.stdout.splitlines()]
    fills = [one for one in said if hasattr(one, "fill_id")]
    assert [(one.side, one.quantity, one.price) for one in fills] == [("BUY", 5, 90), ("SELL", 25, 95)]
    charges = sum(one.charges["total"] for one in fills)
    assert charges > 0
    assert (said[-1].cash, said[-1].charges) == (Decimal("498010.5") - 450 + 2375 - charges, charges)
    assert said[-1].positions[0].quantity == 0
    again = run_alpha(["paper", "--state", str(old)], b"".join(lines))
    assert decode(again.stdout.splitlines()[-1]).cash == said[-1].cash


def test_what_version_1_traded_is_not_charged_later(old):
    """Its trades were without charges, also to contract notes."""
    tomorrow = a_tick("2026-01-06T09:15:00+05:30", b"100")
    done = run_alpha(["paper", "--state", str(old), "--charges", "contract-note"], tomorrow)
    assert done.returncode == 0, done.stderr
    notes = [one for one in map(decode, done.stdout.splitlines()) if hasattr(one, "adjustment")]
    assert [note.date.isoformat() for note in notes] == ["2026-01-06"]  # the square-off's alone


def test_a_migration_that_fails_changes_nothing(old):
    """Books that do not balance are refused, and stay as they were: another version may read them."""
    connection = sqlite3.connect(old / "paper.db")
    connection.execute("UPDATE accounts SET cash = '1'")
    connection.commit()
    connection.close()
    done = run_alpha(["paper", "--state", str(old)])
    assert done.returncode == 70
    assert done.stderr.count(b"\n") == 1
    assert b"balance" in done.stderr or b"capital" in done.stderr


@pytest.mark.parametrize("version", [0, VERSION + 1, 99])
def test_a_database_of_another_version_is_left_alone(old, version):
    """One line that says so."""
    connection = sqlite3.connect(old / "paper.db")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    before = (old / "paper.db").read_bytes()
    done = run_alpha(["paper", "--state", str(old)])
    assert done.returncode not in (0, 1)
    assert done.stderr.count(b"\n") == 1
    assert (old / "paper.db").read_bytes() == before
